"""Request tokens: one short-lived JWT (EdDSA) a request, made by a party's authentication key and checked by the gateway.

A token is bound to the method, the address as sent, the digest of the body, the gateway (its configured address *and* its key's
fingerprint, never the Host header), and to one start of the gateway, its *instance*. So a token that was caught is worthless
elsewhere, for anything else, a second time, and after a restart, without writing a single token id to disk.

The argument, numbered as the code below:
 1. the header is bounded and of the form `Bearer <token>`;
 2. the named party is enrolled, and its key is the one in our own store, not one that the token brings;
 3. the signature is EdDSA by that key: other algorithms, `none` among them, are refused; only now are the claims believed;
 4. the claims are exactly those below, of the right types;
 5. audience: both our address and our fingerprint;
 6. instance: this start of the gateway;
 7. time: not from the future by more than the skew, not after its end, and no longer than the longest life;
 8. method and address are those of the request;
 9. the token id was not seen before: remembered until the token has ended. A clock that steps back does not forget (`_Seen.floor`);
10. the body has the digest that the token names (`Checked.check_body`, apart, since a body may arrive long after its head). The digest
    of a part of an upload is that of the upload up to and including this part, so that it is hashed once; it binds this part as well.

A token is no statement: it proves who sends a request to the gateway, never anything to other parties. Time is an argument everywhere.

    >>> from parley_crypto.keys import SigningKey
    >>> key, gateway = SigningKey(bytes(32)), Audience("https://gw.example", "SHA256:abc")
    >>> verifier = TokenVerifier(gateway, instance="00", key_of={"a": key.public}.get)
    >>> token = make_token(key, party="a", audience=gateway, method="GET", target="/v1/members", body=b"", instance="00", now=5.0)
    >>> verifier.verify("Bearer " + token, method="GET", target="/v1/members", body=b"", now=5.5)
    'a'
"""

from __future__ import annotations

import base64
import json
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Final

import jwt
from blake3 import blake3
from jwt.types import Options
from parley_crypto.keys import SigningKey, VerifyKey
from parley_protocol.limits import (
    CLOCK_SKEW_SECONDS,
    INSTANCE_ID_BYTES,
    NAME_CHARACTERS,
    TOKEN_BYTES,
    TOKEN_ID_BYTES,
    TOKEN_SECONDS,
    TOKENS_REMEMBERED_PER_PARTY,
)
from parley_protocol.problems import Slug

from parley_service.errors import RequestError

ALGORITHM: Final = "EdDSA"
SCHEME: Final = "Bearer "
_CLAIMS: Final = frozenset({"iss", "aud", "iat", "exp", "jti", "htm", "htu", "bdh", "ins"})
_PARTS: Final = 3  # header, claims, signature
_EARLIEST_SECONDS, _LATEST_SECONDS = 0, 10**12  # of a time in a token
# audience and times are checked here, against a clock that is an argument; PyJWT's own checks read the system's
_OURS: Final[Options] = {"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_iss": False}


@dataclass(frozen=True, slots=True)
class Audience:
    """The gateway that a token is for: its configured public address and the fingerprint of its key."""

    url: str
    fingerprint: str


def body_digest(body: bytes) -> str:
    """Return the BLAKE3-256 of a body as 64 hexadecimal digits; of the empty string for no body."""
    return blake3(body).hexdigest()


def new_instance() -> str:
    """Return a fresh instance id: 16 random bytes in hexadecimal, drawn at each start of a gateway."""
    return secrets.token_hex(INSTANCE_ID_BYTES)


def make_token(
    key: SigningKey,
    *,
    party: str,
    audience: Audience,
    method: str,
    target: str,
    body: bytes,
    instance: str,
    now: float,
    digest: str | None = None,
    token_id: str | None = None,
    seconds: int = TOKEN_SECONDS,
) -> str:
    """Return a token for one request.

    `target` is path and query as sent, `now` unix seconds. `digest` is `body_digest(body)` where it is known already, or for a part of an
    upload the digest of all up to its end. `token_id` is drawn here unless given (a test).
    """
    claims = {
        "iss": party,
        "aud": [audience.url, audience.fingerprint],
        "iat": now,
        "exp": now + seconds,
        "jti": token_id or secrets.token_hex(TOKEN_ID_BYTES),
        "htm": method,
        "htu": target,
        "bdh": digest or body_digest(body),
        "ins": instance,
    }
    return jwt.encode(claims, key.library_key, algorithm=ALGORITHM)


