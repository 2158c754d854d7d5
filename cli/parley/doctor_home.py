"""What `parley doctor` looks at in the folder itself: files, policy, keys, store, data, disk, extras. No network."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from parley_policies.errors import PolicyInvalid, Refused
from parley_protocol.limits import MIB
from parley_protocol.problems import ProblemError, Slug
from parley_service.config import Home, HomeKind
from parley_service.errors import NotRunningError
from parley_service.problems import problem_of
from parley_service.secrets import Source

from parley.extras import EXTRAS
from parley.session import Session
from parley.verdicts import Verdict, bad, doubt, failed, failed_by, good
from parley.words import size

if TYPE_CHECKING:
    from parley_gateway.config import GatewayConfig
    from parley_party.config import PartyConfig
    from parley_party.keystore import PartyKeys
    from parley_service.config import Keys

_ENOUGH_BYTES: Final = 1024 * MIB
_FEWEST_BYTES: Final = 100 * MIB
_PARTY_EXTRA: Final = "party"


def check_disk(folder: Path) -> Verdict:
    """Say how much room there is where the service writes."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    says = f"{size(free)} free at {existing}"
    if free < _FEWEST_BYTES:
        return bad("disk", says, "Make room: a service whose store cannot write stops.", Slug.STORE_FAILED)
    return doubt("disk", says, "Make room before a long study.") if free < _ENOUGH_BYTES else good("disk", says)


def check_extras(kind: HomeKind | None) -> Verdict:
    """Say whether what a party needs is installed; a gateway needs none."""
    party = next(extra for extra in EXTRAS if extra.name == _PARTY_EXTRA)
    if not party.missing:
        return good("extras", ", ".join(f"{name} {version}" for name, version in party.versions().items()))
    says = f"the extra party is not installed: without {', '.join(party.missing)}"
    if kind is HomeKind.PARTY:
        return bad("extras", says, party.install, Slug.EXTRA_MISSING)
    return good("extras", f"{says}, which only a party needs")


def check_service(session: Session) -> tuple[Verdict, Mapping[str, Any] | None]:
    """Say whether the folder's service runs, and return its status if so."""
    try:
        status = session.call("status")
    except NotRunningError:
        return doubt("service", "not running", "Start it when all else is well."), None
    except ProblemError as error:
        return failed_by("service", error), None
    return good("service", "running"), status


def check_gateway_home(session: Session, home: Home) -> Iterator[Verdict]:
    """Look at a gateway's folder."""
    from parley_gateway import config, reading  # noqa: PLC0415

    try:
        found = config.load(home.file)
    except ProblemError as error:
        yield failed_by("config", error)
        return
    yield good("config", f"{home.file} is valid; it declares {found.operator.legal_name}, {found.operator.country}")
    yield _keys_of_gateway(session, found)
    try:
        status = reading.status(found, session.environ)
    except ProblemError as error:
        yield failed_by("store", error)
    else:
        yield good("store", f"{len(status['members'])} members, {len(status['studies'])} studies, {status['log_leaves']} leaves in the log")


def _keys_of_gateway(session: Session, found: GatewayConfig) -> Verdict:
    from parley_gateway.app import KEY, KEY_LABEL  # noqa: PLC0415
    from parley_service.keyfile import open_keys  # noqa: PLC0415

    if (asked := _asked_for(found.keys)) is not None:
        return asked
    try:
        secret = found.keys.passphrase.read(found.folder, session.environ)
        key = open_keys(found.keys.dir, (KEY,), secret, label=KEY_LABEL).signing(KEY)
    except ProblemError as error:
        return failed_by("keys", error)
    return good("keys", f"they open; fingerprint {key.public.fingerprint}")


def _asked_for(keys: Keys) -> Verdict | None:
    """Return a verdict where the passphrase is asked at a terminal: nothing is asked here."""
    if keys.passphrase.source is not Source.PROMPT:
        return None
    return doubt("keys", "their passphrase is asked at each start", "For a service that starts by itself say env:, file: or credential:.")


def check_party_home(config: PartyConfig) -> Iterator[Verdict]:
    """Look at a party's folder, its data excepted."""
    yield good("config", f"{config.file} is valid; it is the party {config.party.id}")
    yield _policy(config)
    yield from _store(config)


def _policy(config: PartyConfig) -> Verdict:
    from parley_party.activation import differs, history  # noqa: PLC0415
    from parley_party.reading import read_policy  # noqa: PLC0415
    from parley_policies.model.unsupported import unsupported_clauses  # noqa: PLC0415
    from parley_policies.negotiation.clauses import check_in_force  # noqa: PLC0415

    try:
        known = history(config)
        found = known[-1].activated.file if known else read_policy(config)
        check_in_force(found.policy, datetime.now(UTC).date())
    except (PolicyInvalid, Refused) as error:
        return failed("policy", problem_of(error, outward=False))
    except ProblemError as error:
        return failed_by("policy", error)
    unsupported = unsupported_clauses(found.policy)
    if unsupported:
        clauses = ", ".join(item.clause for item in unsupported)
        return doubt("policy", f"this version cannot uphold {clauses}: every study is refused", "See parley policy check.")
    if known and differs(config, found.digest):
        says = f"{config.party.policy.name} is not what is in force, which is version {found.policy.identity.version}"
        return doubt("policy", says, "Activate it (parley policy activate), or put the file back.")
    if not known and found.policy.approval.policy:
        roles = ", ".join(found.policy.approval.policy)
        return doubt("policy", f"not in force: {roles} must sign it first", "parley policy sign, then parley policy activate.")
    return good("policy", f"version {found.policy.identity.version}, in force until {found.policy.identity.valid_until}")


def _store(config: PartyConfig) -> Iterator[Verdict]:
    from parley_party import reading  # noqa: PLC0415

    try:
        known = reading.studies(config)
    except ProblemError as error:
        yield failed_by("store", error)
    else:
        yield good(
            "store", f"{len(known)} studies" if reading.store_path(config).is_file() else "none yet: made when a federation is joined"
        )


def open_party_keys(session: Session, config: PartyConfig) -> tuple[Verdict, PartyKeys | None]:
    """Say whether the keys open, and return them; asks for the passphrase only at a terminal."""
    from parley_party import keystore  # noqa: PLC0415

    asked = _asked_for(config.keys)
    try:
        if asked is not None and not sys.stdin.isatty():
            return asked, None
        keys = keystore.load(config.keys.dir, config.keys.passphrase.read(config.folder, session.environ))
    except ProblemError as error:
        return failed_by("keys", error), None
    return good("keys", f"they open; fingerprint {keys.identity.public.fingerprint}"), keys


def check_data(config: PartyConfig) -> Iterator[Verdict]:
    """Read every dataset once, as `parley data check` does."""
    if not config.data:
        yield doubt("data", f"{config.file.name} names none", "Add a table [data.NAME].")
        return
    if find_spec("duckdb") is None:  # the extras' verdict says so
        return
    from parley_party.datasource import check_dataset  # noqa: PLC0415
    from parley_party.datasource_config import dataset_config  # noqa: PLC0415

    for name in sorted(config.data):
        try:
            found = check_dataset(dataset_config(config, name))
        except ProblemError as error:
            yield failed_by("data", error)
            continue
        wrong = [item.column for item in found.findings if not item.fits]
        says = f"{name}: {found.training_rows} rows to train on, {found.held_out_rows} held out, {found.people} people"
        if wrong:
            yield bad("data", f"{says}; not readable: {', '.join(wrong)}", f"parley data check {name}", Slug.DATA_MISMATCH)
        else:
            yield good("data", says)
