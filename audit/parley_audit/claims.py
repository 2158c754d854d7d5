"""What an export can prove and what it cannot, in the words that people read. README and report say the same sentences."""

from __future__ import annotations

from enum import StrEnum, unique


@unique
class Audience(StrEnum):
    """For whom an export is made: that decides what it shows."""

    PARTY = "party"  # a member of the federation: of the studies asked for, every leaf that whoever made the export was shown
    PUBLIC = "public"  # anyone: who operates the gateway, and the hashes of everything else

    @property
    def shows_everything(self) -> bool:
        """Whether an export of all studies, made from the whole log, withholds nothing."""
        return self is Audience.PARTY


def proven(audience: Audience, studies: tuple[str, ...] | None, party: str | None = None) -> tuple[str, ...]:
    """Return what holds if the audit passes. `studies` None means all of the log's, or with `party` all that this party was shown."""
    always = (
        "The gateway signed the size and the root of this log: it cannot later show another log of this size without contradicting itself.",
        "Whoever holds a leaf of this log can show that it stands in it, and two exports can be compared.",
    )
    if audience is Audience.PUBLIC:
        return always
    every = "every study" if party is None else f"every study that {party} was shown"
    which = every if studies is None else f"the studies named here ({', '.join(studies) or 'none'})"
    whom = "each party" if party is None else party
    return (
        *always,
        "Every party proved, when it enrolled, that it holds the keys listed here.",
        f"For {which}: the technical agreement was signed by all its members, each with the key it had enrolled.",
        f"For {which}: every addition that was opened was certified by enough members, over at least as many parties as agreed.",
        f"For {which}: no version of the model was the start of two opened rounds.",
        f"For {which}: no opened round is missing between the first and the last shown, and a study that is closed names its last one.",
        f"For {which}: what {whom} is recorded to have sent agrees with what the members certified.",
    )


def unproven(
    audience: Audience, studies: tuple[str, ...] | None, party: str | None = None, *, gateway_given: bool | None
) -> tuple[str, ...]:
    """Return what stays open even if the audit passes. `gateway_given` None leaves out where the gateway's key came from."""
    lines = [
        "No witnesses: only the gateway signed this log. That others were shown the same one is for you to see: compare size and root.",
        "That the gateway deleted what it had to delete, or that a party destroyed its keys.",
        "That what parties and the operator declared about themselves is true, that data are of good quality, or that clocks were right.",
        "What the readable results of the additions themselves reveal about people; that is for the agreement and its privacy terms.",
    ]
    if audience is Audience.PUBLIC:
        lines.append("Anything about studies, agreements and parties: their leaves are withheld, only their hashes are here.")
    elif studies is not None:
        lines.append(
            "That no leaf about these studies, a party's revocation among them, is among the withheld ones, of which only hashes are here."
        )
    if party is not None:
        lines.append(
            f"Anything about studies that {party} has no part in, and what other parties are recorded to have sent: the gateway showed "
            f"{party} only the hashes of those leaves. That no leaf which concerns {party}, such as the end of a study, is among them."
        )
    if gateway_given is False:
        lines.append("That the gateway's key is the right one: it was taken from the export itself. Compare its fingerprint.")
    return tuple(lines)
