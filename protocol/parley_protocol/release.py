"""RELEASE: what members say of a round that can never be opened, and the proof that enough of them have said it (invariant 3).

A member says it of a round that it is in, or of one that it is not and will never enter: either way it holds no share of it any more.
"""

from __future__ import annotations

from collections.abc import Collection

from parley_crypto.keys import SIGNATURE_BYTES, SigningKey
from parley_policies.negotiation.terms import Terms

from parley_protocol.bound import verify_row
from parley_protocol.cohort import Cohort
from parley_protocol.columns import pack, unpack
from parley_protocol.effects import Send
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.messages import Release
from parley_protocol.phases import Event
from parley_protocol.relays import Released, ReleasePost


def release_of(terms: Terms, round_number: int, party: str) -> Release:
    """Return the statement that a member makes of a round."""
    return Release(study=terms.study, agreement=terms.digest(), round=round_number, party=party)


def release_post(terms: Terms, round_number: int, party: str, key: SigningKey) -> Send:
    """Return RELEASE of a member; the caller has destroyed its shares, or has written down that it never enters the round."""
    signature = release_of(terms, round_number, party).sign(key).signatures[0].sig
    return Send(None, Event.RELEASE, ReleasePost(agreement=terms.digest(), round=round_number, signature=pack([signature])))


def verify_release(terms: Terms, round_number: int, party: str, signature: bytes) -> None:
    """Return if `party` said RELEASE of the round; RemoteProtocolError otherwise."""
    content = release_of(terms, round_number, party).model_dump(mode="json")
    verify_row(Release, content, terms.member(party), signature, "release")


def verify_released(cohort: Cohort, proof: Released, owners: Collection[str]) -> None:
    """Return if it is proven that no secret of `owners` in a round is ever rebuilt; RemoteProtocolError otherwise."""
    terms, parties = cohort.terms, proof.parties
    if list(parties) != sorted(set(parties)) or not set(parties) <= set(cohort.members):
        raise RemoteProtocolError(f"release of round {cohort.round}: wanted distinct members of the agreement in id order, got {parties}")
    if (proof.agreement, proof.round) != (terms.digest(), cohort.round):
        raise RemoteProtocolError(f"release: wanted round {cohort.round} of our agreement, got round {proof.round}")
    for party, signature in zip(parties, unpack(proof.signatures, SIGNATURE_BYTES, len(parties), "signatures"), strict=True):
        verify_release(terms, cohort.round, party, signature)
    if not cohort.is_released(parties, owners):
        raise RemoteProtocolError(
            f"release of round {cohort.round}: wanted statements of enough members that no secret can be rebuilt, got {len(parties)}"
        )
