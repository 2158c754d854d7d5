"""Amending an agreement: who signs what, when it is in force, and what the chain of certificates becomes. Without IO.

Two signatures, in this order. All members of the amended terms **accept** them: that binds nobody to anything. Then members of the
agreement that is amended **bind** themselves, each to one amendment: from then on they enter no round of that agreement. With q of these
the amendment is in force. Binding comes last, so that no single member can leave the others bound to what never comes into force
(docs/adr/0020).

Under pins alone an amendment changes who takes part and what follows from that. What else stands in the terms stays; members that stay keep
their identity keys, and each new one's fingerprint must be among the reader's pins. The full policy is not asked here.

Why no base version opens a second list across an amendment, with 2t > n + c and 2q > n + c over the agreement that is amended:
 1. A certified list of it has t signers and an amendment q: some honest member signed both.
 2. That member bound itself only when each of its rounds was over (`promises`): opened, and then it stood at the head of the chain that the
 amendment names; or proven unopenable; or given up before it signed.
 3. Two amendments of one agreement share an honest signer, and it binds itself once.
 4. Round numbers go on, and lists and bases that were opened stay in the chain: they bound what may be opened under the amended terms.

    >>> signers_needed(members=5, colluders=1)
    4
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import ClassVar, Final

from parley_crypto.errors import CryptoError
from parley_crypto.keys import SigningKey, VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document, Statement
from parley_policies.negotiation.terms import MIN_FLOOR, Positive, StudyId, Terms, required_threshold

from parley_protocol.certificates import Chain
from parley_protocol.errors import LocalProtocolError, RemoteProtocolError
from parley_protocol.ids import Hex32
from parley_protocol.promises import Promise, check_may_amend, check_may_enter

HONEST_BESIDE_ONE: Final = 2  # a sum of c + 2 members hides each honest one behind another honest one
UNCHANGED: Final = (
    "study",
    "purpose",
    "gateway",
    "scheme",
    "gateway_may_lie",
    "max_colluders",
    "max_small_changes",
    "clip_bound",
    "robustness",
    "opened_sums_readable_by",
    "exclusions_required",
    "timing",
)


class Amends(Document):
    """Where an amendment takes effect: on which agreement, after which certificate, and from which round number on."""

    agreement: Hex32
    head: Hex32  # digest of the newest certificate of that agreement; before the first one the agreement's own
    round: Positive  # the first round under the amended terms


class AmendedTerms(Terms):
    """Terms that amend an agreement. A payload type of its own: a first agreement is never taken for an amendment."""

    kind: ClassVar[str] = "application/vnd.parley.amended-terms.v1+json"

    amends: Amends


class Amendment(Statement):
    """What a member of the amended agreement binds itself to: these terms follow, and it enters no other round of the agreement."""

    kind: ClassVar[str] = "application/vnd.parley.amendment.v1+json"

    study: StudyId
    amends: Amends
    terms: Hex32  # the digest of the amended terms


@unique
class Stage(StrEnum):
    """Where one member stands with an amendment."""

    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"  # it signed the amended terms; it may still accept others
    BOUND = "BOUND"  # it enters no round of the agreement any more
    IN_FORCE = "IN_FORCE"


@unique
class Turn(StrEnum):
    """What moves a member on."""

    ACCEPT = "accept"
    BIND = "bind"
    FOLLOW = "follow"


MEMBER: Final[dict[Stage, dict[Turn, Stage]]] = {
    Stage.OPEN: {Turn.ACCEPT: Stage.ACCEPTED, Turn.BIND: Stage.BOUND, Turn.FOLLOW: Stage.IN_FORCE},
    Stage.ACCEPTED: {Turn.ACCEPT: Stage.ACCEPTED, Turn.BIND: Stage.BOUND, Turn.FOLLOW: Stage.IN_FORCE},
    Stage.BOUND: {Turn.BIND: Stage.BOUND, Turn.FOLLOW: Stage.IN_FORCE},
    Stage.IN_FORCE: {},
}


def signers_needed(*, members: int, colluders: int) -> int:
    """Return q: how many of an agreement's members must bind themselves to an amendment of it; 2q > n + c whatever the gateway may do."""
    return required_threshold(members, colluders, gateway_may_lie=True)


def amendment_of(terms: AmendedTerms) -> Amendment:
    """Return the statement that members of the amended agreement sign."""
    return Amendment(study=terms.study, amends=terms.amends, terms=terms.digest())


def verify_amendment(old: Terms, chain: Chain, accepted: Envelope, bound: Envelope) -> AmendedTerms:
    """Return the terms that are in force after `old` at the head of `chain`; RemoteProtocolError says what is missing.

    `accepted` holds the amended terms with the signature of each of their members, `bound` their `Amendment` with signatures of at least q
    members of `old`. For members, for who joins (having checked the chain), and for auditors.
    """
    terms = verify_accepted(old, chain, accepted)
    wanted = amendment_of(terms)
    if (bound.payload_type, bound.payload) != (Amendment.kind, wanted.canonical()):
        raise RemoteProtocolError(f"amendment {wanted.terms[:16]}…: wanted signatures on exactly its statement, got them on another one")
    least = _signers_of(old)
    signers = bound.signed_by(old.keys(), least)
    if len(signers) < least:
        raise RemoteProtocolError(
            f"amendment {wanted.terms[:16]}…: wanted at least {least} members of the amended agreement bound to it, "
            f"got {len(signers)} ({', '.join(signers) or 'nobody'})"
        )
    return terms


