"""Whether a policy file may come into force: the signatures of the people whom the policies name. Pure; `today` is an argument (UTC).

Only activated bytes count. A party's history is a chain of activations, each checked against the one before, so that it can be checked
again from its beginning by whoever holds it. Numbered as the argument goes:

1. the file is this party's, newer than the one in force (the version grows, `supersedes` names it if it is written), and valid today;
2. each signature handed in is by a key that holds its role, before or after, for this party, on exactly these bytes;
3. whose keys hold the roles is signed too, by the same people: each key says of itself that it takes its role, no two roles have one
   key, and none is a key of the service. Without a word about keys they stay as they are;
4. what loosens, or changes a key, needs every role of approval.policy of the file in force, with the keys it had, and of the new one;
   what only tightens needs any one role of the file in force. The first activation needs every role that the file names.

A party whose policies name no role is its operator's: the file is activated without signatures. approval.agreement without
approval.policy is refused: whoever may change the policy alone could strike it out.

    activated = check_activation(None, load_policy(raw), envelopes, today=today, service_keys=())
    later = check_activation(activated, load_policy(newer), others, today=today, service_keys=())
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope

from parley_policies.approvals.holders import Holders, read_holders, roles_of, signed_for_role
from parley_policies.approvals.statements import PolicyApproval
from parley_policies.errors import ApprovalInvalid, Refused
from parley_policies.model.changes import signatures
from parley_policies.model.loader import PolicyFile

_CLAUSE = "approval.policy"


@dataclass(frozen=True, slots=True)
class Signer:
    """One role's signature on a policy: with which key, and when by the signer's own clock (unix seconds)."""

    role: str
    key: VerifyKey
    at: int


@dataclass(frozen=True, slots=True)
class Activated:
    """A policy in force, whose keys hold which role under it, and who signed. `number` counts a party's activations from 1."""

    file: PolicyFile
    holders: Holders
    signers: tuple[Signer, ...]
    number: int

    @property
    def version(self) -> int:
        """The policy's version."""
        return self.file.policy.identity.version


@dataclass(frozen=True, slots=True)
class Needed:
    """Whose signatures an activation needs: `all_of` (role, key) and, where that is empty, one of `any_of`; and why."""

    all_of: tuple[tuple[str, VerifyKey], ...]
    any_of: tuple[tuple[str, VerifyKey], ...]
    why: str


def check_activation(
    old: Activated | None, new: PolicyFile, approvals: Sequence[Envelope], *, today: date, service_keys: Collection[VerifyKey]
) -> Activated:
    """Return what is in force once `new` is; Refused names the clause that stands against it, ApprovalInvalid a signature that is none."""
    _check_version(old, new, today)  # 1
    said = [_read(new, envelope) for envelope in approvals]  # 2
    holders = _holders(old, new, said, service_keys)  # 3
    signers = tuple(_signer(old, holders, approval, envelope) for approval, envelope in zip(said, approvals, strict=True))  # 2
    _check_signed(needed(old, new, holders), signers)  # 4
    return Activated(new, holders, signers, 1 if old is None else old.number + 1)


def needed(old: Activated | None, new: PolicyFile, holders: Holders) -> Needed:
    """Return whose signatures `new` needs after `old`, if `holders` are to hold the roles."""
    roles = [(role, holders.key(role)) for role in new.policy.approval.policy]
    if old is None:
        return Needed(tuple(roles), (), "it is the first one: every role that it names must sign")
    before = [(role, old.holders.key(role)) for role in old.file.policy.approval.policy]
    everybody = tuple(dict.fromkeys((*before, *roles)))
    if any(old.holders.keys.get(role) != key for role, key in holders.keys.items()):
        return Needed(everybody, (), "it changes whose key holds a role: every role must sign, with the old keys and the new ones")
    rule = signatures(old.file.policy, new.policy)
    return Needed(everybody if rule.all_of else (), tuple(before) if rule.any_of else (), f"it {rule}")


def _check_version(old: Activated | None, new: PolicyFile, today: date) -> None:
    identity, approval = new.policy.identity, new.policy.approval
    if old is not None and identity.party != old.file.policy.party:
        raise Refused("identity.party", old.file.policy.party, identity.party)
    if old is not None and identity.version <= old.version:
        do = "a policy that was in force before does not come back: write it as a new version"
        raise Refused("identity.version", f"a version above {old.version}, which is in force", f"{identity.version}", do)
    if old is not None and identity.supersedes not in {None, f"sha256:{old.file.digest}"}:
        raise Refused("identity.supersedes", f"sha256:{old.file.digest}, which is in force", f"{identity.supersedes}")
    if not identity.valid_from <= today <= identity.valid_until:
        do = "activate it on a day on which it is valid; until then the one in force goes on"
        raise Refused("identity.valid_from", f"a policy that is valid on {today}", f"{identity.valid_from} to {identity.valid_until}", do)
    if approval.agreement and not approval.policy:
        do = "whoever may change the policy alone could strike out approval.agreement"
        raise Refused(_CLAUSE, "at least one role where approval.agreement names some", "none", do)


def _read(new: PolicyFile, envelope: Envelope) -> PolicyApproval:
    if envelope.payload_type != PolicyApproval.kind:
        raise ApprovalInvalid(f"approval: wanted {PolicyApproval.kind}, got {envelope.payload_type[:120]}")
    try:
        said = PolicyApproval.parse(envelope.payload)
    except CryptoError as error:
        raise ApprovalInvalid(f"approval: {error}") from error
    what = f"approval of {said.role}"
    if said.party != new.policy.party:
        raise ApprovalInvalid(f"{what}: wanted one for {new.policy.party}, got one for {said.party}")
    if said.policy != new.digest or said.version != new.policy.identity.version:
        raise ApprovalInvalid(
            f"{what}: wanted one of this file (version {new.policy.identity.version}, sha256:{new.digest}), "
            f"got one of version {said.version}, sha256:{said.policy}"
        )
    return said


def _holders(old: Activated | None, new: PolicyFile, said: Sequence[PolicyApproval], service_keys: Collection[VerifyKey]) -> Holders:
    party, roles = new.policy.party, roles_of(new.policy)
    sets = {approval.holders for approval in said}
    if len(sets) > 1:
        raise ApprovalInvalid("role keys: wanted all signatures to name the same keys, got different ones")
    texts = next(iter(sets), None)
    if texts is not None:
        return read_holders(party, texts, roles, service_keys)
    known = Holders.none(party) if old is None else old.holders
    if keyless := [role for role in roles if role not in known.keys]:
        do = "sign with --holder FILE.pub for each role that the policy names"
        raise Refused(_CLAUSE, f"signatures that name the key of each role ({', '.join(roles)})", f"no key for {', '.join(keyless)}", do)
    return known.of(roles)


def _signer(old: Activated | None, holders: Holders, said: PolicyApproval, envelope: Envelope) -> Signer:
    """The signature is by the key that holds the role, or held it before."""
    found = [each.keys.get(said.role) for each in (holders, None if old is None else old.holders) if each is not None]
    keys = tuple(dict.fromkeys(key for key in found if key is not None))
    return Signer(said.role, signed_for_role(envelope, f"approval of {said.role}", said.role, keys), said.at)


def _check_signed(wanted: Needed, signers: Sequence[Signer]) -> None:
    signed = {(signer.role, signer.key) for signer in signers}
    got = ", ".join(_named(*pair) for pair in sorted(signed, key=lambda pair: pair[0])) or "none"
    lacking = [pair for pair in wanted.all_of if pair not in signed]
    if lacking:
        do = f"{wanted.why}; lacking: {', '.join(_named(*pair) for pair in lacking)}"
        raise Refused(_CLAUSE, f"signatures by {', '.join(_named(*pair) for pair in wanted.all_of)}", got, do)
    if wanted.any_of and not signed & set(wanted.any_of):
        raise Refused(_CLAUSE, f"a signature by one of {', '.join(_named(*pair) for pair in wanted.any_of)}", got, wanted.why)


def _named(role: str, key: VerifyKey) -> str:
    return f"{role} ({key.fingerprint[:15]}…)"
