r"""The one list of problems that a service can answer with, in the form of RFC 9457 (`application/problem+json`).

A problem says what is wrong (`detail`), what was wanted, what was got, and what to do. The same list serves HTTP answers, the control
socket and `--json` on the command line. Which exception becomes which problem is settled in `parley_service.problems`.

A problem that arrives was written by somebody else and ends on a terminal or in a log: `from_json` bounds its texts and replaces
characters that do not print. Problems carry no secret: whoever makes one keeps keys, tokens and rows out of its texts.

    >>> problem = Problem(Slug.WRONG_STATE, "study heart is not running", wanted="RUNNING", got="OFFERED")
    >>> problem.status, problem.type
    (409, 'urn:parley:problem:wrong-state')
    >>> Problem.from_json(problem.to_json()) == problem
    True
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from types import MappingProxyType
from typing import ClassVar, Final

from parley_crypto.errors import MalformedError

from parley_protocol.limits import PROBLEM_BYTES, PROBLEM_TEXT_CHARACTERS

CONTENT_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:parley:problem:"


@unique
class Slug(StrEnum):
    """The name of a problem: the last part of its `type`."""

    # what a request got wrong
    MALFORMED_REQUEST = "malformed-request"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    NOT_FOUND = "not-found"
    UNKNOWN_STUDY = "unknown-study"
    UNKNOWN_MODEL = "unknown-model"
    TOO_LARGE = "too-large"
    TRUNCATED_UPLOAD = "truncated-upload"
    UPLOAD_DIGEST_MISMATCH = "upload-digest-mismatch"
    RATE_LIMITED = "rate-limited"
    TOO_MANY_PROPOSALS = "too-many-proposals"
    # who asks
    NOT_AUTHENTICATED = "not-authenticated"
    UNKNOWN_PARTY = "unknown-party"
    WRONG_KEY = "wrong-key"
    REPLAYED_REQUEST = "replayed-request"
    CLOCK_SKEW = "clock-skew"
    STALE_INSTANCE = "stale-instance"
    NOT_ENTITLED = "not-entitled"
    INVITE_UNKNOWN = "invite-unknown"
    INVITE_EXPIRED = "invite-expired"
    INVITE_USED = "invite-used"
    # what stands against it
    WRONG_STATE = "wrong-state"
    CONFLICT = "conflict"
    REFUSED_BY_POLICY = "refused-by-policy"
    NO_AGREEMENT = "no-agreement"
    VERIFICATION_FAILED = "verification-failed"
    PROTOCOL_BROKEN = "protocol-broken"
    # what is wrong at home
    USAGE = "usage"
    CONFIG_INVALID = "config-invalid"
    FILE_INVALID = "file-invalid"
    SECRET_UNAVAILABLE = "secret-unavailable"  # noqa: S105  (the name of a problem)
    DATA_MISMATCH = "data-mismatch"
    CANNOT_REACH = "cannot-reach"
    TIMED_OUT = "timed-out"
    LOCKED = "locked"
    NOT_RUNNING = "not-running"
    EXTRA_MISSING = "extra-missing"
    STORE_DAMAGED = "store-damaged"
    STORE_NEWER = "store-newer"
    STORE_FAILED = "store-failed"
    INTERRUPTED = "interrupted"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is the same for every problem of one name."""

    status: int  # HTTP status, advisory where the problem never travels by HTTP
    title: str
    do: str


