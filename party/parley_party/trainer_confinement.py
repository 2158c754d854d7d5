"""What the trainer process may not do: reach the network, outgrow its memory, outlive its service, leave a core dump.

Best effort and honest: each measure says whether it took hold, and `hello` passes that on. Must run before a second thread exists, so
before numpy is imported: Linux gives a network namespace of its own to single-threaded processes only. Nothing here needs privileges.

    >>> confine(parent=os.getppid(), memory_mib=4096).network    # doctest: +SKIP
    'cut off'
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CUT_OFF: Final = "cut off"
OPEN_FILES: Final = 1024
PROGRAM_MIB: Final = 1024  # interpreter and libraries, on top of what party.toml allows for the work itself
_MIB: Final = 1 << 20
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


@dataclass(frozen=True, slots=True)
class Confinement:
    """What took hold. `network` is "cut off" or says why it is not."""

    network: str
    memory_mib: int | None  # of writable memory in all; None where the system has no such limit
    dies_with_service: bool


def confine(*, parent: int, memory_mib: int, cpu_seconds: int | None = None) -> Confinement:
    """Confine this process. `parent` is the process id of the service; if that is gone already this process ends."""
    network = _cut_network()
    limited = _limit(memory_mib, cpu_seconds)
    follows = _die_with(parent)
    return Confinement(network, memory_mib + PROGRAM_MIB if limited else None, follows)


def _cut_network() -> str:
    """Move into a network namespace without devices (Linux); return CUT_OFF or the reason why not."""
    if sys.platform != "linux":
        return f"not cut off: {sys.platform} has no network namespaces"
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return f"not cut off: {os.strerror(ctypes.get_errno())}"
    try:  # so that files made here still belong to who runs the service
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    except OSError as error:
        return f"{CUT_OFF}, without user names: {error.strerror}"
    return CUT_OFF


def _limit(memory_mib: int, cpu_seconds: int | None) -> bool:
    """Set resource limits; return whether memory is limited.

    RLIMIT_DATA counts what is writable; RLIMIT_AS would count the libraries that torch maps as well.
    """
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    if cpu_seconds is not None:
        _lower(resource.RLIMIT_CPU, cpu_seconds)
    return sys.platform == "linux" and _lower(resource.RLIMIT_DATA, (memory_mib + PROGRAM_MIB) * _MIB)


def _lower(kind: int, value: int) -> bool:
    _, hard = resource.getrlimit(kind)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (most, most))
    except (OSError, ValueError):
        return False
    return True


def _die_with(parent: int) -> bool:
    """Ask the kernel to kill this process when its parent's ends (Linux). After the namespace: entering one takes the request back."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    asked = bool(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)
    if os.getppid() != parent:  # it ended in between
        sys.exit(0)
    return asked
