"""gateway.toml: what an operator writes. Schema `parley.gateway/1`; the example with comments is docs/examples/gateway.toml.

`load` checks the file alone; whether ports are free and files are there shows when the service starts. No secret stands in the file:
the passphrase of the keys and a database address with a password come from elsewhere.

    config = load(Path("gateway.toml"))
    config.gateway.public_url, config.limits.chunk_bytes
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

from parley_protocol.limits import (
    CHUNK_BYTES,
    CHUNK_BYTES_MAX,
    GATEWAY_ID_CHARACTERS,
    LONG_POLL_SECONDS,
    LONG_POLL_SECONDS_MAX,
    MIB,
    PARTIES,
    PARTIES_MAX,
    PROPOSALS_A_DAY,
    PROPOSALS_A_DAY_MAX,
    PROPOSALS_A_MONTH,
    PROPOSALS_A_MONTH_MAX,
    REQUESTS_PER_SECOND_PER_PARTY,
    UPLOAD_BYTES,
    UPLOAD_BYTES_MAX,
)
from parley_service.config import (
    ConfigFile,
    Country,
    FieldError,
    Keys,
    Line,
    ListenAddress,
    Log,
    Metrics,
    RelativePath,
    ServiceUrl,
    Table,
    load_config,
    split_url,
)
from parley_service.errors import ConfigError
from pydantic import Field, PlainValidator, ValidationInfo, model_validator

SCHEMA: Final = "parley.gateway/1"
NAME: Final = "gateway.toml"
_SQLITE: Final = "sqlite:///"
_ENV: Final = "env:"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(text: object) -> Network:
    try:
        return ipaddress.ip_network(text) if isinstance(text, str) else _no_network()
    except ValueError:
        return _no_network()


def _no_network() -> Network:
    raise FieldError("a network, such as 127.0.0.1/32 or 10.0.0.0/8")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is: a SQLite file, or the environment variable that says it."""

    path: Path | None
    variable: str | None

    def file(self, folder: Path, environ: Mapping[str, str]) -> Path:
        """Return the SQLite file; ConfigError if the variable is not set or names what this version cannot use."""
        if self.path is not None:
            return self.path
        text = environ.get(self.variable or "", "")
        if not text.startswith(_SQLITE) or text == _SQLITE:
            kind = text.partition(":")[0] if text else "nothing"
            raise ConfigError(
                f"store.url: variable {self.variable}", wanted=f"{_SQLITE}PATH (this version keeps its store in SQLite)", got=kind
            )
        return folder / text.removeprefix(_SQLITE)


def _store(text: object, info: ValidationInfo) -> StoreAddress:
    wanted = f"{_SQLITE}PATH or {_ENV}NAME"
    match text:
        case str() if text.startswith(_SQLITE) and text != _SQLITE:
            folder: Path = (info.context or {}).get("folder", Path())
            return StoreAddress(folder / text.removeprefix(_SQLITE), None)
        case str() if text.startswith(_ENV) and text.removeprefix(_ENV).isidentifier():
            return StoreAddress(None, text.removeprefix(_ENV))
        case str() if "://" in text:
            split_url(text)  # a password in it is the fault to name first
            raise FieldError(f"{wanted} (this version keeps its store in SQLite)", text.partition(":")[0])
        case _:
            raise FieldError(wanted)


class Gateway(Table):
    """[gateway]: name, the address that parties dial, and the address to listen at."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=GATEWAY_ID_CHARACTERS)]
    public_url: ServiceUrl
    listen: ListenAddress
    trusted_proxies: tuple[Annotated[Network, PlainValidator(_network)], ...] = ()


class Tls(Table):
    """[tls]: certificate chain and key in PEM."""

    cert: RelativePath
    key: RelativePath


class Subprocessor(Table):
    """[[operator.subprocessors]]: who else touches the machine, as declared."""

    name: Line
    country: Country
    service: Line


class Operator(Table):
    """[operator]: published to every party and written into the log."""

    legal_name: Line
    country: Country
    privacy_contact: Line
    security_contact: Line
    incident_notice_hours: Annotated[int, Field(ge=1, le=24 * 365)]
    change_notice_days: Annotated[int, Field(ge=0, le=3650)]
    subprocessors: tuple[Subprocessor, ...] = ()


class Store(Table):
    """[store]: the database, and the folder of sealed uploads."""

    url: Annotated[StoreAddress, PlainValidator(_store)]
    spool: RelativePath


class Limits(Table):
    """[limits]: each with its unit."""

    max_upload_mib: Annotated[int, Field(ge=1, le=UPLOAD_BYTES_MAX // MIB)] = UPLOAD_BYTES // MIB
    max_chunk_mib: Annotated[int, Field(ge=1, le=CHUNK_BYTES_MAX // MIB)] = CHUNK_BYTES // MIB
    long_poll_seconds: Annotated[int, Field(ge=1, le=LONG_POLL_SECONDS_MAX)] = LONG_POLL_SECONDS
    max_parties: Annotated[int, Field(ge=2, le=PARTIES_MAX)] = PARTIES
    requests_per_second_per_party: Annotated[int, Field(ge=1, le=10_000)] = REQUESTS_PER_SECOND_PER_PARTY
    proposals_a_day_per_sponsor: Annotated[int, Field(ge=1, le=PROPOSALS_A_DAY_MAX)] = PROPOSALS_A_DAY
    proposals_a_month_per_sponsor: Annotated[int, Field(ge=1, le=PROPOSALS_A_MONTH_MAX)] = PROPOSALS_A_MONTH

    @property
    def upload_bytes(self) -> int:
        """Most bytes of one upload."""
        return self.max_upload_mib * MIB

    @property
    def chunk_bytes(self) -> int:
        """Most bytes of one request that carries a part of an upload."""
        return self.max_chunk_mib * MIB


class GatewayConfig(ConfigFile):
    """gateway.toml."""

    gateway: Gateway
    operator: Operator
    store: Store
    keys: Keys
    tls: Tls | None = None
    limits: Limits = Limits()
    log: Log = Log()
    metrics: Metrics | None = None

    @property
    def state(self) -> Path:
        """The folder of what the service keeps: that of the spool."""
        return self.store.spool.parent

    @property
    def control(self) -> Path:
        """The control socket: how the command line reaches the running service."""
        return self.state / "control.sock"

    @model_validator(mode="after")
    def _not_in_the_clear(self) -> Self:
        if not self.gateway.listen.is_loopback and self.tls is None and not self.gateway.trusted_proxies:
            raise FieldError("[tls], trusted_proxies, or a loopback address in gateway.listen", f"{self.gateway.listen} in the clear")
        return self


def load(path: Path) -> GatewayConfig:
    """Return gateway.toml at `path`; ConfigError that names file, field, wanted and got otherwise."""
    return load_config(path, SCHEMA, GatewayConfig)
