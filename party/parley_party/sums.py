"""The sums of a certified round, as a party takes them: fetched or brought along, the bytes that the gateway signed for, and proven."""

from __future__ import annotations

from blake3 import blake3
from parley_crypto.ring import RingVector
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import body_size, segment_size
from parley_protocol.columns import decoded
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.proving import check_sums

from parley_party.client import GatewayClient


async def fetch_sums(
    client: GatewayClient, terms: Terms, listed: SurvivorList, opened: Opened, inline: str, members_key: bytes
) -> dict[str, RingVector]:
    """Return the opened sums by segment. `inline` are the bytes that came along, in base64.

    RemoteProtocolError if the bytes are not those of `opened`, SumNotProvenError if they are not the sum of what was sealed.
    """
    step = terms.steps[listed.step]
    whole = body_size(step, listed.openable)
    brought = decoded(inline, f"sums of round {listed.round}")
    raw = memoryview(brought if len(brought) == whole else await client.sums(terms.study, listed.round, whole))
    parts, offset = {}, 0
    for segment in opened.segments:
        part = raw[offset : offset + segment_size(step, segment.name)]
        if blake3(part).hexdigest() != segment.body:
            raise RemoteProtocolError(f"sum of {segment.name} in round {listed.round}: wanted the bytes that the gateway signed for")
        parts[segment.name] = part
        offset += len(part)
    return check_sums(terms, listed, parts, members_key)
