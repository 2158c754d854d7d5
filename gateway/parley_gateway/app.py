"""The gateway service: the one place where its parts are put together.

    serve(Path("gateway.toml"), os.environ)

Start: config, lock on the folder, keys, store, log; then what an earlier start left is taken up and finished, and only then does the
service listen. SIGTERM and SIGINT stop it gracefully: nothing new is taken, open polls are answered with nothing, what is being written
is finished, the lock is given back. If the store cannot write, the service stops at once and says so: the next start continues from the
disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from aiohttp import web
from parley_crypto.keys import SigningKey
from parley_policies.negotiation.terms import GatewayTerms
from parley_protocol.limits import KIB, MIB, STOP_SECONDS
from parley_protocol.negotiation import StudyState
from parley_protocol.pacing import paces
from parley_protocol.problems import Slug
from parley_protocol.records import GatewayRecord, Subprocessor
from parley_service.auth import Audience, TokenVerifier, new_instance
from parley_service.config import Listen
from parley_service.control import ControlServer
from parley_service.errors import ServiceError, StoreError
from parley_service.health import HealthServer
from parley_service.keyfile import open_keys
from parley_service.lockfile import FolderLock
from parley_service.logs import configure, get_log

from parley_gateway.config import GatewayConfig, load
from parley_gateway.control_verbs import GatewayVerbs
from parley_gateway.desk import Desk
from parley_gateway.enrolment import GatewayIdentity, Members
from parley_gateway.entries import Stored
from parley_gateway.inbox import Inbox
from parley_gateway.intake import Intake
from parley_gateway.journal import Journal
from parley_gateway.kept import KeptRounds
from parley_gateway.metrics import Metrics
from parley_gateway.presence import Presence
from parley_gateway.routes import Routes
from parley_gateway.store import GatewayStore
from parley_gateway.studies import Studies
from parley_gateway.tlog import TransparencyLog
from parley_gateway.tls import TlsContext

KEY: Final = "log"
KEY_LABEL: Final = "gateway keys"
DATA: Final = "data"
_RECORD: Final = "gateway-record"  # the fact that holds the digest of the newest declaration
_UNREAD_BYTES: Final = 64 * KIB  # of one request's body: twice as much stops the connection until some of it is taken
_FREED_BYTES: Final = 4 * MIB
_LOG: Final = get_log("parley.gateway")


def data_folder(config: GatewayConfig) -> Path:
    """Return the folder of everything that the service writes; its lock and its control socket are there."""
    return config.state


def control_path(config: GatewayConfig) -> Path:
    """Return the control socket's path."""
    return config.control


def log_origin(config: GatewayConfig) -> str:
    """Return the origin of the log: the gateway's id, which never changes, and what it is."""
    return f"{config.gateway.id}/log"


def gateway_terms(config: GatewayConfig, key: SigningKey) -> GatewayTerms:
    """Return the gateway as it stands in every agreement."""
    operator = config.operator
    return GatewayTerms(
        id=config.gateway.id,
        key=key.public.hex,
        operator=operator.legal_name,
        countries=tuple(sorted({operator.country, *(other.country for other in operator.subprocessors)})),
        incident_notice_hours=operator.incident_notice_hours,
        change_notice_days=operator.change_notice_days,
    )


