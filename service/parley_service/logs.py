"""Structured logs to stderr, as JSON or text, for a service and the libraries it uses. Never values, keys, tokens or rows.

Log with an event and named values: `log.info("round.opened", study=study, round=3, members=5)`. The last processor before rendering
looks at every value: secrets, keys, bytes and arrays become a word that says their kind and size, values under a name that promises
a secret (`passphrase`, `token`, …) are redacted whatever they are, long texts are cut, and what is neither text, number nor a small
container of these becomes the name of its type. So a careless call leaks a type's name, not its content.

    configure(format="json", level="info")
    log = get_log("parley.gateway")
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Collection, Mapping, MutableMapping
from datetime import date
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TextIO
from uuid import UUID

import structlog
from parley_crypto.keys import VerifyKey
from structlog.stdlib import BoundLogger
from structlog.typing import EventDict, Processor

REDACTED: Final = "redacted"
TEXT_CHARACTERS: Final = 500
ITEMS: Final = 50
DEPTH: Final = 4
_SECRET_WORDS: Final = frozenset(
    {"passphrase", "password", "secret", "secrets", "token", "authorization", "invite", "seed", "seeds", "private", "credential", "cookie"}
)
_OURS: Final = frozenset(
    {"exc_info", "_record", "_from_structlog", "stack_info", "exception"}
)  # of the logging machinery; a traceback shows no values


def configure(*, format: Literal["json", "text"] = "text", level: str = "info", stream: TextIO | None = None) -> None:  # noqa: A002  (the config's word)
    """Send all logs of this process, also those of libraries, to `stream` (stderr) in one format."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: Processor = structlog.processors.JSONRenderer() if format == "json" else _as_text
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redact,
            last,
        ],
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    logging.getLogger("alembic").setLevel("WARNING")  # that a store was made is not news
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def get_log(name: str) -> BoundLogger:
    """Return the log of that name, such as `parley.gateway`."""
    log: BoundLogger = structlog.stdlib.get_logger(name)
    return log


def redact(_: object, __: str, event: EventDict) -> EventDict:
    """Make every value of a log entry fit to be shown (a structlog processor)."""
    return {name: value if name in _OURS else _shown(name, value, DEPTH) for name, value in event.items()}


def _shown(name: str, value: object, depth: int) -> object:
    if not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z]", name.lower())) and not isinstance(value, bool | int | float | None):
        return REDACTED
    return _fit(value, depth)


def _fit(value: object, depth: int) -> object:
    match value:
        case Enum():
            return _fit(value.value, depth)
        case None | bool() | int() | float():
            return value
        case str() | Path() | date() | UUID() | BaseException():
            return _cut(str(value) or type(value).__name__ if isinstance(value, BaseException) else str(value))
        case Mapping() | list() | tuple() | set() | frozenset() if depth:
            return _container(value, depth - 1)
        case _:
            return _described(value)


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS else f"{text[:TEXT_CHARACTERS]}… ({len(text)} characters)"


def _container(value: Mapping[Any, object] | Collection[object], depth: int) -> object:
    more = f"{len(value)} in all"
    if isinstance(value, Mapping):
        shown = {str(name): _shown(str(name), item, depth) for name, item in islice(value.items(), ITEMS)}
        return shown if len(value) <= ITEMS else shown | {"…": more}
    items = [_fit(item, depth) for item in islice(value, ITEMS)]
    return items if len(value) <= ITEMS else [*items, f"… {more}"]


def _described(value: object) -> str:
    match value:
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case VerifyKey():
            return value.fingerprint
        case _:
            return f"<{type(value).__name__}>"


def _as_text(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    """Render an entry as one line: time, level, name, event, and the values as name=value; a traceback follows."""
    time, level, name, what = (str(event.pop(key, "")) for key in ("timestamp", "level", "logger", "event"))
    trace = event.pop("exception", None)
    line = " ".join([time, f"{level:<8}", name, what, *(f"{key}={_quoted(value)}" for key, value in event.items())])
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line) + (f"\n{trace}" if trace else "")


def _quoted(value: object) -> str:
    return repr(value) if isinstance(value, str) and (" " in value or not value) else str(value)
