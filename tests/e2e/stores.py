"""What tests of real processes read on the disk, beside the services: rows of their stores, raw bytes, and the secrets of an open round."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from parley_party import keystore
from parley_service.secrets import Secret

from tests.e2e.federation_processes import PASSPHRASE, STUDY_ID, Federation

T = TypeVar("T")
LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class RoundSecrets:
    """What one party holds of an open round: all of it must be gone from every disk once the round is over."""

    number: int
    raw: tuple[bytes, ...] = field(repr=False)  # the sealed seed, the seed, and what came for the round
    boxes: tuple[bytes, ...] = field(repr=False)  # the ends of the boxes, which the gateway held as well


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query; with a write of the service in between, as of before or after it."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        return list(store.execute(query))


def store_of(running: Federation, party: str) -> Path:
    return running.folder / party / "state" / "party.db"


def gateway_store(running: Federation) -> Path:
    return running.folder / "gateway" / "data" / "gateway.db"


def on_disk(folder: Path) -> dict[str, bytes]:
    """Return the raw bytes of a store, its free pages and its write-ahead file included."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if ".db" in path.name}


def certified(running: Federation, party: str) -> int:
    return int(rows(store_of(running, party), "SELECT count(*) FROM certificates")[0][0])


def round_secrets(running: Federation, party: str) -> RoundSecrets | None:
    """Return what a party holds of a round that is open with boxes in it; None if no round of its is."""
    store = store_of(running, party)
    for number, sealed in rows(store, "SELECT number, seed FROM rounds WHERE outcome = ''"):
        bodies = [body for (body,) in rows(store, f"SELECT body FROM round_events WHERE number = {number} AND kind = 'boxes'")]  # noqa: S608
        if bodies and sealed:
            keys = keystore.load(running.folder / party / "keys", Secret(PASSPHRASE))
            seed = keys.storage.open(sealed, STUDY_ID, number)
            boxes = tuple(box[-60:].encode() for body in bodies for box in json.loads(body)["boxes"])
            return RoundSecrets(number, (sealed, seed, seed.hex().encode(), *(body.encode() for body in bodies), *boxes), boxes)
    return None


async def until(condition: Callable[[], T], what: str, seconds: float = 90) -> T:
    """Wait until `condition` returns something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(LOOK_SECONDS)
    return found
