"""Request tokens, attacked: each test is one way in, and says by which problem it is refused."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.keys import SigningKey, VerifyKey
from parley_protocol.limits import TOKEN_BYTES
from parley_protocol.problems import Slug
from parley_service.auth import Audience, TokenVerifier, body_digest, make_token, new_instance
from parley_service.errors import RequestError

NOW = 1_800_000_000.25
GATEWAY = Audience("https://gateway.example", "SHA256:gateway")
INSTANCE = "ab" * 16
ALICE, MALLORY = SigningKey(b"a" * 32), SigningKey(b"m" * 32)
TARGET = "/v1/inbox?after=3&wait=25"


@dataclass
class World:
    """A gateway that knows alice, and a clock."""

    keys: dict[str, VerifyKey] = field(default_factory=lambda: {"alice": ALICE.public, "mallory": MALLORY.public})
    now: float = NOW

    def __post_init__(self) -> None:
        self.verifier = TokenVerifier(GATEWAY, instance=INSTANCE, key_of=self.keys.get)

    def send(self, token: str | None, method: str = "GET", target: str = TARGET, body: bytes = b"") -> str:
        header = None if token is None else f"Bearer {token}"
        return self.verifier.verify(header, method=method, target=target, body=body, now=self.now)

    def refused(self, token: str | None, method: str = "GET", target: str = TARGET, body: bytes = b"") -> RequestError:
        with pytest.raises(RequestError) as caught:
            self.send(token, method, target, body)
        return caught.value


@pytest.fixture
def world() -> World:
    return World()


def token(
    key: SigningKey = ALICE,
    *,
    party: str = "alice",
    audience: Audience = GATEWAY,
    method: str = "GET",
    target: str = TARGET,
    body: bytes = b"",
    instance: str = INSTANCE,
    now: float = NOW,
    seconds: int = 60,
) -> str:
    return make_token(
        key, party=party, audience=audience, method=method, target=target, body=body, instance=instance, now=now, seconds=seconds
    )


def raw_token(header: bytes, payload: bytes, signature: bytes = b"") -> str:
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, payload, signature))


def forged(change: Callable[[dict[str, object]], object], key: SigningKey = ALICE, header: dict[str, object] | None = None) -> str:
    """Return a token signed by `key` whose claims were changed before signing."""
    claims = jwt.decode(token(), options={"verify_signature": False})
    change(claims)
    head = json.dumps({"alg": "EdDSA", "typ": "JWT"} | (header or {})).encode()
    signed = raw_token(head, json.dumps(claims).encode()).removesuffix(".")
    return raw_token(head, json.dumps(claims).encode(), key.sign(signed.encode()))


def test_a_good_token_names_its_party(world: World) -> None:
    assert world.send(token()) == "alice"
    body = b'{"kind":"offer"}'
    assert world.send(token(method="POST", target="/v1/messages", body=body), "POST", "/v1/messages", body) == "alice"


def test_the_digest_of_a_body_may_be_known_already(world: World) -> None:
    body = b"x" * 1000
    made = make_token(
        ALICE, party="alice", audience=GATEWAY, method="PUT", target="/u", body=b"", instance=INSTANCE, now=NOW, digest=body_digest(body)
    )
    assert world.send(made, "PUT", "/u", body) == "alice"


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "bearer x", "Bearer", "Bearer ", "Bearer a.b.c", "Bearer \udcff.\udcff.x"])
def test_no_token_is_no_entry(world: World, header: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        world.verifier.verify(header, method="GET", target=TARGET, body=b"", now=NOW)
    assert caught.value.problem is Slug.NOT_AUTHENTICATED


def test_an_endless_header_is_not_parsed(world: World) -> None:
    assert world.refused("x" * TOKEN_BYTES).wanted == f"at most {TOKEN_BYTES} bytes"


def test_nested_json_does_not_bring_the_gateway_down(world: World) -> None:
    bomb = b"[" * 1400
    header = json.dumps({"alg": "EdDSA", "typ": "JWT"}).encode()
    assert world.refused(raw_token(header, bomb)).problem is Slug.NOT_AUTHENTICATED
    assert world.refused(raw_token(bomb, b"{}")).problem is Slug.NOT_AUTHENTICATED


@given(st.binary(max_size=60), st.binary(max_size=120), st.binary(max_size=64))
def test_noise_is_refused_and_never_crashes(header: bytes, payload: bytes, signature: bytes) -> None:
    assert World().refused(raw_token(header, payload, signature)).problem is Slug.NOT_AUTHENTICATED


def test_another_key_cannot_speak_for_a_party(world: World) -> None:
    error = world.refused(token(MALLORY))
    assert error.problem is Slug.WRONG_KEY
    assert ALICE.public.fingerprint in str(error)


def test_a_party_that_is_not_enrolled_or_was_revoked_is_unknown(world: World) -> None:
    assert world.refused(token(party="eve")).problem is Slug.UNKNOWN_PARTY
    del world.keys["alice"]
    assert world.refused(token()).problem is Slug.UNKNOWN_PARTY


def test_unsigned_tokens_are_refused(world: World) -> None:
    assert world.refused(forged(lambda _: None, header={"alg": "none"})).problem is Slug.NOT_AUTHENTICATED
    head, payload, _ = forged(lambda _: None, header={"alg": "none"}).split(".")
    assert world.refused(f"{head}.{payload}.").problem is Slug.NOT_AUTHENTICATED


def test_the_public_key_as_hmac_secret_is_refused(world: World) -> None:
    claims = jwt.decode(token(), options={"verify_signature": False})
    assert world.refused(jwt.encode(claims, ALICE.public.raw, algorithm="HS256")).problem is Slug.NOT_AUTHENTICATED


def test_a_key_that_the_token_brings_is_not_used(world: World) -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(MALLORY.public.raw).rstrip(b"=").decode()}
    assert world.refused(forged(lambda _: None, MALLORY, {"jwk": jwk, "kid": "mallory"})).problem is Slug.WRONG_KEY


def test_changed_claims_break_the_signature(world: World) -> None:
    head, payload, signature = token(MALLORY, party="mallory").split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    changed = base64.urlsafe_b64encode(json.dumps(claims | {"iss": "alice"}).encode()).rstrip(b"=").decode()
    assert world.refused(f"{head}.{changed}.{signature}").problem is Slug.WRONG_KEY


@pytest.mark.parametrize(
    ("method", "target"), [("POST", TARGET), ("GET", "/v1/members"), ("GET", "/v1/inbox?after=0&wait=25"), ("GET", "/v1/inbox")]
)
def test_a_token_serves_one_method_path_and_query(world: World, method: str, target: str) -> None:
    error = world.refused(token(), method, target)
    assert error.problem is Slug.NOT_AUTHENTICATED
    assert error.got == f"GET {TARGET}"


def test_a_token_serves_one_body(world: World) -> None:
    made = token(method="POST", body=b"mine")
    assert world.refused(made, "POST", body=b"theirs").problem is Slug.NOT_AUTHENTICATED
    assert world.refused(made, "POST", body=b"mine").problem is Slug.REPLAYED_REQUEST, "a failed use is a use"


def test_the_head_alone_gives_no_party(world: World) -> None:
    checked = world.verifier.verify_head(f"Bearer {token(body=b'x')}", method="GET", target=TARGET, now=NOW)
    assert checked.check_body(body_digest(b"x")) == "alice"
    with pytest.raises(RequestError):
        checked.check_body(body_digest(b"y"))


@pytest.mark.parametrize(
    "audience",
    [
        Audience("https://other.example", GATEWAY.fingerprint),
        Audience(GATEWAY.url, "SHA256:other"),
        Audience(GATEWAY.fingerprint, GATEWAY.url),
    ],
)
def test_a_token_for_another_gateway_is_refused(world: World, audience: Audience) -> None:
    assert world.refused(token(audience=audience)).message == "token is for another gateway"


@pytest.mark.parametrize("aud", [GATEWAY.url, [GATEWAY.url], [GATEWAY.url, GATEWAY.fingerprint, "https://evil.example"], [1, 2]])
def test_one_audience_of_several_is_not_enough(world: World, aud: object) -> None:
    assert world.refused(forged(lambda claims: claims.update(aud=aud))).problem is Slug.NOT_AUTHENTICATED


def test_a_token_from_before_a_restart_is_stale_and_says_the_new_instance() -> None:
    before = token(instance=new_instance())
    error = World().refused(before)
    assert error.problem is Slug.STALE_INSTANCE
    assert error.to_problem().instance == INSTANCE


def test_replay_is_refused_also_at_the_last_moment(world: World) -> None:
    made = token()
    assert world.send(made) == "alice"
    for later in (0.0, 1.0, 59.9, 60.0):
        world.now = NOW + later
        assert world.refused(made).problem is Slug.REPLAYED_REQUEST
    world.now = NOW + 60.1
    assert world.refused(made).problem is Slug.CLOCK_SKEW


def test_replay_is_refused_when_the_gateways_clock_steps_back(world: World) -> None:
    made = token()
    world.send(made)
    world.now = NOW + 3600
    world.send(token(now=world.now))  # forgets what has ended
    world.now = NOW + 1
    assert world.refused(made).problem is Slug.REPLAYED_REQUEST


def test_memory_of_tokens_is_bounded_and_a_full_one_forgets_nothing(world: World) -> None:
    verifier = TokenVerifier(GATEWAY, instance=INSTANCE, key_of=world.keys.get, remembered=3)

    def send(made: str, now: float) -> str:
        return verifier.verify(f"Bearer {made}", method="GET", target=TARGET, body=b"", now=now)

    first = token()
    for made in (first, token(), token()):
        send(made, NOW)
    with pytest.raises(RequestError) as caught:
        send(token(), NOW)
    assert caught.value.problem is Slug.RATE_LIMITED
    with pytest.raises(RequestError) as caught:
        send(first, NOW)
    assert caught.value.problem is Slug.REPLAYED_REQUEST
    assert send(token(MALLORY, party="mallory"), NOW) == "mallory", "one party's flood is not another's"
    assert send(token(now=NOW + 61), NOW + 61) == "alice"


def test_clock_ahead_says_by_how_much_and_which_way(world: World) -> None:
    assert world.send(token(now=NOW + 29)) == "alice"
    error = world.refused(token(now=NOW + 95))
    assert error.problem is Slug.CLOCK_SKEW
    assert "95 s ahead" in str(error)


def test_clock_behind_or_expired_says_by_how_much_and_which_way(world: World) -> None:
    assert world.send(token(now=NOW - 59)) == "alice"
    error = world.refused(token(now=NOW - 75))
    assert error.problem is Slug.CLOCK_SKEW
    assert "behind" in str(error)
    assert "75 s" in str(error)
    assert world.refused(token(now=NOW - 6, seconds=5)).problem is Slug.CLOCK_SKEW


def test_a_long_lived_token_is_refused(world: World) -> None:
    error = world.refused(token(seconds=61))
    assert error.problem is Slug.NOT_AUTHENTICATED
    assert error.got == "61 s"
    assert world.refused(token(seconds=0)).problem is Slug.NOT_AUTHENTICATED


@pytest.mark.parametrize("name", ["iss", "aud", "iat", "exp", "jti", "htm", "htu", "bdh", "ins"])
@pytest.mark.parametrize("value", [None, 7, True, "", "\ud800", "é\n", ["x"], {"a": 1}, 1e300, pytest.param(10**400, id="huge"), -1])
def test_claims_of_a_wrong_type_are_refused(world: World, name: str, value: object) -> None:
    error = world.refused(forged(lambda claims: claims.update({name: value})))
    assert error.problem in {Slug.NOT_AUTHENTICATED, Slug.STALE_INSTANCE}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_times_that_are_no_number_are_refused(world: World, value: float) -> None:
    assert world.refused(forged(lambda claims: claims.update(exp=value))).problem is Slug.NOT_AUTHENTICATED


def test_missing_and_unknown_claims_are_refused(world: World) -> None:
    assert world.refused(forged(lambda claims: claims.update(admin=True))).problem is Slug.NOT_AUTHENTICATED
    assert world.refused(forged(lambda claims: claims.pop("jti"))).problem is Slug.NOT_AUTHENTICATED
    assert world.refused(forged(lambda claims: claims.update(jti="short"))).problem is Slug.NOT_AUTHENTICATED


def test_no_problem_of_a_refusal_holds_a_token(world: World) -> None:
    made = token()
    world.send(made)
    assert made not in json.dumps(world.refused(made).to_problem().to_json())
