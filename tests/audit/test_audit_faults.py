"""A gateway that cheats: it rewrites its log and signs the new one properly. Each lie must be named, at its leaf."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import pytest
import rfc8785
from parley_audit.checks import Check, Fault
from parley_audit.claims import Audience
from parley_audit.errors import ExportError
from parley_audit.export import write_export
from parley_audit.verify import verify
from parley_crypto.keys import SigningKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Statement
from parley_policies.negotiation.terms import Terms
from parley_protocol.keyparts import KeyPart
from parley_protocol.messages import Opened, Survivor, SurvivorList
from parley_protocol.records import (
    CredentialsShown,
    Enrolment,
    EnrolmentRecord,
    GatewayRecord,
    OfferRecord,
    Participation,
    PolicyActivated,
    RevocationRecord,
    StudyChange,
    StudyEvent,
)

from tests.audit.sample_log import (
    ORIGIN,
    Folder,
    agreement,
    authentication_key,
    credential,
    credentials_shown,
    enrolled,
    enrolment,
    event,
    export,
    gateway_record,
    index_of,
    key_parts,
    offer,
    policy,
    policy_opening,
    revocation,
    run_rounds,
    sample_leaves,
    sample_terms,
    signed,
)
from tests.simulator import GATEWAY_KEY, make_terms, party_ids, party_key

IDS = party_ids(6)
STRANGER = SigningKey(b"\x33" * 32)


def _fault(leaves: Sequence[bytes]) -> Fault:
    report = verify(export(leaves), gateway_key=GATEWAY_KEY.public)
    assert report.fault is not None, "a forged log verified"
    return report.fault


def _replaced(at: int, *envelopes: Envelope) -> list[bytes]:
    leaves = list(sample_leaves())
    leaves[at : at + 1] = [envelope.dump() for envelope in envelopes]
    return leaves


def _inserted(at: int, *envelopes: Envelope) -> list[bytes]:
    leaves = list(sample_leaves())
    leaves[at:at] = [envelope.dump() for envelope in envelopes]
    return leaves


def _dropped(*at: int) -> list[bytes]:
    return [leaf for index, leaf in enumerate(sample_leaves()) if index not in at]


def _statement(at: int, of: type[Statement]) -> dict[str, object]:
    envelope = Envelope.load(sample_leaves()[at])
    assert envelope.payload_type == of.kind
    body: dict[str, object] = json.loads(envelope.payload)
    return body


def _changed(of: type[Statement], nth: int = 0, *keys: SigningKey, **changes: object) -> list[bytes]:
    """Replace fields of one statement and have `keys` sign it anew (by default the gateway)."""
    at = index_of(of, nth=nth)
    payload = rfc8785.dumps(json.loads(json.dumps(_statement(at, of) | changes)))
    return _replaced(at, Envelope.sign(of.kind, payload, *(keys or (GATEWAY_KEY,))))


def _kept_signatures(of: type[Statement], count: int, nth: int = 0) -> list[bytes]:
    at = index_of(of, nth=nth)
    envelope = Envelope.load(sample_leaves()[at])
    return _replaced(at, Envelope(envelope.payload_type, envelope.payload, envelope.signatures[:count]))


MEMBERS = tuple(party_key(party) for party in IDS)
FIRST, SECOND = index_of(SurvivorList), index_of(SurvivorList, nth=1)
LISTS = run_rounds(sample_terms()).lists
LATER_TERMS = Terms.model_validate(sample_terms().model_dump() | {"study": "later"})


def _moved(source: int, target: int) -> list[bytes]:
    leaves = list(sample_leaves())
    leaves.insert(target, leaves.pop(source))
    return leaves


def _with_member_key(identity: str) -> list[bytes]:
    members = [member.model_dump() for member in sample_terms().members]
    members[0] |= {"identity": identity}
    return _changed(Terms, 0, STRANGER, *MEMBERS[1:], members=members)


def _list(**changes: object) -> SurvivorList:
    """Return a list that would follow the first round, signed by a quorum that colludes."""
    values = LISTS[0].model_dump() | {"round": 2, "previous": LISTS[0].digest(), "base": "b" * 64, "parameters": "c" * 64}
    survivors = changes.pop("survivors", None)
    if isinstance(survivors, list):
        values["survivors"] = [Survivor(party=party, manifest="d" * 64).model_dump() for party in survivors]
    return SurvivorList.model_validate(values | changes)


def _certified(**changes: object) -> list[bytes]:
    return _inserted(SECOND, _list(**changes).sign(*MEMBERS))


def _opened(listed: SurvivorList, terms: Terms) -> Envelope:
    step = terms.steps[0]
    segments = [
        {
            "name": name,
            "length": step.segment(name).length,
            "parties": len(listed.parties & set(step.segment(name).members)),
            "body": hashlib.sha256(name.encode()).hexdigest(),
        }
        for name in listed.openable
    ]
    fields = {name: getattr(listed, name) for name in ("study", "agreement", "round", "base")}
    return Opened.model_validate({**fields, "certificate": listed.digest(), "segments": segments}).sign(GATEWAY_KEY)


def _log_of(terms: Terms, *lists: Sequence[str], parameters: Sequence[str] | None = None) -> list[bytes]:
    """Return a log whose trunk was opened over each of `lists` in turn, all signed by all members."""
    leaves = [enrolled(enrolment(member.party)).dump() for member in terms.members] + [agreement(terms).dump()]
    leaves += [part.dump() for part in key_parts(terms)]
    previous = terms.digest()
    for number, parties in enumerate(lists, start=1):
        listed = SurvivorList(
            study=terms.study,
            agreement=terms.digest(),
            round=number,
            base=hashlib.sha256(b"%d" % number).hexdigest(),
            step=0,
            parameters=hashlib.sha256((parameters[number - 1] if parameters else str(number)).encode()).hexdigest(),
            previous=previous,
            boxes_from=tuple(member.party for member in terms.members),
            survivors=tuple(Survivor(party=party, manifest="d" * 64) for party in parties),
            openable=("trunk",),
        )
        leaves += [listed.sign(*MEMBERS).dump(), _opened(listed, terms).dump()]
        previous = listed.digest()
    return leaves


def _small_changes_beyond() -> list[bytes]:
    return _log_of(make_terms(6, small_changes=1), IDS, IDS[:5], IDS)


def _same_parameters() -> list[bytes]:
    return _log_of(make_terms(6), IDS, IDS[:5], parameters=["same", "same"])


def _too_many_rounds() -> list[bytes]:
    return _log_of(make_terms(6, rounds=1), IDS, IDS)


def test_logs_made_by_hand_verify_where_they_keep_the_rules() -> None:
    for leaves in (
        _log_of(make_terms(6, small_changes=2), IDS, IDS[:5], IDS),
        _log_of(make_terms(6), IDS, IDS, parameters=["same", "same"]),
        _log_of(make_terms(6, rounds=2), IDS, IDS),
        _log_of(make_terms(6), IDS)[:-1],  # the newest round may still wait for its sums
    ):
        assert verify(export(leaves), gateway_key=GATEWAY_KEY.public).ok


def _more_parties() -> list[dict[str, object]]:
    segments = _statement(FIRST + 1, Opened)["segments"]
    assert isinstance(segments, list)
    segments[1]["parties"] = 6
    return segments


def _finished_unopened() -> list[bytes]:
    leaves = _log_of(make_terms(6), IDS)[:-1]
    listed = SurvivorList.parse(Envelope.load(leaves[-1]).payload)
    return [*leaves, event(StudyChange.FINISHED, terms=make_terms(6), certificates=[listed]).dump()]


def _certificate_after_the_end() -> list[bytes]:
    last = LISTS[-1]
    later = _list(round=last.round + 1, previous=last.digest())
    return [*sample_leaves(), later.sign(*MEMBERS).dump()]


def _changed_round(**changes: object) -> list[bytes]:
    joined = _statement(index_of(Participation), Participation)["joined"]
    assert isinstance(joined, list)
    joined[0] |= changes
    return _changed(Participation, joined=joined)


CASES: dict[str, tuple[Callable[[], list[bytes]], Check, str]] = {
    "the operator declared under another key": (
        lambda: _replaced(0, gateway_record(key=STRANGER.public.hex).sign(GATEWAY_KEY)), Check.GATEWAY, "this log's key and origin"),
    "the operator declared for another log": (
        lambda: _replaced(0, gateway_record(log_origin="other").sign(GATEWAY_KEY)), Check.GATEWAY, "this log's key and origin"),
    "the operator declared by a stranger": (
        lambda: _replaced(0, gateway_record().sign(STRANGER)), Check.GATEWAY, "wanted a signature by"),
    "a stranger's signature beside the gateway's": (
        lambda: _replaced(0, gateway_record().sign(GATEWAY_KEY, STRANGER)), Check.GATEWAY, "wanted one signature, got 2"),
    "an enrolment without the party's signature": (
        lambda: _replaced(1, enrolled(Envelope.sign(Enrolment.kind, enrolment(IDS[0]).payload, authentication_key(IDS[0])))),
        Check.ENROLMENTS, "wanted a signature by"),
    "an enrolment without proof of the authentication key": (
        lambda: _replaced(1, enrolled(Envelope.sign(Enrolment.kind, enrolment(IDS[0]).payload, party_key(IDS[0])))),
        Check.ENROLMENTS, "wanted a signature by"),
    "an enrolment for another gateway": (
        lambda: _replaced(1, enrolled(enrolment(IDS[0], gateway=STRANGER.public.hex))), Check.ENROLMENTS, "this log's key and origin"),
    "one key as identity and authentication": (
        lambda: _replaced(1, enrolled(enrolment(IDS[0], party_key(IDS[0]), party_key(IDS[0])))), Check.ENROLMENTS, "wanted two keys"),
    "a party enrolled twice": (
        lambda: _inserted(8, enrolled(enrolment(IDS[0], STRANGER, SigningKey(b"\x34" * 32)))), Check.ENROLMENTS, "is enrolled already"),
    "a phantom with a member's key": (
        lambda: _inserted(8, enrolled(enrolment("phantom", party_key(IDS[0])))), Check.ENROLMENTS, "nobody enrolled before"),
    "a phantom with the gateway's key": (
        lambda: _inserted(8, enrolled(enrolment("phantom", GATEWAY_KEY))), Check.ENROLMENTS, "nobody enrolled before"),
    "a revoked key that comes back": (
        lambda: _inserted(8, revocation(IDS[0]), enrolled(enrolment(IDS[0]))), Check.ENROLMENTS, "nobody enrolled before"),
    "an enrolment left out": (lambda: _dropped(1), Check.POLICIES, "never enrolled before this leaf"),
    "an enrolment with another's credential": (
        lambda: _replaced(1, enrolled(enrolment(IDS[0], credentials=(credential(IDS[1]),)))), Check.ENROLMENTS, "party: wanted party-000"),
    "an enrolment with a credential for another key": (
        lambda: _replaced(1, enrolled(enrolment(IDS[0], credentials=(credential(IDS[0], identity=STRANGER.public.fingerprint),)))),
        Check.ENROLMENTS, "identity: wanted"),
    "an enrolment with a credential that nobody signed": (
        lambda: _replaced(1, enrolled(enrolment(IDS[0], credentials=("{}",)))), Check.ENROLMENTS, "credential: statement"),
    "another's credential shown later": (
        lambda: _inserted(8, credentials_shown(IDS[0], credential(IDS[1]))), Check.ENROLMENTS, "party: wanted party-000"),
    "credentials shown in a party's name": (
        lambda: _changed(CredentialsShown), Check.ENROLMENTS, "wanted a signature by"),
    "credentials shown by a revoked party": (
        lambda: _inserted(8, revocation(IDS[0]), credentials_shown(IDS[0])), Check.ENROLMENTS, "revoked before this leaf"),
    "a revocation of another key": (
        lambda: _changed(RevocationRecord, identity=STRANGER.public.hex), Check.ENROLMENTS, "wanted key"),
    "a revocation of nobody": (lambda: _changed(RevocationRecord, party="nobody"), Check.ENROLMENTS, "never enrolled"),
    "a policy logged by the gateway": (lambda: _changed(PolicyActivated), Check.POLICIES, "wanted a signature by"),
    "an offer logged by another party": (
        lambda: _changed(OfferRecord, 0, party_key(IDS[1])), Check.POLICIES, "wanted a signature by"),
    "an offer to another proposal": (
        lambda: _replaced(index_of(OfferRecord), offer(IDS[0], "study", "1" * 64)), Check.AGREEMENTS, "answers proposal"),
    "a policy of a revoked party": (
        lambda: _inserted(8, revocation(IDS[0]), policy(IDS[0])), Check.POLICIES, "revoked before this leaf"),
    "an agreement without one signature": (lambda: _kept_signatures(Terms, 5), Check.AGREEMENTS, "every member's signature"),
    "an agreement with a stranger's signature": (
        lambda: _replaced(index_of(Terms), sample_terms().sign(*MEMBERS, STRANGER)), Check.AGREEMENTS, "7 valid signatures"),
    "an agreement with altered terms": (
        lambda: _changed(Terms, 0, *MEMBERS[:5], GATEWAY_KEY, max_small_changes=99), Check.AGREEMENTS, "6 valid signatures"),
    "an agreement under another gateway": (
        lambda: _changed(Terms, 0, *MEMBERS, gateway=sample_terms().gateway.model_dump() | {"key": STRANGER.public.hex}),
        Check.AGREEMENTS, "wanted gateway key"),
    "an agreement with a key that was never enrolled": (
        lambda: _with_member_key(STRANGER.public.hex), Check.AGREEMENTS, "wanted key, name, class, country"),
    "a second agreement": (lambda: _inserted(FIRST, agreement(sample_terms())), Check.AGREEMENTS, "has an agreement already"),
    "a threshold that two lists can reach": (lambda: _changed(Terms, 0, *MEMBERS, threshold=4), Check.AGREEMENTS, "threshold of 5 to 6"),
    "a threshold that nobody can reach": (lambda: _changed(Terms, 0, *MEMBERS, threshold=7), Check.AGREEMENTS, "threshold of 5 to 6"),
    "a neighbour graph for a small study": (
        lambda: _changed(Terms, 0, *MEMBERS, graph={"degree": 2, "threshold": 2, "near": 1, "cut": 1}),
        Check.AGREEMENTS, "neighbour graph"),
    "a floor that colluders can undercut": (
        lambda: _changed(Terms, 0, *MEMBERS, max_colluders=2, threshold=5), Check.AGREEMENTS, "floor of at least 4"),
    "an agreement with a revoked party": (
        lambda: [*sample_leaves(), agreement(LATER_TERMS).dump()], Check.AGREEMENTS, "revoked before this leaf"),
    "a key part that another member signed": (lambda: _changed(KeyPart, 0, party_key(IDS[1])), Check.AGREEMENTS, "wanted a signature by"),
    "a key part with another seed part": (
        lambda: _changed(KeyPart, 0, MEMBERS[0], seed_part="1" * 64), Check.AGREEMENTS, "not what the offer committed to"),
    "a key part with the hash of another key part": (
        lambda: _changed(KeyPart, 0, MEMBERS[0], key_hash="1" * 64), Check.AGREEMENTS, "not what the offer committed to"),
    "a key part repeated as one's own": (
        lambda: _changed(KeyPart, 0, MEMBERS[1], party=IDS[1]), Check.AGREEMENTS, "not what the offer committed to"),
    "a key part under another agreement": (
        lambda: _changed(KeyPart, 0, MEMBERS[0], agreement="1" * 64), Check.AGREEMENTS, "wanted agreement"),
    "a key part before the agreement": (
        lambda: _moved(index_of(KeyPart), index_of(Terms)), Check.AGREEMENTS, "wanted an agreement before"),
    "a second key part": (
        lambda: _inserted(FIRST, key_parts(sample_terms())[2]), Check.AGREEMENTS, "wanted one of each member"),
    "a key part after a certificate": (
        lambda: _moved(index_of(KeyPart), FIRST), Check.AGREEMENTS, "before a certificate, got none of party-000"),
    "a start before the agreement": (
        lambda: _inserted(8, event(StudyChange.STARTED, terms=sample_terms())), Check.EVENTS, "wanted an agreement before"),
    "a second start": (
        lambda: _inserted(FIRST, event(StudyChange.STARTED, terms=sample_terms())), Check.EVENTS, "twice"),
    "a stop by a party that is no member": (
        lambda: _inserted(FIRST, enrolled(enrolment("outsider")), event(StudyChange.STOPPED, terms=sample_terms(), by="outsider")),
        Check.EVENTS, "wanted a member or the gateway"),
    "an event in a party's name": (
        lambda: _changed(StudyEvent, 1, GATEWAY_KEY), Check.EVENTS, "wanted a signature by"),
    "an end without agreement of a study that has one": (
        lambda: _inserted(SECOND, event(StudyChange.TERMINATED, terms=None)), Check.EVENTS, "without an agreement"),
    "a start in the middle": (
        lambda: _moved(index_of(StudyEvent, nth=1), SECOND), Check.EVENTS, "could not be"),
    "a stop with a wrong count": (
        lambda: _changed(StudyEvent, 3, party_key(IDS[3]), certificates=2), Check.EVENTS, "could not be"),
    "an agreement of another study named": (
        lambda: _changed(StudyEvent, 0, agreement="1" * 64, head="1" * 64), Check.EVENTS, "wanted agreement"),
    "a certificate with too few signatures": (lambda: _kept_signatures(SurvivorList, 4), Check.CERTIFICATES, "wanted 5 members"),
    "a certificate with a signature made up": (
        lambda: _replaced(FIRST, LISTS[0].sign(*MEMBERS[:5], STRANGER)), Check.CERTIFICATES, "6 valid signatures"),
    "a certificate with one signature twice": (
        lambda: _replaced(FIRST, LISTS[0].sign(*MEMBERS[:5], MEMBERS[0])), Check.CERTIFICATES, "6 valid signatures"),
    "a certificate with an altered list": (
        lambda: _changed(SurvivorList, 0, *MEMBERS[:4], GATEWAY_KEY), Check.CERTIFICATES, "5 valid signatures"),
    "a certificate before its agreement": (lambda: _moved(FIRST, 8), Check.CERTIFICATES, "wanted an agreement before"),
    "a survivor who is no member": (
        lambda: _certified(survivors=[*IDS[:5], "phantom"], boxes_from=[*IDS, "phantom"]), Check.CERTIFICATES, "among the members"),
    "a survivor listed twice": (lambda: _certified(survivors=[*IDS[:5], IDS[4]]), Check.CERTIFICATES, "distinct survivors"),
    "too few survivors": (lambda: _certified(survivors=IDS[:4]), Check.CERTIFICATES, "at least 5 distinct survivors"),
    "a survivor who sent no boxes": (lambda: _certified(boxes_from=IDS[:5]), Check.CERTIFICATES, "among the senders"),
    "a certificate left out with its sums": (lambda: _dropped(SECOND, SECOND + 1), Check.CHAIN, "wanted the successor of round 1"),
    "the first certificate left out": (lambda: _dropped(FIRST, FIRST + 1), Check.CHAIN, "wanted the successor of round 0"),
    "a certificate twice": (lambda: _inserted(SECOND, Envelope.load(sample_leaves()[FIRST])), Check.CHAIN, "wanted the successor"),
    "two rounds exchanged": (
        lambda: _inserted(FIRST, *map(Envelope.load, sample_leaves()[SECOND:][:2])), Check.CHAIN, "the successor of round 0"),
    "a round number that stands still": (lambda: _certified(round=1), Check.CHAIN, "wanted the successor"),
    "a base version opened twice": (lambda: _certified(base=LISTS[0].base), Check.CHAIN, "has an opened list already"),
    "a step that was never agreed": (lambda: _certified(step=1), Check.CHAIN, "wanted step 0 to 0"),
    "more rounds than agreed": (_too_many_rounds, Check.CHAIN, "at most the 1 rounds agreed"),
    "a sum below its floor": (lambda: _certified(survivors=[*IDS[:1], *IDS[2:]]), Check.FLOORS, "3 parties summed together, got 2"),
    "nothing opened": (lambda: _certified(openable=[]), Check.FLOORS, "each once and in its order"),
    "a segment opened twice": (lambda: _certified(openable=["trunk", "trunk"]), Check.FLOORS, "each once and in its order"),
    "a segment that was never agreed": (lambda: _certified(openable=["head:z"]), Check.FLOORS, "each once and in its order"),
    "one small change too many": (_small_changes_beyond, Check.FLOORS, "one more than the 1 agreed"),
    "equal parameters summed over other lists": (_same_parameters, Check.FLOORS, "singles out parties"),
    "sums never stated": (lambda: _dropped(FIRST + 1), Check.COMPLETENESS, "never stated as opened"),
    "sums stated twice": (lambda: _inserted(SECOND, Envelope.load(sample_leaves()[FIRST + 1])), Check.OPENED, "stated as opened before"),
    "sums of no certificate": (lambda: _changed(Opened, certificate="1" * 64), Check.OPENED, "wanted the newest certificate"),
    "sums over more parties than certified": (lambda: _changed(Opened, segments=_more_parties()), Check.OPENED, "under this certificate"),
    "sums stated by a member": (lambda: _changed(Opened, 0, MEMBERS[0]), Check.OPENED, "wanted a signature by"),
    "the last rounds left out": (
        lambda: _dropped(*range(index_of(SurvivorList, nth=3), index_of(SurvivorList, nth=3) + 2)),
        Check.COMPLETENESS, "wanted its 3 certificates"),
    "finished before the last sum": (_finished_unopened, Check.COMPLETENESS, "before its last certified round was opened"),
    "a certificate after the end": (_certificate_after_the_end, Check.CHAIN, "the study was stopped before"),
    "a second end": (
        lambda: _inserted(index_of(Participation), event(StudyChange.FINISHED, terms=sample_terms(), certificates=LISTS)),
        Check.EVENTS, "after it was stopped"),
    "participation before the end": (lambda: _moved(index_of(Participation), FIRST), Check.PARTICIPATION, "after the study closed"),
    "participation twice": (
        lambda: _inserted(index_of(Participation) + 1, Envelope.load(sample_leaves()[index_of(Participation)])),
        Check.PARTICIPATION, "one record for each member"),
    "participation of a stranger": (lambda: _changed(Participation, party="phantom"), Check.PARTICIPATION, "one record for each member"),
    "a missed round hidden": (lambda: _changed(Participation, 1, missed=[]), Check.PARTICIPATION, "rounds joined and missed"),
    "more bytes than were sent": (lambda: _changed_round(size=7), Check.PARTICIPATION, "and their bytes, got 7"),
    "another sealed update": (lambda: _changed_round(body="1" * 64), Check.PARTICIPATION, "of the certificate"),
    "other segments": (lambda: _changed_round(segments=["head:z"]), Check.PARTICIPATION, "wanted segments of"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_cheating_gateway_is_named(name: str) -> None:
    forge, check, words = CASES[name]
    fault = _fault(forge())
    assert (fault.check, words in fault.message) == (check, True), str(fault)
    assert fault.leaf is not None
    assert f"at leaf {fault.leaf}" in str(fault)


def test_every_kind_is_attacked() -> None:
    kinds: list[type[Statement]] = [
        GatewayRecord,
        EnrolmentRecord,
        CredentialsShown,
        RevocationRecord,
        PolicyActivated,
        OfferRecord,
        Terms,
        StudyEvent,
        SurvivorList,
        Opened,
        Participation,
    ]
    assert all(index_of(kind) >= 0 for kind in kinds)
    attacked = {check for _, check, _ in CASES.values()}
    assert {check for check in Check if Check.GATEWAY.number <= check.number <= Check.PARTICIPATION.number} == attacked


def test_a_study_moved_into_another_name_is_seen() -> None:
    """The agreement digest alone binds a certificate; its study is compared besides."""
    fault = _fault(_certified(study="other"))
    assert fault.check is Check.CERTIFICATES
    fault = _fault(_changed(Opened, study="other"))
    assert fault.check is Check.OPENED


def test_an_export_of_what_the_checkpoint_does_not_cover_is_refused() -> None:
    leaves = sample_leaves()

    def write(count: int, checkpoint: str, **more: object) -> None:
        arguments: dict[str, object] = {"gateway": GATEWAY_KEY.public, "origin": ORIGIN, "audience": Audience.PARTY, **more}
        write_export(Folder(), leaves[:count], checkpoint=checkpoint, **arguments)  # type: ignore[arg-type]  # keywords vary by case

    with pytest.raises(ExportError, match="that the checkpoint covers"):
        write(3, signed(leaves))
    with pytest.raises(ExportError, match="checkpoint: note"):
        write(3, signed(leaves[:3], STRANGER))
    with pytest.raises(ExportError, match="a public export shows no study"):
        write(3, signed(leaves[:3]), audience=Audience.PUBLIC, openings=[policy_opening()])