def verify_accepted(old: Terms, chain: Chain, accepted: Envelope) -> AmendedTerms:
    """Return amended terms that each of their members signed, and that may follow `old` at the head of `chain`."""
    if accepted.payload_type != AmendedTerms.kind:
        raise RemoteProtocolError(f"amended terms: wanted {AmendedTerms.kind}, got {accepted.payload_type[:120]}")
    try:
        terms = AmendedTerms.parse(accepted.payload)
        keys = terms.keys()
    except CryptoError as error:
        raise RemoteProtocolError(f"amended terms: {error}") from error
    check_amended(old, chain, terms)
    if missing := sorted(set(keys) - set(accepted.signed_by(keys, len(keys)))):
        raise RemoteProtocolError(f"amended terms on {terms.study}: wanted every member's signature, got none of {', '.join(missing)}")
    return terms


def check_amended(old: Terms, chain: Chain, terms: AmendedTerms) -> None:
    """Return if `terms` may amend `old` at the head of `chain`, by what everybody can see; RemoteProtocolError otherwise."""
    what, amends = f"amended terms on {old.study}", terms.amends
    if (amends.agreement, amends.head) != (old.digest(), chain.head) or chain.agreement != old.digest():
        raise RemoteProtocolError(
            f"{what}: wanted them to amend {old.digest()[:16]}… at {chain.head[:16]}…, got {amends.agreement[:16]}… at {amends.head[:16]}…"
        )
    if amends.round <= chain.round:
        raise RemoteProtocolError(f"{what}: wanted its first round after round {chain.round}, got {amends.round}")
    for field in UNCHANGED:
        if getattr(terms, field) != getattr(old, field):
            raise RemoteProtocolError(f"{what}: wanted {field} as it was, got another value")
    before = {member.party: member.identity for member in old.members}
    for member in terms.members:
        if member.identity != before.get(member.party, member.identity):
            raise RemoteProtocolError(f"{what}: wanted the identity key of {member.party} as it was, got another one")
    _check_protection(what, old, terms)


def _check_protection(what: str, old: Terms, terms: AmendedTerms) -> None:
    """Thresholds and floors hold for the new list of members, and no floor is lower than it was."""
    members, colluders = len(terms.members), terms.max_colluders
    least = required_threshold(members, colluders, gateway_may_lie=terms.gateway_may_lie)
    if not least <= terms.threshold <= members:
        raise RemoteProtocolError(f"{what}: wanted a threshold of {least} to {members}, got {terms.threshold}")
    if tuple(step.workload for step in terms.steps) != tuple(step.workload for step in old.steps):
        raise RemoteProtocolError(f"{what}: wanted the steps as they were, got {', '.join(step.workload for step in terms.steps)}")
    for before, step in zip(old.steps, terms.steps, strict=True):
        floors = {segment.name: segment.floor for segment in before.segments}
        for segment in step.segments:
            floor = max(MIN_FLOOR, colluders + HONEST_BESIDE_ONE, floors.get(segment.name, 0))
            if not floor <= segment.floor <= len(segment.members):
                raise RemoteProtocolError(
                    f"{what}, {segment.name}: wanted a floor of {floor} to {len(segment.members)}, its members, got {segment.floor}"
                )


def amended(chain: Chain, terms: AmendedTerms) -> Chain:
    """Return the chain under amended terms in force: their digest is its head, rounds go on, and what was opened stays known."""
    digest = terms.digest()
    return replace(chain, agreement=digest, head=digest, round=terms.amends.round - 1)


def _parties(terms: Terms) -> frozenset[str]:
    return frozenset(member.party for member in terms.members)


def _signers_of(old: Terms) -> int:
    return signers_needed(members=len(old.members), colluders=old.max_colluders)


