"""The party service: the one place where its parts are put together.

    asyncio.run(serve(Path("party.toml")))

Start: config, lock on the folder, keys, store, policy; then each federation, the control socket, health on loopback. The policy file as
it is at the start is the active one (its digest goes into the evidence); editing it changes nothing until the next start. SIGTERM and
SIGINT stop gracefully.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Final

from parley_policies.enforcement.guard import Guard, Leaving
from parley_policies.model.loader import PolicyFile
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
from parley_party.client import GatewayClient
from parley_party.config import PartyConfig, load
from parley_party.datasets import Datasets
from parley_party.federation import Federation
from parley_party.house import House
from parley_party.reading import read_policy, store_path
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
    policy = read_policy(config)
    for link in config.gateways.values():
        check_place(policy.policy, link.url)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with FolderLock(config.party.state):
        keys = keystore.load(config.keys.dir, config.keys.passphrase.read(config.folder, os.environ))
        async with _opened_store(config) as store:
            await _running(config, policy, keys, store, stop)


@contextlib.asynccontextmanager
async def _opened_store(config: PartyConfig) -> AsyncIterator[PartyStore]:
    engine = open_engine(store_path(config))
    await asyncio.to_thread(migrate, engine, "parley_party")
    database = Database(engine)
    try:
        yield PartyStore(database)
    finally:
        await database.close()


async def _running(config: PartyConfig, policy: PolicyFile, keys: keystore.PartyKeys, store: PartyStore, stop: asyncio.Event) -> None:
    datasets = Datasets(config, policy.policy)
    async with contextlib.AsyncExitStack() as stack:
        federations = {}
        for name, link in config.gateways.items():
            house = House(config.party.id, keys, Guard(policy, link.url), time.time)
            client = await stack.enter_async_context(GatewayClient(link, party=config.party.id, key=keys.authentication))
            federations[name] = Federation(name, house, store, client, datasets, config.party.state / "rounds")
            house.guard.check_send(Leaving.RECORD, now=house.now())
            await _activate(store, name, config, policy, keys)
        control = ControlServer(config.party.control, PartyVerbs(config, policy, store, federations).table())
        await control.start()
        stack.push_async_callback(control.stop)
        if config.metrics is not None:
            checks = {name: partial(_connected, federation) for name, federation in federations.items()}
            health = HealthServer(config.metrics.listen, CollectorRegistry(), checks)
            await health.start()
            stack.push_async_callback(health.stop)
        tasks = [asyncio.create_task(federation.run()) for federation in federations.values()]
        _LOG.info("serving", party=config.party.id, federations=list(federations), policy=policy.digest[:16])
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


async def _activate(store: PartyStore, federation: str, config: PartyConfig, policy: PolicyFile, keys: keystore.PartyKeys) -> None:
    """Write down that this policy is active, and log its salted digest; once for each policy and federation."""
    for row in reversed(await store.evidence("")):
        known = json.loads(row.body)
        if row.kind == POLICY_ACTIVE and known["federation"] == federation:
            if known["sha256"] == policy.digest:
                return
            break
    salt, now = secrets.token_bytes(SALT_BYTES), time.time()
    raw = await asyncio.to_thread(config.party.policy.read_bytes)
    if hashlib.sha256(raw).hexdigest() != policy.digest:
        raise ConfigError(f"{config.party.policy}", wanted="the policy that was just read", got="another: it was edited meanwhile")
    statement = PolicyActivated(party=config.party.id, policy=salted_digest(salt, raw), at=int(now))
    post = Post(statement=statement.sign(keys.identity).dump().decode())
    # The salt stays here: whoever forgets it makes the digest in the log mean nothing.
    facts = {"federation": federation, "sha256": policy.digest, "version": policy.policy.identity.version, "salt": salt.hex()}
    evidence = EvidenceRow(at=now, study="", kind=POLICY_ACTIVE, body=json.dumps(facts))
    message = Outgoing("", 0, RECORD, post.canonical().decode())
    await store.apply(federation, Change(evidence=(evidence,), outgoing=(message,)))


def _connected(federation: Federation) -> str | None:
    return None if federation.connected else "the gateway does not answer"
