"""What a new version of a policy changes, clause by clause: tightens, loosens, or neither.

Who must approve a new version depends on it: what only tightens needs any one role, what loosens needs all (policy.md). So doubt counts
as loosening: a clause tightens only if what it permits now it permitted before (`lattices.is_within`), and what cannot be compared (who
the party is, its law and legal hold, the keys that it pins) loosens with every change. The version's number and the digest of the file
that it replaces permit nothing and are neutral, and so is another way of writing the same. Clauses are compared one by one, and the
value in force counts, written or not; every clause permits no more when it gets stricter, whatever the others say, so a loosening cannot
hide behind a tightening. One kind of clause depends on another: where noise is not `required`, it is a budget that asks for some, so to
take the budget away loosens.

    if not is_tightening(old, new):
        check_all_roles_signed(...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Final

from parley_policies.model.lattices import Lattice, is_within
from parley_policies.model.phrases import quoted
from parley_policies.model.policy import Clause, PrivacyPolicy
from parley_policies.model.sentences import sentence
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
    """One clause that two versions of a policy say differently. `old` and `new` are plain data, `before` and `now` sentences of `words`.

    `added` and `removed` name what a list gained and lost; empty where the clause holds no list.
    """

    clause: str
    old: object
    new: object
    direction: Direction
    before: str
    now: str
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        """One line for people."""
        return f"{self.clause} {self.direction.value}. Before: {self.before} Now: {self.now}"


@dataclass(frozen=True, slots=True)
class Signatures:
    """Whose signatures a new version needs, by role: all of some, or any one of some, or nobody's; and why."""

    all_of: tuple[str, ...]
    any_of: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        if self.all_of:
            return f"{self.why}: all of {', '.join(self.all_of)} must sign"
        if self.any_of:
            return f"{self.why}: any one of {', '.join(self.any_of)} must sign"
        return f"{self.why}: nobody has to sign, the operator of the service activates it"


def changes(old: PrivacyPolicy, new: PrivacyPolicy) -> tuple[Change, ...]:
    """Return every clause whose value in force differs, in the order of the schema; empty for the same policy."""
    pairs = zip(old.clauses(), new.clauses(), strict=True)
    asks = new.differential_privacy.required
    return tuple(_change(before, after, noise_required=asks) for before, after in pairs if before.value != after.value)


def is_tightening(old: PrivacyPolicy, new: PrivacyPolicy) -> bool:
    """Whether no clause loosens, so that any one role may put `new` in force instead of `old`."""
    return all(change.direction is not Direction.LOOSENS for change in changes(old, new))


def signatures(old: PrivacyPolicy, new: PrivacyPolicy) -> Signatures:
    """Return which roles must sign `new` before it replaces `old`.

    What loosens needs every role of both versions, unless the old one says otherwise; so does a role that the old version does not know,
    since its key is taken up then. What only tightens needs any one role of the old version.
    """
    before, after = old.approval, new.approval
    everybody = tuple(dict.fromkeys((*before.policy, *after.policy)))
    fresh = sorted({*after.policy, *after.agreement} - {*before.policy, *before.agreement})
    loosened = ", ".join(change.clause for change in changes(old, new) if change.direction is Direction.LOOSENS)
    if loosened and before.loosening_needs_all:
        return Signatures(everybody, (), f"loosens {loosened}")
    if fresh:
        return Signatures(everybody, (), f"names new roles ({', '.join(fresh)}), whose keys are taken up")
    if loosened:
        return Signatures((), before.policy, f"loosens {loosened}, and approval.loosening_needs_all is false")
    return Signatures((), before.policy, "only tightens" if changes(old, new) else "changes nothing")


def _change(before: Clause, after: Clause, *, noise_required: bool) -> Change:
    drops_noise = before.name in BUDGETS and after.value is None and not noise_required
    return Change(
        before.name,
        before.plain,
        after.plain,
        Direction.LOOSENS if drops_noise else _direction(before, after),
        sentence(before.name, before.value),
        sentence(after.name, after.value),
        _missing(after.value, before.value),
        _missing(before.value, after.value),
    )


def _missing(value: object, among: object) -> tuple[str, ...]:
    """Return the names in one list or table that are not in another."""
    if not isinstance(value, tuple | Mapping) or not isinstance(among, tuple | Mapping):
        return ()
    return tuple(quoted(name) for name in value if isinstance(name, str) and name not in among)


def _direction(before: Clause, after: Clause) -> Direction:
    if before.name in NEUTRAL_CLAUSES:
        return Direction.NEUTRAL
    lattice = lattice_of(before.field)
    if lattice is Lattice.OWN or not is_within(lattice, after.value, before.value):
        return Direction.LOOSENS
    return Direction.NEUTRAL if is_within(lattice, before.value, after.value) else Direction.TIGHTENS
