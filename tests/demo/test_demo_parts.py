"""The demo's own small parts: folders it may empty, what it makes of measurements, the pictures' arithmetic, the tables at the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from parley.demo import summarise, summary_views, views
from parley.demo_data import DEMO_PARTIES, TABLE
from parley.demo_facts import dropout_of, shown, timed_rounds
from parley.demo_folders import data_table, free_port, make_party, party_file, work_folder_of, write_data, write_policies
from parley.demo_picture import PICTURED, alike, as_if_clear, catch_one, caught, histogram
from parley.demo_plan import MARKER, DemoPlan, WorkFolderError, work_folder
from parley.demo_policies import DATASET, Pins
from parley.demo_progress import DemoProgress, Stopwatch
from parley.demo_run import Killing
from parley.demo_studies import SHARED
from parley.main import main
from parley.output import Table
from parley_audit.report.render import as_json
from parley_learning.shape import learning_of
from parley_party import config as party_config
from parley_party.datasource import read_dataset
from parley_party.datasource_config import dataset_config
from parley_party.founding import public_keys
from parley_party.reading import read_policy
from parley_party.tables import RoundRow
from parley_policies.model.lattices import Lattice
from parley_policies.model.loader import Row
from parley_policies.model.upheld import Upheld
from parley_policies.negotiation.terms import EncodingTerms
from parley_service.errors import LockedError
from parley_service.lockfile import LOCK_NAME

from tests.audit_report.report_samples import sample_evidence, sample_facts
from tests.demo.demo_samples import GATEWAY_KEY, TODAY, negotiate


def plan_in(folder: Path) -> DemoPlan:
    return DemoPlan(1, folder / "demo-report", work_folder(folder / "demo-report"))


def test_the_work_folder_lies_beside_the_report() -> None:
    assert work_folder(Path("demo-report")) == Path("demo-work")
    assert work_folder(Path("/x/seed-3")) == Path("/x/seed-3-work")


def test_only_a_folder_that_a_demo_made_is_emptied(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    plan.work.mkdir()
    (plan.work / "mine.txt").write_text("keep me")
    with pytest.raises(WorkFolderError, match="wanted nothing there, or what an earlier demo left"), work_folder_of(plan):
        pass
    assert (plan.work / "mine.txt").read_text() == "keep me"
    (plan.work / MARKER).touch()
    (plan.work / "old").mkdir()
    with work_folder_of(plan):
        assert sorted(path.name for path in plan.work.iterdir()) == [MARKER, LOCK_NAME]


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    with work_folder_of(plan):
        (plan.work / "gateway").mkdir()
        with pytest.raises(LockedError), work_folder_of(plan):
            pass
        assert (plan.work / "gateway").is_dir()


def test_a_folder_that_is_somebody_elses_ends_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo-work").mkdir()
    (tmp_path / "demo-work" / "thesis.tex").touch()
    assert main(["demo", "--out", str(tmp_path / "demo-report")]) == 10
    assert "Choose another place with --out." in capsys.readouterr().err


def test_a_party_folder_is_one_that_its_service_can_read(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    plan.work.mkdir()
    prints = {party.id: make_party(plan, party, GATEWAY_KEY.public, TODAY) for party in DEMO_PARTIES}
    write_policies(plan, Pins(GATEWAY_KEY.public.fingerprint, prints), TODAY)
    rows = write_data(plan)
    for party in DEMO_PARTIES:
        config = party_config.load(party_file(plan, party.id))
        assert public_keys(config.keys.dir).fingerprint == prints[party.id]
        assert read_policy(config).policy.peers.fingerprints == {name: key for name, key in prints.items() if name != party.id}
        assert list(config.data[DATASET].files) == [TABLE]
        assert (plan.party(party.id) / "passphrase").stat().st_mode & 0o077 == 0
    specs = learning_of(negotiate(SHARED).proposal).columns.needed(("homeowner",))
    dataset, findings = read_dataset(dataset_config(party_config.load(party_file(plan, PICTURED)), DATASET), specs)
    assert (dataset.training_rows, dataset.held_out_rows) == (rows[PICTURED].train, rows[PICTURED].test)
    assert len(findings) == len(specs)


def test_a_party_maps_its_own_label_and_no_other() -> None:
    text = data_table(DEMO_PARTIES[0])
    assert "is_homeowner" in text
    assert "is_subprime" not in text


def test_a_free_port_is_one_of_loopback() -> None:
    assert 1024 <= free_port() <= 65535


def test_a_stopwatch_adds_to_a_part_of_the_same_name() -> None:
    watch = Stopwatch()
    for name in ("a", "b", "a"):
        watch.lap(name)
    assert [part.name for part in watch.parts] == ["a", "b"]
    assert all(part.seconds >= 0 for part in watch.parts)


def test_progress_without_a_terminal_says_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    with DemoProgress() as progress:
        progress.say("proposed [bold]")
        for done in range(42):
            progress.rounds("loans", done, 41, "")
    said = capsys.readouterr().err
    assert "proposed [bold]" in said
    assert [line.split()[1] for line in said.splitlines() if "loans:" in line] == ["10", "20", "30", "40", "41"]


def test_a_round_takes_from_one_version_to_the_next_and_the_first_from_its_opening() -> None:
    rounds = sample_evidence(SHARED).rounds[:3]
    entered = (RoundRow(study="s", number=1, step=0, base="", parameters="", seed=b"", entered="", opened_at=99.5),)
    timed = timed_rounds(rounds, (90.0, 100.0, 100.25), entered)
    assert [each.seconds for each in timed] == [0.5, 0.25, None]


def test_a_killing_is_told_by_the_certificates() -> None:
    found = dropout_of(Killing("lender-tx", 13, "COLLECT", 20), sample_evidence(SHARED))
    assert (found.listed, found.missed[0], found.missed[-1], found.back_in, found.shut) == (False, 13, 23, 24, ("head:subprime",))
    late = dropout_of(Killing("lender-tx", 30, "COLLECT", None), sample_evidence(SHARED))
    assert (late.listed, late.missed, late.back_in) == (True, (), None)


def row(clause: str, value: object, unit: str = "") -> Row:
    return Row(clause, value, True, Upheld.ENFORCED_HERE, Lattice.OWN, unit, "")


@pytest.mark.parametrize(
    ("clause", "value", "unit", "wanted"),
    [
        ("peers.fingerprints", {"a": "x", "b": "y"}, "", "2 peers pinned"),
        ("data.columns", ["age", "is_subprime"], "", "2 columns, the label is_subprime among them"),
        ("sharing.clip_bound", {"min": 0.1, "max": 2.0}, "", "0.1 to 2"),
        ("sharing.segments", {"trunk": True, "norm": False}, "", "trunk"),
        ("limits.rounds_a_study", 41, "rounds", "41"),
        ("gateway.change_notice_days_at_least", 7, "days", "7 days"),
        ("schemes.gateway_may_lie", True, "", "yes"),
        ("peers.denied", [], "", "none"),
        ("limits.hours", None, "", "not granted"),
    ],
)
def test_a_clause_is_shown_as_people_read_it(clause: str, value: object, unit: str, wanted: str) -> None:
    assert shown(row(clause, value, unit)) == wanted


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_a_histogram_loses_no_value_and_is_centred(values: list[float]) -> None:
    found = histogram(np.array(values))
    assert sum(found.counts) == len(values)
    assert found.low == -found.high


def test_sealed_elements_are_read_with_their_sign() -> None:
    encoding = EncodingTerms(width=32, fraction_bits=4, bound=1.0)
    assert as_if_clear(np.array([16, 2**32 - 16, 2**31], dtype="<u4"), encoding).tolist() == [1.0, -1.0, -(2.0**27)]


def test_likeness_is_a_correlation_and_none_of_what_does_not_vary() -> None:
    up = np.arange(5.0)
    assert alike(up, 2 * up + 1) == pytest.approx(1.0)
    assert alike(up, -up) == pytest.approx(-1.0)
    assert alike(up, np.zeros(5)) == 0.0


def test_a_body_that_passes_through_the_spool_is_kept_and_outlives_it(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    spool = plan.gateway / "data" / "spool" / PICTURED
    spool.mkdir(parents=True)
    body = bytes(range(256)) * 8
    digest = blake3(body).hexdigest()

    async def run() -> None:
        soon = asyncio.Event()
        task = asyncio.create_task(catch_one(plan, SHARED, soon))
        (spool / "0".ljust(64, "0")).write_bytes(b"a summary is small")
        (spool / f"{digest}.part").write_bytes(body[:-1])
        soon.set()
        await asyncio.sleep(0.05)
        assert not task.done()
        (spool / digest).write_bytes(body)
        await asyncio.wait_for(task, 5)
        (spool / digest).unlink()

    asyncio.run(run())
    assert caught(plan, SHARED.id) == (digest, body)
    assert caught(plan, "another") is None


def report(seed: int) -> dict[str, Any]:
    return {**as_json(sample_facts()), "seed": seed}


def test_several_seeds_become_one_mean_by_party_and_in_all() -> None:
    first, second = report(1), report(2)
    for party in second["parties"]:
        party["auc_federated"] += 0.02
    second["mean"]["auc_federated"] += 0.02
    summary = summarise([first, second])
    assert summary["seeds"] == [1, 2]
    assert summary["parties"][0]["auc_federated"] == pytest.approx(0.818 + 0.01)
    assert summary["mean"]["auc_federated"] == pytest.approx(first["mean"]["auc_federated"] + 0.01)
    assert summary["audit_verified"] is True
    tables = [view for view in summary_views(summary, Path("demo-report")) if isinstance(view, Table)]
    assert [len(table.rows) for table in tables] == [2, 7]


def test_a_missing_score_leaves_the_mean_out() -> None:
    one = report(1)
    one["mean"] = one["mean"] | {"auc_federated": None}
    assert summarise([one])["mean"]["auc_federated"] is None


def test_the_end_of_a_run_shows_scores_rounds_and_what_happened() -> None:
    scores, rounds, facts = views(report(1), Path("demo-report"))
    assert isinstance(scores, Table)
    assert isinstance(rounds, Table)
    assert scores.rows[-1][0] == "mean"
    assert rounds.rows[0][2] == "5 or 6"
    assert "round 13: lender-tx" in str(rounds.rows[0][-1])
    assert "killed in round 13 (COLLECT), back in round 24" in str(facts)


def test_another_scheme_is_refused_before_anything_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--scheme", "homomorphic", "--out", str(tmp_path / "demo-report")]) == 2
    assert "wanted masked" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