_LIST: Final[Mapping[Slug, _Entry]] = MappingProxyType(
    {
        Slug.MALFORMED_REQUEST: _Entry(
            400, "The request does not parse", "Compare the request with the protocol page; check both versions."
        ),
        Slug.METHOD_NOT_ALLOWED: _Entry(405, "The address does not take this method", "Compare the request with the protocol page."),
        Slug.NOT_FOUND: _Entry(404, "There is nothing at this address", "Check the name; check that both sides run the same version."),
        Slug.UNKNOWN_STUDY: _Entry(404, "The study is not known here", "See `parley study list` for the studies that you may see."),
        Slug.UNKNOWN_MODEL: _Entry(404, "The model version is not known here", "See `parley model list STUDY`."),
        Slug.TOO_LARGE: _Entry(
            413, "The body is larger than the limit", "Send less, or ask the operator to raise the limit in gateway.toml."
        ),
        Slug.TRUNCATED_UPLOAD: _Entry(400, "The upload ended before its length", "Ask how much arrived and send the rest."),
        Slug.UPLOAD_DIGEST_MISMATCH: _Entry(
            422, "The upload is not what its digest says", "The upload was dropped: send it again from the start."
        ),
        Slug.RATE_LIMITED: _Entry(429, "Too many requests", "Wait, then ask less often."),
        Slug.TOO_MANY_PROPOSALS: _Entry(
            429, "Too many proposals of one sponsor", "Propose again when the time named here has come; gather changes in one proposal."
        ),
        Slug.NOT_AUTHENTICATED: _Entry(
            401, "The request carries no valid token", "Join with `parley party join INVITE`; then run `parley doctor`."
        ),
        Slug.UNKNOWN_PARTY: _Entry(401, "The party is not enrolled here", "Ask the gateway's operator for an invite and join."),
        Slug.WRONG_KEY: _Entry(
            401,
            "The signature is not by the enrolled key",
            "Check that this folder holds the keys that joined; never copy keys between folders.",
        ),
        Slug.REPLAYED_REQUEST: _Entry(
            401, "The token was used before", "A token serves one request: make a new one. If you made only one, somebody else sent it."
        ),
        Slug.CLOCK_SKEW: _Entry(
            401, "The two clocks differ too much", "Set the clock of this machine by NTP (`parley doctor` shows the offset)."
        ),
        Slug.STALE_INSTANCE: _Entry(
            401, "The token was made for an earlier start of the gateway", "Use the `instance` of this answer and send the request again."
        ),
        Slug.NOT_ENTITLED: _Entry(403, "Not entitled", "Ask whoever runs the gateway or the study."),
        Slug.INVITE_UNKNOWN: _Entry(403, "The invite is not known here", "Ask the gateway's operator for a new invite."),
        Slug.INVITE_EXPIRED: _Entry(403, "The invite has expired", "Ask the gateway's operator for a new invite."),
        Slug.INVITE_USED: _Entry(
            409, "The invite was used before", "If you did not use it, tell the operator at once; then ask for a new invite."
        ),
        Slug.WRONG_STATE: _Entry(409, "Not possible in this state", "See `status` and `study show` for the state, and what it allows."),
        Slug.CONFLICT: _Entry(
            409, "It contradicts what is already there", "Look at what is there; use another name or take the old one back."
        ),
        Slug.REFUSED_BY_POLICY: _Entry(403, "Refused by a party's policy", "See `parley study explain STUDY` for the clause."),
        Slug.NO_AGREEMENT: _Entry(409, "No terms satisfy every policy", "See `parley study explain STUDY` for what binds."),
        Slug.VERIFICATION_FAILED: _Entry(
            422, "A signature, digest or proof does not verify", "Do not go on. Keep the evidence; ask the parties named here."
        ),
        Slug.PROTOCOL_BROKEN: _Entry(
            422, "The other side broke the protocol", "Do not go on. Keep the log; tell the operator of the other side."
        ),
        Slug.USAGE: _Entry(400, "The command is not complete or not known", "See `--help`."),
        Slug.CONFIG_INVALID: _Entry(422, "A configuration file is not valid", "Correct the field; the examples stand under docs/examples."),
        Slug.FILE_INVALID: _Entry(422, "A file is not what it should be", "Check the path and the file."),
        Slug.SECRET_UNAVAILABLE: _Entry(422, "A secret cannot be had", "Check where the config says that it comes from."),
        Slug.DATA_MISMATCH: _Entry(
            422, "The data do not fit the study", "Correct the query or the map in party.toml; see `parley data check`."
        ),
        Slug.CANNOT_REACH: _Entry(502, "The other side cannot be reached", "Run `parley doctor`."),
        Slug.TIMED_OUT: _Entry(504, "No answer in time", "Run `parley doctor`; see the other side's log."),
        Slug.LOCKED: _Entry(409, "Another service uses this folder", "Stop the other service, or give this one its own folder."),
        Slug.NOT_RUNNING: _Entry(
            409, "The service of this folder is not running", "Start it with `parley gateway serve` or `parley party serve`."
        ),
        Slug.EXTRA_MISSING: _Entry(501, "An extra is not installed", "Install it."),
        Slug.STORE_DAMAGED: _Entry(500, "The store is damaged", "Stop the service; restore the last backup."),
        Slug.STORE_NEWER: _Entry(500, "The store is from a newer version", "Install the version that wrote it, or a newer one."),
        Slug.STORE_FAILED: _Entry(500, "The store could not write or read", "Check disk space and permissions."),
        Slug.INTERRUPTED: _Entry(500, "Interrupted", "Run the command again; nothing acknowledged is lost."),
        Slug.UNAVAILABLE: _Entry(503, "The service is stopping or starting", "Ask again in a moment."),
        Slug.INTERNAL: _Entry(500, "A fault of this program", "Report it with the log; nothing acknowledged is lost."),
    }
)

