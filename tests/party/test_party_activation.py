"""The policy in force at a party comes from its store: what the engineer who owns every file there can, and cannot, do about it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from parley_party import backup
from parley_party.activation import PolicyOffice, activate_stopped, differs, history, policy_here
from parley_party.config import PartyConfig
from parley_party.founding import PublicKeys
from parley_party.reading import store_path
from parley_party.store import PartyStore
from parley_policies.errors import ApprovalInvalid, Refused
from parley_policies.model.loader import load_policy
from parley_service import backup as backups
from parley_service.errors import LockedError, StoreDamagedError
from parley_service.lockfile import FolderLock

from tests.party.activation_samples import BOTH, FIRST, LOOSER, NOW, TIGHTER, activate_first, at_office, party, signed, texts
from tests.policies.approval_samples import DOCTOR, KEYS, OFFICER, SECURITY, approval, approved_policy, holders, role_key


def in_force(config: PartyConfig) -> int:
    """Return the version that a service which starts now takes up."""

    async def version(office: PolicyOffice, _: PartyStore) -> int:
        return office.active.version

    return at_office(config, version)


def tampered(config: PartyConfig, statement: str, *values: object) -> str:
    """Let the engineer change the store, and return why the service does not start."""
    with closing(sqlite3.connect(store_path(config))) as store:
        store.execute(statement, values)
        store.commit()
    with pytest.raises(StoreDamagedError) as caught:
        in_force(config)
    with pytest.raises(StoreDamagedError):
        history(config)
    return str(caught.value)


def test_a_policy_without_roles_is_activated_by_the_first_start_and_no_later_one(tmp_path: Path) -> None:
    config = party(tmp_path, approved_policy(policy=(), agreement=()))
    assert in_force(config) == 1
    config.party.policy.write_bytes(approved_policy(2, policy=(), agreement=()))
    assert in_force(config) == 1
    assert differs(config, history(config)[-1].activated.file.digest)
    assert activate_stopped(config, config.party.policy.read_bytes(), "policy.toml", (), NOW)
    assert in_force(config) == 2


def test_a_policy_with_roles_is_in_force_only_once_they_signed(tmp_path: Path) -> None:
    config = party(tmp_path)
    with pytest.raises(Refused, match=r"approval\.policy"):
        in_force(config)
    with pytest.raises(Refused, match="signed by the roles that it names"):
        policy_here(config)
    activate_first(config)
    assert (in_force(config), policy_here(config).policy.identity.version) == (1, 1)


def test_the_engineer_edits_the_file(tmp_path: Path) -> None:
    config = party(tmp_path)
    activate_first(config)
    config.party.policy.write_bytes(LOOSER)
    assert (in_force(config), policy_here(config).digest) == (1, load_policy(FIRST).digest)
    assert differs(config, load_policy(FIRST).digest) is True
    config.party.policy.unlink()
    assert (in_force(config), differs(config, load_policy(FIRST).digest)) == (1, None)


def test_the_engineer_activates_what_too_few_have_signed(tmp_path: Path) -> None:
    config = party(tmp_path)
    activate_first(config)
    for some in ([], signed(LOOSER, (OFFICER,)), signed(LOOSER, (SECURITY,))):
        with pytest.raises(Refused, match=r"loosens data\.min_people"):
            activate_stopped(config, LOOSER, "policy.toml", some, NOW)
    own = texts(*(approval(load_policy(LOOSER), role, key=role_key(role, 5)) for role in BOTH))
    with pytest.raises(ApprovalInvalid, match="wanted the key that holds"):
        activate_stopped(config, LOOSER, "policy.toml", own, NOW)
    assert in_force(config) == 1
    assert activate_stopped(config, TIGHTER, "policy.toml", signed(TIGHTER, (SECURITY,)), NOW)
    assert in_force(config) == 2


def test_the_engineer_brings_an_old_version_back(tmp_path: Path) -> None:
    config = party(tmp_path)
    activate_first(config)
    assert activate_stopped(config, TIGHTER, "policy.toml", signed(TIGHTER), NOW)
    with pytest.raises(Refused, match="does not come back"):
        activate_stopped(config, FIRST, "policy.toml", signed(FIRST, named=holders()), NOW)
    assert in_force(config) == 2


def test_the_engineer_restores_an_old_backup(tmp_path: Path) -> None:
    config, file = party(tmp_path / "home"), tmp_path / "old.parley"
    activate_first(config)
    backups.backup(backup.site(config), file, now=NOW)
    assert activate_stopped(config, TIGHTER, "policy.toml", signed(TIGHTER), NOW)
    backups.restore(backup.site(config), file, now=NOW)
    assert [item.activated.version for item in history(config)] == [1, 2]


def test_the_engineer_changes_a_policy_in_the_store(tmp_path: Path) -> None:
    config = party(tmp_path)
    activate_first(config)
    said = tampered(config, "UPDATE activations SET policy = ?", approved_policy(edits={"min_people": "min_people = 3"}))
    assert "activation 1 of policy.toml" in said
    assert "of this file" in said


def test_the_engineer_swaps_a_roles_key_in_the_store(tmp_path: Path) -> None:
    config = party(tmp_path)
    activate_first(config)
    keys = {**KEYS, OFFICER: role_key(OFFICER, 5)}
    own = texts(approval(load_policy(FIRST), OFFICER, key=keys[OFFICER], named=holders(keys)))
    said = tampered(config, "UPDATE activations SET approvals = ?", json.dumps([*own, *signed(FIRST, (SECURITY,), holders())]))
    assert "the same keys" in said


def test_the_engineer_adds_an_activation_to_the_store(tmp_path: Path) -> None:
    config = party(tmp_path)
    activate_first(config)
    row = (2, "policy.toml", LOOSER, json.dumps(signed(LOOSER, (OFFICER,))), NOW)
    assert "lacking: role:it-security" in tampered(config, "INSERT INTO activations VALUES (?, ?, ?, ?, ?)", *row)


def test_the_engineer_takes_an_activation_out_of_the_middle(tmp_path: Path) -> None:
    config = party(tmp_path)
    activate_first(config)
    assert activate_stopped(config, TIGHTER, "policy.toml", signed(TIGHTER), NOW)
    assert "no key for role:doctor, role:it-security" in tampered(config, "DELETE FROM activations WHERE number = 1")


def test_a_key_of_the_service_holds_no_role(tmp_path: Path) -> None:
    config = party(tmp_path)
    file, own = config.keys.dir / "public.json", role_key(DOCTOR, 3)
    public = PublicKeys.parse(file.read_bytes().strip())
    file.write_bytes(public.model_copy(update={"authentication": own.public.hex}).canonical())
    named = holders({**KEYS, DOCTOR: own})
    with pytest.raises(ApprovalInvalid, match="a key of the party's service"):
        activate_stopped(config, FIRST, "policy.toml", signed(FIRST, named=named), NOW)


def test_the_policy_of_another_party_is_refused(tmp_path: Path) -> None:
    config = party(tmp_path)
    other = FIRST.replace(b'"a-clinic"', b'"b-clinic"')
    with pytest.raises(Refused, match=r"identity\.party"):
        activate_stopped(config, other, "policy.toml", (), NOW)


def test_a_running_service_takes_up_what_is_activated_and_the_same_again_changes_nothing(tmp_path: Path) -> None:
    config = party(tmp_path)
    activate_first(config)

    async def work(office: PolicyOffice, store: PartyStore) -> None:
        with pytest.raises(LockedError), FolderLock(config.party.state):
            activate_stopped(config, TIGHTER, "policy.toml", signed(TIGHTER), NOW)
        given = signed(TIGHTER, (OFFICER,))
        both = await asyncio.gather(*(office.activate(TIGHTER, "policy.toml", given) for _ in range(2)))
        assert sorted(both) == [False, True]
        assert (office.active.version, office.raw) == (2, TIGHTER)
        assert [row.number for row in await store.activations()] == [1, 2]

    at_office(config, work)


KILLED = """
import os, signal, sys
from pathlib import Path
from parley_party import store
from parley_party.activation import activate_stopped
from parley_party.config import load
from tests.party.activation_samples import NOW, TIGHTER, signed

real = store.PartyStore.activate

async def then_die(self, row):
    if sys.argv[2] == "after":
        await real(self, row)
    os.kill(os.getpid(), signal.SIGKILL)

store.PartyStore.activate = then_die
activate_stopped(load(Path(sys.argv[1]) / "party.toml"), TIGHTER, "policy.toml", signed(TIGHTER), NOW)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
@pytest.mark.parametrize(("moment", "version"), [("before", 1), ("after", 2)])
def test_killed_while_it_activates(tmp_path: Path, moment: str, version: int) -> None:
    """Between what is written down and the answer: what is on the disk is in force, and to say it again succeeds."""
    config = party(tmp_path)
    activate_first(config)
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], check=False, cwd=Path(__file__).parents[2])
    assert died.returncode == -9
    assert in_force(config) == version
    assert activate_stopped(config, TIGHTER, "policy.toml", signed(TIGHTER), NOW) is (version == 1)
    assert in_force(config) == 2
