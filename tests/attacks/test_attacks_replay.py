"""Invariant 5: every key, box, signature and digest is bound to agreement, round, base version, phase, recipient and purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from parley_crypto.keys import VerifyKey
from parley_crypto.signing import Envelope
from parley_crypto.statement import Statement
from parley_protocol import certificates, commitments
from parley_protocol.bound import read_bound
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Manifest, Opened, Release, Reveal, Share, SurvivorList, Withdrawn
from parley_protocol.party_round import PartyRound
from parley_protocol.phases import PARTY
from parley_protocol.round_secrets import RoundSecrets

from tests.attacks.adversary import SIX, Stage
from tests.attacks.guards import Attack, Guard, Patch, check_mutations, check_refused
from tests.attacks.observed import KINDS, Relay, altered, believed
from tests.simulator import make_terms, party_key

VICTIM, PEER = SIX[0], SIX[1]
TERMS = make_terms(6)
ELSEWHERE: dict[str, Callable[[], Stage]] = {
    "round": lambda: Stage(TERMS, number=2),
    "agreement": lambda: Stage(make_terms(6, rounds=99)),
    "base": lambda: Stage(TERMS, version=1),
}


def replay_an_advert(world: str) -> None:
    stage, other = Stage(TERMS), ELSEWHERE[world]()
    stage.show(VICTIM, stage.keys(**{PEER.replace("-", "_"): other.adverts[PEER]}))
    assert stage.states[VICTIM].keys[PEER].mask == other.states[PEER]._secrets.mask.public


def replay_a_manifest(world: str) -> None:
    stage, other = Stage(TERMS).to(Phase.CONFIRM), ELSEWHERE[world]().to(Phase.CONFIRM)
    stage.manifests[PEER] = other.manifests[PEER]
    stage.confirm(stage.listed(), [VICTIM])


def replay_a_share(world: str) -> None:
    stage, other = Stage(TERMS).to(Phase.SHARE), ELSEWHERE[world]().to(Phase.SHARE)
    stage.posts[PEER] = other.posts[PEER]
    stage.show(VICTIM, stage.boxes(VICTIM))


def propose_a_list_of(changes: dict[str, Any]) -> None:
    """What of a list does not travel its signer writes down itself: its signature is on no list of the gateway's making."""
    stage = Stage(TERMS).to(Phase.CONFIRM)
    listed = stage.listed(**changes)
    stage.confirm(listed, SIX)
    rows = tuple(stage.signatures[party].signatures[0] for party in SIX)
    certificates.verify_certificate(TERMS, Envelope(SurvivorList.kind, listed.canonical(), rows))


def replay_a_certificate(world: str) -> None:
    """The signatures are genuine, of the same members, and on a list of elsewhere."""
    stage, other = Stage(TERMS).to(Phase.REVEAL), ELSEWHERE[world]().to(Phase.REVEAL)
    genuine = other.signed(other.listed(), SIX)
    stage.show(VICTIM, altered(genuine, {"agreement": stage.terms.digest(), "round": stage.number}))


def wrap_an_old_message(phase: Phase, field: str, value: object) -> None:
    stage = Stage(TERMS).to(phase)
    messages: dict[Phase, Relay] = {Phase.ADVERTISE: stage.keys()}
    if phase is Phase.SHARE:
        messages[phase] = stage.boxes(VICTIM)
    if phase is Phase.CONFIRM:
        messages[phase] = stage.proposal(stage.listed())
    if phase is Phase.REVEAL:
        messages[phase] = stage.signed(stage.listed(), SIX)
    stage.show(VICTIM, altered(messages[phase], {field: value}))


def open_ones_own_box() -> None:
    """The victim's box to a member comes back to it as that member's: the two have one secret in common."""
    stage = Stage(TERMS).to(Phase.SHARE)
    boxes = stage.boxes(VICTIM)
    assert boxes.parties[1] == PEER
    stage.show(VICTIM, altered(boxes, {"boxes": (stage.box(VICTIM, PEER), *boxes.boxes[1:])}))


def sign_a_list_under_another_type() -> None:
    """A survivor list that members signed as something else is no certificate."""
    stage = Stage(TERMS).to(Phase.CONFIRM)
    envelope = Envelope.sign("application/vnd.example+json", stage.listed().canonical(), *(party_key(party) for party in SIX))
    certificates.verify_certificate(TERMS, envelope)


def without_direction(secrets: RoundSecrets, keys: str, sender: str, recipient: str) -> tuple[str | int, ...]:
    return (secrets.spec.agreement, secrets.spec.round, secrets.spec.base, keys, *sorted((sender, recipient)))


