"""Asking a service that may or may not be running: live through its control socket, else from its store, which needs no service.

Also what a service says of itself once it serves (`announce`), and `--watch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from parley_service import control
from parley_service.errors import ControlError, NotRunningError
from parley_service.lockfile import LOCK_NAME

from parley.output import Output, View
from parley.session import Session

T = TypeVar("T")
_AGAIN_SECONDS: Final = 0.05
_WATCH_SECONDS: Final = 1.0
RUNNING: Final = "running"


def live_or_stored(session: Session, verb: str, arguments: Mapping[str, Any], stored: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what the running service answers to `verb`, else what `stored` reads; `running` in it says which."""
    try:
        return {RUNNING: True, **session.call(verb, arguments)}
    except NotRunningError:
        return {RUNNING: False, **stored()}


def watch(out: Output, look: Callable[[], T], view: Callable[[T], tuple[View, ...]], *, on: bool) -> None:
    """Say what `look` sees, once, or with `on` at each change until the user interrupts."""
    last: object = None
    while True:
        seen = look()
        if not on:
            out.result(seen, *view(seen))
            return
        if _lasting(seen) != last:
            last = _lasting(seen)
            out.item(seen, *view(seen))
        time.sleep(_WATCH_SECONDS)


def _lasting(seen: object) -> object:
    """Return what was seen without lengths of time, which change by themselves."""
    match seen:
        case dict():
            return {name: _lasting(value) for name, value in seen.items() if "seconds" not in str(name)}
        case list() | tuple():
            return [_lasting(item) for item in seen]
        case _:
            return seen


@contextlib.contextmanager
def announce(out: Output, socket: Path, locked: Path, sentence: Callable[[dict[str, Any]], str]) -> Iterator[None]:
    """Say `sentence` of the service's own status on stderr, once, as soon as the service of this process serves.

    `socket` is its control socket, `locked` the folder that it locks.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_announce, args=(out, socket, locked, sentence, ended), daemon=True, name="announce")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _announce(out: Output, socket: Path, locked: Path, sentence: Callable[[dict[str, Any]], str], ended: threading.Event) -> None:
    while not ended.wait(_AGAIN_SECONDS):
        if not _is_ours(locked):
            continue
        try:
            status = asyncio.run(control.call(socket, "status", seconds=1.0))
        except ControlError:  # not listening yet, or stopping
            continue
        out.progress(sentence(status))
        return


def _is_ours(folder: Path) -> bool:
    """Whether this process holds the lock of a service's folder: another service may answer at the socket before we are refused."""
    with contextlib.suppress(OSError):
        return (folder / LOCK_NAME).read_text(errors="replace").strip() == str(os.getpid())
    return False