@dataclass(frozen=True, slots=True)
class AmendingMember:
    """One member's part in amending one agreement: of the agreement, of the amended terms, or of both.

    `pins` are the fingerprints that its policy pins. Each step takes the member's promises for **all** rounds of the study and returns the
    next state, to be written down before what it signed leaves; or it raises and changes nothing.
    """

    old: Terms
    chain: Chain  # up to the newest certificate that the member has
    me: str
    pins: frozenset[str]
    stage: Stage = Stage.OPEN
    bound_to: str | None = None  # the digest of the terms that it bound itself to

    def accept(self, terms: AmendedTerms, key: SigningKey) -> tuple[AmendingMember, Envelope]:
        """Sign amended terms. Binds to nothing: a member may accept others until it is bound."""
        after = self._at(Turn.ACCEPT)
        check_amended(self.old, self.chain, terms)
        if terms.member(self.me).key != key.public:
            raise LocalProtocolError(f"amended terms on {terms.study}: wanted our own identity key for {self.me}, got another one")
        self._check_pins(terms)
        return after, terms.sign(key)

    def bind(self, accepted: Envelope, rounds: Collection[Promise], key: SigningKey) -> tuple[AmendingMember, Envelope]:
        """Sign the amendment that all its members accepted, or the same one again. No round of the agreement is entered after it."""
        after = self._at(Turn.BIND)
        terms = verify_accepted(self.old, self.chain, accepted)
        if self.old.member(self.me).key != key.public:
            raise LocalProtocolError(f"amendment of {self.old.study}: wanted our identity key of the amended agreement, got another one")
        self._check_pins(terms)
        check_may_amend(terms.digest(), self.bound_to, rounds)
        check_may_enter(terms.amends.round, rounds, None)
        return replace(after, bound_to=terms.digest()), amendment_of(terms).sign(key)

    def follow(self, accepted: Envelope, bound: Envelope, rounds: Collection[Promise]) -> tuple[AmendingMember, AmendedTerms, Chain]:
        """Take amended terms that are in force; rounds run under them, on the returned chain, from now on.

        Also for who is bound to another amendment: that one can never be in force beside this one.
        """
        after = self._at(Turn.FOLLOW)
        terms = verify_amendment(self.old, self.chain, accepted, bound)
        if self.me not in _parties(terms):
            raise LocalProtocolError(f"amended terms on {terms.study}: {self.me} is no member of them; nothing is to be followed")
        self._check_pins(terms)
        check_may_enter(terms.amends.round, rounds, None)
        return after, terms, amended(self.chain, terms)

    def _at(self, turn: Turn) -> AmendingMember:
        try:
            return replace(self, stage=MEMBER[self.stage][turn])
        except KeyError:
            turns = ", ".join(MEMBER[self.stage]) or "nothing"
            raise LocalProtocolError(f"amendment of {self.old.study} is {self.stage}", wanted=turns, got=turn) from None

    def _check_pins(self, terms: AmendedTerms) -> None:
        """Who stays need not be pinned again; who joins pins everybody; who leaves is not concerned."""
        if self.me not in _parties(terms):
            return
        known = _parties(self.old) | {self.me} if self.me in _parties(self.old) else {self.me}
        new = {member.party: member.key.fingerprint for member in terms.members if member.party not in known}
        if unpinned := sorted(party for party, fingerprint in new.items() if fingerprint not in self.pins):
            raise RemoteProtocolError(f"amended terms on {terms.study}: wanted the fingerprint of each new member pinned, got {unpinned}")


@dataclass(frozen=True, slots=True)
class AmendingGateway:
    """The gateway's part: it gathers signatures, each checked before it counts, and can only be late with them.

    An honest gateway starts one between rounds, asks for `bind` only when all have accepted, and opens no round until it is in force.
    """

    old: Terms
    terms: AmendedTerms
    accepted: Envelope
    bound: Envelope

    @classmethod
    def start(cls, old: Terms, chain: Chain, terms: AmendedTerms) -> AmendingGateway:
        """Begin to gather signatures for terms that may amend `old` at the head of `chain`; RemoteProtocolError if they may not."""
        check_amended(old, chain, terms)
        return cls(old, terms, terms.sign(), amendment_of(terms).sign())

    @property
    def is_accepted(self) -> bool:
        """Whether all members of the amended terms have accepted: now members may be asked to bind themselves."""
        return len(self.accepted.signatures) == len(self.terms.members)

    @property
    def is_in_force(self) -> bool:
        """Whether enough members of the amended agreement are bound as well: both envelopes go to everybody, and into the log."""
        return self.is_accepted and len(self.bound.signatures) >= _signers_of(self.old)

    def on_accepted(self, envelope: Envelope) -> AmendingGateway:
        """Take one member's signature on the amended terms."""
        return replace(self, accepted=_gathered("acceptance", self.accepted, envelope, self.terms.keys()))

    def on_bound(self, envelope: Envelope) -> AmendingGateway:
        """Take one member's signature on the amendment."""
        if not self.is_accepted:
            raise LocalProtocolError(f"amendment of {self.old.study}: wanted every acceptance before members bind themselves")
        return replace(self, bound=_gathered("amendment", self.bound, envelope, self.old.keys()))


def _gathered(what: str, so_far: Envelope, envelope: Envelope, keys: Mapping[str, VerifyKey]) -> Envelope:
    try:
        joined = so_far.joined(envelope)
    except CryptoError as error:
        raise RemoteProtocolError(f"{what}: {error}") from error
    if len(envelope.signatures) != 1 or not envelope.signed_by(dict(keys), 1):
        raise RemoteProtocolError(f"{what}: wanted one valid signature of a member, got {len(envelope.signatures)} or another's")
    return joined
