"""The sentences of a report, in the words that people read (glossary): each a pure function of the facts, so that tests hold them to it.

Nothing here rounds in anybody's favour: where sharing made a party's score worse the sentence says so and by how much, and what is not
claimed stands beside what is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from parley_audit.report.facts import MODELS, DropoutFacts, Facts, PartyFacts, PictureFacts, StudyFacts
from parley_audit.report.names import MODEL_NAMES, MODEL_PHRASES, numbers, part_name
from parley_audit.report.pictures import mean_score

MIB: Final = 1 << 20
_HARMED: Final = 0.0005  # a smaller difference is shown as equal in three digits


def headline(facts: Facts) -> tuple[str, ...]:
    """Return what left, in plain words."""
    first = f"No row of data left any of the {len(facts.parties)} organizations."
    second = (
        f"{facts.contributions} encrypted contributions were sent ({facts.uploaded / MIB:.1f} MiB in all); {facts.additions} additions, "
        f"each over at least {facts.fewest} parties, were opened and could be read."
    )
    return first, second


def not_claimed(facts: Facts) -> tuple[str, ...]:
    """Return what nobody should read into the headline."""
    noise = (
        "Readable results of additions carry no noise. How much a sum over a few parties reveals about the people in their data is not "
        "bounded here: differential privacy was not required by any of the policies, and none was applied."
    )
    conspire = (
        f"At most {_parties(facts.main.explanation.c)} may conspire with the gateway and still learn nothing more. "
        "Beyond that nothing is promised."
    )
    machine = (
        "All processes ran on one machine under one user. Separate folders, keys and processes stand for separate organizations; "
        "they do not prove them."
    )
    return noise, conspire, machine


def mean_sentence(facts: Facts) -> str:
    """Return the mean scores as one sentence."""
    means = {model: mean_score(facts, model) for model in MODELS}
    told = ", ".join(f"{value:.3f} {MODEL_NAMES[model]}" for model, value in means.items() if value is not None)
    return f"Mean over the parties: {told}."


def gained(facts: Facts) -> str:
    """Return for how many parties sharing with all beats the better of their two models alone, and what the others lose."""
    gains = {party.id: gain for party in facts.parties if (gain := _gain(party)) is not None}
    better = {party: gain for party, gain in gains.items() if gain > _HARMED}
    most = f", by up to {max(better.values()):.3f}" if better else ""
    return f"{len(better)} of {len(gains)} parties score higher with all five others than with the better of their two models alone{most}."


def _gain(party: PartyFacts) -> float | None:
    alone = [value for value in (party.scores.local_logistic, party.scores.local_mlp) if value is not None]
    return party.scores.federated - max(alone) if alone and party.scores.federated is not None else None


def harmed(facts: Facts) -> tuple[str, ...]:
    """Return a sentence for every party that sharing served worse than something it could have had instead; one that says none if none."""
    found = [sentence for party in facts.parties for sentence in _harm(party)]
    return tuple(found) or ("No party scored lower with all others than alone or with its own kind, on this split of the data.",)


def _harm(party: PartyFacts) -> Iterable[str]:
    together = party.scores.federated
    if together is None:
        return
    for model in MODELS[:-1]:
        other = party.scores.of(model)
        if other is not None and other - together > _HARMED:
            yield f"{party.id} scores {other - together:.3f} lower {MODEL_PHRASES['federated']} than {MODEL_PHRASES[model]}."


def dropout_story(dropout: DropoutFacts, study: StudyFacts) -> tuple[str, ...]:
    """Return what happened to the party that was killed on purpose, and to the others."""
    told = [_killed(dropout, study)]
    if dropout.missed:
        shut = ", ".join(part_name(name) for name in dropout.shut)
        closed = f" The {shut} stayed shut meanwhile: too few parties were left to add up; the shared part went on." if shut else ""
        told.append(f"It missed {_rounds(dropout.missed)}.{closed}")
    if dropout.restarted_in is not None:
        again = f"It was started again while round {dropout.restarted_in} ran"
        back = f"checked every certificate that it had missed, and took part from round {dropout.back_in} on."
        late = "and caught up; the study ended before it could take part once more."
        told.append(f"{again}, {late if dropout.back_in is None else back}")
    return tuple(told)


def _killed(dropout: DropoutFacts, study: StudyFacts) -> str:
    when = f"{dropout.party} was killed on purpose in round {dropout.round} (phase {dropout.phase})"
    if dropout.listed:
        return f"{when}; its encrypted contribution had arrived, so it counted."
    return (
        f"{when}, after it had handed out its shares and before its encrypted contribution was there. The others finished that round "
        "without it: what had hidden their contributions together with its own was rebuilt from the shares of at least "
        f"{study.evidence.threshold} parties, and nothing else."
    )


def exposed(study: StudyFacts) -> tuple[str, ...]:
    """Return who was exposed by small changes of the list of parties summed together, and what the allowance was."""
    allowed = _changes(study.evidence.max_small_changes)
    if not study.summary.small_changes:
        return (f"Nobody: no list changed by so few parties. The technical agreement would allow {allowed} for each shared part.",)
    told = [
        f"Round {change.round}, {part_name(change.segment)}: its list differed from an earlier one by {_names(change.parties)} alone. "
        f"Whoever compares the readable results of both may learn much about {_names(change.parties)}: no noise hides it."
        for change in study.summary.small_changes
    ]
    return (*told, f"The technical agreement allows {allowed} for each shared part; then a party refuses.")


def picture_story(picture: PictureFacts) -> tuple[str, ...]:
    """Return what the three pictures show."""
    recorded = "the same that the log names for this party and round" if picture.recorded else "which the log does not name"
    first = (
        f"Round {picture.round} of {picture.study}, {picture.party}, {picture.coordinates} numbers each. The first picture was computed "
        "again in the party's own folder for this report: the clear update is never stored and never sent."
    )
    second = (
        f"The second shows the very bytes that the gateway received, kept aside while the round ran (BLAKE3 {picture.body[:16]}…, "
        f"{recorded}). Values are spread evenly over the whole range; correlation with the update: {picture.alike_sealed:+.3f}."
    )
    third = (
        f"The third is the sum over {picture.members} parties that the gateway and all members could read; correlation with this update: "
        f"{picture.alike_opened:+.2f}. A sum over few parties resembles each of them: that is what it reveals."
    )
    checked = f"The {picture.members} updates, computed again in their folders and added, give the opened sum bit for bit."
    return (first, second, third, checked) if picture.sum_checked else (first, second, third)


READABLE_BY_GATEWAY: Final = (
    "names, classes, countries and keys of the parties, and what each offered of its policy",
    "the technical agreement and its log",
    "who was there in which round, and how many bytes each sent at what time",
    "the readable results of additions over at least 3 parties, and so every version of the model",
)
UNREADABLE_BY_GATEWAY: Final = (
    "rows, labels, or any value of a party's data",
    "a single party's contribution, or a sum over fewer than 3 parties",
    "a party's scores, and the number of its records where its policy hides it",
    "the policies themselves, beyond what was offered",
)


def _parties(count: int) -> str:
    return f"{count} party" if count == 1 else f"{count} parties"


def _changes(count: int) -> str:
    return f"{count} small change" if count == 1 else f"{count} small changes"


def _names(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _rounds(missed: tuple[int, ...]) -> str:
    return f"{'round' if len(missed) == 1 else 'rounds'} {numbers(missed)}"