def unproven(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """A careless `verify_inclusion`."""
    del leaf, index, size, path, root


UNSIGNED = Patch(VerifyKey, "verify", believed)
AGREED = Guard(certificates, "verify_certificate", "wanted agreement")
SAME = Guard(PartyRound, "_same_round", "of our agreement")
NOT_SIGNED = f"of {PEER}: not what it signed in this round"
FIELDS: dict[str, object] = {
    "study": "another",
    "agreement": "a" * 64,
    "round": 2,
    "base": "a" * 64,
    "step": 1,
    "parameters": "a" * 64,
    "previous": "a" * 64,
    "boxes_from": SIX[:5],
}
ATTACKS = (
    *(Attack(f"advert of another {world}", partial(replay_an_advert, world), f"keys {NOT_SIGNED}", (UNSIGNED,)) for world in ELSEWHERE),
    *(
        Attack(f"manifest of another {world}", partial(replay_a_manifest, world), f"manifest {NOT_SIGNED}", (UNSIGNED,))
        for world in ELSEWHERE
    ),
    *(
        Attack(
            f"list of another {field}",
            partial(propose_a_list_of, {field: value}),
            "wanted 5 valid signatures of members, got 0",
            (UNSIGNED, AGREED) if field in {"study", "agreement"} else (UNSIGNED,),
        )
        for field, value in FIELDS.items()
    ),
    *(
        Attack(f"{phase} with another {field}", partial(wrap_an_old_message, phase, field, value), "relay: wanted", (SAME,))
        for phase in (Phase.ADVERTISE, Phase.SHARE, Phase.CONFIRM, Phase.REVEAL)
        for field, value in (("round", 2), ("agreement", "a" * 64))
    ),
    Attack(
        "box sent back",
        open_ones_own_box,
        f"{PEER}, {VICTIM}.: does not open",
        (Patch(RoundSecrets, "_box_context", without_direction), Patch(commitments, "verify_inclusion", unproven)),
    ),
    Attack(
        "another type",
        sign_a_list_under_another_type,
        "wanted application/vnd.parley.certificate",
        (Guard(certificates, "verify_certificate", "certificate: wanted , got"),),
    ),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_what_was_made_for_elsewhere_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_without_its_check_it_is_accepted(attack: Attack) -> None:
    check_mutations(attack)


@pytest.mark.parametrize("world", ELSEWHERE)
def test_a_share_of_elsewhere_is_refused(world: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"share {NOT_SIGNED}"):
        replay_a_share(world)


@pytest.mark.parametrize("world", ELSEWHERE)
def test_a_certificate_of_elsewhere_is_refused(world: str) -> None:
    with pytest.raises(RemoteProtocolError, match="wanted 5 valid signatures of members, got 0"):
        replay_a_certificate(world)


@pytest.mark.parametrize("phase", [Phase.ADVERTISE, Phase.SHARE, Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL])
def test_a_message_out_of_turn_is_refused(phase: Phase) -> None:
    """Every message that the round ever sees, shown in every phase but its own."""
    done = Stage(TERMS).to(Phase.REVEAL)
    messages: list[Relay] = [done.keys(), done.boxes(VICTIM), done.proposal(done.listed()), done.signed(done.listed(), SIX), done.aborted()]
    for message in messages:
        stage = Stage(TERMS).to(phase)
        if KINDS[type(message)] not in PARTY[phase]:
            with pytest.raises(RemoteProtocolError, match=f"in {phase}: wanted"):
                stage.show(VICTIM, message)


def test_a_box_for_someone_else_does_not_open() -> None:
    stage = Stage(TERMS).to(Phase.SHARE)
    boxes, others = stage.boxes(VICTIM), stage.boxes(PEER)
    with pytest.raises(RemoteProtocolError, match="does not open"):
        stage.show(VICTIM, altered(boxes, {"boxes": (boxes.boxes[0], *others.boxes[1:])}))


def test_a_statement_of_another_type_is_refused() -> None:
    """Types are part of what is signed: no statement of a round can be read as one of another kind."""
    stage = Stage(TERMS).to(Phase.REVEAL)
    stage.reveal(stage.listed(), SIX)
    reveal = stage.reveals[PEER].statement.sign(party_key(PEER)).dump().decode()
    texts: dict[type[Statement], str] = {
        Advertise: stage.adverts[PEER],
        Share: stage.posts[PEER].statement,
        Manifest: stage.manifests[PEER],
        Reveal: reveal,
        SurvivorList: stage.signatures[PEER].dump().decode(),
    }
    readers: dict[type[Statement], Callable[[str], tuple[Envelope, Any]]] = {
        Advertise: lambda text: read_bound(text, Advertise, TERMS, 1, stage.base),
        Share: lambda text: read_bound(text, Share, TERMS, 1, stage.base),
        Manifest: lambda text: read_bound(text, Manifest, TERMS, 1, stage.base),
        Reveal: lambda text: read_bound(text, Reveal, TERMS, 1, stage.base),
        Withdrawn: lambda text: read_bound(text, Withdrawn, TERMS, 1, stage.base),
    }
    for of, read in readers.items():
        for made, text in texts.items():
            if made is not of:
                with pytest.raises(RemoteProtocolError, match="wanted type"):
                    read(text)
            else:
                assert read(text)[1].party == PEER


def test_statement_types_are_distinct() -> None:
    kinds = [of.kind for of in (Advertise, Share, Manifest, Reveal, Release, SurvivorList, Opened, Withdrawn)]
    assert len(set(kinds)) == len(kinds)


def test_two_rounds_from_one_seed_have_nothing_in_common() -> None:
    """A seed used twice, as after a careless restore, gives other keys, seeds and polynomials in every other round."""
    one = Stage(TERMS).states[VICTIM]
    for other in (make() for make in ELSEWHERE.values()):
        again = replace(other.states[VICTIM], seed=one.seed)
        assert one._secrets.mask.public != again._secrets.mask.public
        assert one._secrets.channel.public != again._secrets.channel.public
        assert one._secrets.self_seed("trunk") != again._secrets.self_seed("trunk")


def test_a_box_key_is_never_used_for_two_contents() -> None:
    """The same party, seed and round, shown two sets of keys, as if its service lost a record: no box shares a keystream."""
    stage = Stage(TERMS)
    boxes = []
    for shown in (SIX, SIX[:5]):
        stage.states[VICTIM] = replace(stage.states[VICTIM], phase=Phase.ADVERTISE)
        stage.show(VICTIM, stage.keys(shown))
        boxes.append(stage.box(VICTIM, PEER))
    assert boxes[0] != boxes[1]
    contexts = {stage.states[VICTIM]._secrets._box_context(keys, VICTIM, PEER) for keys in ("a" * 64, "b" * 64)}
    assert len(contexts) == 2
