"""The control socket: how the command line talks to the running service of the same folder, and nobody else does.

A Unix socket of mode 0600 in the service's folder; being able to open it is the authentication. One connection carries one request, one
JSON object a line:

    -> {"verb": "study.show", "arguments": {"study": "heart"}}
    <- {"ok": true, "result": {...}}             or {"ok": false, "problem": {...RFC 9457...}}

A verb that is an asynchronous generator answers `{"item": ...}` lines (`--follow`, `--watch`), and at its end the `ok` line with a null
result. When the client goes away, what it asked for is cancelled. A verb that fails with an exception of none of our trees is a bug: the
connection closes without an answer, and the service's log has the traceback.

    server = ControlServer(home / "control.sock", {"status": status})
    await server.start()
    await call(home / "control.sock", "status")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any, Final

from parley_crypto.errors import MalformedError
from parley_protocol.limits import CONTROL_ANSWER_BYTES, CONTROL_CONNECTIONS, CONTROL_LINE_BYTES, CONTROL_SECONDS
from parley_protocol.problems import Problem, Slug

from parley_service.errors import AnsweredError, ControlError, LockedError, NotRunningError
from parley_service.problems import KNOWN, problem_of

Arguments = Mapping[str, Any]
Verb = Callable[[Arguments], Awaitable[Any] | AsyncGenerator[Any, None]]
_ADDRESS_BYTES: Final = 100  # sun_path holds 108 on Linux, 104 on macOS, with a zero at its end
_PRIVATE: Final = 0o177


class ControlServer:
    """Answers `verbs` at the socket `path`."""

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._verbs = dict(verbs)
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. A socket left behind by a service that died is replaced; one that answers raises LockedError."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._path.exists():
            if not self._path.is_socket():
                raise ControlError(
                    f"control socket {self._path}", wanted="no file there, or a socket", got="another file, which is left alone"
                )
            if await _somebody_listens(self._path):
                raise LockedError(f"control socket {self._path}", wanted="nobody there", got="a running service")
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._accept, sock=_bound(self._path), limit=CONTROL_LINE_BYTES)

    async def stop(self) -> None:
        """Stop listening, cancel what is being answered, and take the socket away."""
        if self._server is None:
            return
        self._server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the service stops: nobody reads an answer, and there is nothing left to do
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            verb, arguments = self._find(*await _read_request(reader))
            await _until_done_or_gone(asyncio.ensure_future(self._carry_out(verb, arguments, writer)), reader)
        except KNOWN as error:
            await _write(writer, {"ok": False, "problem": problem_of(error, outward=False).to_json()})

    def _find(self, name: str, arguments: Arguments) -> tuple[Verb, Arguments]:
        if len(self._answering) > CONTROL_CONNECTIONS:
            raise ControlError("control socket", problem=Slug.RATE_LIMITED, wanted=f"at most {CONTROL_CONNECTIONS} connections")
        verb = self._verbs.get(name)
        if verb is None:
            raise ControlError(f"verb {name[:80]!r}", problem=Slug.NOT_FOUND, wanted="one that this service has", got="another version's")
        return verb, arguments

    async def _carry_out(self, verb: Verb, arguments: Arguments, writer: asyncio.StreamWriter) -> None:
        answer = verb(arguments)
        result = None
        if isinstance(answer, AsyncGenerator):
            async with aclosing(answer) as items:
                async for item in items:
                    await _write(writer, {"item": item})
        else:
            result = await answer
        await _write(writer, {"ok": True, "result": result})


async def _until_done_or_gone(work: asyncio.Future[None], reader: asyncio.StreamReader) -> None:
    """Wait for `work`; cancel it when the client closes its side, which it does only when it goes away."""
    gone = asyncio.ensure_future(reader.read(1))
    both: tuple[asyncio.Future[Any], ...] = (work, gone)
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ConnectionResetError("the client went away")
        await work
    finally:
        for future in both:
            future.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, Arguments]:
    try:
        line = await reader.readline()
        match json.loads(line):
            case {"verb": str() as verb, "arguments": dict() as arguments, **rest} if not rest:
                return verb, arguments
    except (ValueError, RecursionError) as error:  # also a line beyond the limit
        raise ControlError("request on the control socket", wanted="one JSON object on a line", got=str(error)[:200]) from error
    raise ControlError("request on the control socket", wanted='{"verb": …, "arguments": {…}}', got="another object")


async def _write(writer: asyncio.StreamWriter, line: Mapping[str, Any]) -> None:
    writer.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    await writer.drain()


# --- the client


async def call(path: Path, verb: str, arguments: Arguments | None = None, *, seconds: float = CONTROL_SECONDS) -> Any:  # noqa: ANN401  (JSON)
    """Return the result of `verb`; NotRunningError, AnsweredError with the service's problem, or ControlError otherwise."""
    try:
        async with asyncio.timeout(seconds), aclosing(_lines(path, verb, arguments or {})) as lines:
            async for line in lines:
                match line:
                    case {"ok": True, "result": result}:
                        return result
                    case _:
                        raise _failure(line)
    except TimeoutError as error:
        raise ControlError(f"{verb} at {path}", problem=Slug.TIMED_OUT, wanted=f"an answer in {seconds:.0f} s", got="none") from error
    raise _no_end(verb)