_BY_NAME: Final = {slug.value: slug for slug in Slug}
_REQUIRED: Final = frozenset({"type", "title", "status", "detail"})
_OPTIONAL: Final = frozenset({"wanted", "got", "do", "instance"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `do` is the list's advice unless given. `instance` is the gateway's present instance id (stale-instance only)."""

    slug: Slug
    detail: str
    wanted: str | None = None
    got: str | None = None
    do: str | None = None
    instance: str | None = None

    def __post_init__(self) -> None:
        if self.do is None:
            object.__setattr__(self, "do", _LIST[self.slug].do)

    @property
    def status(self) -> int:
        """The HTTP status of the list."""
        return _LIST[self.slug].status

    @property
    def title(self) -> str:
        """The title of the list: the same for every problem of this name."""
        return _LIST[self.slug].title

    @property
    def type(self) -> str:
        """`urn:parley:problem:<slug>`."""
        return TYPE_PREFIX + self.slug.value

    def to_json(self) -> dict[str, str | int]:
        """Return the members of the problem object; what is absent is left out."""
        optional = {"wanted": self.wanted, "got": self.got, "do": self.do, "instance": self.instance}
        body: dict[str, str | int] = {"type": self.type, "title": self.title, "status": self.status, "detail": self.detail}
        return body | {name: text for name, text in optional.items() if text is not None}

    def dump(self) -> bytes:
        """Return the problem object as JSON bytes."""
        return json.dumps(self.to_json(), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, body: object) -> Problem:
        """Read a problem object that somebody sent; MalformedError if it is none of this list.

        Title and status are taken from the list, not from the sender.
        """
        if not isinstance(body, dict):
            raise MalformedError(f"problem: wanted a JSON object, got {type(body).__name__}")
        names = set(body)
        if not names >= _REQUIRED or not names <= _REQUIRED | _OPTIONAL:
            raise MalformedError(f"problem: wanted {', '.join(sorted(_REQUIRED))} and no unknown member")
        texts = {name: _plain(name, body[name]) for name in names - {"status", "type", "title"}}
        return cls(_slug_of(body["type"]), texts["detail"], texts.get("wanted"), texts.get("got"), texts.get("do"), texts.get("instance"))

    @classmethod
    def load(cls, raw: bytes) -> Problem:
        """Read a problem object from JSON bytes; MalformedError if they are none."""
        if len(raw) > PROBLEM_BYTES:
            raise MalformedError(f"problem: wanted at most {PROBLEM_BYTES} bytes, got {len(raw)}")
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"problem: wanted JSON, got {raw[:40]!r}…") from error
        return cls.from_json(body)


class ProblemError(Exception):
    """An exception that knows its problem: the root of every tree of errors above this package.

    `usual_problem` is the class's name in the list; an instance may name another. Raise a class that derives from it, not it.
    """

    usual_problem: ClassVar[Slug] = Slug.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        problem: Slug | None = None,
        wanted: str | None = None,
        got: str | None = None,
        do: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.problem = problem or self.usual_problem
        self.wanted = wanted
        self.got = got
        self.do = do

    def __str__(self) -> str:
        parts = [f"{word} {text}" for word, text in (("wanted", self.wanted), ("got", self.got)) if text is not None]
        return f"{self.message}: {', '.join(parts)}" if parts else self.message

    def to_problem(self) -> Problem:
        """Return the problem to answer with."""
        return Problem(self.problem, self.message, self.wanted, self.got, self.do)


def _slug_of(kind: object) -> Slug:
    if isinstance(kind, str) and kind.startswith(TYPE_PREFIX):
        slug = _BY_NAME.get(kind.removeprefix(TYPE_PREFIX))
        if slug is not None:
            return slug
    raise MalformedError(f"problem: wanted a type {TYPE_PREFIX}… of this version's list, got {str(kind)[:80]!r}")


def _plain(name: str, text: object) -> str:
    """Return `text` fit for a terminal: bounded, and without control characters."""
    if not isinstance(text, str):
        raise MalformedError(f"problem: wanted text in {name}, got {type(text).__name__}")
    short = text if len(text) <= PROBLEM_TEXT_CHARACTERS else text[:PROBLEM_TEXT_CHARACTERS] + "…"
    return "".join(character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in short)
