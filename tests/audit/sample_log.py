"""A log as a gateway writes it: six simulated parties, one agreement, four real rounds with a dropout, a second study that never began."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import BinaryIO

from parley_audit.claims import Audience
from parley_audit.export import Opening, write_export
from parley_crypto.checkpoint import Checkpoint
from parley_crypto.keys import SigningKey
from parley_crypto.merkle import Frontier, leaf_hash
from parley_crypto.signing import Envelope
from parley_crypto.statement import Statement
from parley_policies.negotiation.credentials import Credential, issue
from parley_policies.negotiation.terms import Terms
from parley_protocol.ids import Phase
from parley_protocol.logentries import HiddenLeaf, LogEntry, hash_of, reach_of
from parley_protocol.messages import Manifest, SurvivorList
from parley_protocol.phases import Event
from parley_protocol.records import (
    CredentialsShown,
    Enrolment,
    EnrolmentRecord,
    GatewayRecord,
    JoinedRound,
    OfferRecord,
    Participation,
    PolicyActivated,
    RevocationRecord,
    StudyChange,
    StudyEvent,
    invite_proof,
    salted_digest,
)
from parley_protocol.relays import SumOpened

from tests.member_secrets import key_part
from tests.simulator import GATEWAY_KEY, Simulation, make_terms, party_ids, party_key

ORIGIN = "gw.example/log"
SEGMENTS: dict[str, tuple[int, list[int] | None]] = {"trunk": (6, None), "head:a": (3, [0, 1, 2]), "head:b": (2, [3, 4, 5])}
SALT = b"\x07" * 32
ISSUER = SigningKey(b"\x21" * 32)
POLICY = b"schema = 'parley.policy/1'\n"


@dataclass
class Folder:
    """A folder in memory: source and sink of exports."""

    files: dict[str, bytes] = field(default_factory=dict)

    def names(self) -> Collection[str]:
        return self.files.keys()

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        yield io.BytesIO(self.files[name])

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        buffer = io.BytesIO()
        yield buffer
        self.files[name] = buffer.getvalue()


def authentication_key(party: str) -> SigningKey:
    return SigningKey(hashlib.sha256(f"authentication/{party}".encode()).digest())


def gateway_record(at: int = 1, **changes: object) -> GatewayRecord:
    values: dict[str, object] = {
        "id": "gw",
        "url": "https://gw.example",
        "key": GATEWAY_KEY.public.hex,
        "log_origin": ORIGIN,
        "legal_name": "Operator",
        "country": "DE",
        "privacy_contact": "privacy@gw.example",
        "security_contact": "security@gw.example",
        "incident_notice_hours": 24,
        "change_notice_days": 30,
        "subprocessors": (),
        "at": at,
    }
    return GatewayRecord.model_validate(values | changes)


def enrolment(party: str, identity: SigningKey | None = None, authentication: SigningKey | None = None, **changes: object) -> Envelope:
    """Return the party's own statement, signed by the two keys that it names."""
    keys = (identity or party_key(party), authentication or authentication_key(party))
    bound = {"party": party, "identity": keys[0].public.hex, "authentication": keys[1].public.hex, "gateway": GATEWAY_KEY.public.hex}
    values: dict[str, object] = {
        **bound,
        "legal_name": party,
        "party_class": "hospital",
        "country": "DE",
        "log_origin": ORIGIN,
        "invite_proof": invite_proof(
            b"token", party=party, identity=bound["identity"], authentication=bound["authentication"], gateway=bound["gateway"]
        ),
        "at": 2,
    }
    return Enrolment.model_validate(values | changes).sign(*keys)


def enrolled(own: Envelope) -> Envelope:
    return EnrolmentRecord(enrolment=own.dump().decode(), at=3).sign(GATEWAY_KEY)


def revocation(party: str) -> Envelope:
    return RevocationRecord(party=party, identity=party_key(party).public.hex, reason="left", at=4).sign(GATEWAY_KEY)


def credential(party: str, **changes: object) -> str:
    """Return what an issuer says of a party."""
    values: dict[str, object] = {
        "issuer": ISSUER.public.hex,
        "party": party,
        "legal_name": party,
        "party_class": "hospital",
        "country": "DE",
        "identity": party_key(party).public.fingerprint,
        "valid_until": date(2027, 12, 31),
    }
    return issue(Credential.model_validate(values | changes), ISSUER)


def credentials_shown(party: str, *credentials: str) -> Envelope:
    return CredentialsShown(party=party, credentials=credentials, at=4).sign(party_key(party))


def offer(party: str, study: str, proposal: str = "0" * 64) -> Envelope:
    record = OfferRecord(party=party, study=study, proposal=proposal, offer=salted_digest(SALT, party.encode()), at=5)
    return record.sign(party_key(party))


def policy(party: str) -> Envelope:
    return PolicyActivated(party=party, policy=salted_digest(SALT, POLICY), at=4).sign(party_key(party))


def event(
    change: StudyChange, *, terms: Terms | None, certificates: Sequence[SurvivorList] = (), by: str | None = None, study: str = "study"
) -> Envelope:
    agreement = None if terms is None else terms.digest()
    head = certificates[-1].digest() if certificates else agreement
    statement = StudyEvent(
        study=study, change=change, by=by, agreement=agreement, certificates=len(certificates), head=head, reason="as planned", at=9
    )
    return statement.sign(GATEWAY_KEY if by is None else party_key(by))


