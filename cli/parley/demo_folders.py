"""The demo's seven folders, as seven organizations would make them: gateway, and six parties with keys, policy, SQL and a CSV file.

Each is made by what `parley gateway init` and `parley party init` call. The policies come in two steps, as in life: a party first makes its
keys under the profile `demo-open`; when all fingerprints were compared, outside the gateway, its compliance officer writes the policy that
pins them. A passphrase lies beside its keys in a file that only this user can read; a real service keeps it elsewhere.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Final

from parley_crypto.keys import VerifyKey
from parley_gateway.founding import GatewaySetup, initialise
from parley_party.config import NAME as PARTY_TOML
from parley_party.drafting import first_policy
from parley_party.founding import PartySetup, create_party
from parley_service.lockfile import LOCK_NAME, FolderLock
from parley_service.sealedfile import write_atomic
from parley_service.secrets import Secret, SecretReference

from parley.demo_data import DEMO_PARTIES, HELD_OUT, TABLE, DemoParty, DemoRows, demo_map, demo_sql, write_demo_data
from parley.demo_plan import MARKER, DemoPlan, WorkFolderError
from parley.demo_policies import COUNTRY, DATASET, Pins, policy_text

GATEWAY_ID: Final = "gw.demo"
OPERATOR: Final = "Demo gateway operator"
POLICY_TOML: Final = "policy.toml"
SQL_FILE: Final = "loans.sql"
CSV_FILE: Final = "loans.csv"
_SECRET_FILE: Final = "passphrase"  # noqa: S105 - a file's name
_SECRET: Final = SecretReference.parse(f"file:{_SECRET_FILE}")
_PROFILE: Final = "demo-open"
_PRIVATE: Final = 0o600


@contextmanager
def work_folder_of(plan: DemoPlan) -> Iterator[None]:
    """Make the work folder, or empty it if a demo made it, and hold it: WorkFolderError for other files, LockedError for another demo."""
    work = plan.work
    if work.exists() and not (work / MARKER).is_file() and any(work.iterdir()):
        raise WorkFolderError(
            f"folder {work}", wanted="nothing there, or what an earlier demo left", got="other files", do="Choose another place with --out."
        )
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    with FolderLock(work):
        for path in work.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK_NAME:
                path.unlink()
        (work / MARKER).touch()
        yield


def free_port() -> int:
    """Return a port of loopback that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_gateway(plan: DemoPlan, port: int, *, listen: int | None = None) -> VerifyKey:
    """Make the gateway's folder; return the key that parties compare. Parties dial `port`, where it listens unless told another."""
    secret = new_passphrase(plan.gateway)
    address = "" if listen is None else f"127.0.0.1:{listen}"
    setup = GatewaySetup(f"http://127.0.0.1:{port}", OPERATOR, COUNTRY, _SECRET, secret, id=GATEWAY_ID, listen=address)
    return initialise(plan.gateway, setup).key


def make_party(plan: DemoPlan, party: DemoParty, gateway: VerifyKey, today: date) -> str:
    """Make a party's folder with keys, party.toml and its first policy; return the fingerprint of its identity key."""
    folder, secret = plan.party(party.id), new_passphrase(plan.party(party.id))
    data = data_table(party)
    policy = first_policy(_PROFILE, party.id, data, gateway=gateway.fingerprint, today=today, values={})
    created = create_party(folder, PartySetup(party.id, _SECRET, secret, policy, data, {SQL_FILE: demo_sql(party.objective)}))
    return created.keys.identity.public.fingerprint


def new_passphrase(folder: Path) -> Secret:
    """Draw a passphrase, keep it in the folder's file, and return it."""
    folder.mkdir(mode=0o700)
    secret = Secret(secrets.token_urlsafe(24))
    path = folder / _SECRET_FILE
    path.touch(mode=_PRIVATE)
    path.write_text(secret.reveal() + "\n")
    return secret


def write_policies(plan: DemoPlan, pins: Pins, today: date) -> None:
    """Put each party's own policy in place of the profile's."""
    for party in DEMO_PARTIES:
        write_atomic(plan.party(party.id) / POLICY_TOML, policy_text(party, pins, today).encode())


def write_data(plan: DemoPlan) -> dict[str, DemoRows]:
    """Write each party's CSV file; return the rows by party."""
    return write_demo_data({party.id: plan.party(party.id) / CSV_FILE for party in DEMO_PARTIES}, plan.seed)


def data_table(party: DemoParty) -> str:
    """Return the `[data.…]` tables of a party's party.toml."""
    mapped = "\n".join(f"{name} = {_inline(entry)}" for name, entry in demo_map(party.objective).items())
    return f"""\
[data.{DATASET}]
files = {{ {TABLE} = "{CSV_FILE}" }}
query = "{SQL_FILE}"
held_out_column = "{HELD_OUT["column"]}"
held_out_value  = "{HELD_OUT["value"]}"

[data.{DATASET}.map]
{mapped}
"""


def party_file(plan: DemoPlan, party: str) -> Path:
    """Return a party's party.toml."""
    return plan.party(party) / PARTY_TOML


def invite_arguments(party: DemoParty) -> dict[str, str]:
    """Return what the gateway's operator says when inviting a party."""
    return {"party": party.id, "name": party.legal_name, "class": party.party_class, "country": COUNTRY}


def _inline(entry: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in entry.items()) + " }"
