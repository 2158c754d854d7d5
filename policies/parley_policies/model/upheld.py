"""How each clause of a policy is upheld, and how two values of it are compared, declared where the clause is declared.

Three answers and no fourth (policy.md): this service stops it; every party's service checks it before signing; people promise it and
sign. A field of a section without such an answer, or without its lattice (`lattices`), fails a test. The answer, the lattice, the unit
and the sentence travel in the field's JSON Schema, so that reference pages, `policy show` and reports print what the code says.

    >>> from parley_policies.model.sections import Data
    >>> upheld_of(Data.model_fields["min_people"]).value
    'enforced here'
"""

from __future__ import annotations

from enum import StrEnum, unique
from typing import Any, Final, get_args

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from parley_policies.model.lattices import LATTICE_KEY, Lattice

_KEY: Final = "upheld"
_UNIT: Final = "unit"


@unique
class Upheld(StrEnum):
    """Who upholds a clause."""

    ENFORCED_HERE = "enforced here"
    CHECKED_BY_ALL = "checked by every party"
    DECLARED = "declared"


class Value(BaseModel):
    """A small table inside a clause, such as a range. Frozen and strict: unknown fields and converted types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True)


class Section(Value):
    """A section of a policy. Every field says how it is upheld."""


def enforced(says: str, *, lattice: Lattice, unit: str = "") -> Any:  # noqa: ANN401 - what pydantic's Field returns
    """Declare a clause that this service upholds before anything leaves."""
    return _clause(Upheld.ENFORCED_HERE, says, lattice, unit)


def checked(says: str, *, lattice: Lattice, unit: str = "") -> Any:  # noqa: ANN401 - what pydantic's Field returns
    """Declare a clause that every party's service checks against the terms before it signs them."""
    return _clause(Upheld.CHECKED_BY_ALL, says, lattice, unit)


def declared(says: str, *, lattice: Lattice, unit: str = "") -> Any:  # noqa: ANN401 - what pydantic's Field returns
    """Declare a clause that is a signed promise: people keep it, no code can force it."""
    return _clause(Upheld.DECLARED, says, lattice, unit)


def entry(says: str, *, lattice: Lattice, unit: str = "") -> Any:  # noqa: ANN401 - what pydantic's Field returns
    """Declare an entry of a small table inside a clause: how it is compared, and its unit. The clause says how all of it is upheld."""
    extra: JsonDict = {LATTICE_KEY: lattice.value}
    if unit:
        extra[_UNIT] = unit
    return Field(description=says, json_schema_extra=extra)


def _clause(upheld: Upheld, says: str, lattice: Lattice, unit: str) -> Any:  # noqa: ANN401 - what pydantic's Field returns
    extra: JsonDict = {_KEY: upheld.value, LATTICE_KEY: lattice.value}
    if unit:
        extra[_UNIT] = unit
    return Field(description=says, json_schema_extra=extra)


def upheld_of(field: FieldInfo) -> Upheld:
    """Return how a field is upheld; LookupError if it does not say."""
    extra = _extra(field)
    if _KEY not in extra:
        raise LookupError(f"{field.description or field.annotation}: wanted a clause that says how it is upheld")
    return Upheld(str(extra[_KEY]))


def lattice_of(field: FieldInfo) -> Lattice:
    """Return how two values of a field are compared and combined; LookupError if it does not say."""
    return Lattice(str(_extra(field)[LATTICE_KEY]))


def unit_of(field: FieldInfo) -> str:
    """Return a field's unit, empty where it has none."""
    return str(_extra(field).get(_UNIT, ""))


def entries_of(field: FieldInfo) -> dict[str, FieldInfo]:
    """Return the entries of a field that holds a small table, by name; empty for any other field."""
    kinds = (field.annotation, *get_args(field.annotation))
    tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Value)]
    found = tables[0].model_fields if tables else {}
    return {name: entry for name, entry in found.items() if isinstance(entry.json_schema_extra, dict)}


def _extra(field: FieldInfo) -> dict[str, Any]:
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or LATTICE_KEY not in extra:
        raise LookupError(f"{field.description or field.annotation}: wanted a field that says how it is compared")
    return extra
