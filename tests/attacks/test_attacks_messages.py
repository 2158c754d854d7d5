"""Invariant 9: an unknown kind, an unknown field, something missing or of another type: refused, nothing sent, nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document
from parley_protocol.codec import POSTS, RELAYS, load_post, load_relay
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Manifest, Share, SurvivorList

from tests.attacks.adversary import KINDS, SIX, Relay, Stage, altered, answer, content, snapshot
from tests.simulator import make_terms, party_key

VICTIM, COLLUDER = SIX[0], SIX[5]
IN_TURN: dict[str, tuple[Phase, Callable[[Stage], Relay]]] = {
    "keys": (Phase.ADVERTISE, lambda stage: stage.keys()),
    "boxes": (Phase.SHARE, lambda stage: stage.boxes(VICTIM)),
    "list": (Phase.CONFIRM, lambda stage: stage.proposal(stage.listed())),
    "certified": (Phase.REVEAL, lambda stage: stage.signed(stage.listed(), SIX)),
    "aborted": (Phase.SHARE, lambda stage: stage.aborted()),
}


def mutations(body: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield what a hostile or broken gateway makes of a body: one thing wrong in each."""
    yield "an unknown field", body | {"urgent": True}
    for name, value in body.items():
        yield f"{name} missing", {key: kept for key, kept in body.items() if key != name}
        yield f"{name} null", body | {name: None}
        yield f"{name} in a list", body | {name: [value]}
        yield f"{name} of another type", body | {name: str(value) if isinstance(value, int) else 7}
    yield "round zero", body | {"round": 0}
    yield "round negative", body | {"round": -1}
    yield "round as a text", body | {"round": "1"}
    yield "round as a fraction", body | {"round": 1.5}
    yield "round as a truth", body | {"round": True}
    yield "agreement too long", body | {"agreement": body["agreement"] + "0"}
    yield "agreement in capitals", body | {"agreement": "A" * 64}
    yield "a list instead of an object", [body]
    yield "nothing", None


@pytest.mark.parametrize("kind", IN_TURN)
def test_a_message_with_anything_wrong_is_refused_and_changes_nothing(kind: str) -> None:
    phase, make = IN_TURN[kind]
    stage = Stage(make_terms(6)).to(phase)
    state = stage.states[VICTIM]
    message = make(stage)
    before = snapshot(state)
    assert KINDS[type(message)] == kind
    for name, body in mutations(json.loads(message.canonical())):
        with pytest.raises(RemoteProtocolError, match=f"message {kind}: "):
            answer(state, kind, json.dumps(body).encode())
        assert snapshot(state) == before, name
    moved, _ = answer(state, kind, message.canonical())
    assert snapshot(moved) != before


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"NaN", b'{"round":' + b"9" * 5_000 + b"}", b"[" * 10_000, b'"\\ud800"'])
@pytest.mark.parametrize("kind", [*RELAYS, *POSTS])
def test_bytes_that_are_no_message_are_refused(kind: str, raw: bytes) -> None:
    load: Callable[[str, bytes], Document] = load_relay if kind in RELAYS else load_post
    with pytest.raises(RemoteProtocolError, match=f"message {kind}: "):
        load(kind, raw)


@pytest.mark.parametrize("kind", ["", "KEYS", "release", "keys ", "advertise", "sealed", "../keys"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(RemoteProtocolError, match="wanted one of"):
        load_relay(kind, b"{}")
    with pytest.raises(RemoteProtocolError, match="wanted one of"):
        load_post("x" + kind, b"{}")


def signed_with(party: str, of: type[Advertise | Share | Manifest], text: str, **added: object) -> str:
    """Return a member's statement with fields that no such statement has, validly signed."""
    body = json.loads(content(text, of).canonical()) | added
    raw = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return Envelope.sign(of.kind, raw, party_key(party)).dump().decode()


def test_a_signed_statement_with_an_unknown_field_is_refused() -> None:
    stage = Stage(make_terms(6))
    with pytest.raises(RemoteProtocolError, match=f"advertise of {COLLUDER}: .*urgent"):
        stage.show(VICTIM, stage.keys(party_005=signed_with(COLLUDER, Advertise, stage.adverts[COLLUDER], urgent=1)))
    stage.to(Phase.SHARE)
    whole = stage.boxes(VICTIM)
    forged = signed_with(COLLUDER, Share, stage.posts[COLLUDER].statement, urgent=1)
    with pytest.raises(RemoteProtocolError, match=f"share of {COLLUDER}: .*urgent"):
        stage.show(VICTIM, altered(whole, {"shares": (*whole.shares[:5], forged)}))
    stage.to(Phase.CONFIRM)
    proposal = stage.proposal(stage.listed())
    forged = signed_with(COLLUDER, Manifest, stage.manifests[COLLUDER], urgent=1)
    with pytest.raises(RemoteProtocolError, match=f"manifest of {COLLUDER}: .*urgent"):
        stage.show(VICTIM, altered(proposal, {"manifests": (*proposal.manifests[:5], forged)}))


def test_a_list_with_an_unknown_field_is_refused() -> None:
    stage = Stage(make_terms(6)).to(Phase.CONFIRM)
    proposal = stage.proposal(stage.listed())
    body = json.loads(proposal.payload) | {"urgent": True}
    with pytest.raises(RemoteProtocolError, match="survivor list: SurvivorList: urgent"):
        stage.show(VICTIM, altered(proposal, {"payload": json.dumps(body, sort_keys=True, separators=(",", ":"))}))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"payload":"","payloadType":"","signatures":[]}', '{"payload":7}'])
def test_an_envelope_that_is_none_is_refused(text: str) -> None:
    stage = Stage(make_terms(6))
    with pytest.raises(RemoteProtocolError, match="advertise: "):
        stage.show(VICTIM, stage.keys(party_005=text))
    reached = Stage(make_terms(6)).to(Phase.REVEAL)
    certified = reached.signed(reached.listed(), SIX)
    with pytest.raises(RemoteProtocolError, match="certificate: "):
        reached.show(VICTIM, altered(certified, {"certificate": text}))


def test_no_refusal_shows_a_secret_of_the_reader() -> None:
    """Whatever is wrong with a message, no refusal and no repr holds a byte of a seed, key or share."""
    stage = Stage(make_terms(6)).to(Phase.REVEAL)
    state = stage.states[VICTIM]
    shares = [share.hex() for owners in state.held.values() for share in owners.values()]
    secrets = [state.seed.hex(), state._mask_secret.hex(), state._self_seed("trunk").hex(), *shares]
    said = [repr(state), str(state), repr(state._channel)]
    for kind, (_, make) in IN_TURN.items():
        for _, body in mutations(json.loads(make(stage).canonical())):
            try:
                answer(state, kind, json.dumps(body).encode())
            except RemoteProtocolError as error:
                said.append(f"{error!r} {error}")
    assert len(said) > 50
    for text in said:
        assert not any(secret in text or repr(bytes.fromhex(secret))[2:-1] in text for secret in secrets)


def test_a_survivor_list_has_one_form() -> None:
    listed = Stage(make_terms(6)).to(Phase.CONFIRM).listed()
    assert SurvivorList.parse(listed.canonical()).digest() == listed.digest()