def agreement(terms: Terms) -> Envelope:
    return terms.sign(*(party_key(member.party) for member in terms.members))


def key_parts(terms: Terms) -> list[Envelope]:
    return [key_part(terms, member.party, party_key(member.party)) for member in terms.members]


@dataclass
class Rounds:
    """What certified rounds leave behind: leaves, lists, and every manifest."""

    leaves: list[bytes] = field(default_factory=list)
    lists: list[SurvivorList] = field(default_factory=list)
    manifests: dict[tuple[str, int], Manifest] = field(default_factory=dict)

    def participation(self, terms: Terms, party: str) -> Participation:
        joined, missed = [], []
        for listed in self.lists:
            if party not in listed.parties:
                missed.append(listed.round)
                continue
            manifest = self.manifests[party, listed.round]
            joined.append(JoinedRound(round=listed.round, segments=manifest.segments, size=manifest.size, body=manifest.body))
        return Participation(study=terms.study, agreement=terms.digest(), party=party, joined=tuple(joined), missed=tuple(missed))


@cache
def run_rounds(terms: Terms) -> Rounds:
    """Run four rounds; party-001 is away in the second one, so that head:a stays shut and the trunk changes by one, twice."""
    rounds = Rounds()
    seen: set[bytes] = set()

    def watch(_: str, kind: str, raw: bytes) -> bytes:
        if kind == Event.OPENED:
            certificate = simulation.state.certificate
            assert certificate is not None
            text = certificate.dump()
            if text not in seen:
                seen.add(text)
                rounds.leaves += [text, SumOpened.parse(raw).opened.encode()]
        return raw

    simulation = Simulation(terms, watch)
    for drops in ({}, {"party-001": Phase.COLLECT}, {}, {}):
        simulation.away.clear()
        assert simulation.run(drops) is Phase.CLOSED
        state = simulation.state
        assert state.listed is not None
        rounds.lists.append(state.listed)
        rounds.manifests |= {(party, state.listed.round): received.statement for party, received in state.manifests.items()}
    return rounds


@cache
def sample_terms() -> Terms:
    return make_terms(6, segments=SEGMENTS, small_changes=2, rounds=10)


@cache
def sample_leaves() -> tuple[bytes, ...]:
    """A whole log: gateway, enrolments, policies, offers, agreement, four rounds, the end, participation, and another study."""
    terms, ids = sample_terms(), party_ids(6)
    rounds = run_rounds(terms)
    vouched = {ids[0]: (credential(ids[0]),)}
    enrolments = (enrolled(enrolment(party, credentials=vouched.get(party, ()))) for party in ids)
    envelopes: list[Envelope] = [gateway_record().sign(GATEWAY_KEY), *enrolments]
    envelopes += [policy(party) for party in ids]
    envelopes += [offer(party, "study") for party in ids]
    envelopes += [offer(ids[0], "other"), agreement(terms)]
    envelopes += key_parts(terms)
    envelopes += [event(StudyChange.FINALIZED, terms=terms), event(StudyChange.STARTED, terms=terms, by=ids[2])]
    leaves = [envelope.dump() for envelope in envelopes] + list(rounds.leaves)
    tail = [
        event(StudyChange.TERMINATED, terms=None, study="other"),
        event(StudyChange.STOPPED, terms=terms, certificates=rounds.lists[:3], by=ids[3]),
        event(StudyChange.STOPPED, terms=terms, certificates=rounds.lists),
        *(rounds.participation(terms, party).sign(GATEWAY_KEY) for party in ids),
        credentials_shown(ids[1], credential(ids[1])),
        revocation(ids[5]),
    ]
    return (*leaves, *(envelope.dump() for envelope in tail))


def as_shown_to(party: str, *studies: str, leaves: Sequence[bytes] | None = None) -> list[LogEntry]:
    """Return the log as a gateway shows it to a party that was invited to `studies`."""
    chosen = sample_leaves() if leaves is None else leaves
    return [leaf if reach_of(Envelope.load(leaf)).includes(party, studies) else HiddenLeaf(leaf_hash(leaf)) for leaf in chosen]


def signed(leaves: Sequence[LogEntry], key: SigningKey = GATEWAY_KEY) -> str:
    frontier = Frontier(hash_of(leaf) for leaf in leaves)
    return Checkpoint(ORIGIN, frontier.size, frontier.root()).sign(key)


def export(
    leaves: Sequence[LogEntry],
    *,
    audience: Audience = Audience.PARTY,
    studies: Collection[str] | None = None,
    party: str | None = None,
    openings: Sequence[Opening] = (),
) -> Folder:
    folder = Folder()
    write_export(
        folder,
        leaves,
        checkpoint=signed(leaves),
        gateway=GATEWAY_KEY.public,
        origin=ORIGIN,
        audience=audience,
        studies=studies,
        party=party,
        openings=openings,
    )
    return folder


def index_of(kind: type[Statement], leaves: Sequence[bytes] | None = None, *, nth: int = 0) -> int:
    """Return the index of the nth leaf of a kind."""
    found = [i for i, leaf in enumerate(leaves or sample_leaves()) if Envelope.load(leaf).payload_type == kind.kind]
    return found[nth]


def policy_opening(body: str = POLICY.decode()) -> Opening:
    return Opening(leaf=index_of(PolicyActivated), salt=SALT.hex(), body=body)
