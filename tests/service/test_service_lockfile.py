"""One service a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from parley_protocol.problems import Slug
from parley_service.errors import ConfigError, LockedError
from parley_service.lockfile import LOCK_NAME, FolderLock

HOLD = """
import sys, time
from pathlib import Path
from parley_service.lockfile import FolderLock
FolderLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_service_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "state"):
        with pytest.raises(LockedError, match=f"process {os.getpid()}") as caught:
            FolderLock(tmp_path / "state").acquire()
        assert caught.value.problem is Slug.LOCKED
        with FolderLock(tmp_path / "other"):
            pass
    with FolderLock(tmp_path / "state"):
        pass


def test_the_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"process {process.pid}"):
            FolderLock(tmp_path).acquire()
        os.kill(process.pid, signal.SIGKILL)
    with FolderLock(tmp_path):
        assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_release_twice_and_unheld_is_harmless(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.release()
    lock.acquire()
    lock.release()
    lock.release()


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"):
        FolderLock(tmp_path / "file").acquire()