class GatewayService:
    """A gateway in this process. `start` and `stop` it inside an event loop; `failed` is set when it must stop by itself."""

    def __init__(
        self, config: GatewayConfig, key: SigningKey, environ: Mapping[str, str], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config: Final = config
        self._key: Final = key
        self._environ: Final = environ
        self.clock: Final = clock
        self._stack: Final = contextlib.AsyncExitStack()
        self.failed: Final = asyncio.Event()
        self.failure: ServiceError | None = None
        self.listen = config.gateway.listen

    async def start(self) -> Listen:
        """Start, and return the address that is listened at. ServiceError if that cannot be."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self.listen

    async def _start(self) -> None:
        self._stack.enter_context(FolderLock(data_folder(self._config)))
        store = await asyncio.to_thread(GatewayStore.open, self._config.store.url.file(self._config.folder, self._environ))
        self._stack.push_async_callback(store.close)
        stored = await store.load()
        log = TransparencyLog(self._key, log_origin(self._config), stored.leaf_hashes, stored.checkpoint)
        desk = self._desk(store, stored, log)
        self._stack.push_async_callback(desk.journal.settle)
        studies = Studies(desk)
        await self._declare(desk, stored)
        await studies.restore(stored)
        studies.start()
        self._stack.push_async_callback(studies.stop)
        desk.kept.start()
        self._stack.push_async_callback(desk.kept.stop)
        _observe(desk.metrics, studies, log)
        verifier = TokenVerifier(
            Audience(self._config.gateway.public_url, self._key.public.fingerprint),
            instance=new_instance(),
            key_of=desk.members.authentication_key,
        )
        routes = Routes(self._config, desk, store, log, studies, verifier)
        await self._listen(routes, desk)
        await self._attend(desk, store, log, studies)
        _LOG.info(
            "serving", gateway=self._config.gateway.id, listen=str(self.listen), fingerprint=self._key.public.fingerprint, leaves=log.size
        )

    def _desk(self, store: GatewayStore, stored: Stored, log: TransparencyLog) -> Desk:
        inbox = Inbox(store, stored.last_message)
        journal = Journal(store, inbox, log, last_message=stored.last_message, clock=self.clock, on_failure=self._fail)
        identity = GatewayIdentity(self._config.gateway.id, self._config.gateway.public_url, self._key.public, log.origin)
        members = Members(
            journal,
            self._key,
            identity,
            clock=self.clock,
            most=self._config.limits.max_parties,
            members=stored.members,
            invites=stored.invites,
            keys=stored.keys,
        )
        intake = Intake(self._config.store.spool, upload_bytes=self._config.limits.upload_bytes, clock=self.clock)
        return Desk(
            clock=self.clock,
            journal=journal,
            inbox=inbox,
            presence=Presence(self.clock()),
            members=members,
            intake=intake,
            kept=KeptRounds(journal, intake, stored.kept),
            key=self._key,
            gateway=gateway_terms(self._config, self._key),
            metrics=Metrics(),
            sums=data_folder(self._config) / "sums",
            paces=paces(self._config.limits.proposals_a_day_per_sponsor, self._config.limits.proposals_a_month_per_sponsor),
            on_failure=self._fail,
        )

    async def _declare(self, desk: Desk, stored: Stored) -> None:
        """Log who operates this gateway, at its first start and at each change."""
        record = gateway_record(self._config, self._key, at=0)
        if stored.facts.get(_RECORD) == record.digest():
            return
        draft = desk.journal.draft()
        draft.append(gateway_record(self._config, self._key, at=int(draft.now)).sign(self._key))
        draft.entries.facts[_RECORD] = record.digest()
        await desk.journal.record(draft)

    async def _listen(self, routes: Routes, desk: Desk) -> None:
        _keep_freed_memory()
        # a party whose process died is gone as soon as its connection is: its poll is cancelled
        runner = web.AppRunner(
            routes.application(),
            access_log=None,
            handler_cancellation=True,
            handle_signals=False,
            shutdown_timeout=STOP_SECONDS,
            read_bufsize=_UNREAD_BYTES,
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        self._stack.callback(desk.inbox.close)
        tls = None if self._config.tls is None else TlsContext(self._config.tls)
        wanted = self._config.gateway.listen
        try:
            site = web.TCPSite(runner, wanted.host, wanted.port, ssl_context=None if tls is None else tls.context, backlog=1_024)
            await site.start()
        except OSError as error:
            raise ServiceError(f"address {wanted}", problem=Slug.LOCKED, wanted="a free one", got=error.strerror or "an error") from error
        if tls is not None:
            self._stack.push_async_callback(tls.watch().stop)
        self.listen = Listen(wanted.host, runner.addresses[0][1])

    async def _attend(self, desk: Desk, store: GatewayStore, log: TransparencyLog, studies: Studies) -> None:
        """Open the doors for the operator: control socket, health, metrics."""
        verbs = GatewayVerbs(self._config, desk, store, log, studies, listen=self.listen)
        control = ControlServer(control_path(self._config), verbs.table())
        await control.start()
        self._stack.push_async_callback(control.stop)
        if self._config.metrics is not None:
            health = HealthServer(self._config.metrics.listen, desk.metrics.registry, {"store": self._fault})
            await health.start()
            self._stack.push_async_callback(health.stop)

    def _fault(self) -> str | None:
        return None if self.failure is None else str(self.failure)

    def _fail(self, error: ServiceError) -> None:
        _LOG.error("failed", reason=str(error))
        self.failure = error
        self.failed.set()

    async def stop(self) -> None:
        """Stop gracefully: what is acknowledged is on the disk, and the folder is free."""
        await self._stack.aclose()
        _LOG.info("stopped", gateway=self._config.gateway.id)


def _keep_freed_memory() -> None:
    """Let glibc keep what request bodies free, instead of giving it back and asking for it again with every piece of every body.

    A large block that is freed moves its thresholds (mallopt(3), M_MMAP_THRESHOLD, "dynamic"): afterwards up to twice as much stays.
    """
    bytearray(_FREED_BYTES)


def gateway_record(config: GatewayConfig, key: SigningKey, *, at: int) -> GatewayRecord:
    """Return what the operator declares about this gateway, for the log."""
    operator = config.operator
    return GatewayRecord(
        id=config.gateway.id,
        url=config.gateway.public_url,
        key=key.public.hex,
        log_origin=log_origin(config),
        legal_name=operator.legal_name,
        country=operator.country,
        privacy_contact=operator.privacy_contact,
        security_contact=operator.security_contact,
        incident_notice_hours=operator.incident_notice_hours,
        change_notice_days=operator.change_notice_days,
        subprocessors=tuple(Subprocessor(name=s.name, country=s.country, service=s.service) for s in operator.subprocessors),
        at=at,
    )


def _observe(metrics: Metrics, studies: Studies, log: TransparencyLog) -> None:
    metrics.leaves.set_function(lambda: log.published[0])
    metrics.studies.set_function(lambda: sum(record.state is StudyState.RUNNING for record in studies.all()))


async def serve_until_told(config: GatewayConfig, key: SigningKey, environ: Mapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT; StoreError if the store failed."""
    service = GatewayService(config, key, environ)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    await service.start()
    gc.freeze()  # what stays for ever is not looked at again and again
    ends = [asyncio.create_task(told.wait()), asyncio.create_task(service.failed.wait())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in ends:
        task.cancel()
    await service.stop()
    if service.failure is not None:
        raise StoreError(f"the service stopped: {service.failure}", problem=service.failure.problem)


def serve(file: Path, environ: Mapping[str, str]) -> None:
    """Run the gateway of a gateway.toml until it is told to stop. Asks for the passphrase where the config says so."""
    config = load(file)
    configure(format=config.log.format, level=config.log.level)
    passphrase = config.keys.passphrase.read(config.folder, environ)
    key = open_keys(config.keys.dir, (KEY,), passphrase, label=KEY_LABEL).signing(KEY)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve_until_told(config, key, environ))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if sys.platform == "win32":
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 - does not exist on Windows

    return uvloop.new_event_loop
