"""What SQL may run over a party's files: one SELECT over the named tables, and nothing else.

The text is parsed by duckdb's own parser into a tree, and every node of the tree must be on a list of what is allowed: what this
file does not know is refused. This is the first of two fences; the second is the session itself (datasource_session), where the
network, extensions and every file but the named ones are switched off. What could overwrite a named file (COPY) only this file refuses;
besides, the text only ever runs as a subquery, where no such statement can stand.

    >>> import duckdb
    >>> checked_query(duckdb.connect(":memory:"), "SELECT age FROM visits;", {"visits"})
    'SELECT age FROM visits'
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final

import duckdb

from parley_party.errors import QueryError

ROWS: Final = "parley_rows"  # the name under which map expressions see the query's rows
_NODES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE", "RECURSIVE_CTE_NODE"})
_SOURCES: Final = frozenset({"BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SUBQUERY", "TABLE_FUNCTION"})
_MODIFIERS: Final = frozenset({"DISTINCT_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER"})
_ORDERS: Final = frozenset({"ASCENDING", "DESCENDING", "ORDER_DEFAULT"})
_ALLOWED: Final = _NODES | _SOURCES | _MODIFIERS | _ORDERS
_TABLE_FUNCTIONS: Final = frozenset({"generate_series", "range", "unnest"})
# They give other rows each time they run, or write: a dataset is frozen by its digest, and the log is not the query's to write.
_CHANGING: Final = frozenset(
    "currval gen_random_uuid nextval random setseed setval sleep_ms uuid uuidv4 uuidv7 write_log".split()  # noqa: SIM905 - read as one line
)
_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONE_SELECT: Final = "one SELECT over the tables of `files`"


def checked_query(connection: duckdb.DuckDBPyConnection, sql: str, tables: AbstractSet[str]) -> str:
    """Return `sql` without its closing semicolon if it is one SELECT that names only `tables`; QueryError otherwise.

    `connection` only lends its parser: nothing is run over data.
    """
    text = sql.strip().removesuffix(";").rstrip()
    tree = _tree(connection, text, "query")
    _refuse_foreign(tree, {name.lower() for name in tables}, "query")
    return text


def checked_expression(connection: duckdb.DuckDBPyConnection, sql: str, thing: str) -> str:
    """Return `sql` if it is one SQL expression over a row's columns, without subquery or parameter; QueryError naming `thing` otherwise."""
    if not sql.strip():
        raise QueryError(thing, wanted="one SQL expression", got="nothing", do="write one, or the name of a column")
    node = _tree(connection, f"SELECT (\n{sql}\n) FROM {ROWS}", thing)  # noqa: S608 - parsed here, never run
    wanted = "one SQL expression over the query's columns"
    rest = {"where_clause", "having", "qualify", "group_expressions", "modifiers"}
    # The closing bracket above is ours: text that ends our bracket early leaves a second item, a clause or another statement behind.
    if node.get("type") != "SELECT_NODE" or len(_list(node.get("select_list"))) != 1 or any(node.get(key) for key in rest):
        raise QueryError(thing, wanted=wanted, got="more than one expression", do="write one expression, such as \"readmission_30d = 'J'\"")
    if any(part.get("class") == "SUBQUERY" for part in _parts(node)):
        raise QueryError(thing, wanted=wanted, got="a subquery", do="put joins and lookups into the query, and map its columns")
    _refuse_foreign(node, {ROWS}, thing)
    return sql.strip()


def quoted(name: str) -> str:
    """Return `name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return `text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: Exception) -> str:
    """Return the first line of duckdb's message: it names SQL and columns. Only for errors of parsing and binding, which see no data."""
    return str(error).strip().splitlines()[0]


def _tree(connection: duckdb.DuckDBPyConnection, text: str, thing: str) -> dict[str, object]:
    """Parse `text`, which must be one SELECT, into duckdb's tree."""
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise QueryError(thing, wanted=_ONE_SELECT, got=first_line(error), do="correct the SQL") from error
    if len(statements) != 1:
        raise QueryError(thing, wanted=_ONE_SELECT, got=f"{len(statements)} statements", do="write exactly one SELECT")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = statements[0].type.name
        raise QueryError(thing, wanted=_ONE_SELECT, got=f"a statement of kind {kind}", do="data are only read here: write a SELECT")
    row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [text]).fetchone()
    parsed: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if parsed["error"]:  # duckdb can run some statements as a SELECT that it will not give as a tree
        raise QueryError(thing, wanted=_ONE_SELECT, got="a statement that is not a plain SELECT", do="write a plain SELECT")
    if parsed["statements"][0].get("named_param_map"):
        raise QueryError(thing, wanted=_ONE_SELECT, got="a parameter (? or $name)", do="write the value into the SQL")
    node: dict[str, object] = parsed["statements"][0]["node"]
    return node


def _parts(tree: object) -> Iterator[dict[str, object]]:
    """Give every object of the tree, outermost first."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _refuse_foreign(tree: dict[str, object], tables: AbstractSet[str], thing: str) -> None:
    """Raise QueryError at the first node that is not allowed, or table that was not named."""
    own = {str(entry["key"]) for part in _parts(tree) for entry in _list(part.get("map")) if isinstance(entry, dict) and "key" in entry}
    for name in own:
        # A name such as 'x.csv' would be a file wherever it is not in scope as a WITH table.
        if not _PLAIN_NAME.fullmatch(name):
            raise QueryError(thing, wanted="WITH names of letters, digits and _", got=repr(name), do="rename it")
    known = tables | {name.lower() for name in own}
    for part in _parts(tree):
        _refuse_node(part, thing)
        _refuse_table(part, known, sorted(tables), thing)
        _refuse_function(part, thing)


def _refuse_node(part: dict[str, object], thing: str) -> None:
    kind = part.get("type")
    if "class" in part or not isinstance(kind, str) or kind in _ALLOWED or kind.endswith("_TYPE_INFO"):
        return
    name = kind.removesuffix("_QUERY_NODE").removesuffix("_NODE").removesuffix("_REF")
    raise QueryError(thing, wanted=_ONE_SELECT, got=name, do="data are only read here: write a plain SELECT")


def _refuse_table(part: dict[str, object], known: AbstractSet[str], tables: list[str], thing: str) -> None:
    if part.get("sample"):
        raise QueryError(thing, wanted="the same rows each time", got="a SAMPLE", do="choose rows by a WHERE clause")
    if part.get("type") != "BASE_TABLE":
        return
    path = [str(part.get(key) or "") for key in ("catalog_name", "schema_name", "table_name")]
    if path[:2] != ["", ""] or path[2].lower() not in known:
        got = ".".join(name for name in path if name)
        raise QueryError(thing, wanted=f"only the tables {', '.join(tables)}", got=f"table {got!r}", do="name the file under `files`")


def _refuse_function(part: dict[str, object], thing: str) -> None:
    if part.get("type") == "TABLE_FUNCTION":
        function = part.get("function")
        name = str(function.get("function_name", "")).lower() if isinstance(function, dict) else ""
        if name not in _TABLE_FUNCTIONS:
            do = "name the file under `files` and read it by that name"
            raise QueryError(thing, wanted=_ONE_SELECT, got=f"table function {name}()", do=do)
    elif str(part.get("function_name", "")).lower() in _CHANGING:
        name = str(part["function_name"])
        raise QueryError(thing, wanted="the same rows each time", got=f"{name}()", do="take it out: a dataset is frozen by its digest")
