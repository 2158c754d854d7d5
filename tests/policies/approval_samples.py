"""People of a party for the tests of approvals: keys of roles, and what they sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from parley_crypto.keys import SigningKey
from parley_crypto.signing import Envelope
from parley_policies.approvals.statements import AgreementApproval, Decision, PolicyApproval, RoleKey
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.negotiation.terms import Terms

from tests.policies.policy_samples import policy_text

PARTY: Final = "a-clinic"
OFFICER: Final = "role:privacy-officer"
SECURITY: Final = "role:it-security"
DOCTOR: Final = "role:doctor"
SIGNED_AT: Final = 1_800_000_000


def role_key(role: str, number: int = 0) -> SigningKey:
    """Return a role's key; another number is another key."""
    return SigningKey(f"{role}/{number}".encode().ljust(32, b".")[:32])


KEYS: Final[Mapping[str, SigningKey]] = {role: role_key(role) for role in (OFFICER, SECURITY, DOCTOR)}


def approved_policy(
    version: int = 1,
    *,
    policy: Sequence[str] = (OFFICER, SECURITY),
    agreement: Sequence[str] = (DOCTOR,),
    edits: Mapping[str, str] | None = None,
) -> bytes:
    """Return a policy of the party that asks these roles."""
    written = {
        "version": f"version = {version}",
        "policy": f"policy = {_list(policy)}",
        "agreement": f"agreement = {_list(agreement)}",
    }
    return policy_text(PARTY, {**written, **(edits or {})}).encode()


def file_of(version: int = 1, **changes: Any) -> PolicyFile:  # noqa: ANN401 - any argument of `approved_policy`
    return load_policy(approved_policy(version, **changes))


def public(role: str, key: SigningKey | None = None, party: str = PARTY) -> str:
    """Return a key's own word that it takes a role."""
    key = key or KEYS[role]
    return RoleKey(party=party, role=role, key=key.public.hex).sign(key).dump().decode()


def holders(keys: Mapping[str, SigningKey] | None = None) -> tuple[str, ...]:
    """Return the words of all keys, by role: those of the samples where none are given."""
    return tuple(public(role, key) for role, key in sorted((keys or KEYS).items()))


def approval(
    file: PolicyFile,
    role: str,
    *,
    key: SigningKey | None = None,
    named: tuple[str, ...] | None = None,
    party: str = PARTY,
    version: int | None = None,
) -> Envelope:
    """Return a role's signature on a policy; `named` are the role keys that it signs as well."""
    version = file.policy.identity.version if version is None else version
    said = PolicyApproval(party=party, role=role, version=version, policy=file.digest, holders=named, at=SIGNED_AT)
    return said.sign(key or KEYS[role])


def word(terms: Terms, role: str = DOCTOR, /, *, key: SigningKey | None = None, party: str = PARTY, **changes: Any) -> Envelope:  # noqa: ANN401 - any field
    """Return what a role says to terms: that it approves them."""
    fields: dict[str, Any] = {"study": terms.study, "terms": terms.digest(), "decision": Decision.APPROVED, "reason": ""}
    said = AgreementApproval(party=party, role=role, at=SIGNED_AT, **{**fields, **changes})
    return said.sign(key or KEYS[role])


def _list(roles: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{role}"' for role in roles) + "]"
