"""Who holds which role: the public keys that a party's people signed into force together with a policy.

`Holders` is what the policy in force rests on: for each role that its `approval` names, one key. Two roles never have one key: then one
person would be two.

    >>> Holders.none("clinic-a").key("role:privacy-officer")
    Traceback (most recent call last):
    ...
    parley_policies.errors.ApprovalInvalid: role:privacy-officer at clinic-a: no key holds this role; the roles in force are none
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope

from parley_policies.approvals.statements import RoleKey, read_role_key
from parley_policies.errors import ApprovalInvalid
from parley_policies.model.policy import PrivacyPolicy


@dataclass(frozen=True, slots=True)
class Holders:
    """The key of each role at one party. Frozen; comes from `read_holders`, or is empty."""

    party: str
    keys: Mapping[str, VerifyKey]

    @classmethod
    def none(cls, party: str) -> Holders:
        """Return what a party has whose policy names no role."""
        return cls(party, MappingProxyType({}))

    def key(self, role: str) -> VerifyKey:
        """Return the key that holds `role`; ApprovalInvalid if none does."""
        found = self.keys.get(role)
        if found is None:
            roles = ", ".join(self.keys) or "none"
            raise ApprovalInvalid(f"{role} at {self.party}: no key holds this role; the roles in force are {roles}")
        return found

    def of(self, roles: Collection[str]) -> Holders:
        """Return the holders of `roles` alone; ApprovalInvalid if one of them has no key."""
        return Holders(self.party, MappingProxyType({role: self.key(role) for role in sorted(roles)}))


def roles_of(policy: PrivacyPolicy) -> tuple[str, ...]:
    """Return every role that the policy names in `approval`, in order."""
    return tuple(sorted({*policy.approval.policy, *policy.approval.agreement}))


def read_holders(party: str, texts: Collection[str], roles: Collection[str], service_keys: Collection[VerifyKey]) -> Holders:
    """Return the holders that signed role keys name; ApprovalInvalid unless they are exactly one key of its own for each of `roles`.

    `service_keys` are the party's own keys, which whoever runs the service can use: none of them may hold a role.
    """
    keys: dict[str, VerifyKey] = {}
    fingerprints = {key.fingerprint: "a key of the party's service" for key in service_keys}
    for role_key in map(read_role_key, texts):
        _check_key(role_key, party, keys, fingerprints)
        keys[role_key.role] = role_key.public
        fingerprints[role_key.public.fingerprint] = f"the key of {role_key.role}"
    if set(keys) != set(roles):
        wanted, got = ", ".join(sorted(roles)) or "none", ", ".join(sorted(keys)) or "none"
        raise ApprovalInvalid(f"role keys at {party}: wanted one for each role that the policy names ({wanted}), got {got}")
    return Holders(party, MappingProxyType(dict(sorted(keys.items()))))


def _check_key(role_key: RoleKey, party: str, keys: Mapping[str, VerifyKey], taken: Mapping[str, str]) -> None:
    what, fingerprint = f"role key of {role_key.role}", role_key.public.fingerprint
    if role_key.party != party:
        raise ApprovalInvalid(f"{what}: wanted one of {party}, got one of {role_key.party}")
    if role_key.role in keys:
        raise ApprovalInvalid(f"{what}: wanted one, got two")
    if fingerprint in taken:
        raise ApprovalInvalid(f"{what}: wanted a key that nobody else uses, got {fingerprint}, which is {taken[fingerprint]}")


def signed_for_role(envelope: Envelope, what: str, role: str, keys: Collection[VerifyKey]) -> VerifyKey:
    """Return which of `keys`, the keys of `role`, signed `envelope`; ApprovalInvalid if none did."""
    for key in keys:
        if key.fingerprint == envelope.signatures[0].keyid:
            try:
                envelope.verify(envelope.payload_type, key)
            except CryptoError as error:
                raise ApprovalInvalid(f"{what}: {error}") from error
            return key
    wanted = " or ".join(key.fingerprint for key in keys) or "no key: the role has none"
    raise ApprovalInvalid(f"{what}: wanted the key that holds {role} ({wanted}), got {envelope.signatures[0].keyid}")
