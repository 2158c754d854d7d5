"""What this party asks of a proposal before its policy is asked: whose it is, what is computed, and how often its sponsor asks.

A proposal is a question to the policy, and the answer tells something of it (`parley_protocol.pacing`). The gateway's count protects nobody
from the gateway; so this party keeps its own, in its store.
"""

from __future__ import annotations

from parley_crypto.errors import CryptoError
from parley_crypto.keys import VerifyKey
from parley_crypto.statement import Signed
from parley_learning.shape import shape_of
from parley_policies.errors import Refused
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.proposal import Proposal
from parley_protocol.bound import load_envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.negotiation import StudyRequest
from parley_protocol.pacing import OF_ALL_SPONSORS, OF_ONE_SPONSOR, check_pace

from parley_party.store import PartyStore


def verified_proposal(request: StudyRequest, members: Directory) -> Proposal:
    """Return the proposal of a request if its sponsor signed it and the directory shows whom it invites; RemoteProtocolError otherwise."""
    envelope = load_envelope(request.proposal, "proposal")
    claimed = Proposal.parse(envelope.payload)
    if claimed.sponsor not in members or set(members) != set(claimed.invited):
        raise RemoteProtocolError(
            f"study {claimed.id}", wanted=f"the invited parties: {', '.join(claimed.invited)}", got=", ".join(sorted(members)) or "nobody"
        )
    try:
        return Signed(envelope, Proposal).verify(VerifyKey.from_hex(members[claimed.sponsor].identity))
    except CryptoError as error:
        raise RemoteProtocolError(f"study {claimed.id}: {error}") from error


def check_shape(proposal: Proposal) -> None:
    """Return if the proposed segments are what our learning code computes; Refused otherwise."""
    segments, length = shape_of(proposal)
    if (proposal.segments, proposal.summary_length) != (segments, length):
        raise Refused(
            "workload",
            f"the segments that our learning code computes: {', '.join(f'{item.name} {item.length}' for item in segments)}",
            ", ".join(f"{item.name} {item.length}" for item in proposal.segments),
            "the sponsor runs another version",
        )


async def check_paces(store: PartyStore, federation: str, me: str, sponsor: str, now: float) -> None:
    """Return if `sponsor` may ask once more: it, and all others of the federation together, did not ask too often.

    TooManyProposalsError says when it may. This party's own proposals count for itself alone: it learns nothing from its own policy.
    """
    asked = [(_sponsor(row.proposal), row.asked_at) for row in await store.studies(federation) if row.asked_at]
    check_pace(f"proposals of {sponsor}", [at for who, at in asked if who == sponsor], OF_ONE_SPONSOR, now=now)
    if sponsor != me:
        check_pace("proposals of all sponsors", [at for who, at in asked if who != me], OF_ALL_SPONSORS, now=now)


def _sponsor(proposal: str) -> str:
    return Proposal.parse(load_envelope(proposal, "proposal").payload).sponsor
