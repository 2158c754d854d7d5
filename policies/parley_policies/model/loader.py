"""Load a policy file: bytes -> `PolicyFile`, or PolicyInvalid with every fault named.

The digest is of the file's bytes: it is what the log holds and what `guard` compares, so that editing the file changes nothing until the
service takes it up. `rows` says of every clause whether it was written or is a default.

    policy = load_policy(path.read_bytes(), "policy.toml")
    policy.policy.sums.floor("trunk")
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import BaseModel

from parley_policies.errors import PolicyInvalid
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.reading import read_toml, validated
from parley_policies.model.upheld import Section, Upheld, unit_of, upheld_of


@dataclass(frozen=True, slots=True)
class Row:
    """One clause of a policy as `policy show --full` prints it. `value` is plain data, dates as ISO text."""

    clause: str
    value: object
    written: bool
    upheld: Upheld
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
        return tuple(_rows(self.policy))


def load_policy(raw: bytes, name: str = "policy.toml") -> PolicyFile:
    """Parse a policy; PolicyInvalid names `name` and every field that is missing, unknown, of the wrong type or out of range."""
    policy = validated(PrivacyPolicy, read_toml(raw, name, PolicyInvalid), name, PolicyInvalid)
    return PolicyFile(name, policy, hashlib.sha256(raw).hexdigest())


def _rows(policy: PrivacyPolicy) -> Iterator[Row]:
    for section_name in type(policy).model_fields:
        section = getattr(policy, section_name)
        if not isinstance(section, Section):
            continue
        for name, info in type(section).model_fields.items():
            value = getattr(section, name)
            written = section_name in policy.model_fields_set and name in section.model_fields_set
            if (section_name, name) == ("schemes", "colluding_parties_survived"):
                value = policy.colluders
            yield Row(f"{section_name}.{name}", _plain(value), written, upheld_of(info), unit_of(info), info.description or "")


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else value
