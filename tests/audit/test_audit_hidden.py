"""Exports that a party makes of what the gateway showed it: hashes stand in place of the rest."""

from __future__ import annotations

import pytest
from parley_audit.checks import Check
from parley_audit.claims import Audience
from parley_audit.errors import ExportError
from parley_audit.export import ExportHeader, readme
from parley_audit.leaves import KINDS
from parley_audit.report.evidence import read_studies
from parley_audit.verify import verify
from parley_crypto.merkle import leaf_hash
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms
from parley_protocol.keyparts import KeyPart
from parley_protocol.logentries import HiddenLeaf, hash_of, reach_of
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.records import EnrolmentRecord, OfferRecord, Participation, PolicyActivated, StudyEvent

from tests.audit.sample_log import Folder, as_shown_to, export, index_of, policy_opening, sample_leaves
from tests.simulator import GATEWAY_KEY, party_ids

IDS = party_ids(6)
ME = IDS[1]


def _fault(folder: Folder) -> tuple[Check, int | None]:
    report = verify(folder, gateway_key=GATEWAY_KEY.public)
    assert report.fault is not None
    return report.fault.check, report.fault.leaf


def _relabelled(folder: Folder, **changes: object) -> Folder:
    header = ExportHeader.parse(folder.files["export.json"][:-1])
    changed = ExportHeader.model_validate(header.model_dump() | changes)
    folder.files |= {"export.json": changed.canonical() + b"\n", "README.txt": readme(changed)}
    return folder


def _of_others() -> list[int]:
    return [index for index, leaf in enumerate(sample_leaves()) if not reach_of(Envelope.load(leaf)).includes(ME, {"study"})]


def test_what_a_member_was_shown_verifies() -> None:
    folder = export(as_shown_to(ME, "study"), party=ME)
    report = verify(folder, gateway_key=GATEWAY_KEY.public)
    assert report.ok, report.fault
    assert report.withheld == len(_of_others()) == 5 + 5 + 2  # policies and records of the others, the leaves of another study
    (study,) = report.studies
    assert (study.certificates, study.opened, study.closed) == (4, 4, "stopped")
    (evidence,) = read_studies(folder, report)
    assert [record.party for record in evidence.participation] == [ME]
    assert (
        f"For every study that {ME} was shown: what {ME} is recorded to have sent agrees with what the members certified." in report.proves
    )
    assert any("the gateway showed" in line for line in report.proves_not)
    assert f"as the gateway showed it to {ME}".encode() in folder.files["README.txt"]


def test_what_a_stranger_to_the_study_was_shown_verifies_and_says_nothing_of_it() -> None:
    folder = export(as_shown_to(IDS[5]), party=IDS[5])
    report = verify(folder, gateway_key=GATEWAY_KEY.public)
    assert report.ok, report.fault
    assert report.studies == ()
    assert (
        len([leaf for leaf in as_shown_to(IDS[5]) if isinstance(leaf, bytes)]) == 1 + 8 + 1
    )  # gateway, members and what they show, its own policy


def test_a_tampered_hash_is_caught() -> None:
    for index in _of_others():
        leaves = as_shown_to(ME, "study")
        hidden = leaves[index]
        assert isinstance(hidden, HiddenLeaf)
        folder = export(leaves, party=ME)
        old, new = hidden.hash.hex().encode(), bytes([hidden.hash[0] ^ 1, *hidden.hash[1:]]).hex().encode()
        assert folder.files["leaves.jsonl"].count(old) == 1
        folder.files["leaves.jsonl"] = folder.files["leaves.jsonl"].replace(old, new)
        assert _fault(folder) == (Check.TREE, None)


