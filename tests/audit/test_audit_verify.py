from __future__ import annotations

import subprocess
import sys

import pytest
from parley_audit.checks import Check, Outcome, Report, SmallChange
from parley_audit.claims import Audience
from parley_audit.export import FILES, ExportHeader, Opening, readme
from parley_audit.verify import verify
from parley_crypto.keys import SigningKey
from parley_crypto.signing import Envelope
from parley_policies.negotiation.terms import Terms
from parley_protocol.messages import Advertise, SurvivorList
from parley_protocol.records import PolicyActivated, RevocationRecord

from tests.audit.sample_log import Folder, export, index_of, policy_opening, sample_leaves, sample_terms, signed
from tests.simulator import GATEWAY_KEY


def _verified(folder: Folder) -> Report:
    return verify(folder, gateway_key=GATEWAY_KEY.public)


def test_a_whole_log_verifies() -> None:
    folder = export(sample_leaves(), openings=[policy_opening()])
    report = _verified(folder)
    assert report.ok, report.fault
    assert [result.check for result in report.checks] == list(Check)
    assert all(result.outcome is Outcome.PASSED for result in report.checks)
    counts = {result.check: result.count for result in report.checks}
    assert counts[Check.LEAVES] == counts[Check.TREE] == report.size == len(sample_leaves())
    assert (counts[Check.ENROLMENTS], counts[Check.CERTIFICATES], counts[Check.OPENED], counts[Check.PARTICIPATION]) == (8, 4, 4, 6)
    assert counts[Check.FLOORS] == 11  # trunk four times, head:a three times, head:b four times
    (study,) = report.studies
    assert (study.certificates, study.opened, study.sums, study.fewest, study.closed) == (4, 4, 11, 3, "stopped")
    assert study.small_changes == (SmallChange(2, "trunk", ("party-001",)), SmallChange(3, "trunk", ("party-001",)))
    assert report.gateway == GATEWAY_KEY.public.fingerprint
    assert report.gateway_given
    assert report.witnesses == ()
    assert any("No witnesses" in line for line in report.proves_not)


def test_an_empty_log_verifies() -> None:
    report = _verified(export([]))
    assert report.ok, report.fault
    assert report.checks[Check.LEAVES.number - 1].outcome is Outcome.NOTHING


def test_an_export_is_the_same_bytes_each_time() -> None:
    assert export(sample_leaves()).files == export(sample_leaves()).files
    assert tuple(sorted(export(sample_leaves()).files)) == tuple(sorted(FILES))


def test_without_a_key_the_report_says_where_it_came_from() -> None:
    report = verify(export(sample_leaves()), gateway_key=None)
    assert report.ok
    assert not report.gateway_given
    assert any("taken from the export itself" in line for line in report.proves_not)


def test_another_gateway_key_is_refused() -> None:
    report = verify(export(sample_leaves()), gateway_key=SigningKey(bytes(32)).public)
    assert report.fault is not None
    assert report.fault.check is Check.CHECKPOINT
    assert GATEWAY_KEY.public.fingerprint in report.fault.message


def test_an_export_of_one_study_withholds_the_others() -> None:
    folder = export(sample_leaves(), studies={"study"})
    report = _verified(folder)
    assert report.ok, report.fault
    assert report.withheld == 2
    assert [study.study for study in report.studies] == ["study"]
    assert any("withheld" in line for line in report.proves_not)
    other = export(sample_leaves(), studies=[])
    assert _verified(other).ok
    assert _verified(other).studies == ()
    assert sample_terms().study.encode() not in b"".join(Envelope.load(line).payload for line in _shown(other))


def _shown(folder: Folder) -> list[bytes]:
    return [line for line in folder.files["leaves.jsonl"].splitlines() if b"withheld" not in line]


def test_a_public_export_shows_no_party_and_no_study() -> None:
    folder = export(sample_leaves(), audience=Audience.PUBLIC)
    report = _verified(folder)
    assert report.ok, report.fault
    assert report.withheld == report.size - 1
    everything = b"".join(folder.files.values())
    assert b"party-001" not in everything
    assert b"hospital" not in everything
    assert sample_terms().digest().encode() not in everything
    assert report.studies == ()


def test_a_public_export_that_shows_more_is_refused() -> None:
    folder = export(sample_leaves())
    public = export(sample_leaves(), audience=Audience.PUBLIC)
    lines, shown = public.files["leaves.jsonl"].splitlines(), folder.files["leaves.jsonl"].splitlines()
    lines[1] = shown[1]
    public.files["leaves.jsonl"] = b"\n".join(lines) + b"\n"
    header = ExportHeader.parse(public.files["export.json"][:-1])
    _relabel(public, header, withheld=header.withheld - 1)
    report = _verified(public)
    assert report.fault is not None
    assert (report.fault.check, report.fault.leaf) == (Check.LEAVES, 1)


