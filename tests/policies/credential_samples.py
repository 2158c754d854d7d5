"""An issuer, and what it says of sample members."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from parley_crypto.keys import SigningKey
from parley_policies.negotiation.credentials import Credential, issue
from parley_policies.negotiation.members import Member

from tests.policies.policy_samples import TODAY

ISSUER: Final = SigningKey(b"association".ljust(32, b"."))
UNTIL: Final = TODAY + timedelta(days=30)


def credential_of(member: Member, key: SigningKey = ISSUER, **changes: Any) -> str:  # noqa: ANN401 - any field of a sample
    facts: dict[str, Any] = {
        "issuer": key.public.hex,
        "party": member.party,
        "legal_name": member.legal_name,
        "party_class": member.party_class,
        "country": member.country,
        "identity": member.fingerprint,
        "valid_until": UNTIL,
    }
    return issue(Credential(**{**facts, **changes}), key)
