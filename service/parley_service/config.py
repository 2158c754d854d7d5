"""Configuration files: TOML with a schema line, strict models, paths relative to the file, and errors that say what to correct.

`load_config` reads one file and gives one frozen model or raises ConfigError that names file, field, what was wanted and what was got.
Unknown fields are refused, nothing is converted silently, and a secret never stands in a file (`parley_service.secrets`): what may
hold one is not repeated in errors. What a service must find outside its file (other files, addresses) is not looked at here.

`find_home` finds the folder of a service: `--home`, else PARLEY_HOME, else the first folder upward that holds gateway.toml or party.toml.

    class Sample(ConfigFile):
        listen: ListenAddress
        spool: RelativePath

    sample = load_config(Path("sample.toml"), "parley.sample/1", Sample)
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar
from urllib.parse import SplitResult, urlsplit

from parley_protocol.limits import CONFIG_BYTES, URL_CHARACTERS
from parley_protocol.problems import Slug
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, PrivateAttr, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from parley_service.errors import ConfigError, SecretError
from parley_service.secrets import SecretReference

_SHOWN_CHARACTERS: Final = 80
_USERINFO: Final = re.compile(r"(?<=://)[^/@\s]*@")
_FOLDER: Final = "folder"
_PORTS: Final = range(1 << 16)


class FieldError(ValueError):
    """What a validator raises: what was wanted, and, where the input must not be shown or says too little, what was got."""

    def __init__(self, wanted: str, got: str | None = None) -> None:
        super().__init__(f"wanted {wanted}")
        self.wanted = wanted
        self.got = got


class Table(BaseModel):
    """A table of a configuration file: frozen, strict, unknown fields refused, numbers finite."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class ConfigFile(Table):
    """A whole configuration file. `schema` is not among its fields: `load_config` checks it first."""

    _file: Path = PrivateAttr(default=Path())

    @property
    def file(self) -> Path:
        """The file that this was read from, absolute."""
        return self._file

    @property
    def folder(self) -> Path:
        """The folder of the file: what relative paths are relative to."""
        return self._file.parent

    def read_from(self, file: Path) -> Self:
        """Remember the file and return self."""
        self._file = file
        return self


# --- types of fields


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen at. `host` is an IP address or `localhost`."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: object) -> Listen:
        """Parse `127.0.0.1:8443`, `[::1]:8443` or `localhost:8443`; FieldError otherwise. Port 0 lets the system choose."""
        if isinstance(text, str):
            host, _, port = text.rpartition(":")
            host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
            if port.isascii() and port.isdigit() and int(port) in _PORTS and (host == "localhost" or _is_address(host)):
                return cls(host, int(port))
        raise FieldError("an IP address (or localhost) and a port, such as 127.0.0.1:8443")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _loopback(listen: Listen) -> Listen:
    if not listen.is_loopback:
        raise FieldError("a loopback address: this endpoint has no authentication")
    return listen


def _resolved(path: Path, info: ValidationInfo) -> Path:
    if not str(path).strip(".") or "\0" in str(path):
        raise FieldError("a path")
    return resolve(path, info)


def resolve(path: Path, info: ValidationInfo) -> Path:
    """Return `path` relative to the folder of the file that is being read (for validators)."""
    folder: Path = (info.context or {}).get(_FOLDER, Path())
    return folder / path


def _reference(text: object) -> SecretReference:
    if not isinstance(text, str):
        raise FieldError("env:NAME | file:PATH | credential:NAME | prompt", "something else")
    try:
        return SecretReference.parse(text)
    except SecretError as error:
        raise FieldError(error.wanted or "", error.got) from None


