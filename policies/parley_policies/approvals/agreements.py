"""Before a party signs an agreement: its people's approvals of exactly these terms. Pure.

    approved = approvals_of(holders, policy, terms, envelopes)     # each verified
    check_approved(policy, terms, approved)                        # Refused names the roles that lack

An approval counts for one party, one role, one set of terms. It is verified against the keys that hold the roles *now*: a role whose key
was replaced approves anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from parley_crypto.errors import CryptoError
from parley_crypto.signing import Envelope

from parley_policies.approvals.holders import Holders, signed_for_role
from parley_policies.approvals.statements import AgreementApproval, Decision
from parley_policies.errors import ApprovalInvalid, Refused
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.terms import Terms


def read_agreement_approval(holders: Holders, policy: PrivacyPolicy, terms: Terms, envelope: Envelope) -> AgreementApproval:
    """Return what a role says to `terms`; ApprovalInvalid unless its key signed it, for this party and exactly these terms."""
    if envelope.payload_type != AgreementApproval.kind:
        raise ApprovalInvalid(f"approval: wanted {AgreementApproval.kind}, got {envelope.payload_type[:120]}")
    try:
        said = AgreementApproval.parse(envelope.payload)
    except CryptoError as error:
        raise ApprovalInvalid(f"approval: {error}") from error
    what = f"approval of {said.role} on study {terms.study}"
    if said.party != policy.party:
        raise ApprovalInvalid(f"{what}: wanted one for {policy.party}, got one for {said.party}")
    if said.role not in policy.approval.agreement:
        wanted = ", ".join(policy.approval.agreement) or "none"
        raise ApprovalInvalid(f"{what}: wanted a role that approval.agreement names ({wanted})")
    if (said.study, said.terms) != (terms.study, terms.digest()):
        raise ApprovalInvalid(f"{what}: wanted the terms {terms.digest()}, got {said.terms} of study {said.study}")
    signed_for_role(envelope, what, said.role, (holders.key(said.role),))
    return said


def approvals_of(holders: Holders, policy: PrivacyPolicy, terms: Terms, envelopes: Iterable[Envelope]) -> Mapping[str, AgreementApproval]:
    """Return by role what was said to `terms`, the last word of each; ApprovalInvalid if one of them does not count."""
    said = (read_agreement_approval(holders, policy, terms, envelope) for envelope in envelopes)
    return {each.role: each for each in said}


def check_approved(policy: PrivacyPolicy, terms: Terms, approvals: Mapping[str, AgreementApproval]) -> None:
    """Return if every role of approval.agreement approved `terms`; Refused names who refused, or who still lacks."""
    roles, clause = policy.approval.agreement, "approval.agreement"
    for role in roles:
        if role in approvals and approvals[role].decision is Decision.REFUSED:
            raise Refused(clause, f"approval by {', '.join(roles)}", f"{role} refused: {approvals[role].reason or 'no reason given'}")
    lacking = [role for role in roles if role not in approvals]
    if lacking:
        got = ", ".join(role for role in roles if role in approvals) or "none"
        do = f"{', '.join(lacking)}: parley agreement approve {terms.study} --role ROLE --key FILE"
        raise Refused(clause, f"approval of the terms {terms.digest()[:16]}… by {', '.join(roles)}", got, do)
