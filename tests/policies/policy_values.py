"""Hypothesis strategies for the values of a policy's clauses, made from the types that the model declares.

Texts come from a small pool for each pattern of `kinds`, so that two values often have something in common. A pattern without a pool is
an error here: a new kind of text needs one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.upheld import Section
from pydantic import AfterValidator, BaseModel, ValidationError
from pydantic.fields import FieldInfo

POOL = (
    *("EU", "EEA", "DE", "FR", "NO", "US", "CH"),  # countries
    *("dpv:ScientificResearch", "dpv:AcademicResearch", "dpv:Marketing", "DUO:0000006", "MONDO:0005252", "text:something"),
    *("SHA256:" + letter * 43 for letter in "ABC"),
    *("sha256:" + letter * 64 for letter in "abc"),
    *(letter * 64 for letter in "abc"),
    *("class:hospital", "class:insurer", "a-clinic", "b-clinic", "c-fund"),
    *("role:counsel", "role:ciso", "role:auditor"),
    *("summary", "trunk", "head:*", "head:cost", "head:illness"),
    *("train@1", "evaluate@1", "statistics@1"),
    *("exact", "hidden", "rounded:2", "rounded:3", "rounded:100", "rounded:500"),
)
HOURS = ("20:00-06:00 Europe/Berlin", "22:00-04:00 Europe/Berlin", "08:00-17:00 Europe/Berlin", "08:00-17:00 America/New_York")
TEXTS = ("one", "two", "three")


def fields() -> Iterator[tuple[str, FieldInfo]]:
    """Every clause of the schema, `section.field`."""
    for section, info in PrivacyPolicy.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            for name, field in info.annotation.model_fields.items():
                yield f"{section}.{name}", field


def values_of(field: FieldInfo) -> st.SearchStrategy[Any]:
    """Valid values of one field."""
    return _values(field.annotation, tuple(field.metadata))


def _values(kind: Any, limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:  # noqa: ANN401, PLR0911 - a type annotation; one answer a kind
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        own = tuple(part for item in arguments[1:] for part in (item.metadata if isinstance(item, FieldInfo) else (item,)))
        return _values(arguments[0], (*own, *limits))
    if origin in (Union, UnionType):
        return st.one_of(*(_values(argument, limits) for argument in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(_values(arguments[0], ()), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(_values(arguments[0], ()), _values(arguments[1], ()), min_size=_limit("min_length", limits, 0), max_size=3)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _tables(kind)
    return _plain(kind, limits)


def _plain(kind: Any, limits: tuple[Any, ...]) -> st.SearchStrategy[Any]:  # noqa: ANN401 - a type annotation
    if kind is str:
        return _texts(limits)
    if kind is int:
        return st.integers(_limit("ge", limits, 0), 12)
    if kind is float:
        return st.sampled_from([value for value in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0) if _fits(value, limits)])
    simple = {bool: st.booleans(), date: st.dates(date(2027, 1, 1), date(2027, 1, 9)), type(None): st.none()}
    return simple[kind]


def _texts(limits: tuple[Any, ...]) -> st.SearchStrategy[str]:
    if any(isinstance(item, AfterValidator) for item in limits):
        return st.sampled_from(HOURS)
    pattern = _limit("pattern", limits, None)
    if pattern is None:
        return st.sampled_from(TEXTS)
    return st.sampled_from([text for text in POOL if re.fullmatch(pattern, text)] or sorted({"age", "ill"}))


def _tables(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    def build(values: dict[str, Any]) -> BaseModel | None:
        try:
            return kind(**values)
        except ValidationError:  # entries that do not go together, such as an empty range
            return None

    entries = st.fixed_dictionaries({name: values_of(field) for name, field in kind.model_fields.items()})
    return entries.map(build).filter(lambda table: table is not None)


def _limit(name: str, limits: tuple[Any, ...], otherwise: Any) -> Any:  # noqa: ANN401 - a number or a pattern
    return next((getattr(item, name) for item in limits if getattr(item, name, None) is not None), otherwise)


def _fits(value: float, limits: tuple[Any, ...]) -> bool:
    least, most, above, below = (_limit(name, limits, None) for name in ("ge", "le", "gt", "lt"))
    return (
        (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )
