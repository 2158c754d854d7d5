"""What the gateway passes on in a round: for each member what it needs, as columns in id order."""

from __future__ import annotations

from parley_protocol.columns import pack
from parley_protocol.gateway_state import GatewayState
from parley_protocol.relays import Boxes, Certified, Keys, ListProposal, ReleaseAsked, Released


def keys_for(state: GatewayState, party: str) -> Keys:
    """Return the keys of those that `party` deals with, and the digests of the others' statements."""
    near = state.spec.cohort.near(party, state.adverts)
    rows, dealt_with = [state.adverts[member] for member in near], frozenset(near)
    far = [row for member, row in sorted(state.adverts.items()) if member not in dealt_with]
    return Keys(
        agreement=state.spec.terms.digest(),
        round=state.spec.round,
        parties=tuple(sorted(state.adverts)),
        channel_keys=pack(bytes.fromhex(row.statement.channel_key) for row in rows),
        mask_keys=pack(bytes.fromhex(row.statement.mask_key) for row in rows),
        signatures=pack(row.signature for row in rows),
        others=pack(row.digest for row in far),
    )


def boxes_for(state: GatewayState, party: str) -> Boxes:
    """Return the boxes addressed to `party`, each with what shows that its owner signed it."""
    owners = [owner for owner in state.spec.cohort.sharing(party, state.shares) if owner != party]
    rows = [state.shares[owner] for owner in owners]
    return Boxes(
        agreement=state.spec.terms.digest(),
        round=state.spec.round,
        parties=tuple(sorted(state.shares)),
        roots=pack(bytes.fromhex(row.statement.root) for row in rows),
        signatures=pack(row.signature for row in rows),
        boxes=tuple(row.boxes[party] for row in rows),
        paths=tuple(pack(row.paths[party]) for row in rows),
    )


def proposal_of(state: GatewayState) -> ListProposal:
    """Return the survivor list as it is proposed."""
    listed = state.require_listed()
    rows = [state.manifests[survivor.party] for survivor in listed.survivors]
    return ListProposal(
        agreement=listed.agreement,
        round=listed.round,
        survivors=tuple(survivor.party for survivor in listed.survivors),
        openable=listed.openable,
        bodies=pack(bytes.fromhex(row.statement.body) for row in rows),
        signatures=pack(row.signature for row in rows),
    )


def certified_of(state: GatewayState) -> Certified:
    """Return the certificate's signatures, in the order in which they stand in it."""
    listed, terms = state.require_listed(), state.spec.terms
    by_fingerprint = {member.key.fingerprint: member.party for member in terms.members}
    signatures = state.certificate.signatures if state.certificate else ()
    return Certified(
        agreement=listed.agreement,
        round=listed.round,
        signers=tuple(by_fingerprint[row.keyid] for row in signatures),
        signatures=pack(row.sig for row in signatures),
    )


def asked_of(state: GatewayState, reason: str) -> ReleaseAsked:
    """Return the question to every member to destroy its shares."""
    return ReleaseAsked(agreement=state.spec.terms.digest(), round=state.spec.round, reason=reason[:2_000])


def released_of(state: GatewayState) -> Released:
    """Return the proof that nobody can open the round."""
    rows = sorted(state.releases.items())
    return Released(
        agreement=state.spec.terms.digest(),
        round=state.spec.round,
        parties=tuple(party for party, _ in rows),
        signatures=pack(signature for _, signature in rows),
    )
