"""Reading datasets: files, maps, missing values, held-out rows, exclusions, digests."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_learning.columns import ColumnSpec, parse_columns
from parley_party.dataset import Dataset, DatasetConfig, Excluded, Exclusion, HeldOut, MappedColumn
from parley_party.datasource import check_dataset, read_dataset, read_in_order
from parley_party.datasource_columns import Verdict
from parley_party.datasource_rows import digest_of, order_of, row_hashes
from parley_party.errors import DataError, QueryError

COLUMNS = parse_columns(
    {
        "age": {"type": "int", "unit": "year", "range": [18, 110]},
        "sodium": {"type": "float", "unit": "mmol/L", "range": [90, 180], "missing": "allowed"},
        "readmitted": {"type": "bool", "objectives": ["readmission"]},
        "costly": {"type": "bool", "objectives": ["high_cost"]},
    }
)
OWN = COLUMNS.needed(("readmission",))
MAP = {
    "age": MappedColumn("Age (years)", unit="year"),
    "sodium": MappedColumn(sql="na_mg_l / 22.99", unit="mmol/L"),
    "readmitted": MappedColumn(sql="back = 'J'"),
}
HEADER = "pid,Age (years),na_mg_l,back,note"
ROWS = [
    f"p{index % 40},{20 + index % 60},{'' if index % 7 == 0 else 3000 + index},{'J' if index % 3 else 'N'},n{index}" for index in range(100)
]


def written(folder: Path, rows: Sequence[str] = ROWS, name: str = "visits.csv", header: str = HEADER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    text = "\n".join([header, *rows]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def config(folder: Path, files: Mapping[str, str] | None = None) -> DatasetConfig:
    return DatasetConfig("hf", files or {"visits": "visits.csv"}, "SELECT * FROM visits", MAP, unit="pid", folder=folder)


def read(given_config: DatasetConfig, specs: Sequence[ColumnSpec] = OWN) -> Dataset:
    return read_dataset(given_config, specs)[0]


def test_columns_are_read_mapped_and_counted(tmp_path: Path) -> None:
    written(tmp_path)
    dataset, findings = read_dataset(config(tmp_path), OWN)
    assert dataset.columns == ("age", "readmitted", "sodium")
    assert dataset.values.shape == (100, 3)
    assert (dataset.people, dataset.people_held_out, dataset.training_rows, dataset.held_out_rows) == (40, 0, 100, 0)
    columns = dataset.training()
    assert sorted(columns["age"]) == sorted(20 + index % 60 for index in range(100))
    assert columns["readmitted"].sum() == sum(1 for index in range(100) if index % 3)
    assert np.isnan(columns["sodium"]).sum() == 15
    assert np.nanmax(columns["sodium"]) == pytest.approx(3099 / 22.99)
    assert [finding.verdict for finding in findings] == [Verdict.FITS] * 3
    assert repr(dataset) == "Dataset('hf', 100 training rows, 0 held out, 3 columns)"


def test_without_a_unit_every_row_is_a_person(tmp_path: Path) -> None:
    written(tmp_path)
    assert read(replace(config(tmp_path), unit=None)).people == 100


@pytest.mark.parametrize("name", ["visits.csv.gz", "visits.tsv", "VISITS.CSV"])
def test_other_endings_of_csv_are_read(tmp_path: Path, name: str) -> None:
    if name.endswith(".tsv"):
        written(tmp_path, [row.replace(",", "\t") for row in ROWS], name, HEADER.replace(",", "\t"))
    else:
        written(tmp_path, name=name)
    assert read(config(tmp_path, {"visits": name})).training_rows == 100


def test_a_glob_of_parquet_gives_the_same_dataset_as_the_csv(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "parts" / "a [1]").mkdir(parents=True)
    with duckdb.connect(":memory:") as connection:
        table = f"read_csv('{path}', header = true)"
        for part, folder in ((0, "parts"), (1, "parts/a [1]")):
            where = f"WHERE CAST(substr(note, 2) AS INTEGER) % 2 = {part} ORDER BY note DESC"
            connection.execute(f"COPY (SELECT * FROM {table} {where}) TO '{tmp_path}/{folder}/visits{part}.parquet'")  # noqa: S608 - a test's own
    dataset = read(config(tmp_path, {"visits": "parts/**/*.parquet"}))
    assert dataset.digest == read(config(tmp_path)).digest
    assert dataset.people == 40
    only = read(config(tmp_path, {"visits": "parts/a [1]/visits1.parquet"}))
    assert only.training_rows == 50


def test_columns_of_several_files_go_together_by_name(tmp_path: Path) -> None:
    written(tmp_path / "v", ["p1,30,3000,J,n"], "a.csv")
    written(tmp_path / "v", ["N,31,3100,p2"], "b.csv", "back,Age (years),na_mg_l,pid")
    assert sorted(read(config(tmp_path, {"visits": "v/*.csv"})).training()["age"]) == [30, 31]


def test_files_may_be_joined(tmp_path: Path) -> None:
    written(tmp_path)
    written(tmp_path, ["p1,1", "p2,0"], "lab.csv", "pid,dialysis")
    joined = replace(
        config(tmp_path, {"visits": "visits.csv", "lab": "lab.csv"}),
        query="SELECT v.* FROM visits AS v JOIN lab USING (pid) WHERE dialysis = 1",
    )
    assert (read(joined).training_rows, read(joined).people) == (3, 1)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"visits": "other.csv"}, r"files\.visits: wanted at least one file, got none at .*other\.csv"),
        ({"visits": "*.parquet"}, r"none at .*\*\.parquet"),
        ({"visits": "visits.*"}, r"wanted files of one kind"),
        ({"visits": "visits.xlsx"}, r"got \.xlsx"),
        ({"Visits": "visits.csv"}, r"wanted a name of a-z"),
        ({"parley_rows": "visits.csv"}, r"does not begin with parley_"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, files: dict[str, str], told: str) -> None:
    written(tmp_path)
    (tmp_path / "visits.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match=told):
        read(config(tmp_path, files))


def test_a_broken_file_is_named_without_its_content(tmp_path: Path) -> None:
    (tmp_path / "visits.parquet").write_bytes(b"Meier,53")
    with pytest.raises(DataError, match=r"wanted readable CSV or Parquet, got \w+Exception from duckdb") as caught:
        read(config(tmp_path, {"visits": "visits.parquet"}))
    assert "Meier" not in str(caught.value)


def test_a_file_without_a_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_text("63.0,1.0,145.0,x\n67.0,1.0,160.0,y\n", encoding="utf-8")
    with pytest.raises(DataError, match="wanted a header line") as caught:
        read(config(tmp_path))
    assert "145" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "mapped", "told"),
    [
        ("age", MappedColumn("Age"), "got none of that name"),
        ("age", MappedColumn(sql="alter"), "alter"),
        ("age", MappedColumn("note"), "text of which 0 of 100 values read as numbers"),
        ("age", MappedColumn("Age (years)", unit="month"), "unit month"),
        ("age", MappedColumn(sql='"Age (years)" / 12', unit="year"), "not whole"),
        ("age", MappedColumn(sql='"Age (years)" + 60', unit="year"), "rows outside the range: 0 below"),
        ("sodium", MappedColumn("na_mg_l", unit="mmol/L"), "rows outside the range: 0 below, 85 above"),
        ("readmitted", MappedColumn("back"), "text"),
        ("readmitted", MappedColumn(sql="if(back = 'J', true, NULL)"), "rows without a value"),
        ("readmitted", MappedColumn(sql="DATE '2026-01-01'"), "neither numbers nor text"),
    ],
)
def test_a_misfit_names_its_column(tmp_path: Path, name: str, mapped: MappedColumn, told: str) -> None:
    written(tmp_path)
    with pytest.raises(DataError) as caught:
        read(replace(config(tmp_path), columns=MAP | {name: mapped}))
    assert f"column {name}: wanted" in str(caught.value)
    assert told in str(caught.value)
    assert caught.value.do


def test_sql_in_the_map_that_may_not_run_is_no_finding_but_an_error(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(QueryError, match="dataset hf, column age"):
        check_dataset(replace(config(tmp_path), columns=MAP | {"age": MappedColumn(sql="(SELECT 1 FROM '/etc/passwd')")}), OWN)


def test_only_what_is_asked_is_read(tmp_path: Path) -> None:
    written(tmp_path, [*ROWS[:-1], f"{ROWS[-1]}x"])
    mapped = MAP | {"costly": MappedColumn(sql="CAST(note AS INTEGER) > 1")}  # would fail if it ran
    assert read(replace(config(tmp_path), columns=mapped)).columns == ("age", "readmitted", "sodium")
    with pytest.raises(DataError, match="ConversionException"):
        read(replace(config(tmp_path), columns=mapped), COLUMNS.specs)


def test_a_check_has_a_line_for_every_column(tmp_path: Path) -> None:
    written(tmp_path)
    mapped = {"age": MappedColumn("Age (years)"), "readmitted": MappedColumn("backk")}
    found = check_dataset(replace(config(tmp_path), columns=mapped), OWN)
    assert {finding.column: finding.verdict for finding in found.findings} == {
        "age": Verdict.LOOK,
        "sodium": Verdict.ABSENT,
        "readmitted": Verdict.MISFIT,
    }
    assert (found.fits, found.digest, found.training_rows, found.people) == (False, "", 100, 40)
    good = check_dataset(config(tmp_path), OWN)
    assert (good.fits, good.digest) == (True, read(config(tmp_path)).digest)


def test_without_a_study_a_check_describes_what_is_there(tmp_path: Path) -> None:
    written(tmp_path)
    mapped = check_dataset(config(tmp_path))
    assert [finding.column for finding in mapped.findings] == ["age", "sodium", "readmitted"]
    assert mapped.findings[0].got == "whole numbers, BIGINT, 100 rows, 20 to 79 year"
    everything = check_dataset(replace(config(tmp_path), columns={}))
    assert {finding.column: finding.got.split(",")[0] for finding in everything.findings} == {
        "pid": "text",
        "Age (years)": "whole numbers",
        "na_mg_l": "whole numbers",
        "back": "text",
        "note": "text",
    }


def test_held_out_people_are_never_on_both_sides_and_stay_where_they_are(tmp_path: Path) -> None:
    def visits(people: range) -> list[str]:
        return [f"p{person},{20 + person % 60},{3000 + visit},J,n" for person in people for visit in range(2)]

    number = MappedColumn(sql="100 + CAST(substr(pid, 2) AS INTEGER) / 100", unit="mmol/L")
    split = replace(config(tmp_path), held_out=HeldOut(0.3), columns=MAP | {"sodium": number})
    written(tmp_path, visits(range(2000)))
    dataset = read(split)
    training, kept = (set(side["sodium"]) for side in (dataset.training(), dataset.kept()))
    assert not training & kept
    assert (len(training), len(kept)) == (dataset.people, dataset.people_held_out)
    assert dataset.held_out.mean() == pytest.approx(0.3, abs=0.05)
    written(tmp_path, visits(range(500, 2500)))
    later = read(split)
    assert not training & set(later.kept()["sodium"])
    assert not kept & set(later.training()["sodium"])


def test_without_a_unit_rows_are_held_out(tmp_path: Path) -> None:
    written(tmp_path)
    dataset = read(replace(config(tmp_path), unit=None, held_out=HeldOut(0.5)))
    assert 30 <= dataset.held_out_rows <= 70
    assert (dataset.people, dataset.people_held_out) == (dataset.training_rows, dataset.held_out_rows)


def test_a_column_may_mark_the_held_out_rows(tmp_path: Path) -> None:
    written(tmp_path)
    marked = replace(config(tmp_path), held_out=HeldOut(column="back", value="N"))
    dataset = read(marked)
    assert not dataset.kept()["readmitted"].any()
    assert dataset.training()["readmitted"].all()
    with pytest.raises(DataError, match="at least one training row"):
        read(replace(config(tmp_path), query="SELECT * FROM visits WHERE back = 'N'", held_out=marked.held_out))
    with pytest.raises(DataError, match="wanted a column part"):
        read(replace(config(tmp_path), held_out=HeldOut(column="part", value="test")))
    with pytest.raises(DataError, match="either a fraction"):
        read(replace(config(tmp_path), held_out=HeldOut(column="back")))
    with pytest.raises(DataError, match="fraction from 0 to below 1"):
        read(replace(config(tmp_path), held_out=HeldOut(1.0)))


def test_people_who_objected_are_left_out(tmp_path: Path) -> None:
    written(tmp_path)
    written(tmp_path, ["p1", " p2 ", "p2", "stranger", '""'], "objections.csv", "who")
    files = {"visits": "visits.csv", "objections": "objections.csv"}
    excluding = replace(config(tmp_path, files), exclude=Exclusion("objections", "who"))
    dataset = read(excluding)
    assert (dataset.people, dataset.training_rows) == (38, 94)
    assert (dataset.excluded.rows, dataset.excluded.people) == (6, 2)
    assert len(dataset.excluded.digest) == 64
    assert read(config(tmp_path)).excluded == Excluded()


@pytest.mark.parametrize(
    ("entries", "exclude", "unit", "told"),
    [
        (["7", "8"], Exclusion("objections", "who"), "pid", "which would match nobody"),
        (["p7"], Exclusion("objections", "name"), "pid", "name"),
        (["p7"], Exclusion("people", "who"), "pid", "wanted one of visits, objections"),
        (["p7"], Exclusion("objections", "who"), None, "wanted a unit"),
        (["p7"], Exclusion("objections", "who"), "patient", "wanted a column patient"),
    ],
)
def test_an_exclusion_list_that_cannot_match_is_refused(
    tmp_path: Path, entries: list[str], exclude: Exclusion, unit: str | None, told: str
) -> None:
    written(tmp_path)
    written(tmp_path, entries, "objections.csv", "who")
    files = {"visits": "visits.csv", "objections": "objections.csv"}
    with pytest.raises(DataError, match=told):
        read(replace(config(tmp_path, files), exclude=exclude, unit=unit))


def test_a_row_without_a_unit_is_refused(tmp_path: Path) -> None:
    written(tmp_path, [*ROWS, ",30,3000,J,n"])
    with pytest.raises(DataError, match="unit pid: wanted whose row it is, in every row, got 1 of 101 rows without one"):
        read(config(tmp_path))


def test_memory_is_limited(tmp_path: Path) -> None:
    written(tmp_path)
    wide = "SELECT DISTINCT v.*, n FROM visits AS v, range(30000) AS r(n)"
    with pytest.raises(DataError, match="more than memory_mib = 64"):
        read(replace(config(tmp_path), query=wide, memory_mib=64))


def test_the_digest_follows_the_values(tmp_path: Path) -> None:
    written(tmp_path)
    before = read(config(tmp_path))
    written(tmp_path, list(reversed(ROWS)))
    assert read(config(tmp_path)).digest == before.digest
    assert np.array_equal(read(config(tmp_path)).values, before.values, equal_nan=True)
    written(tmp_path, [*ROWS[:-1], ROWS[-1].replace(",N,", ",J,")])
    assert read(config(tmp_path)).digest != before.digest
    written(tmp_path, [*ROWS, ROWS[0]])
    assert read(config(tmp_path)).digest != before.digest
    assert read(replace(config(tmp_path), held_out=HeldOut(0.5))).digest != before.digest


def test_rows_can_be_read_in_their_own_order(tmp_path: Path) -> None:
    written(tmp_path)
    found = read_in_order(config(tmp_path), OWN)
    assert list(found["age"]) == [20 + index % 60 for index in range(100)]
    assert list(found) == ["age", "readmitted", "sodium"]


TABLES = st.lists(st.tuples(st.floats(allow_infinity=False), st.sampled_from([0.0, -0.0, 1.0]), st.booleans()), max_size=30)


@given(TABLES, st.randoms(use_true_random=False))
def test_order_and_digest_do_not_depend_on_the_files(rows: list[tuple[float, float, bool]], shuffler: object) -> None:
    def digest(listed: list[tuple[float, float, bool]]) -> str:
        values = np.array([row[:2] for row in listed], dtype=np.float64).reshape(-1, 2)
        held_out = np.array([row[2] for row in listed], dtype=np.bool_)
        order = order_of(values, held_out)
        return digest_of(("a", "b"), values[order], held_out[order])

    shuffled = list(rows)
    shuffle = getattr(shuffler, "shuffle")  # noqa: B009 - hypothesis gives a random.Random without a public type
    shuffle(shuffled)
    assert digest(shuffled) == digest(rows)
    if rows:
        assert digest(rows[1:]) != digest(rows)
        marked = [(*rows[0][:2], not rows[0][2]), *rows[1:]]
        assert digest(marked) != digest(rows)


def test_row_hashes_spread() -> None:
    hashes = row_hashes(np.arange(10_000, dtype=np.float64).reshape(-1, 1))
    assert len(set(hashes.tolist())) == 10_000
    for bit in range(64):
        assert 4_500 < int(((hashes >> np.uint64(bit)) & np.uint64(1)).sum()) < 5_500
