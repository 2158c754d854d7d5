"""What must hold once a study is over, whatever was killed on the way: the failure-free model, one list a base version, no secret left."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter

from parley.audit import Folder
from parley_audit.claims import Audience
from parley_audit.export import write_export
from parley_audit.verify import verify
from parley_gateway.app import log_origin
from parley_gateway.backup import check as check_gateway
from parley_gateway.config import load as load_gateway
from parley_gateway.founding import read_public_key
from parley_gateway.reading import store_path
from parley_gateway.store import read_leaves
from parley_party import backup as party_backup
from parley_party import config as party_config
from parley_service.database import FLUSH_SECONDS

from tests.e2e.failure_free import failure_free, lists_of, math_of
from tests.e2e.federation_processes import STUDY_ID, Federation
from tests.e2e.stores import RoundSecrets, gateway_store, on_disk, rows, store_of, until


async def check_aftermath(running: Federation, rounds: int, secrets: list[RoundSecrets]) -> None:
    """Check a finished study of `rounds` rounds in all; of `secrets` nothing may be on any disk."""
    stores = [store_of(running, party) for party in running.parties]
    await until(lambda: all(rows(store, "SELECT count(*) FROM outbox") == [(0,)] for store in stores), "outboxes run empty")
    newest = lists_of(running, next(iter(running.parties)))[-1].round
    for party in running.parties.values():
        assert (await party.call("study.recompute", {"study": STUDY_ID}))["round"] == newest
    await asyncio.sleep(FLUSH_SECONDS + 1)
    await asyncio.to_thread(_check, running, rounds)
    await until(lambda: not _left(running, secrets), f"secrets of closed rounds are gone: {_left(running, secrets)}")


def _check(running: Federation, rounds: int) -> None:
    check_model(running, rounds)
    check_one_list_a_base_version(running)
    check_log(running)
    check_stores(running)
    for party in running.parties:
        assert rows(store_of(running, party), "SELECT count(*) FROM round_events") == [(0,)], party
        assert rows(store_of(running, party), "SELECT count(*) FROM rounds WHERE outcome = '' OR length(seed) > 0") == [(0,)], party
        assert not list((running.folder / party / "state").rglob("*.sealed")), party
    assert rows(gateway_store(running), "SELECT count(*) FROM round_events") == [(0,)]
    spooled = {(path.parent.name, path.name) for path in (running.folder / "gateway" / "data" / "spool").rglob("*") if path.is_file()}
    ((kept, updates),) = rows(gateway_store(running), "SELECT round, updates FROM kept_rounds")
    newest = lists_of(running, next(iter(running.parties)))[-1]
    assert (kept, frozenset(json.loads(updates))) == (newest.round, newest.parties), "only the newest certified round is kept"
    assert spooled == set(json.loads(updates).items()), "no other sealed update outlives its round"


def check_model(running: Federation, rounds: int) -> None:
    """Every party holds every version, and each is the one of a run in which nothing fails, over the same lists."""
    first, *_ = running.parties
    math, lists = math_of(running, first), lists_of(running, first)
    assert len(lists) == rounds
    wanted = [
        (state.number, math.base(state), math.parameters(state), state.certificate, state.dump())
        for state in failure_free(running, math, lists)
    ]
    for party in running.parties:
        held = rows(store_of(running, party), "SELECT number, base, parameters, certificate, state FROM versions ORDER BY number")
        assert held == wanted, party
        assert [listed.digest() for listed in lists_of(running, party)] == [listed.digest() for listed in lists], party


def check_one_list_a_base_version(running: Federation) -> None:
    """No base version is opened twice, and none has two updates of a party out unless the earlier round was released."""
    for party in running.parties:
        bases = Counter(listed.base for listed in lists_of(running, party))
        assert max(bases.values()) == 1, party
        out = rows(store_of(running, party), "SELECT base, number FROM rounds WHERE sealed AND outcome != 'released'")
        assert max(Counter(base for base, _ in out).values(), default=1) == 1, (party, out)  # killed too often it may have sealed nothing


def check_log(running: Federation) -> None:
    """Export the gateway's log and verify it as anyone would."""
    config = load_gateway(running.folder / "gateway" / "gateway.toml")
    key = read_public_key(config.folder)
    note, leaves = read_leaves(store_path(config, os.environ))
    folder = Folder(running.folder / "export")
    folder.path.mkdir()
    write_export(folder, leaves, checkpoint=note, gateway=key, origin=log_origin(config), audience=Audience.PARTY)
    report = verify(folder, gateway_key=key)
    assert report.ok, report.fault


def check_stores(running: Federation) -> None:
    """Do what `parley store check` does, at every service."""
    for party in running.parties:
        for finding in party_backup.check(party_config.load(running.folder / party / "party.toml")):
            assert finding.sound, (party, finding)
    for finding in check_gateway(load_gateway(running.folder / "gateway" / "gateway.toml"), os.environ):
        assert finding.sound, finding


def _left(running: Federation, secrets: list[RoundSecrets]) -> list[tuple[str, str, int]]:
    """Return where a secret still lies: whose folder, which file, of which round."""
    found = []
    for party in running.parties:
        for name, raw in on_disk(running.folder / party / "state").items():
            found += [(party, name, held.number) for held in secrets if any(secret in raw for secret in held.raw)]
    for name, raw in on_disk(running.folder / "gateway" / "data").items():
        found += [("gateway", name, held.number) for held in secrets if any(box in raw for box in held.boxes)]
    return found