def _service_url(text: str) -> str:
    """Return an http(s) origin without a slash at its end. http is for loopback alone."""
    parts = split_url(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise FieldError("https://HOST or https://HOST:PORT, without a path")
    if parts.scheme == "http" and not is_loopback_host(parts.hostname):
        raise FieldError("https (http is for loopback only)")
    return text.removesuffix("/")


def split_url(text: str) -> SplitResult:
    """Return the parts of a URL without user or password; FieldError otherwise."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise FieldError("a URL") from None
    if parts.username is not None or parts.password is not None:
        raise FieldError("a URL without user and password: no secret stands in this file")
    return parts


def is_loopback_host(host: str) -> bool:
    """Whether a host of a URL is this machine by its form: `localhost` or a loopback address. Asks no name server."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


ListenAddress = Annotated[Listen, PlainValidator(Listen.parse)]
LoopbackAddress = Annotated[Listen, PlainValidator(Listen.parse), AfterValidator(_loopback)]
RelativePath = Annotated[Path, AfterValidator(_resolved)]
SecretSource = Annotated[SecretReference, PlainValidator(_reference)]
ServiceUrl = Annotated[str, Field(max_length=URL_CHARACTERS), AfterValidator(_service_url)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]  # ISO 3166-1 alpha-2
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


# --- tables that both services have


class Keys(Table):
    """[keys]: the folder of the sealed key file, and where its passphrase is."""

    dir: RelativePath
    passphrase: SecretSource


class Log(Table):
    """[log]: to stderr."""

    format: Literal["json", "text"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Metrics(Table):
    """[metrics]: /healthz, /readyz, /metrics on loopback."""

    listen: LoopbackAddress


# --- loading

M = TypeVar("M", bound=ConfigFile)


def load_config(path: Path, schema: str, model: type[M]) -> M:
    """Return the file at `path` as `model`; ConfigError that names file, field, wanted and got otherwise. `schema` is `parley.<kind>/1`."""
    file = path.absolute()
    content = read_toml(file, schema)
    try:
        # by way of JSON: its strict mode takes arrays for tuples and strings for paths and dates, and converts nothing else
        config = model.model_validate_json(json.dumps(content, default=str), context={_FOLDER: file.parent})
    except ValidationError as error:
        raise _config_error(path, error, model) from None  # pydantic's own text repeats whole inputs
    return config.read_from(file)


def read_toml(path: Path, schema: str) -> dict[str, Any]:
    """Return the content of a TOML file without its schema line; ConfigError if it is not one of this schema."""
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}", problem=Slug.FILE_INVALID, wanted="a file that can be read", got=error.strerror or "an error"
        ) from error
    if len(raw) > CONFIG_BYTES:
        raise ConfigError(f"{path}", wanted=f"at most {CONFIG_BYTES} bytes", got="more")
    try:
        content = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}", wanted="TOML", got=str(error)[:200]) from error
    found = content.pop("schema", None)
    if found != schema:
        raise ConfigError(
            f"{path}: schema", wanted=f'schema = "{schema}" in the first line', got="none" if found is None else repr(found)[:80]
        )
    return content


@dataclass(frozen=True, slots=True)
class _Fault:
    field: str
    wanted: str
    got: str

    def __str__(self) -> str:
        return f"{self.field}: wanted {self.wanted}, got {self.got}"


def _config_error(path: Path, error: ValidationError, model: type[BaseModel]) -> ConfigError:
    first, *others = (_fault(detail, model) for detail in error.errors(include_url=False))
    do = "Correct it. The file also has: " + "; ".join(map(str, others)) if others else None
    return ConfigError(f"{path}: {first.field}", wanted=first.wanted, got=first.got, do=do)


def _fault(detail: ErrorDetails, model: type[BaseModel]) -> _Fault:
    field = ".".join(map(str, detail["loc"])) or "the file"
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, FieldError):
        return _Fault(field, cause.wanted, cause.got or _shown(detail["input"]))
    match detail["type"]:
        case "missing":
            return _Fault(field, "this field", "none")
        case "extra_forbidden":
            return _Fault(field, "no field of this name" + _suggestion(detail["loc"], model), _shown(detail["input"]))
        case "model_type" | "dict_type" | "model_attributes_type":
            return _Fault(field, "a table", _shown(detail["input"]))
        case _:
            return _Fault(field, detail["msg"].removeprefix("Input should be "), _shown(detail["input"]))


def _shown(value: object) -> str:
    """Return an input fit for an error: short, and without the user and password of a URL."""
    text = _USERINFO.sub("…@", repr(value))
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"


def _suggestion(where: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Return ` (did you mean …?)` where a field of the same table has nearly this name."""
    table: type[BaseModel] | None = model
    for part in where[:-1]:
        field = table.model_fields.get(str(part)) if table else None
        table = _model_in(field.annotation) if field else table
    names = list(table.model_fields) if table else []
    near = difflib.get_close_matches(str(where[-1]), names, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model), None)


# --- the folder of a service


@unique
class HomeKind(StrEnum):
    """Which service a folder belongs to."""

    GATEWAY = "gateway"
    PARTY = "party"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of a service and its configuration file."""

    kind: HomeKind
    folder: Path

    @property
    def file(self) -> Path:
        """gateway.toml or party.toml."""
        return self.folder / f"{self.kind}.toml"


def find_home(given: Path | None, environ: Mapping[str, str], start: Path) -> Home:
    """Return the service's folder: `given`, else PARLEY_HOME, else the first upward from `start`; ConfigError if there is none."""
    named = given or (Path(environ["PARLEY_HOME"]) if environ.get("PARLEY_HOME") else None)
    candidates = [named.absolute()] if named else [start.absolute(), *start.absolute().parents]
    for folder in candidates:
        kinds = [kind for kind in HomeKind if (folder / f"{kind}.toml").is_file()]
        if len(kinds) > 1:
            raise ConfigError(f"folder {folder}", wanted="gateway.toml or party.toml", got="both", do="Give each service its own folder.")
        if kinds:
            return Home(kinds[0], folder)
    raise ConfigError(
        f"folder {candidates[0]}" + ("" if named else " and those above it"),
        wanted="gateway.toml or party.toml",
        got="neither",
        do="Say --home DIR, set PARLEY_HOME, or make one with `parley gateway init` or `parley party init`.",
    )
