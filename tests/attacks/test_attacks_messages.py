"""Invariant 9: an unknown kind, an unknown field, something missing or of another type: refused, nothing sent, nothing changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from parley_crypto.signing import Envelope
from parley_crypto.statement import Document, Statement
from parley_protocol.certificates import verify_certificate
from parley_protocol.codec import POSTS, RELAYS, load_post, load_relay
from parley_protocol.columns import pack
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.ids import Phase
from parley_protocol.messages import Advertise, Manifest, Share, SurvivorList

from tests.attacks.adversary import SIX, Stage
from tests.attacks.observed import KINDS, Relay, altered, answer, content, mask_secret, signature_on, snapshot
from tests.simulator import make_terms, party_key

VICTIM, COLLUDER = SIX[0], SIX[5]


def proof(stage: Stage) -> Relay:
    """Return RELEASED with the statements of all others."""
    stage.release(SIX[1:])
    return stage.released()


IN_TURN: dict[str, tuple[Phase, Callable[[Stage], Relay]]] = {
    "keys": (Phase.ADVERTISE, lambda stage: stage.keys()),
    "boxes": (Phase.SHARE, lambda stage: stage.boxes(VICTIM)),
    "list": (Phase.CONFIRM, lambda stage: stage.proposal(stage.listed())),
    "certified": (Phase.REVEAL, lambda stage: stage.signed(stage.listed(), SIX)),
    "aborted": (Phase.SHARE, lambda stage: stage.aborted()),
    "release": (Phase.CONFIRM, lambda stage: stage.asked()),
    "released": (Phase.CONFIRM, proof),
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


@pytest.mark.parametrize("kind", ["", "KEYS", "releases", "keys ", "advertise", "sealed", "../keys"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(RemoteProtocolError, match="wanted one of"):
        load_relay(kind, b"{}")
    with pytest.raises(RemoteProtocolError, match="wanted one of"):
        load_post("x" + kind, b"{}")


def urgent(of: type[Statement], text: str) -> bytes:
    """Return a member's valid signature on its statement with a field that no such statement has."""
    body = json.loads(content(text, of).canonical()) | {"urgent": 1}
    raw = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return Envelope.sign(of.kind, raw, party_key(COLLUDER)).signatures[0].sig


def test_a_signature_on_a_statement_with_an_unknown_field_is_refused() -> None:
    """Nothing is parsed that came with the signature: it must be on what the reader writes down."""
    stage = Stage(make_terms(6))
    others = [signature_on(stage.adverts[party]) for party in SIX[:5]]
    with pytest.raises(RemoteProtocolError, match=f"keys of {COLLUDER}: not what it signed"):
        stage.show(VICTIM, altered(stage.keys(), {"signatures": pack([*others, urgent(Advertise, stage.adverts[COLLUDER])])}))
    stage.to(Phase.SHARE)
    others = [signature_on(stage.posts[party].statement) for party in SIX[1:5]]
    forged = urgent(Share, stage.posts[COLLUDER].statement)
    with pytest.raises(RemoteProtocolError, match=f"share of {COLLUDER}: not what it signed"):
        stage.show(VICTIM, altered(stage.boxes(VICTIM), {"signatures": pack([*others, forged])}))
    stage.to(Phase.CONFIRM)
    others = [signature_on(stage.manifests[party]) for party in SIX[:5]]
    forged = urgent(Manifest, stage.manifests[COLLUDER])
    with pytest.raises(RemoteProtocolError, match=f"manifest of {COLLUDER}: not what it signed"):
        stage.show(VICTIM, altered(stage.proposal(stage.listed()), {"signatures": pack([*others, forged])}))


def test_a_certificate_with_an_unknown_field_is_refused() -> None:
    """Whoever reads a chain parses lists: one that t members signed with a field too many is no list."""
    stage = Stage(make_terms(6)).to(Phase.CONFIRM)
    body = json.loads(stage.listed().canonical()) | {"urgent": True}
    raw = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(RemoteProtocolError, match=r"certificate: .*urgent"):
        verify_certificate(stage.terms, Envelope.sign(SurvivorList.kind, raw, *(party_key(party) for party in SIX)))


COLUMNS: dict[str, tuple[str, ...]] = {
    "keys": ("channel_keys", "mask_keys", "signatures", "others"),
    "boxes": ("roots", "signatures"),
    "list": ("bodies", "signatures"),
    "certified": ("signatures",),
    "released": ("signatures",),
}


@pytest.mark.parametrize(("kind", "column"), [(kind, column) for kind, columns in COLUMNS.items() for column in columns])
def test_a_column_of_another_length_or_form_is_refused(kind: str, column: str) -> None:
    phase, make = IN_TURN[kind]
    stage = Stage(make_terms(6)).to(phase)
    message = make(stage)
    raw = base64.b64decode(getattr(message, column))
    for wrong in (pack([raw, b"x"]), pack([raw[:-1]]) if raw else "AAAA", "A", "AB=C", "A" * 5, pack([raw * 2]) or "AAAA"):
        with pytest.raises(RemoteProtocolError, match=r"wanted base64|wanted \d+ values of \d\d bytes|message .*String should match"):
            stage.show(VICTIM, type(message).model_construct(**{**dict(message), column: wrong}))


def test_no_refusal_shows_a_secret_of_the_reader() -> None:
    """Whatever is wrong with a message, no refusal and no repr holds a byte of a seed, key or share."""
    stage = Stage(make_terms(6)).to(Phase.REVEAL)
    state = stage.states[VICTIM]
    shares = [share.hex() for owners in state.held.values() for share in owners.values()]
    secrets = [state.seed.hex(), mask_secret(state).hex(), state._secrets.self_seed("trunk").hex(), *shares]
    said = [repr(state), str(state), repr(state._secrets), repr(state._secrets.channel)]
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