@dataclass(frozen=True, slots=True)
class Checked:
    """A token that holds for the head of a request. The request is the party's only after `check_body`."""

    party: str  # who made the token
    _body_digest: str

    def check_body(self, digest: str) -> str:
        """Return the party if the body has the digest that the token names; RequestError otherwise."""
        if not compare_digest(self._body_digest.encode(), digest.encode()):
            raise _refused("body of the request", wanted=f"BLAKE3 {self._body_digest[:16]}… as its token says", got=f"{digest[:16]}…")
        return self.party


@dataclass(slots=True)
class _Seen:
    """Token ids of one party that are still valid, with their ends (unix seconds)."""

    ends: dict[str, float] = field(default_factory=dict)
    floor: float = -math.inf  # the latest end that was forgotten: what ends at or before it counts as seen


class TokenVerifier:
    """Checks tokens for one start of a gateway, and remembers those that it saw.

    `key_of` gives the enrolled authentication key of a party, or None if there is none or it is revoked. Memory is bounded: at most
    `remembered` ids a party, and only for enrolled parties; a party that has more alive at once gets 429.
    """

    def __init__(
        self,
        audience: Audience,
        *,
        instance: str,
        key_of: Callable[[str], VerifyKey | None],
        remembered: int = TOKENS_REMEMBERED_PER_PARTY,
    ) -> None:
        self._audience = audience
        self.instance: Final = instance
        self._key_of = key_of
        self._remembered = remembered
        self._seen: dict[str, _Seen] = {}

    def verify(self, authorization: str | None, *, method: str, target: str, body: bytes, now: float) -> str:
        """Return the party that sends this request; RequestError with the reason otherwise."""
        return self.verify_head(authorization, method=method, target=target, now=now).check_body(body_digest(body))

    def verify_head(self, authorization: str | None, *, method: str, target: str, now: float) -> Checked:
        """Check everything but the body, before reading it, and use up the token."""
        claims = self._claims(authorization)
        self._check_audience(claims)
        if not compare_digest(claims.ins.encode(), self.instance.encode()):  # 6
            raise RequestError("token is for an earlier start of this gateway", problem=Slug.STALE_INSTANCE, instance=self.instance)
        _check_time(claims, now)
        if (claims.htm, claims.htu) != (method, target):  # 8
            raise _refused("token", wanted=f"one for {method} {target[:200]}", got=f"{claims.htm[:16]} {claims.htu[:200]}")
        self._use_up(claims, now)
        return Checked(claims.iss, claims.bdh)

    def _claims(self, authorization: str | None) -> _Claims:
        if authorization is None or not authorization.startswith(SCHEME):  # 1
            raise _refused(
                "request", wanted="an Authorization header `Bearer <token>`", got="none" if authorization is None else "another scheme"
            )
        if len(authorization) > TOKEN_BYTES:
            raise _refused("token", wanted=f"at most {TOKEN_BYTES} bytes", got=str(len(authorization)))
        token = authorization.removeprefix(SCHEME)
        issuer = _issuer(token)
        key = self._key_of(issuer)  # 2
        if key is None:
            raise RequestError(f"party {issuer!r} is not enrolled at this gateway, or was revoked", problem=Slug.UNKNOWN_PARTY)
        try:  # 3
            claims = jwt.decode(token, key.library_key, algorithms=[ALGORITHM], options=_OURS)
        except jwt.InvalidAlgorithmError as error:
            raise _refused("token", wanted=f"algorithm {ALGORITHM}", got="another") from error
        except jwt.InvalidSignatureError as error:
            raise RequestError(
                f"token of {issuer!r}", problem=Slug.WRONG_KEY, wanted=f"a signature by {key.fingerprint}", got="another"
            ) from error
        except jwt.PyJWTError as error:
            raise _refused("token", wanted="a signed JWT", got=f"one that does not parse ({error})") from error
        return _Claims.read(claims)

    def _check_audience(self, claims: _Claims) -> None:
        wanted = (self._audience.url, self._audience.fingerprint)  # 5
        if claims.aud != wanted:
            raise _refused("token is for another gateway", wanted=" and ".join(wanted), got=" and ".join(part[:200] for part in claims.aud))

    def _use_up(self, claims: _Claims, now: float) -> None:
        seen = self._seen.setdefault(claims.iss, _Seen())  # 9
        if claims.jti in seen.ends or claims.exp <= seen.floor:
            raise RequestError(f"token {claims.jti[:16]}… of {claims.iss!r} was used before", problem=Slug.REPLAYED_REQUEST)
        _forget(seen, now)
        if len(seen.ends) >= self._remembered:
            raise RequestError(
                f"party {claims.iss!r} has too many requests alive",
                problem=Slug.RATE_LIMITED,
                wanted=f"at most {self._remembered} in {TOKEN_SECONDS} s",
            )
        seen.ends[claims.jti] = claims.exp


