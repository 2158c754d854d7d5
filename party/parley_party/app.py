"""The party service: the one place where its parts are put together.

    asyncio.run(serve(Path("party.toml")))

Start: config, lock on the folder, keys, store, the policy in force (`activation`); then each federation, the control socket, health on
loopback. Each policy that comes into force is announced in every federation's log, as a salted digest. SIGTERM and SIGINT stop gracefully.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from parley_policies.enforcement.guard import Guard, Leaving
from parley_policies.model.profiles import check_place
from parley_protocol.records import RECORD, SALT_BYTES, PolicyActivated, salted_digest
from parley_protocol.relays import Post
from parley_service.control import ControlServer
from parley_service.database import Database, migrate, open_engine
from parley_service.errors import ConfigError
from parley_service.health import HealthServer
from parley_service.lockfile import FolderLock
from parley_service.logs import configure, get_log
from prometheus_client import CollectorRegistry

from parley_party import keystore
from parley_party.activation import PolicyOffice
from parley_party.client import GatewayClient
from parley_party.config import PartyConfig, load
from parley_party.datasets import Datasets
from parley_party.federation import Federation
from parley_party.house import House
from parley_party.reading import store_path
from parley_party.store import Change, Outgoing, PartyStore
from parley_party.tables import EvidenceRow
from parley_party.verbs import PartyVerbs

POLICY_ACTIVE: Final = "policy active"
_LOG: Final = get_log("party")


async def serve(path: Path) -> None:
    """Run the service of a folder's party.toml until it is told to stop."""
    config = load(path)
    configure(format=config.log.format, level=config.log.level)
    if not config.gateways:
        raise ConfigError(f"{path}", wanted="a [gateways.NAME] table", got="none", do="Say parley party join INVITE first.")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with FolderLock(config.party.state):
        keys = keystore.load(config.keys.dir, config.keys.passphrase.read(config.folder, os.environ))
        async with _opened_store(config) as store:
            office = PolicyOffice(config, store, time.time)
            await office.open()
            for link in config.gateways.values():
                check_place(office.active.file.policy, link.url)
            await _running(config, office, keys, store, stop)


@contextlib.asynccontextmanager
async def _opened_store(config: PartyConfig) -> AsyncIterator[PartyStore]:
    engine = open_engine(store_path(config))
    await asyncio.to_thread(migrate, engine, "parley_party")
    database = Database(engine)
    try:
        yield PartyStore(database)
    finally:
        await database.close()


async def _running(config: PartyConfig, office: PolicyOffice, keys: keystore.PartyKeys, store: PartyStore, stop: asyncio.Event) -> None:
    active = office.active
    datasets = Datasets(config, active.file.policy)
    async with contextlib.AsyncExitStack() as stack:
        federations: dict[str, Federation] = {}
        for name, link in config.gateways.items():
            house = House(config.party.id, keys, Guard(active.file, link.url, active.holders), time.time)
            client = await stack.enter_async_context(GatewayClient(link, party=config.party.id, key=keys.authentication))
            federations[name] = Federation(name, house, store, client, datasets, config.party.state / "rounds")
            house.guard.check_send(Leaving.RECORD, now=house.now())
            if not await _announced(store, name, office):
                await store.apply(name, _announcement(name, config, office, keys))

        async def activate(raw: bytes, file: str, approvals: Sequence[str]) -> bool:
            changed = await office.activate(raw, file, approvals)
            datasets.take_up(office.active.file.policy)
            for federation in federations.values():
                if not await _announced(store, federation.name, office):
                    await federation.take_up(office.active, _announcement(federation.name, config, office, keys))
            return changed

        control = ControlServer(config.party.control, PartyVerbs(config, office, activate, store, federations).table())
        await control.start()
        stack.push_async_callback(control.stop)
        if config.metrics is not None:
            checks = {name: partial(_connected, federation) for name, federation in federations.items()}
            health = HealthServer(config.metrics.listen, CollectorRegistry(), checks)
            await health.start()
            stack.push_async_callback(health.stop)
        tasks = [asyncio.create_task(federation.run()) for federation in federations.values()]
        _LOG.info("serving", party=config.party.id, federations=list(federations), policy=active.file.digest[:16])
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for federation in federations.values():
            await federation.close()
        await datasets.close()
        for task in tasks:
            if task.done():
                task.result()  # a bug: let it be seen
            task.cancel()
        _LOG.info("stopped", party=config.party.id)


async def _announced(store: PartyStore, federation: str, office: PolicyOffice) -> bool:
    """Whether the log of a federation was told of the policy in force, last."""
    for row in reversed(await store.evidence("")):
        if row.kind == POLICY_ACTIVE and (known := json.loads(row.body))["federation"] == federation:
            return bool(known["sha256"] == office.active.file.digest)
    return False


def _announcement(federation: str, config: PartyConfig, office: PolicyOffice, keys: keystore.PartyKeys) -> Change:
    """Return what tells a federation's log, by a salted digest, that a policy is in force, and the evidence of it."""
    salt, now, active = secrets.token_bytes(SALT_BYTES), time.time(), office.active
    statement = PolicyActivated(party=config.party.id, policy=salted_digest(salt, office.raw), at=int(now))
    post = Post(statement=statement.sign(keys.identity).dump().decode())
    # The salt stays here: whoever forgets it makes the digest in the log mean nothing.
    facts = {"federation": federation, "sha256": active.file.digest, "version": active.version, "salt": salt.hex()}
    evidence = EvidenceRow(at=now, study="", kind=POLICY_ACTIVE, body=json.dumps(facts))
    return Change(evidence=(evidence,), outgoing=(Outgoing("", 0, RECORD, post.canonical().decode()),))


def _connected(federation: Federation) -> str | None:
    return None if federation.connected else "the gateway does not answer"
