"""Invariants 1 and 3 in the list's small print: uploads that parties made, over the same boxes, each named as its owner signed it."""

from __future__ import annotations

import pytest
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Manifest, Survivor
from parley_protocol.party_round import PartyRound

from tests.attacks.adversary import SEGMENTS, SIX, Stage, content
from tests.attacks.guards import Attack, Guard, check_mutations, check_refused
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
    stage.confirm(stage.listed(SIX[:5]), [VICTIM], stage.manifests.values())


def show_another_manifest_than_listed() -> None:
    stage = collected()
    listed = stage.listed()
    restated(stage, COLLUDER, body="e" * 64)
    stage.confirm(listed, [VICTIM])


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


def guard(words: str) -> tuple[Guard]:
    return (Guard(PartyRound, "_check_manifests", words),)


EACH, LISTED, BOXES, PARTS, OURS = (
    "wanted a manifest of each",
    "is not the one listed",
    "used other boxes",
    "not its segments",
    "is not ours",
)
ATTACKS = (
    Attack("more manifests", show_more_manifests_than_listed, EACH, guard(EACH)),
    Attack("another manifest", show_another_manifest_than_listed, f"{COLLUDER} {LISTED}", guard(LISTED)),
    Attack("different boxes", sum_uploads_over_different_boxes, f"{OTHER} {BOXES}", guard(BOXES)),
    Attack("other parts", list_a_member_that_sealed_other_parts, f"{COLLUDER} sealed", guard(PARTS)),
    Attack("never sealed", list_an_update_that_the_reader_never_sealed, OURS, guard(OURS)),
    Attack("older update", list_an_older_update_of_the_readers, OURS, guard(OURS)),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_a_list_that_does_not_fit_the_uploads_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_the_list_is_signed(attack: Attack) -> None:
    check_mutations(attack)


def test_a_manifest_left_out_is_refused() -> None:
    stage = collected()
    with pytest.raises(RemoteProtocolError, match=EACH):
        stage.confirm(stage.listed(), [VICTIM], [stage.manifests[party] for party in SIX[:5]])


@pytest.mark.parametrize("digest", ["0" * 64, "f" * 64])
def test_an_invented_digest_is_refused(digest: str) -> None:
    stage = collected()
    survivors = list(stage.listed().survivors)
    survivors[3] = Survivor(party=survivors[3].party, manifest=digest)
    with pytest.raises(RemoteProtocolError, match=LISTED):
        stage.confirm(stage.listed(survivors=tuple(survivors)), [VICTIM])
