"""An opened sum as a party takes it: the pads come off, and the tags must prove it (invariant 13).

The gateway's word for a sum counts for nothing. What passes here is, but for a chance of 2^-66 or less, the sum of what exactly the listed
members sealed (`parley_crypto.sumproof`); and no longer than members within their agreed bounds can make it together.
"""

from __future__ import annotations

from collections.abc import Mapping

from parley_crypto import ring, sumproof
from parley_crypto.errors import CryptoError
from parley_crypto.masked import Context, remove_pads
from parley_crypto.ring import RingVector
from parley_crypto.tagsize import tag_bits
from parley_policies.negotiation.terms import Terms

from parley_protocol.bound import segment_size
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.messages import SurvivorList
from parley_protocol.problems import Slug


class SumNotProvenError(RemoteProtocolError):
    """A sum that the gateway handed out is not the one of the certificate. The study halts."""

    usual_problem = Slug.VERIFICATION_FAILED


def check_sums(terms: Terms, listed: SurvivorList, sums: Mapping[str, bytes | memoryview], members_key: bytes) -> dict[str, RingVector]:
    """Return the sums by segment from the bytes that the gateway handed out; SumNotProvenError if one of them is not what was sealed."""
    return {name: _checked(terms, listed, name, sums[name], members_key) for name in listed.openable}


def _checked(terms: Terms, listed: SurvivorList, name: str, raw: bytes | memoryview, members_key: bytes) -> RingVector:
    step = terms.steps[listed.step]
    segment, width = step.segment(name), step.encoding.width
    if len(raw) != segment_size(step, name):
        raise SumNotProvenError(f"sum of {name} in round {listed.round}: wanted {segment_size(step, name)} bytes, got {len(raw)}")
    vector = ring.from_bytes(raw[: segment.length * width // 8], segment.length, width)
    context = Context(listed.agreement, listed.round, listed.base, name)
    summed = [party for party in segment.members if party in listed.parties]
    if terms.opened_sums_readable_by == "parties":
        remove_pads(vector, [context.pad_key(members_key, party) for party in summed])
    try:
        tags = sumproof.from_bytes(raw[segment.length * width // 8 :], tag_bits(width))
        sumproof.check(vector, tags, context.proof_key(members_key), summed)
    except CryptoError as error:
        raise SumNotProvenError(f"sum of {name} in round {listed.round}: {error}") from error
    return vector
