"""Configuration files: the examples load as they are; every fault names file, field, wanted and got, and shows no secret."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from parley_gateway import config as gateway_config
from parley_party import config as party_config
from parley_protocol.limits import CONFIG_BYTES
from parley_protocol.problems import Slug
from parley_service.config import HomeKind, Listen, find_home
from parley_service.errors import ConfigError

ROOT = Path(__file__).parents[2]
GATEWAY = """
schema = "parley.gateway/1"
[gateway]
id = "gw"
public_url = "http://127.0.0.1:8443/"
listen = "127.0.0.1:8443"
[operator]
legal_name = "Op"
country = "DE"
privacy_contact = "p@op.example"
security_contact = "s@op.example"
incident_notice_hours = 24
change_notice_days = 30
[store]
url = "sqlite:///data/gateway.db"
spool = "data/spool"
[keys]
dir = "keys"
passphrase = "env:PASS"
"""
PARTY = """
schema = "parley.party/1"
[party]
id = "alpha"
policy = "policy.toml"
state = "state"
control = "state/control.sock"
[gateways.main]
url = "http://localhost:8443"
[keys]
dir = "keys"
passphrase = "env:PASS"
[data.visits]
files = { visits = "visits.csv" }
query = "sql/visits.sql"
[data.visits.map]
age = "age_years"
[training]
work_dir = "state/work"
"""


def examples() -> Path:
    for folder in (ROOT / "docs" / "examples", ROOT.parent / "shared" / "design" / "examples"):
        if (folder / "gateway.toml").is_file() and (folder / "party.toml").is_file():
            return folder
    pytest.skip("2 example files are neither in docs/examples nor beside the repository")


def load_gateway(folder: Path, text: str) -> gateway_config.GatewayConfig:
    (folder / "gateway.toml").write_text(text)
    return gateway_config.load(folder / "gateway.toml")


def load_party(folder: Path, text: str) -> party_config.PartyConfig:
    (folder / "party.toml").write_text(text)
    return party_config.load(folder / "party.toml")


def refused(folder: Path, text: str) -> ConfigError:
    load = load_gateway if "parley.gateway/1" in text else load_party
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    error = caught.value
    assert error.problem is Slug.CONFIG_INVALID
    assert ("gateway.toml" in error.message) or ("party.toml" in error.message)
    assert error.wanted
    assert error.got
    return error


def with_line(text: str, table: str, line: str) -> str:
    """Return `text` with `line` in `[table]`, in place of the line for the same field if there is one."""
    name = line.partition("=")[0].strip()
    head, _, body = text.partition(f"[{table}]\n")
    rows = body.split("\n[", 1)
    kept = [row for row in rows[0].splitlines() if row.partition("=")[0].strip() != name]
    return f"{head}[{table}]\n" + "\n".join([line, *kept]) + ("\n[" + rows[1] if len(rows) > 1 else "")


def test_the_examples_load_as_they_are() -> None:
    gateway = gateway_config.load(examples() / "gateway.toml")
    party = party_config.load(examples() / "party.toml")
    assert gateway.limits.chunk_bytes == 4 << 20
    assert gateway.metrics is not None
    assert party.data["heart_failure"].map["sodium"].unit == "mmol/L"
    assert party.gateways["cardio"].proxy.from_environment
    written = tomllib.loads((examples() / "party.toml").read_text())
    assert party.party.control == examples() / written["party"]["control"]


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_gateway(tmp_path, GATEWAY)
    monkeypatch.chdir(tmp_path)
    config = gateway_config.load(Path("gateway.toml"))
    assert config.file == tmp_path / "gateway.toml"
    assert config.store.spool == tmp_path / "data/spool"
    assert config.store.url.file(tmp_path, {}) == tmp_path / "data/gateway.db"
    assert config.gateway.public_url == "http://127.0.0.1:8443", "one form, since tokens are bound to it"
    party = load_party(tmp_path, PARTY)
    assert party.data["visits"].files["visits"] == tmp_path / "visits.csv"
    assert party.folder == tmp_path


def test_defaults_of_a_party(tmp_path: Path) -> None:
    party = load_party(tmp_path, PARTY)
    assert party.data["visits"].held_out_share == 0.34
    assert party.data["visits"].map["age"].column == "age_years"
    assert party.data["visits"].refresh == "frozen"
    assert party.training.device == "cpu"
    assert party.gateways["main"].ca_file is None
    assert party.metrics is None


@pytest.mark.parametrize(
    ("line", "loads"),
    [("held_out = 0.2", True), ("held_out = 0", True), ("held_out = 0.95", False), ("held_out = -0.1", False), ("held_out = nan", False)],
)
def test_held_out_share(tmp_path: Path, line: str, *, loads: bool) -> None:
    text = with_line(PARTY, "data.visits", line)
    if loads:
        assert load_party(tmp_path, text).data["visits"].held_out_share == float(line.rsplit(maxsplit=1)[-1])
    else:
        assert "data.visits.held_out" in refused(tmp_path, text).message


def test_held_out_by_a_column(tmp_path: Path) -> None:
    by_column = with_line(PARTY, "data.visits", 'held_out_column = "part"\nheld_out_value = "test"')
    assert load_party(tmp_path, by_column).data["visits"].held_out_value == "test"
    assert load_party(tmp_path, by_column.replace('"test"', "true")).data["visits"].held_out_value is True
    assert refused(tmp_path, with_line(PARTY, "data.visits", 'held_out_column = "part"')).got == "one of them"
    assert refused(tmp_path, with_line(by_column, "data.visits", "held_out = 0.2")).got == "both"


@pytest.mark.parametrize(
    ("table", "line", "field", "says"),
    [
        ("gateway", 'listen = "0.0.0.0:8443"', "the file", "in the clear"),
        ("gateway", 'listen = "8443"', "gateway.listen", "127.0.0.1:8443"),
        ("gateway", 'listen = "127.0.0.1:99999"', "gateway.listen", "99999"),
        ("gateway", 'listen = "gateway.example:8443"', "gateway.listen", "an IP address"),
        ("gateway", "lisen = 1", "gateway.lisen", "did you mean listen?"),
        ("gateway", 'public_url = "http://gateway.example"', "gateway.public_url", "https"),
        ("gateway", 'public_url = "https://gateway.example/parley"', "gateway.public_url", "without a path"),
        ("gateway", 'public_url = "https://gateway.example:99999"', "gateway.public_url", "a URL"),
        ("gateway", "public_url = 7", "gateway.public_url", "a valid string"),
        ("gateway", 'id = "GW"', "gateway.id", "match pattern"),
        ("gateway", 'trusted_proxies = ["everybody"]', "gateway.trusted_proxies.0", "a network"),
        ("gateway", "trusted_proxies = [1]", "gateway.trusted_proxies.0", "a network"),
        ("operator", 'country = "Germany"', "operator.country", "Germany"),
        ("operator", "incident_notice_hours = 1.5", "operator.incident_notice_hours", "integer"),
        ("operator", 'incident_notice_hours = "24"', "operator.incident_notice_hours", "integer"),
        ("operator", 'subprocessors = [{ name = "a" }]', "operator.subprocessors.0.country", "this field"),
        ("store", 'url = "mysql://host/db"', "store.url", "sqlite"),
        ("store", 'url = "env:"', "store.url", "sqlite"),
        ("store", 'spool = ""', "store.spool", "a path"),
        ("keys", 'passphrase = "hunter2 is my secret"', "keys.passphrase", "env:NAME"),
        ("keys", "passphrase = 7", "keys.passphrase", "env:NAME"),
    ],
)
def test_faults_of_a_gateway_name_field_wanted_and_got(tmp_path: Path, table: str, line: str, field: str, says: str) -> None:
    error = refused(tmp_path, with_line(GATEWAY, table, line))
    assert error.message.endswith(f": {field}")
    assert says in str(error)
    assert "hunter2" not in str(error.to_problem())


@pytest.mark.parametrize(
    ("table", "line", "field", "says"),
    [
        ("party", 'id = "Alpha Clinic"', "party.id", "Alpha Clinic"),
        ("gateways.main", 'url = "https://user:hunter2@gateway.example"', "gateways.main.url", "without user and password"),
        ("gateways.main", 'proxy = "http://user:hunter2@proxy:3128"', "gateways.main.proxy", "without user and password"),
        ("gateways.main", 'proxy = "proxy:3128"', "gateways.main.proxy", "env, none or the URL"),
        ("gateways.main", 'proxy = "socks5://proxy:1080"', "gateways.main.proxy", "http://proxy.intra:3128"),
        ("gateways.main", 'ca_file = ""', "gateways.main.ca_file", "a PEM file"),
        ("gateways.main", 'fingerprint = "SHA256:short"', "gateways.main.fingerprint", "short"),
        ("data.visits", "files = {}", "data.visits.files", "at least 1"),
        ("data.visits", 'refresh = "hourly"', "data.visits.refresh", "frozen"),
        ("data.visits", 'exclude = { table = "visits", column = "id" }', "data.visits", "unit"),
        ("data.visits", 'unit = "id"\nexclude = { table = "gone", column = "id" }', "data.visits", "gone"),
        ("data.visits.map", 'age = { sql = "a", column = "b" }', "data.visits.map.age", "both"),
        ("data.visits.map", 'age = { unit = "year" }', "data.visits.map.age", "neither"),
        ("data.visits.map", 'age = { sqll = "a" }', "data.visits.map.age.sqll", "did you mean sql?"),
        ("data.visits.map", "age = 7", "data.visits.map.age", "a column's name"),
        ("training", 'device = "tpu"', "training.device", "tpu"),
        ("training", "threads = 0", "training.threads", "greater than or equal to 1"),
    ],
)
def test_faults_of_a_party_name_field_wanted_and_got(tmp_path: Path, table: str, line: str, field: str, says: str) -> None:
    error = refused(tmp_path, with_line(PARTY, table, line))
    assert error.message.endswith(f": {field}")
    assert says in str(error)
    assert "hunter2" not in str(error.to_problem())
    assert error.__cause__ is None, "pydantic's own error repeats the input"


def test_a_database_password_is_refused_and_not_shown(tmp_path: Path) -> None:
    for url in ("postgresql://parley:hunter2@db/parley", "postgresql+psycopg://:hunter2@db/parley"):
        error = refused(tmp_path, with_line(GATEWAY, "store", f'url = "{url}"'))
        assert "no secret stands in this file" in str(error)
        assert "hunter2" not in str(error.to_problem())


def test_a_database_from_the_environment(tmp_path: Path) -> None:
    store = load_gateway(tmp_path, with_line(GATEWAY, "store", 'url = "env:PARLEY_DATABASE_URL"')).store.url
    assert store.file(tmp_path, {"PARLEY_DATABASE_URL": "sqlite:///x.db"}) == tmp_path / "x.db"
    for environ in ({}, {"PARLEY_DATABASE_URL": "postgresql://u:hunter2@h/d"}):
        with pytest.raises(ConfigError, match="PARLEY_DATABASE_URL") as caught:
            store.file(tmp_path, environ)
        assert "hunter2" not in str(caught.value)


def test_off_loopback_needs_tls_or_a_proxy_that_is_trusted(tmp_path: Path) -> None:
    open_to_all = with_line(GATEWAY, "gateway", 'listen = "0.0.0.0:8443"')
    refused(tmp_path, open_to_all)
    behind = load_gateway(tmp_path, with_line(open_to_all, "gateway", 'trusted_proxies = ["10.0.0.0/8"]'))
    assert not behind.gateway.listen.is_loopback
    tls = load_gateway(tmp_path, open_to_all + '[tls]\ncert = "tls/chain.pem"\nkey = "tls/key.pem"\n').tls
    assert tls is not None
    assert tls.key == tmp_path / "tls/key.pem"


def test_metrics_only_on_loopback(tmp_path: Path) -> None:
    assert "loopback" in str(refused(tmp_path, GATEWAY + '[metrics]\nlisten = "0.0.0.0:9440"\n'))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = with_line(with_line(PARTY, "training", "threads = 0"), "party", 'id = "A"')
    assert "training.threads: wanted" in (refused(tmp_path, text).to_problem().do or "")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "first line"),
        (b'schema = "parley.party/2"', "parley.party/2"),
        (b'schema = "parley.gateway/1"', "parley.gateway/1"),
        (b"schema = [", "TOML"),
        (b"\xff\xfe", "TOML"),
        (b"a = " + b"[" * 5000, "TOML"),
        (b"#" * (CONFIG_BYTES + 1), "at most"),
    ],
)
def test_files_that_are_no_config_of_this_kind(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "party.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"party\.toml") as caught:
        party_config.load(tmp_path / "party.toml")
    assert says in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        party_config.load(tmp_path / "party.toml")


def test_one_gateway_is_named_once(tmp_path: Path) -> None:
    assert "twice" in str(refused(tmp_path, PARTY + '[gateways.second]\nurl = "http://localhost:8443/"\n'))


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:8443", "localhost:80", "0.0.0.0:1", "[::]:65535"])
def test_addresses_read_back(text: str) -> None:
    assert str(Listen.parse(text)) == text


def test_home_is_given_or_named_or_upward(tmp_path: Path) -> None:
    deep = tmp_path / "party" / "state" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "party" / "party.toml").touch()
    (tmp_path / "gateway.toml").touch()
    assert find_home(None, {}, deep).file == tmp_path / "party" / "party.toml"
    assert find_home(None, {"PARLEY_HOME": str(tmp_path)}, deep).kind is HomeKind.GATEWAY
    assert find_home(tmp_path / "party", {"PARLEY_HOME": str(tmp_path)}, deep).kind is HomeKind.PARTY


def test_no_home_or_two_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither") as caught:
        find_home(tmp_path, {}, tmp_path)
    assert "--home" in (caught.value.to_problem().do or "")
    with pytest.raises(ConfigError, match="above"):
        find_home(None, {}, tmp_path)
    (tmp_path / "party.toml").touch()
    (tmp_path / "gateway.toml").touch()
    with pytest.raises(ConfigError, match="both"):
        find_home(tmp_path, {}, tmp_path)