def _relabel(folder: Folder, header: ExportHeader, **changes: object) -> None:
    changed = ExportHeader.model_validate(header.model_dump() | changes)
    folder.files |= {"export.json": changed.canonical() + b"\n", "README.txt": readme(changed)}


def test_a_whole_log_may_withhold_nothing() -> None:
    folder = export(sample_leaves(), studies={"study"})
    _relabel(folder, ExportHeader.parse(folder.files["export.json"][:-1]), studies=None)
    report = _verified(folder)
    assert report.fault is not None
    assert report.fault.check is Check.LEAVES


def test_an_unknown_kind_fails_closed() -> None:
    leaf = Envelope.sign(Advertise.kind, b"{}", GATEWAY_KEY).dump()
    leaves = [*sample_leaves()]
    leaves.insert(5, leaf)
    folder = export(sample_leaves())
    folder = _with_leaves(folder, leaves)
    report = _verified(folder)
    assert report.fault is not None
    assert (report.fault.check, report.fault.leaf) == (Check.LEAVES, 5)
    assert "no verifier for this kind" in report.fault.message
    after = {result.check: result.outcome for result in report.checks}
    assert after[Check.TREE] is Outcome.PASSED
    assert after[Check.AGREEMENTS] is Outcome.NOT_REACHED
    assert after[Check.KEYS] is Outcome.NOT_REACHED


def _with_leaves(folder: Folder, leaves: list[bytes]) -> Folder:
    """Rewrite the log of an export and sign it anew, as a gateway that wants to cheat would."""
    header = ExportHeader.parse(folder.files["export.json"][:-1])
    folder.files |= {"leaves.jsonl": b"".join(leaf + b"\n" for leaf in leaves), "checkpoint.txt": signed(leaves).encode()}
    _relabel(folder, header, size=len(leaves))
    return folder


def test_a_leaf_that_cannot_be_read_is_exported_as_evidence() -> None:
    broken = Envelope.sign(PolicyActivated.kind, b"{}", GATEWAY_KEY).dump()
    for leaf in (broken, b"not an envelope", Envelope.load(broken).dump().replace(b'"payload"', b' "payload"')):
        for audience in Audience:
            report = _verified(export([*sample_leaves()[:3], leaf], audience=audience))
            shown = audience is Audience.PARTY
            assert (report.fault is not None) is shown
            assert report.fault is None or report.fault.leaf == 3


def test_openings_must_match_their_digests() -> None:
    good = policy_opening()
    assert _verified(export(sample_leaves(), openings=[good])).ok
    revoked = index_of(RevocationRecord)
    for wrong in (
        [policy_opening("another policy")],
        [Opening(leaf=good.leaf, salt="00" * 32, body=good.body)],
        [Opening(leaf=good.leaf + 100, salt=good.salt, body=good.body)],
        [Opening(leaf=revoked, salt=good.salt, body=good.body)],
        [good, good],
    ):
        report = _verified(export(sample_leaves(), openings=wrong))
        assert report.fault is not None
        assert report.fault.check is Check.OPENINGS


def test_the_report_as_json() -> None:
    report = _verified(export(sample_leaves()))
    body = report.as_dict()
    assert body["verified"] is True
    assert body["fault"] is None
    assert body["witnesses"] == []
    folder = export(sample_leaves())
    head, mark, tail = folder.files["leaves.jsonl"].partition(b'"sig":"')
    folder.files["leaves.jsonl"] = head + mark + (b"B" if tail[:1] == b"A" else b"A") + tail[1:]
    body = _verified(folder).as_dict()
    assert body["verified"] is False
    assert isinstance(body["fault"], dict)
    assert body["fault"]["check"] == "tree"


def test_it_needs_neither_network_nor_extras() -> None:
    """Run by a fresh interpreter: what the verifier imports, on any platform."""
    forbidden = ("aiohttp", "asyncio", "torch", "fcntl", "uvloop", "duckdb", "sqlalchemy", "sqlmodel", "numpy")
    script = f"import sys, parley_audit.verify; print([name for name in {forbidden!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", [Terms, SurvivorList, PolicyActivated])
def test_the_sample_holds_what_the_tests_need(kind: type[Terms | SurvivorList | PolicyActivated]) -> None:
    assert index_of(kind) >= 0