def _forget(seen: _Seen, now: float) -> None:
    """Drop ids of ended tokens, oldest first; stop at the first that is still valid."""
    ended = []
    for token_id, end in seen.ends.items():
        if end >= now:
            break
        ended.append(token_id)
    for token_id in ended:
        seen.floor = max(seen.floor, seen.ends.pop(token_id))


@dataclass(frozen=True, slots=True)
class _Claims:
    """The claims of a token whose signature verified."""

    iss: str
    aud: tuple[str, str]
    iat: float
    exp: float
    jti: str
    htm: str
    htu: str
    bdh: str
    ins: str

    @classmethod
    def read(cls, claims: dict[str, object]) -> _Claims:  # 4
        if set(claims) != _CLAIMS:
            raise _refused("token", wanted=f"the claims {', '.join(sorted(_CLAIMS))}", got=", ".join(sorted(claims))[:200])
        match claims["aud"]:
            case [str() as url, str() as fingerprint]:
                aud = (_text("aud", url), _text("aud", fingerprint))
            case other:
                raise _refused("token", wanted="aud with address and fingerprint", got=repr(other)[:200])
        texts = {name: _text(name, claims[name]) for name in ("iss", "jti", "htm", "htu", "bdh", "ins")}
        if len(texts["jti"]) != 2 * TOKEN_ID_BYTES:  # a short one would meet others by chance
            raise _refused("token", wanted=f"jti of {2 * TOKEN_ID_BYTES} hexadecimal digits", got=f"{len(texts['jti'])} characters")
        return cls(aud=aud, iat=_seconds("iat", claims["iat"]), exp=_seconds("exp", claims["exp"]), **texts)


def _issuer(token: str) -> str:
    """Return who the token says it is from, unverified: it only chooses the key to verify with."""
    parts = token.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    except (IndexError, ValueError, RecursionError) as error:
        raise _refused("token", wanted="a signed JWT", got=f"one that does not parse ({str(error)[:200]})") from error
    if len(parts) != _PARTS or not isinstance(claims, dict):
        raise _refused("token", wanted="a signed JWT", got="one that does not parse")
    issuer = _text("iss", claims.get("iss"))
    if not 0 < len(issuer) <= NAME_CHARACTERS:
        raise _refused("token", wanted="the party's id as iss", got=f"{len(issuer)} characters")
    return issuer


def _check_time(claims: _Claims, now: float) -> None:
    if claims.iat > now + CLOCK_SKEW_SECONDS:  # 7
        raise _skewed(claims, f"is {claims.iat - now:.0f} s ahead of the gateway's", f"at most {CLOCK_SKEW_SECONDS} s ahead")
    if not claims.iat < claims.exp <= claims.iat + TOKEN_SECONDS:
        raise _refused("token", wanted=f"a life of at most {TOKEN_SECONDS} s", got=f"{claims.exp - claims.iat:.0f} s")
    if now > claims.exp:
        late = f"is behind the gateway's, or the request was {now - claims.iat:.0f} s under way"
        raise _skewed(claims, late, f"a token made less than {claims.exp - claims.iat:.0f} s ago by the gateway's clock")


def _skewed(claims: _Claims, what: str, wanted: str) -> RequestError:
    return RequestError(f"the clock of {claims.iss!r} {what}", problem=Slug.CLOCK_SKEW, wanted=wanted)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise _refused("token", wanted=f"ASCII text as {name}", got=repr(value)[:80])
    return value


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _EARLIEST_SECONDS <= value <= _LATEST_SECONDS:
        raise _refused("token", wanted=f"unix seconds as {name}", got=repr(value)[:40])
    return float(value)


def _refused(what: str, *, wanted: str, got: str) -> RequestError:
    return RequestError(what, problem=Slug.NOT_AUTHENTICATED, wanted=wanted, got=got)
