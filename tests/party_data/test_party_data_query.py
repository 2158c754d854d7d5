"""SQL that must not run, and SQL that must."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from parley_learning.columns import parse_columns
from parley_party.dataset import DatasetConfig, MappedColumn
from parley_party.datasource import query_text, read_dataset
from parley_party.datasource_query import checked_expression, checked_query
from parley_party.datasource_session import open_tables
from parley_party.errors import DataError, QueryError
from parley_protocol.problems import Slug

TABLES = {"visits", "people"}
COLUMNS = parse_columns({"age": {"type": "float", "range": [0, 120]}})

ALLOWED = [
    "SELECT * FROM visits",
    "FROM visits;",
    "select age -- years\nfrom VISITS -- all of them",
    "WITH old AS (SELECT * FROM visits WHERE age > 60) SELECT * FROM old JOIN people USING (id) ORDER BY age DESC LIMIT 10",
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n, visits",
    "SELECT age, row_number() OVER (PARTITION BY id ORDER BY age) AS nth FROM visits QUALIFY nth = 1",
    "SELECT id, avg(age) FILTER (WHERE age > 0) AS age FROM visits GROUP BY ALL HAVING count(*) > 1",
    "SELECT CAST(age AS DECIMAL(10, 2)), CASE WHEN age > (SELECT median(age) FROM visits) THEN 1 ELSE 0 END FROM visits",
    "SELECT * FROM visits UNION ALL BY NAME SELECT * FROM people",
    "SELECT unnest([1, 2]), g FROM visits, generate_series(1, 3) AS s(g), range(2)",
    "SELECT * EXCLUDE (age) REPLACE (id + 1 AS id) FROM visits SEMI JOIN people ON visits.id = people.id",
    "SELECT * FROM visits PIVOT (sum(age) FOR id IN (1, 2))",
    "SELECT * FROM (VALUES (1), (2)) AS v(x), visits",
]

REFUSED = [
    ("INSERT INTO visits VALUES (1)", "INSERT"),
    ("UPDATE visits SET age = 1", "UPDATE"),
    ("DELETE FROM visits", "DELETE"),
    ("CREATE TABLE x AS SELECT * FROM visits", "CREATE"),
    ("DROP VIEW visits", "DROP"),
    ("COPY visits TO 'out.csv'", "COPY"),
    ("COPY (SELECT * FROM visits) TO 'visits.csv' (USE_TMP_FILE false)", "COPY"),
    ("EXPORT DATABASE 'out'", "EXPORT"),
    ("ATTACH 'x.db'", "ATTACH"),
    ("INSTALL httpfs", "LOAD"),
    ("LOAD httpfs", "LOAD"),
    ("SET threads = 8", "SET"),
    ("PRAGMA database_list", "PRAGMA"),
    ("CALL pragma_version()", "CALL"),
    ("EXPLAIN SELECT * FROM visits", "EXPLAIN"),
    ("WITH w AS (INSERT INTO visits VALUES (1) RETURNING *) SELECT * FROM w", "INSERT"),
    ("WITH w AS (DELETE FROM visits RETURNING *) SELECT * FROM w", "DELETE"),
    ("DESCRIBE visits", "SHOW"),
    ("SUMMARIZE visits", "SHOW"),
    ("SHOW TABLES", "SHOW"),
    ("SELECT * FROM visits; SELECT * FROM people", "2 statements"),
    ("SELECT 1; DROP VIEW visits", "2 statements"),
    ("", "0 statements"),
    ("-- nothing", "0 statements"),
    ("SELEC age", "syntax error"),
    ("SELECT * FROM visits) x, (SELECT 1", "syntax error"),
    ("SELECT * FROM visits WHERE age = ?", "parameter"),
    ("SELECT * FROM visits WHERE age = $age", "parameter"),
    ("SELECT * FROM read_csv('/etc/passwd')", "read_csv"),
    ("SELECT * FROM read_text('/etc/passwd')", "read_text"),
    ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
    ("SELECT * FROM 'https://example.org/x.csv'", "https://example.org/x.csv"),
    ("SELECT (SELECT count(*) FROM glob('/*')) FROM visits", "glob"),
    ("SELECT * FROM visits WHERE EXISTS (SELECT 1 FROM read_blob('/etc/passwd'))", "read_blob"),
    ("WITH w AS (SELECT * FROM parquet_scan('x.parquet')) SELECT * FROM w", "parquet_scan"),
    ("SELECT * FROM query('DROP VIEW visits')", "query"),
    ("SELECT * FROM query_table('visits')", "query_table"),
    ("SELECT * FROM duckdb_settings()", "duckdb_settings"),
    ("SELECT * FROM salaries", "salaries"),
    ("SELECT * FROM information_schema.tables", "information_schema.tables"),
    ("SELECT * FROM main.visits", "main.visits"),
    ('WITH "x.csv" AS (SELECT 1) SELECT * FROM "x.csv"', "x.csv"),
    ("SELECT * FROM visits USING SAMPLE 10%", "SAMPLE"),
    ("SELECT * FROM visits TABLESAMPLE 10%", "SAMPLE"),
    ("SELECT * FROM visits ORDER BY random()", "random()"),
    ("SELECT uuid() FROM visits", "uuid()"),
    ("SELECT write_log('x') FROM visits", "write_log()"),
]


@pytest.fixture(name="parser")
def parser_fixture() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(":memory:")
    yield connection
    connection.close()


@pytest.mark.parametrize("sql", ALLOWED)
def test_a_plain_select_over_the_named_tables_is_allowed(parser: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert checked_query(parser, sql, TABLES) == sql.removesuffix(";")


@pytest.mark.parametrize(("sql", "told"), REFUSED)
def test_everything_else_is_refused_and_named(parser: duckdb.DuckDBPyConnection, sql: str, told: str) -> None:
    with pytest.raises(QueryError) as caught:
        checked_query(parser, sql, TABLES)
    assert told.lower() in str(caught.value).lower()
    assert caught.value.problem is Slug.DATA_MISMATCH
    assert caught.value.do


@pytest.mark.parametrize(
    "sql", ["age", "age_years / 12", "readmission_30d = 'J'", "CASE WHEN a THEN 1 ELSE 0 END", "list_sum([a, b])", "a -- why"]
)
def test_an_expression_over_columns_is_allowed(parser: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert checked_expression(parser, sql, "column age") == sql


@pytest.mark.parametrize(
    "sql",
    [
        "age), (1",
        "age) AS a, (id",
        "age) FROM visits --",
        "age) FROM visits; DROP VIEW visits; SELECT (1",
        "(SELECT max(age) FROM visits)",
        "age IN (SELECT age FROM visits)",
        "random()",
        "?",
        "",
        "age)",
        "/* age",
    ],
)
def test_an_expression_cannot_leave_its_brackets(parser: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(QueryError, match="column age"):
        checked_expression(parser, sql, "column age")


@pytest.fixture(name="config")
def config_fixture(tmp_path: Path) -> DatasetConfig:
    (tmp_path / "visits.csv").write_text("id,age\n1,40\n2,50\n", encoding="utf-8")
    (tmp_path / "secret.csv").write_text("id,salary\n1,40000\n", encoding="utf-8")
    return DatasetConfig("d", {"visits": "visits.csv"}, "SELECT * FROM visits", {"age": MappedColumn("age")}, folder=tmp_path)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{folder}/secret.csv')",
        "SELECT * FROM '{folder}/secret.csv'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM 'http://127.0.0.1:9/x.csv'",
        "COPY visits TO '{folder}/out.csv'",
        "ATTACH '{folder}/x.db' AS x",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET threads = 8",
        "RESET lock_configuration",
    ],
)
def test_the_session_itself_refuses_files_network_and_settings(config: DatasetConfig, sql: str) -> None:
    with open_tables(config) as connection:
        with pytest.raises(duckdb.Error):
            connection.execute(sql.format(folder=config.folder)).fetchall()
        assert connection.execute("SELECT count(*) FROM visits").fetchone() == (2,)
    assert sorted(path.name for path in config.folder.iterdir()) == ["secret.csv", "visits.csv"]


def test_a_refused_query_leaves_the_files_as_they_were(config: DatasetConfig) -> None:
    sql = f"COPY (SELECT 1) TO '{config.folder}/visits.csv' (USE_TMP_FILE false)"
    with pytest.raises(QueryError):
        read_dataset(DatasetConfig("d", config.files, sql, config.columns, folder=config.folder), COLUMNS.specs)
    assert (config.folder / "visits.csv").read_text(encoding="utf-8") == "id,age\n1,40\n2,50\n"


def test_a_query_that_does_not_bind_says_which_column(config: DatasetConfig) -> None:
    broken = DatasetConfig("d", config.files, "SELECT alter FROM visits", config.columns, folder=config.folder)
    with pytest.raises(QueryError, match=r"dataset d, query: wanted .*alter"):
        read_dataset(broken, COLUMNS.specs)


def test_an_error_at_run_time_does_not_quote_data(config: DatasetConfig) -> None:
    (config.folder / "visits.csv").write_text("id,age\n1,forty\n2,Meier\n", encoding="utf-8")
    casting = DatasetConfig("d", config.files, "SELECT CAST(age AS INTEGER) AS age FROM visits", config.columns, folder=config.folder)
    with pytest.raises(DataError) as caught:
        read_dataset(casting, COLUMNS.specs)
    assert "ConversionException" in str(caught.value)
    assert "Meier" not in str(caught.value)
    assert "forty" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_query_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "heart.sql").write_text("SELECT 1\n", encoding="utf-8")
    assert query_text("heart.sql", tmp_path) == "SELECT 1\n"
    assert query_text("SELECT 2", tmp_path) == "SELECT 2"
    with pytest.raises(DataError, match=r"other\.sql.*FileNotFoundError"):
        query_text("other.sql", tmp_path)
    (tmp_path / "empty.sql").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"empty\.sql"):
        query_text("empty.sql", tmp_path)
