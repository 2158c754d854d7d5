"""What a new version of a policy changes, clause by clause: tightens, loosens, or neither.

Who must approve a new version depends on it: what only tightens needs any one role, what loosens needs all (policy.md). So doubt counts
as loosening: a clause tightens only if what it permits now it permitted before (`lattices.is_within`), and what cannot be compared (who
the party is, its law, the keys that it pins) loosens with every change. The version's number and the digest of the file that it
replaces permit nothing and are neutral, and so is another way of writing the same. Clauses are compared one by one, and the value in
force counts, written or not; every clause permits no more when it gets stricter, whatever the others say, so a loosening cannot hide
behind a tightening. One kind of clause depends on another: where noise is not `required`, it is a budget that asks for some, so to take
the budget away loosens.

    if not is_tightening(old, new):
        check_all_roles_signed(...)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from parley_policies.model.lattices import Lattice, is_within
from parley_policies.model.policy import Clause, PrivacyPolicy
from parley_policies.model.upheld import lattice_of

NEUTRAL_CLAUSES: Final = frozenset({"identity.version", "identity.supersedes"})
BUDGETS: Final = frozenset({"differential_privacy.per_study", "differential_privacy.lifetime"})


@unique
class Direction(StrEnum):
    """Which way a clause changes."""

    TIGHTENS = "tightens"
    LOOSENS = "loosens"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Change:
    """One clause that two versions of a policy say differently. `old` and `new` are plain data, `says` is one line for people."""

    clause: str
    old: object
    new: object
    direction: Direction
    says: str


def changes(old: PrivacyPolicy, new: PrivacyPolicy) -> tuple[Change, ...]:
    """Return every clause whose value in force differs, in the order of the schema; empty for the same policy."""
    pairs = zip(old.clauses(), new.clauses(), strict=True)
    asks = new.differential_privacy.required
    return tuple(_change(before, after, noise_required=asks) for before, after in pairs if before.value != after.value)


def is_tightening(old: PrivacyPolicy, new: PrivacyPolicy) -> bool:
    """Whether no clause loosens, so that any one role may put `new` in force instead of `old`."""
    return all(change.direction is not Direction.LOOSENS for change in changes(old, new))


def _change(before: Clause, after: Clause, *, noise_required: bool) -> Change:
    drops_noise = before.name in BUDGETS and after.value is None and not noise_required
    direction = Direction.LOOSENS if drops_noise else _direction(before, after)
    return Change(before.name, before.plain, after.plain, direction, f"{before.name} {direction.value}: {before.plain} → {after.plain}")


def _direction(before: Clause, after: Clause) -> Direction:
    if before.name in NEUTRAL_CLAUSES:
        return Direction.NEUTRAL
    lattice = lattice_of(before.field)
    if lattice is Lattice.OWN or not is_within(lattice, after.value, before.value):
        return Direction.LOOSENS
    return Direction.NEUTRAL if is_within(lattice, before.value, after.value) else Direction.TIGHTENS
