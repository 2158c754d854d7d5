"""From the bytes of a TOML file to a checked value, with every fault named: file, field, wanted, got.

Used for policies and study files. Strict: a number is no text, an unknown field is refused, and nothing is converted. Bounds: a file
of at most 1 MiB.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from parley_policies.errors import Fault, FileInvalid
from parley_policies.model.kinds import BROKEN_RULE

MAX_FILE_BYTES: Final = 1 << 20
_SHOWN_CHARACTERS: Final = 80
M = TypeVar("M", bound=BaseModel)


def read_toml(raw: bytes, file: str, error: type[FileInvalid]) -> dict[str, Any]:
    """Parse TOML, arrays as tuples; `error` if the bytes are too many, not UTF-8 or not TOML."""
    if len(raw) > MAX_FILE_BYTES:
        raise error(file, Fault("file", f"at most {MAX_FILE_BYTES} bytes", f"{len(raw)}"))
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as cause:
        raise error(file, Fault("file", "text in UTF-8", f"byte {raw[cause.start]:#04x} at {cause.start}")) from cause
    except (tomllib.TOMLDecodeError, RecursionError) as cause:
        raise error(file, Fault("file", "TOML", str(cause) or "tables nested too deeply")) from cause
    return {key: _frozen(value) for key, value in table.items()}


def _frozen(value: Any) -> Any:  # noqa: ANN401 - what TOML holds
    match value:
        case dict():
            return {key: _frozen(item) for key, item in value.items()}
        case list():
            return tuple(_frozen(item) for item in value)
        case _:
            return value


def validated(model: type[M], table: Mapping[str, Any], file: str, error: type[FileInvalid]) -> M:
    """Return `table` as `model`; `error` with all faults otherwise."""
    try:
        return model.model_validate(table, strict=True)
    except ValidationError as cause:
        raise error(file, *_faults(cause.errors(include_url=False), table)) from cause


def _faults(details: list[ErrorDetails], table: Mapping[str, Any]) -> list[Fault]:
    """Return the faults, each once; where a field may be of several types, those inside it say more than those about it."""
    faults = dict.fromkeys(_fault(detail, table) for detail in details)
    return [fault for fault in faults if not any(other.field.startswith(fault.field + ".") for other in faults)]


def _fault(detail: ErrorDetails, table: Mapping[str, Any]) -> Fault:
    if detail["type"] == BROKEN_RULE:
        return Fault(*(str(detail["ctx"][key]) for key in ("field", "wanted", "got")))
    field = _field(detail, table)
    match detail["type"]:
        case "missing":
            return Fault(field, "a value (this field has no default)", "nothing")
        case "extra_forbidden":
            return Fault(field, "no such field in this version of the schema", _short(detail["input"]))
    return Fault(field, _wanted(detail["msg"]), _short(detail["input"]))


def _wanted(message: str) -> str:
    """Return pydantic's sentence, or one of our validators', as what was wanted."""
    for prefix, instead in (("Value error, ", ""), ("Input should be ", ""), ("wanted ", ""), ("String should match pattern", "text like")):
        if message.startswith(prefix):
            message = instead + message[len(prefix) :]
    return message.partition(", got ")[0]


def _field(detail: ErrorDetails, table: Mapping[str, Any]) -> str:
    """Return the path in the file: pydantic's location less the names it gives to alternatives of a type."""
    here: Any = table
    path: list[str] = []
    for part in detail["loc"]:
        if isinstance(here, dict) and part in here:
            here = here[str(part)]
        elif isinstance(here, tuple) and isinstance(part, int) and part < len(here):
            here = here[part]
        elif not (detail["type"] == "missing" and part == detail["loc"][-1]):
            continue
        path.append(str(part))
    return ".".join(path) or "file"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