@pytest.mark.parametrize(
    ("kind", "nth", "check"),
    [
        (EnrolmentRecord, 2, Check.POLICIES),
        (Terms, 0, Check.AGREEMENTS),
        (KeyPart, 3, Check.AGREEMENTS),
        (SurvivorList, 1, Check.OPENED),
        (SurvivorList, 3, Check.OPENED),
        (Opened, 1, Check.COMPLETENESS),
    ],
)
def test_a_gateway_that_hides_what_the_study_rests_on_is_caught(
    kind: type[EnrolmentRecord | Terms | KeyPart | SurvivorList | Opened], nth: int, check: Check
) -> None:
    leaves = as_shown_to(ME, "study")
    index = index_of(kind, nth=nth)
    leaves[index] = HiddenLeaf(hash_of(leaves[index]))
    assert _fault(export(leaves, party=ME))[0] is check


@pytest.mark.parametrize("kind", [Participation, PolicyActivated])
def test_another_partys_own_record_is_not_handed_on(kind: type[Participation | PolicyActivated]) -> None:
    """Not even if a gateway showed it: the export withholds it, and one that shows it is refused."""
    index = index_of(kind)  # of party-001's neighbour
    leaves = as_shown_to(ME, "study")
    leaves[index] = sample_leaves()[index]
    folder = export(leaves, party=ME)
    assert verify(folder, gateway_key=GATEWAY_KEY.public).ok
    lines = folder.files["leaves.jsonl"].splitlines()
    assert lines[index] == b'{"withheld":"' + leaf_hash(sample_leaves()[index]).hex().encode() + b'"}'
    lines[index] = sample_leaves()[index]
    folder.files["leaves.jsonl"] = b"\n".join(lines) + b"\n"
    assert _fault(_relabelled(folder, withheld=len(_of_others()) - 1)) == (Check.LEAVES, index)


def test_an_export_with_hidden_leaves_does_not_pass_for_the_whole_log() -> None:
    leaves = as_shown_to(ME, "study")
    with pytest.raises(ExportError, match="the party that they were shown to"):
        export(leaves)
    assert _fault(_relabelled(export(leaves, party=ME), party=None))[0] is Check.LEAVES
    assert _fault(_relabelled(export(leaves, party=ME), party="nobody"))[0] is not Check.KEYS  # its own records are not nobody's
    assert _fault(_relabelled(export(as_shown_to("nobody"), party="nobody")))[0] is Check.KEYS


def test_a_party_can_make_exports_of_one_study_and_for_the_public() -> None:
    one = export(as_shown_to(IDS[0], "study", "other"), party=IDS[0], studies={"study"})
    report = verify(one, gateway_key=GATEWAY_KEY.public)
    assert report.ok, report.fault
    assert [study.study for study in report.studies] == ["study"]
    public = export(as_shown_to(ME, "study"), party=ME, audience=Audience.PUBLIC)
    assert verify(public, gateway_key=GATEWAY_KEY.public).ok
    assert ME.encode() not in b"".join(public.files.values())
    assert public.files == export(sample_leaves(), audience=Audience.PUBLIC).files
    assert _fault(_relabelled(public, party=ME))[0] is Check.FORMAT


def test_a_party_opens_its_own_policy_and_no_other() -> None:
    owner = PolicyActivated.parse(Envelope.load(sample_leaves()[index_of(PolicyActivated)]).payload).party
    assert verify(export(as_shown_to(owner, "study"), party=owner, openings=[policy_opening()]), gateway_key=GATEWAY_KEY.public).ok
    assert _fault(export(as_shown_to(ME, "study"), party=ME, openings=[policy_opening()]))[0] is Check.OPENINGS


def test_every_kind_of_leaf_says_whom_it_concerns() -> None:
    seen = {Envelope.load(leaf).payload_type: reach_of(Envelope.load(leaf)) for leaf in sample_leaves()}
    assert seen.keys() == KINDS.keys()
    of_study = {kind for kind, reach in seen.items() if reach.study}
    assert of_study == {each.kind for each in (OfferRecord, Terms, KeyPart, StudyEvent, SurvivorList, Opened, Participation)}
    assert {kind for kind, reach in seen.items() if reach.party} == {PolicyActivated.kind, Participation.kind}
