"""party.toml: what a data engineer writes. Schema `parley.party/1`; the example with comments is docs/examples/party.toml.

`load` checks the file alone; files, queries and gateways that it names are looked at by `parley doctor`, `parley data check` and the
service. What may leave the party stands in policy.toml, never here.

    config = load(Path("party.toml"))
    config.data["heart_failure"].map["age"]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from parley_policies.negotiation.terms import PartyId
from parley_protocol.limits import GATEWAYS_PER_PARTY, NAME_CHARACTERS
from parley_service.config import (
    ConfigFile,
    FieldError,
    Keys,
    Log,
    Metrics,
    RelativePath,
    ServiceUrl,
    Table,
    load_config,
    resolve,
    split_url,
)
from pydantic import Field, PlainValidator, ValidationInfo, model_validator

SCHEMA: Final = "parley.party/1"
NAME: Final = "party.toml"
HELD_OUT: Final = 0.34  # share of the rows that training never sees
_ENV: Final = "env"
_NONE: Final = "none"
_SYSTEM: Final = "system"

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=NAME_CHARACTERS)]
ColumnName = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS)]
Fingerprint = Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]


@dataclass(frozen=True, slots=True)
class Proxy:
    """How calls leave: by HTTPS_PROXY and NO_PROXY (`from_environment`), by `url`, or directly."""

    from_environment: bool
    url: str | None = None


def _proxy(text: object) -> Proxy:
    wanted = f"{_ENV}, {_NONE} or the URL of an HTTP proxy"
    match text:
        case "env":
            return Proxy(from_environment=True)
        case "none":
            return Proxy(from_environment=False)
        case str() if "://" in text:
            parts = split_url(text)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
                raise FieldError(f"{wanted}, such as http://proxy.intra:3128")
            return Proxy(from_environment=False, url=text)
        case _:
            raise FieldError(wanted)


def _ca_file(text: object, info: ValidationInfo) -> Path | None:
    if not isinstance(text, str) or not text:
        raise FieldError(f"{_SYSTEM} or a PEM file")
    return None if text == _SYSTEM else resolve(Path(text), info)


class Party(Table):
    """[party]: who this is, and where its files are."""

    id: PartyId
    policy: RelativePath
    state: RelativePath
    control: RelativePath


class GatewayLink(Table):
    """[gateways.NAME]: one federation. `fingerprint` is of the gateway's log key; without it `parley party join` asks for it."""

    url: ServiceUrl
    fingerprint: Fingerprint | None = None
    proxy: Annotated[Proxy, PlainValidator(_proxy)] = Proxy(from_environment=True)
    ca_file: Annotated[Path | None, PlainValidator(_ca_file)] = None  # None: the system's


class Exclude(Table):
    """`exclude`: the table and column that name the people who objected or withdrew."""

    table: Name
    column: ColumnName


class Mapped(Table):
    """What a study's column is here: a column of the query (also written as its name alone), or SQL over it.

    `unit` is checked against the study's.
    """

    column: ColumnName | None = None
    sql: Annotated[str, Field(min_length=1, max_length=2_000)] | None = None
    unit: Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        if isinstance(value, str):
            return {"column": value}
        if not isinstance(value, dict):
            raise FieldError('a column\'s name, or a table such as { sql = "na_mmol_l", unit = "mmol/L" }')
        return value

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.column is None) == (self.sql is None):
            raise FieldError("either column or sql", "both" if self.column else "neither")
        return self


class Dataset(Table):
    """[data.NAME]: files, the read-only query over them, and what the columns of studies are in it."""

    files: Annotated[dict[Name, RelativePath], Field(min_length=1)]  # table -> file, or pattern of files
    query: RelativePath
    unit: ColumnName | None = None  # without it every row is its own unit
    exclude: Exclude | None = None
    refresh: Literal["frozen", "per-round"] = "frozen"
    held_out: Annotated[float, Field(ge=0.0, le=0.9)] | None = None
    held_out_column: ColumnName | None = None
    held_out_value: str | int | bool | None = None
    map: Annotated[dict[Name, Mapped], Field(min_length=1)]

    @property
    def held_out_share(self) -> float:
        """The share of rows that training never sees, where no column of the query marks them."""
        return HELD_OUT if self.held_out is None else self.held_out

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if (self.held_out_column is None) != (self.held_out_value is None):
            raise FieldError("held_out_column and held_out_value together", "one of them")
        if self.held_out is not None and self.held_out_column is not None:
            raise FieldError("held_out, or held_out_column with held_out_value", "both")
        if self.exclude is not None and self.exclude.table not in self.files:
            raise FieldError(f"exclude.table among files: {', '.join(sorted(self.files))}", self.exclude.table)
        if self.exclude is not None and self.unit is None:
            raise FieldError("unit, so that rows of excluded people can be found", "exclude without unit")
        return self


class Training(Table):
    """[training]: what the trainer process may use."""

    device: Annotated[str, Field(pattern=r"^(cpu|cuda:[0-9]{1,2})$")] = "cpu"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    memory_mib: Annotated[int, Field(ge=256)] = 4096
    work_dir: RelativePath


class PartyConfig(ConfigFile):
    """party.toml."""

    party: Party
    gateways: Annotated[dict[Name, GatewayLink], Field(max_length=GATEWAYS_PER_PARTY)] = Field(default_factory=dict)
    keys: Keys
    data: dict[Name, Dataset] = Field(default_factory=dict)
    training: Training
    log: Log = Log()
    metrics: Metrics | None = None

    @model_validator(mode="after")
    def _one_table_a_federation(self) -> Self:
        urls = [link.url for link in self.gateways.values()]
        twice = sorted({url for url in urls if urls.count(url) > 1})
        if twice:
            raise FieldError("one [gateways.NAME] a gateway", f"{twice[0]} twice")
        return self


def load(path: Path) -> PartyConfig:
    """Return party.toml at `path`; ConfigError that names file, field, wanted and got otherwise."""
    return load_config(path, SCHEMA, PartyConfig)
