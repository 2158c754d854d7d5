"""Members as the gateway lists them, and whom a policy counts among them.

A directory is a party's own view: who takes part in the federation, with the keys as that party first saw them. A service that trusts on
first use keeps the keys it saw first and hands *those* over, so that a key which changes later is a difference here and not a new trust.

    >>> member = Member("clinic-b", "Clinic B", "hospital", "DE", "00" * 32)
    >>> member.fingerprint.startswith("SHA256:")
    True
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from parley_crypto.keys import VerifyKey

from parley_policies.errors import CredentialInvalid
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.credentials import check_credential


@dataclass(frozen=True, slots=True)
class Member:
    """An enrolled party: class and country as its invite fixed them, identity key (Ed25519) as 64 hexadecimal digits.

    `credentials` are what it shows, checked by nobody yet.
    """

    party: str
    legal_name: str
    party_class: str
    country: str
    identity: str
    revoked: bool = False
    credentials: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` of the identity key; MalformedError if it is no key."""
        return VerifyKey.from_hex(self.identity).fingerprint

    def named_by(self, peer: str) -> bool:
        """Whether a policy's entry (`class:X` or a party id) means this member."""
        return peer in {self.party, f"class:{self.party_class}"}


Directory = Mapping[str, Member]


def is_pinned(policy: PrivacyPolicy, member: Member) -> bool:
    """Whether a policy knows a member's key by itself: its own, one that it pins, or any where it trusts on first use."""
    if member.party == policy.party or policy.peers.trust == "first-use":
        return True
    return policy.peers.fingerprints.get(member.party) == member.fingerprint


def is_counted(policy: PrivacyPolicy, member: Member, today: date) -> bool:
    """Whether a party's floors count `member` today: whom its policy pins, or for whom an issuer that it believes vouches."""
    shown = member.credentials if policy.peers.issuers else ()
    return is_pinned(policy, member) or any(_vouches(text, policy, member, today) for text in shown)


def _vouches(text: str, policy: PrivacyPolicy, member: Member, today: date) -> bool:
    try:
        check_credential(text, member, policy.peers.issuers, today)
    except CredentialInvalid:  # of whatever kind: as good as none
        return False
    return True


def uncounted(policy: PrivacyPolicy, members: Iterable[Member], today: date) -> tuple[str, ...]:
    """Return the parties among `members` that count as conspirators (protocol.md, Phantoms), in id order."""
    return tuple(sorted(member.party for member in members if not is_counted(policy, member, today)))
