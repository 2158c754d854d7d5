"""Invariants 1 and 3 in the list's small print: uploads that parties made, over the same boxes, each named as its owner signed it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from parley_crypto.keys import VerifyKey
from parley_protocol import columns
from parley_protocol.columns import pack
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Manifest
from parley_protocol.party_round import PartyRound

from tests.attacks.adversary import SEGMENTS, SIX, Stage
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.attacks.observed import altered, believed, content, signature_on
from tests.simulator import make_terms, party_key

VICTIM, OTHER, COLLUDER = SIX[0], SIX[1], SIX[5]


def collected() -> Stage:
    return Stage(make_terms(6, segments=SEGMENTS)).to(Phase.CONFIRM)


def restated(stage: Stage, party: str, **changes: object) -> None:
    """Put a manifest with other fields in place of a member's, signed by the member."""
    said = content(stage.manifests[party], Manifest).model_dump()
    stage.manifests[party] = Manifest.model_validate(said | changes).sign(party_key(party)).dump().decode()


def show_more_manifests_than_listed() -> None:
    stage = collected()
    with suppress(ValueError):  # an accident instead of a refusal
        stage.confirm(stage.listed(SIX[:5]), [VICTIM], stage.manifests.values())


def swap_the_digest_of_an_upload() -> None:
    """Another body under a member's genuine signature: its sum would be the gateway's choice."""
    stage = collected()
    proposal = stage.proposal(stage.listed())
    bodies = [bytes.fromhex(content(stage.manifests[party], Manifest).body) for party in SIX]
    stage.show(VICTIM, altered(proposal, {"bodies": pack([*bodies[:5], bytes(32)])}))


def swap_a_signature() -> None:
    stage = collected()
    proposal = stage.proposal(stage.listed())
    signatures = [signature_on(stage.manifests[party]) for party in (*SIX[:5], OTHER)]
    stage.show(VICTIM, altered(proposal, {"signatures": pack(signatures)}))


def sum_uploads_over_different_boxes() -> None:
    """The gateway gave a member the boxes of five, the others those of six: its pair masks would not cancel."""
    stage = Stage(make_terms(6)).to(Phase.SHARE)
    for party in SIX:
        stage.show(party, stage.boxes(party, SIX[:5] if party == OTHER else SIX))
        stage.seal(party)
    stage.confirm(stage.listed(), [VICTIM])


def list_a_member_that_sealed_other_parts() -> None:
    stage = collected()
    restated(stage, COLLUDER, segments=("trunk",), size=32)
    stage.confirm(stage.listed(), [VICTIM])


def list_an_update_that_the_reader_never_sealed() -> None:
    stage = Stage(make_terms(6)).to(Phase.COLLECT).to(Phase.CONFIRM, silent=[VICTIM])
    stage.manifests[VICTIM] = stage.manifests[OTHER]
    restated_as_victim = content(stage.manifests[OTHER], Manifest).model_dump() | {"party": VICTIM}
    stage.manifests[VICTIM] = Manifest.model_validate(restated_as_victim).sign(party_key(VICTIM)).dump().decode()
    stage.confirm(stage.listed(), [VICTIM])


def list_an_older_update_of_the_readers() -> None:
    stage = collected()
    restated(stage, VICTIM, body="e" * 64)  # as if signed before a restore from backup
    stage.confirm(stage.listed(), [VICTIM])


UNSIGNED = (Patch(VerifyKey, "verify", believed),)
OURS = "under our name that is not ours"
NOT_OURS = (Guard(PartyRound, "_listed", OURS),)
COUNT = (Guard(columns, "unpack", "values of"),)
SIGNED = "not what it signed in this round"
ATTACKS = (
    Attack("more manifests", show_more_manifests_than_listed, "bodies: wanted 5 values of 32 bytes", COUNT),
    Attack("another body", swap_the_digest_of_an_upload, f"manifest of {COLLUDER}: {SIGNED}", UNSIGNED),
    Attack("another's signature", swap_a_signature, f"manifest of {COLLUDER}: {SIGNED}", UNSIGNED),
    Attack("different boxes", sum_uploads_over_different_boxes, f"manifest of {OTHER}: {SIGNED}", UNSIGNED),
    Attack("other parts", list_a_member_that_sealed_other_parts, f"manifest of {COLLUDER}: {SIGNED}", UNSIGNED),
    Attack("never sealed", list_an_update_that_the_reader_never_sealed, OURS, NOT_OURS),
    Attack("older update", list_an_older_update_of_the_readers, OURS, NOT_OURS),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_list_that_does_not_fit_the_uploads_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_the_list_is_signed(attack: Attack) -> None:
    check_mutations(attack)


def test_a_manifest_left_out_is_refused() -> None:
    stage = collected()
    with pytest.raises(RemoteProtocolError, match="bodies: wanted 6 values of 32 bytes, got 160 bytes"):
        stage.confirm(stage.listed(), [VICTIM], [stage.manifests[party] for party in SIX[:5]])


def test_a_list_is_what_the_reader_writes_down_of_what_members_signed() -> None:
    """No digest of a manifest travels: each reader computes it, so that none can be invented."""
    stage = collected()
    listed = stage.listed()
    stage.confirm(listed, SIX)
    assert all(stage.states[party].listed == listed for party in SIX)
    assert [survivor.manifest for survivor in listed.survivors] == [content(stage.manifests[party], Manifest).digest() for party in SIX]