async def stream(path: Path, verb: str, arguments: Arguments | None = None) -> AsyncIterator[Any]:
    """Yield the items of `verb` until it ends; errors as `call`. Close the iterator to end it sooner."""
    async with aclosing(_lines(path, verb, arguments or {})) as lines:
        async for line in lines:
            match line:
                case {"item": item}:
                    yield item
                case {"ok": True}:
                    return
                case _:
                    raise _failure(line)
    raise _no_end(verb)


async def _lines(path: Path, verb: str, arguments: Arguments) -> AsyncGenerator[Any, None]:
    reader, writer = await _connect(path)
    try:
        await _write(writer, {"verb": verb, "arguments": dict(arguments)})
        while line := await reader.readline():
            yield json.loads(line)
    except (ConnectionError, ValueError) as error:
        raise ControlError(f"{verb} at {path}", wanted="a JSON object on a line", got=str(error)[:200]) from error
    finally:
        writer.close()


def _failure(line: object) -> ControlError:
    match line:
        case {"ok": False, "problem": body}:
            try:
                return AnsweredError(Problem.from_json(body))
            except MalformedError as error:
                return ControlError("answer on the control socket", wanted="a problem", got=str(error))
        case _:
            return ControlError("answer on the control socket", wanted="a result, an item or a problem", got=repr(line)[:80])


def _no_end(verb: str) -> ControlError:
    return ControlError(
        f"{verb}: the service closed the connection without an answer", problem=Slug.INTERNAL, do="See the log of the service."
    )


# --- addresses


async def _connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        with _address(path) as address:
            return await asyncio.open_unix_connection(address, limit=CONTROL_ANSWER_BYTES)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NotRunningError(f"control socket {path}", wanted="a running service", got="nobody listens") from error
    except OSError as error:
        raise ControlError(f"control socket {path}", wanted="one that can be opened", got=error.strerror or "an error") from error


async def _somebody_listens(path: Path) -> bool:
    try:
        _, writer = await _connect(path)
    except NotRunningError:
        return False
    writer.close()
    return True


def _bound(path: Path) -> socket.socket:
    """Return a socket bound to `path` that was private from its first moment."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(_PRIVATE)  # of the whole process, for this one call: chmod afterwards would leave a gap
    try:
        with _address(path) as address:
            bound.bind(address)
    except OSError as error:
        bound.close()
        raise ControlError(f"control socket {path}", wanted="one that can be made", got=error.strerror or "an error") from error
    finally:
        os.umask(before)
    return bound


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Give the address in a form that fits sun_path: absolute, relative to the working folder, or (Linux) by the folder's descriptor."""
    plain = [str(path), os.path.relpath(path)]
    short = next((text for text in plain if len(os.fsencode(text)) <= _ADDRESS_BYTES), None)
    if short is not None:
        yield short
        return
    if sys.platform != "linux":
        raise ControlError(
            f"control socket {path}",
            wanted=f"a path of at most {_ADDRESS_BYTES} bytes",
            got=str(len(os.fsencode(path))),
            do="Set party.control.",
        )
    with contextlib.ExitStack() as stack:
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        stack.callback(os.close, folder)
        yield f"/proc/self/fd/{folder}/{path.name}"
