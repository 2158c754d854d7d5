"""The policy in force at this party: a chain of activations in its store, checked again from its beginning whenever it is read.

The file that party.toml names is a draft. What counts are the bytes that were activated, and they come from the store: editing the file, or
a row of the store, changes nothing or is refused by name. `PolicyOffice` is the running service's; the functions also work on the store of
a stopped one.

A party whose policies name no role is its operator's: the first start activates the file by itself, later versions by
`parley policy activate`.

What this cannot do: whoever administers the machine can run another program in place of this one, or begin anew with an empty store.

    office = PolicyOffice(config, store, time.time)
    await office.open()
    office.active.file.policy.sums.floor("trunk")
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from parley_crypto.keys import VerifyKey
from parley_policies.approvals.activation import Activated, check_activation
from parley_policies.approvals.statements import load_signed
from parley_policies.errors import PolicyError, PolicyInvalid, Refused
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.model.profiles import check_place
from parley_service.database import Database, migrate, open_engine
from parley_service.errors import StoreDamagedError
from parley_service.lockfile import FolderLock

from parley_party.config import PartyConfig
from parley_party.founding import public_keys
from parley_party.reading import policy_bytes, read, read_policy, store_path
from parley_party.store import PACKAGE, PartyStore
from parley_party.tables import ActivationRow


@dataclass(frozen=True, slots=True)
class Activation:
    """One activation as the store keeps it, checked: what came into force, when (unix seconds), and the file's bytes."""

    activated: Activated
    at: float
    raw: bytes


class PolicyOffice:
    """The policy in force at a running service. Everybody who asks the policy asks `active`, when it is needed and not before."""

    def __init__(self, config: PartyConfig, store: PartyStore, clock: Callable[[], float]) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._known: tuple[Activation, ...] = ()
        self._one_at_a_time = asyncio.Lock()

    @property
    def active(self) -> Activated:
        """What is in force."""
        return self._known[-1].activated

    @property
    def raw(self) -> bytes:
        """The bytes of the file that is in force."""
        return self._known[-1].raw

    async def load(self) -> None:
        """Read what is in force, and check it; StoreDamagedError if what stands there did not come into force as it says."""
        self._known = replayed(self._config, await self._store.activations())

    async def open(self) -> None:
        """As `load`; where nothing is in force yet, activate the file of party.toml. Refused if its roles must sign first."""
        await self.load()
        if not self._known:
            raw = await asyncio.to_thread(policy_bytes, self._config)
            await self.activate(raw, self._config.party.policy.name, ())

    async def activate(self, raw: bytes, name: str, approvals: Sequence[str]) -> bool:
        """Put a policy in force, durably; False if it is in force already. Refused or ApprovalInvalid says what stands against it."""
        async with self._one_at_a_time:
            if self._known and self._known[-1].raw == raw:
                return False
            number, texts = len(self._known) + 1, json.dumps(list(approvals))
            row = ActivationRow(number=number, name=name, policy=raw, approvals=texts, at=self._clock())
            made = _checked(self._config, self._known, row)
            for link in self._config.gateways.values():
                check_place(made.activated.file.policy, link.url)
            await self._store.activate(row)
            self._known = (*self._known, made)  # only once it is on the disk
            return True


def _checked(config: PartyConfig, known: Sequence[Activation], row: ActivationRow) -> Activation:
    file = load_policy(row.policy, row.name)
    if file.policy.party != config.party.id:
        raise Refused("identity.party", config.party.id, file.policy.party)
    keys = public_keys(config.keys.dir)
    activated = check_activation(
        known[-1].activated if known else None,
        file,
        [load_signed(text, "approval") for text in json.loads(row.approvals)],
        today=datetime.fromtimestamp(row.at, UTC).date(),
        service_keys=(VerifyKey.from_hex(keys.identity), VerifyKey.from_hex(keys.authentication)),
    )
    return Activation(activated, row.at, row.policy)


def replayed(config: PartyConfig, rows: Sequence[ActivationRow]) -> tuple[Activation, ...]:
    """Return the activations in `rows`, each checked against the one before, as of its day; StoreDamagedError names the first fault."""
    found: list[Activation] = []
    for number, row in enumerate(rows, start=1):
        try:
            made = _checked(config, found, row)
        except (PolicyError, ValueError) as error:
            raise _damaged(row, str(error)) from error
        if row.number != number:
            raise _damaged(row, f"no activation {number}")
        found.append(made)
    return tuple(found)


def _damaged(row: ActivationRow, got: str) -> StoreDamagedError:
    return StoreDamagedError(
        f"activation {row.number} of {row.name}",
        wanted="a policy that came into force as its signatures say",
        got=got,
        do="Somebody changed the store. Restore a backup, and find out who.",
    )


# of a stopped service


def history(config: PartyConfig) -> tuple[Activation, ...]:
    """Return every policy that came into force here, checked again, the one in force last; none before the first activation."""

    async def ask(store: PartyStore) -> list[ActivationRow]:
        return await store.activations()

    nothing: list[ActivationRow] = []
    return replayed(config, read(config, ask, nothing))


def policy_here(config: PartyConfig) -> PolicyFile:
    """Return the policy in force; where none is yet, the file's, whose roles must not be asked first (Refused)."""
    known = history(config)
    if known:
        return known[-1].activated.file
    file = read_policy(config)
    if file.policy.approval.policy or file.policy.approval.agreement:
        do = "parley policy sign, then parley policy activate"
        raise Refused("approval.policy", "a policy in force, signed by the roles that it names", "none", do)
    return file


def differs(config: PartyConfig, in_force: str | None) -> bool | None:
    """Whether the file of party.toml is another than the policy in force (its digest); None where the file cannot be read."""
    try:
        return hashlib.sha256(policy_bytes(config)).hexdigest() != in_force
    except PolicyInvalid:
        return None


def activate_stopped(config: PartyConfig, raw: bytes, name: str, approvals: Sequence[str], now: float) -> bool:
    """As `PolicyOffice.activate`, in the store of a service that does not run; LockedError if it does."""

    async def work() -> bool:
        database = Database(engine)
        try:
            office = PolicyOffice(config, PartyStore(database), lambda: now)
            await office.load()
            return await office.activate(raw, name, approvals)
        finally:
            await database.close()

    with FolderLock(config.party.state):
        engine = open_engine(store_path(config))
        migrate(engine, PACKAGE)
        return asyncio.run(work())
