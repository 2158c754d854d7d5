"""A new gateway's folder: what `parley gateway init` writes. Nothing is overwritten, and entropy is drawn by the key file alone.

made = initialise(folder, GatewaySetup("https://gateway.example", "CardioNet e. V.", "DE", reference, secret))
made.fingerprint
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from parley_crypto.keys import VerifyKey
from parley_crypto.statement import Document
from parley_protocol.ids import Hex32
from parley_protocol.problems import Slug
from parley_service.config import is_loopback_host
from parley_service.errors import ConfigError
from parley_service.keyfile import KEY_FILE, create_keys
from parley_service.sealedfile import SCRYPT_N, write_atomic
from parley_service.secrets import Secret, SecretReference

from parley_gateway.app import DATA, KEY, KEY_LABEL
from parley_gateway.config import NAME, SCHEMA, load
from parley_gateway.store import create_store

KEYS: Final = "keys"
PUBLIC_KEY: Final = "public.json"
PROXIED_PORT: Final = 8443  # where the service listens on loopback if a proxy on the same host ends TLS
INCIDENT_NOTICE_HOURS: Final = 24
CHANGE_NOTICE_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class GatewaySetup:
    """What a new gateway's folder is made of. What the operator does not say yet stands in gateway.toml to be corrected."""

    url: str
    operator: str
    country: str
    reference: SecretReference
    passphrase: Secret
    id: str = ""  # the host of the URL unless given; it never changes
    listen: str = ""
    privacy_contact: str = ""
    security_contact: str = ""
    incident_notice_hours: int = INCIDENT_NOTICE_HOURS
    change_notice_days: int = CHANGE_NOTICE_DAYS
    metrics: str = ""  # an address on loopback; none: off


@dataclass(frozen=True, slots=True)
class CreatedGateway:
    """A new gateway's folder: the files that were written, and the key that parties compare."""

    folder: Path
    files: tuple[Path, ...]
    key: VerifyKey

    @property
    def fingerprint(self) -> str:
        """`SHA256:…` of the log's key."""
        return self.key.fingerprint


class PublicKey(Document):
    """The public half of the gateway's key, beside the sealed file: to be shown without the passphrase."""

    id: str
    log: Hex32


def initialise(folder: Path, setup: GatewaySetup, *, n: int = SCRYPT_N) -> CreatedGateway:
    """Write a new gateway's config, keys and store; ConfigError if something is there already, or a value is wrong. `n`: scrypt's cost."""
    file = folder / NAME
    for path in (file, folder / KEYS, folder / DATA):
        if path.exists():
            raise ConfigError(
                f"{path}",
                problem=Slug.CONFLICT,
                wanted="nothing there yet",
                got="a file or folder",
                do="Use another folder; nothing was written.",
            )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = gateway_toml(setup)
    draft = folder / (NAME + ".draft")
    write_atomic(draft, text.encode())
    try:
        config = load(draft)  # every value is checked before a key is drawn
    finally:
        draft.unlink()
    keys = create_keys(folder / KEYS, (KEY,), setup.passphrase, label=KEY_LABEL, n=n)
    key = keys.signing(KEY).public
    write_atomic(folder / KEYS / PUBLIC_KEY, PublicKey(id=config.gateway.id, log=key.hex).canonical() + b"\n")
    store = config.store.url.file(folder, {})
    create_store(store)
    write_atomic(file, text.encode())  # last: a folder that is half made is nobody's home
    return CreatedGateway(folder, (file, folder / KEYS / KEY_FILE, store), key)


def read_public_key(folder: Path) -> VerifyKey:
    """Return the log's key of a gateway's folder; ConfigError if the file of `initialise` is not there."""
    path = folder / KEYS / PUBLIC_KEY
    try:
        return VerifyKey.from_hex(PublicKey.parse(path.read_bytes().rstrip(b"\n")).log)
    except OSError as error:
        raise ConfigError(f"{path}", wanted="the file that `parley gateway init` wrote", got=error.strerror or "an error") from error


def gateway_toml(setup: GatewaySetup) -> str:
    """Return the text of a new gateway.toml."""
    host = urlsplit(setup.url).hostname or ""
    loopback = is_loopback_host(host) if host else False
    values = {
        "schema": SCHEMA,
        "id": setup.id or re.sub(r"[^a-z0-9.-]+", "-", host.lower()).strip(".-"),
        "url": setup.url,
        "listen": setup.listen or _listen(setup.url, loopback=loopback),
        "operator": setup.operator,
        "country": setup.country,
        "privacy": setup.privacy_contact or "not stated yet",
        "security": setup.security_contact or "not stated yet",
        "passphrase": str(setup.reference),
    }
    quoted = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    proxies = '["127.0.0.1/32", "::1/128"]'
    metrics = f"\n[metrics]\nlisten = {json.dumps(setup.metrics)} # /healthz, /readyz, /metrics\n" if setup.metrics else ""
    return _TOML.format(**quoted, proxies=proxies, hours=setup.incident_notice_hours, days=setup.change_notice_days) + metrics


def _listen(url: str, *, loopback: bool) -> str:
    try:
        port = urlsplit(url).port
    except ValueError:
        port = None
    return f"127.0.0.1:{port or PROXIED_PORT}" if loopback else f"127.0.0.1:{PROXIED_PORT}"


_TOML: Final = """\
schema = {schema}

[gateway]
id = {id} # stands in the log; never changes
public_url = {url} # what parties dial; request tokens are bound to it
listen = {listen} # anything but loopback needs [tls] or trusted_proxies
trusted_proxies = {proxies} # whose X-Forwarded-For is believed

[operator] # published to every party, and written into the log at each change
legal_name = {operator}
country = {country}
privacy_contact = {privacy}
security_contact = {security}
incident_notice_hours = {hours}
change_notice_days = {days}

[store]
url = "sqlite:///data/gateway.db"
spool = "data/spool"

[keys]
dir = "keys"
passphrase = {passphrase} # env:NAME | file:PATH | credential:NAME | prompt
"""
