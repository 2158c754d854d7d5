"""Load a policy file: bytes -> `PolicyFile`, or PolicyInvalid with every fault named.

The digest is of the file's bytes: it is what the log holds and what `guard` compares, so that editing the file changes nothing until the
service takes it up. `rows` says of every clause whether it was written or is a default.

    policy = load_policy(path.read_bytes(), "policy.toml")
    policy.policy.sums.floor("trunk")
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from parley_policies.errors import PolicyInvalid
from parley_policies.model.lattices import Lattice
from parley_policies.model.policy import Clause, PrivacyPolicy
from parley_policies.model.reading import read_toml, validated
from parley_policies.model.upheld import Upheld, lattice_of, unit_of, upheld_of


@dataclass(frozen=True, slots=True)
class Row:
    """One clause of a policy as `policy show --full` prints it. `value` is plain data, dates as ISO text."""

    clause: str
    value: object
    written: bool
    upheld: Upheld
    lattice: Lattice
    unit: str
    says: str

    @property
    def origin(self) -> str:
        """`written` or `default`."""
        return "written" if self.written else "default"


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A policy and the digest of the file it stands in (SHA-256, 64 hexadecimal digits)."""

    name: str
    policy: PrivacyPolicy = field(repr=False)
    digest: str

    def rows(self) -> tuple[Row, ...]:
        """Return every clause in the order of the schema."""
        return tuple(_row(clause) for clause in self.policy.clauses())


def load_policy(raw: bytes, name: str = "policy.toml") -> PolicyFile:
    """Parse a policy; PolicyInvalid names `name` and every field that is missing, unknown, of the wrong type or out of range."""
    policy = validated(PrivacyPolicy, read_toml(raw, name, PolicyInvalid), name, PolicyInvalid)
    return PolicyFile(name, policy, hashlib.sha256(raw).hexdigest())


def _row(clause: Clause) -> Row:
    field = clause.field
    return Row(clause.name, clause.plain, clause.written, upheld_of(field), lattice_of(field), unit_of(field), field.description or "")
