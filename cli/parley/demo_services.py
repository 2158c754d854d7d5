"""The demo's services: seven operating-system processes that run `parley … serve`, started, watched, killed and stopped by their ids.

What a service says goes to `service.log` in its folder; whoever waits for one that died gets the last lines of it. Everything that was
started is stopped when the context is left, whatever the reason: parties first, then the gateway; what does not stop is killed.

    async with Services() as services:
        gateway = services.start("gateway", folder, ("gateway", "serve"), control)
        await gateway.up()
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from parley_service import control
from parley_service.errors import NotRunningError

from parley.demo_plan import ServiceDiedError, WaitedTooLongError

UP_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
LOG_FILE: Final = "service.log"
_AGAIN_SECONDS: Final = 0.05
_SHOWN_LINES: Final = 12
_COMMAND: Final = (sys.executable, "-P", "-c", "from parley.main import run; run()")


@dataclass(slots=True)
class Service:
    """One service of the demo: its folder, its control socket, and its process once it was started."""

    name: str
    folder: Path
    verb: tuple[str, ...]
    socket: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start the process; it does not listen yet."""
        with (self.folder / LOG_FILE).open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own command with our own arguments
                [*_COMMAND, "--home", str(self.folder), *self.verb],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops it
            )

    async def up(self) -> dict[str, Any]:
        """Wait until the service answers; return its status. ServiceDiedError or WaitedTooLongError if it does not."""
        deadline = time.monotonic() + UP_SECONDS
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(NotRunningError):
                return dict(await self.call("status"))
            await asyncio.sleep(_AGAIN_SECONDS)
        raise WaitedTooLongError(
            f"{self.name} at {self.folder}", wanted=f"an answer in {UP_SECONDS:.0f} s", got=f"none; it said:\n{self.said()}"
        )

    async def call(self, verb: str, arguments: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """Ask the service by its control socket."""
        return await control.call(self.socket, verb, arguments)

    def check(self) -> None:
        """Return if the process runs; ServiceDiedError with its last words otherwise."""
        code = None if self.process is None else self.process.poll()
        if self.process is None or code is not None:
            raise ServiceDiedError(
                f"{self.name} at {self.folder}", wanted="a running service", got=f"exit code {code}; it said:\n{self.said()}"
            )

    def said(self) -> str:
        """Return the last lines of its log."""
        path = self.folder / LOG_FILE
        lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
        return "\n".join(f"    {line}" for line in lines[-_SHOWN_LINES:]) or "    nothing"

    def kill(self) -> None:
        """Kill it with SIGKILL, and its children with it: a paused child would stay. Nobody misses it until `start`."""
        if self.process is None:
            return
        children, process = self.children(), self.process
        self.process = None
        process.kill()
        process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def stop(self) -> None:
        """Ask it to stop; returns at once."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stopped(self, seconds: float) -> bool:
        """Wait for its end for so long; say whether it ended."""
        if self.process is None:
            return True
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def children(self) -> tuple[int, ...]:
        """Return the ids of its child processes: the trainers of its studies."""
        if self.process is None or self.process.poll() is not None:
            return ()
        return tuple(child for child, parent in _processes() if parent == self.process.pid)


def _processes() -> Iterator[tuple[int, int]]:
    """Yield (process, its parent) for all processes of this machine."""
    if Path("/proc/self/stat").is_file():
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended while we looked
                yield int(entry.parent.name), int(entry.read_text().rpartition(")")[2].split()[1])
        return
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)  # noqa: S607 - a fixed command
    for line in listed.stdout.splitlines():
        child, parent = line.split()
        yield int(child), int(parent)


class Services:
    """All services of one demo. As a context it stops whatever was started."""

    def __init__(self) -> None:
        self._started: list[Service] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.shield(asyncio.to_thread(self.stop))

    def start(self, name: str, folder: Path, verb: tuple[str, ...], socket: Path) -> Service:
        """Start a service and remember to stop it."""
        service = Service(name, folder, verb, socket)
        self._started.append(service)
        service.start()
        return service

    def check(self) -> None:
        """Return if all run that were not killed on purpose; ServiceDiedError names the first that does not."""
        for service in self._started:
            if service.process is not None:
                service.check()

    def stop(self) -> None:
        """Stop everything: parties first, the gateway, which was started first, last. What does not stop in time is killed."""
        gateways, parties = self._started[:1], self._started[1:]
        for group in (parties, gateways):
            for service in group:
                service.stop()
            deadline = time.monotonic() + STOP_SECONDS
            for service in group:
                if not service.stopped(max(0.0, deadline - time.monotonic())):
                    service.kill()
        self._started.clear()
