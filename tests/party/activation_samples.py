"""A party's folder whose policy asks people, for the tests of activations: made as `parley party init` makes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from parley_crypto.signing import Envelope
from parley_party.activation import PolicyOffice, activate_stopped
from parley_party.config import PartyConfig, load
from parley_party.founding import PartySetup, create_party
from parley_party.reading import store_path
from parley_party.store import PartyStore
from parley_policies.model.loader import load_policy
from parley_service.database import Database, migrate, open_engine
from parley_service.secrets import Secret, SecretReference

from tests.policies.approval_samples import OFFICER, PARTY, SECURITY, approval, approved_policy, holders
from tests.policies.policy_samples import TODAY

NOW: Final = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC).timestamp()
BOTH: Final = (OFFICER, SECURITY)
FIRST: Final = approved_policy(edits={"min_people": "min_people = 500"})
TIGHTER: Final = approved_policy(2, edits={"min_people": "min_people = 900"})
LOOSER: Final = approved_policy(2, edits={"min_people": "min_people = 11"})
T = TypeVar("T")


def party(folder: Path, policy: bytes = FIRST) -> PartyConfig:
    """Make a party's folder and return its configuration."""
    setup = PartySetup(PARTY, SecretReference.parse("env:UNUSED"), Secret("passphrase"), policy.decode())
    create_party(folder, setup, n=16)
    return load(folder / "party.toml")


def texts(*envelopes: Envelope) -> list[str]:
    return [envelope.dump().decode() for envelope in envelopes]


def signed(raw: bytes, roles: Sequence[str] = BOTH, named: tuple[str, ...] | None = None) -> list[str]:
    """Return the signatures of roles on a policy."""
    return texts(*(approval(load_policy(raw), role, named=named) for role in roles))


def activate_first(config: PartyConfig) -> None:
    """Put the first policy in force, with the signatures of all roles."""
    assert activate_stopped(config, FIRST, "policy.toml", signed(FIRST, named=holders()), NOW)


def at_office(config: PartyConfig, work: Callable[[PolicyOffice, PartyStore], Awaitable[T]]) -> T:
    """Run `work` with the office of a running service, which has read what is in force."""

    async def main() -> T:
        engine = open_engine(store_path(config))
        migrate(engine, "parley_party")
        database = Database(engine)
        store = PartyStore(database)
        office = PolicyOffice(config, store, lambda: NOW)
        try:
            await office.open()
            return await work(office, store)
        finally:
            await database.close()

    return asyncio.run(main())
