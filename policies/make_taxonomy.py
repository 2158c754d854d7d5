# ruff: noqa: INP001 - a script beside the package, not a part of it
"""Make the pinned taxonomy `parley_policies/taxonomy/taxonomy.json` from the table `taxonomy.tsv`, which people type.

The table names its date, the vocabularies with release and licence, and the terms with what is broader. This script checks it (each
term's vocabulary and broader terms are in the table, nothing twice, nothing broader than itself), orders it, and writes it with the
SHA-256 of its content. It fetches nothing and reads no clock: the same table gives the same bytes, and a test compares.

    python policies/make_taxonomy.py            write the file
    python policies/make_taxonomy.py --check    exit with 1 if it would change
"""

from __future__ import annotations

import json
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any, Final

from parley_policies.taxonomy.taxonomy import SCHEMA, Taxonomy, content_digest

SOURCE: Final = Path(__file__).with_name("taxonomy.tsv")
PINNED: Final = Path(__file__).parent / "parley_policies" / "taxonomy" / "taxonomy.json"
_ROW: Final = {"date": 2, "vocabulary": 6, "term": 4}  # cells of a row, by its first
_TERM: Final = re.compile(r"[A-Za-z]+:[A-Za-z0-9]+")


def made(table: str) -> bytes:
    """Return the taxonomy's file for a table; ValueError names the line that is wrong."""
    content: dict[str, Any] = {"vocabularies": {}, "terms": {}}
    for number, line in enumerate(table.splitlines(), start=1):
        if line and not line.startswith("#"):
            _add(content, line.split("\t"), f"taxonomy.tsv, line {number}")
    _check_broader(content["terms"])
    content = {"date": content["date"], **{name: dict(sorted(content[name].items())) for name in ("vocabularies", "terms")}}
    whole = {"schema": SCHEMA, "sha256": content_digest(content), **content}
    raw = (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()
    Taxonomy.parse(raw)
    return raw


def _add(content: dict[str, Any], row: list[str], where: str) -> None:
    if len(row) != _ROW.get(row[0]) or not all(row):
        raise ValueError(f"{where}: wanted a row that begins with one of {', '.join(_ROW)} and is whole, got {row}")
    match row:
        case ["date", day]:
            content["date"] = date.fromisoformat(day).isoformat()
        case ["vocabulary", prefix, name, release, licence, url]:
            content["vocabularies"][prefix] = {"name": name, "release": release, "licence": licence, "where": url}
        case [_, term, label, broader]:
            prefix = term.partition(":")[0]
            if not _TERM.fullmatch(term) or prefix not in content["vocabularies"] or term in content["terms"]:
                raise ValueError(f"{where}: wanted a term of a vocabulary above, and each once, got {term}")
            content["terms"][term] = {"label": label, "broader": [] if broader == "-" else sorted(set(broader.split(" ")))}


def _check_broader(terms: dict[str, Any]) -> None:
    for term, entry in terms.items():
        for broader in entry["broader"]:
            if broader not in terms or broader.partition(":")[0] != term.partition(":")[0]:
                raise ValueError(f"{term}: wanted broader terms of the same vocabulary that stand in the table, got {broader}")


def main(arguments: list[str]) -> int:
    """Write the file, or with `--check` say whether it would change."""
    raw = made(SOURCE.read_text(encoding="utf-8"))
    if arguments == ["--check"]:
        return int(raw != PINNED.read_bytes())
    PINNED.write_bytes(raw)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
