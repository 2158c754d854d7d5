"""Phrases from which sentences about a policy are made: lists, numbers with units, days, parties, roles, shared parts.

Two different values give two different phrases. Long digests are cut to what nobody can match by chance; `policy show` prints them whole.
What its author wrote freely stands between quotation marks, without control characters, so that it cannot pass for a sentence of ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Final

from parley_policies.model.countries import NAMES
from parley_policies.model.protection import PrivacyBudget
from parley_policies.taxonomy.taxonomy import Taxonomy

_SHOWN_DIGITS: Final = 16  # of a digest or a fingerprint: 64 bits or more
_BARE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._:/+-]*")  # a name, not words
_MEANINGLESS_EPSILON: Final = 12.0  # above it the factor e^epsilon bounds nothing that matters
_MONTHS: Final = "January February March April May June July August September October November December".split()  # noqa: SIM905 - one line


def listed(items: Iterable[str], joined: str = "and") -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    found = list(items)
    return f" {joined} ".join([", ".join(found[:-1]), found[-1]] if found[1:] else found)


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number and its unit: `1 round`, `3,650 days`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def number(value: float) -> str:
    """Return a number in digits, without an exponent and without loss."""
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(portion: float) -> str:
    """Return a portion as a percentage."""
    return number(float(Decimal(repr(portion)) * 100)) + " %"


def day(value: date) -> str:
    """Return a day as people write it: `31 December 2027`."""
    return f"{value.day} {_MONTHS[value.month - 1]} {value.year}"


def days(count: int) -> str:
    """Return a number of days, in years as well where it is a whole number of them."""
    years = f" ({counted(count // 365, 'year')})" if count and count % 365 == 0 else ""
    return counted(count, "day") + years


def short(digest: str) -> str:
    """Return the start of a digest or fingerprint."""
    kind, _, value = digest.rpartition(":")
    return f"{kind}:{value[:_SHOWN_DIGITS]}…" if kind else f"{value[:_SHOWN_DIGITS]}…"


def country(name: str) -> str:
    """Return a country or a group of countries by name and code, where we know the name."""
    return f"{NAMES[name]} ({name})" if name in NAMES else name


def quoted(text: str, *, always: bool = False) -> str:
    """Return what an author wrote: a bare name as it is, anything else between quotation marks with what could mislead made visible."""
    if _BARE.fullmatch(text) and not always:
        return text
    shown = "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text.replace("\\", "\\\\"))
    return "“" + shown.replace("“", "\\“").replace("”", "\\”") + "”"


def purpose(identifier: str) -> str:
    """Return a purpose or disease: its label and identifier, or the words that it consists of."""
    label = Taxonomy.load().labels.get(identifier)
    if label is not None:
        return f"{label.lower() if identifier.startswith('dpv:') else label} ({identifier})"
    return quoted(identifier.removeprefix("text:"), always=identifier.startswith("text:"))


def peer(name: str) -> str:
    """Return a class or a party."""
    return f"any {name.removeprefix('class:')}" if name.startswith("class:") else f"the party {name}"


def role(name: str) -> str:
    """Return a role without its mark."""
    return name.removeprefix("role:")


def roles(names: Iterable[str]) -> str:
    """Return people by their roles: `the role counsel`, `the roles ciso and counsel`."""
    found = [role(name) for name in names]
    return f"the role{'s' if found[1:] else ''} {listed(found)}"


def reader(name: str) -> str:
    """Return who reads something: ourselves, a role, a party."""
    if name == "self":
        return "us"
    return f"the role {role(name)}" if name.startswith("role:") else f"the party {name}"


def part(segment: str) -> str:
    """Return a segment as people read it."""
    kind, _, name = segment.partition(":")
    match kind, name:
        case "trunk", "":
            return "the shared part of the model (trunk)"
        case "summary", "":
            return "summary statistics"
        case "head", "*":
            return "the part for any objective"
        case "head", _ if name:
            return f"the part for objective {name}"
    return f"the part {segment}"


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 1000 else number(factor)  # noqa: PLR2004 - where digits are grouped


def loss(budget: PrivacyBudget) -> str:
    """Return a bound on privacy loss, and what it means."""
    bound = f"ε = {number(budget.epsilon)} (δ = {number(budget.delta)})"
    if budget.epsilon > _MEANINGLESS_EPSILON:
        return f"{bound}, so much that it bounds nothing that matters"
    factor = float(f"{math.exp(budget.epsilon):.3g}")
    apart = f", apart from a chance of {number(budget.delta)}" if budget.delta else ""
    return f"{bound}: any outcome is at most about {_times(factor)} times as likely because one of them takes part{apart}"
