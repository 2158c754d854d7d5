"""`parley doctor`: before anything is there, before joining, after it, and with each thing broken in turn."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.cli_federation import PASSPHRASE, VARIABLE, Federation, free_port, problem, result, run, shown
from tests.gateway.test_gateway_tls import make_certificate


@pytest.fixture(autouse=True)
def _away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "PARLEY_HOME"):
        monkeypatch.delenv(name, raising=False)


def verdicts(body: dict[str, Any]) -> dict[str, str]:
    return {each["check"]: each["verdict"] for each in body["verdicts"]}


def says(body: dict[str, Any], check: str) -> str:
    return next(f"{each['says']} {each['do']}" for each in body["verdicts"] if each["check"] == check)


def test_in_an_empty_folder() -> None:
    found = result("doctor", "--offline")
    assert verdicts(found)["folder"] == "warn"
    assert {"extras", "disk"} <= set(verdicts(found))
    assert "parley party init" in says(found, "folder")


def test_before_joining(federation: Federation) -> None:
    found = result("doctor", "--gateway", federation.url)
    assert {name: verdicts(found)[name] for name in ("proxy", "dns", "tls", "gateway", "clock")} == dict.fromkeys(
        ("proxy", "dns", "tls", "gateway", "clock"), "ok"
    )
    assert "Example Trust" in says(found, "gateway")
    assert "not joined yet" in says(found, "membership")
    text = shown("doctor", "--gateway", federation.url)
    assert "ok    gateway" in text
    assert text.splitlines()[-1].endswith("0 fail")


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's, about a chunk of 4 MiB in one piece
def test_where_we_joined(federation: Federation, tmp_path: Path) -> None:
    found = federation.at("north", "doctor")
    assert set(verdicts(found).values()) == {"ok"}
    assert says(found, "long poll").startswith("our running service holds one")
    home = federation.stopped("north", tmp_path)
    found = result("--home", home, "doctor", "--poll-seconds", "1.5")
    assert verdicts(found)["service"] == "warn"
    assert says(found, "long poll").startswith("held for 1.5 s")
    assert says(found, "chunk").startswith("4.0 MiB up and acknowledged")
    assert "as pinned" in says(found, "gateway")


def test_at_a_gateway(federation: Federation, tmp_path: Path) -> None:
    assert set(verdicts(federation.at("gateway", "doctor")).values()) == {"ok"}
    found = result("--home", federation.stopped("gateway", tmp_path), "doctor")
    assert verdicts(found)["service"] == "warn"


def test_a_gateway_that_cannot_be_reached_ends_the_way_to_it() -> None:
    body = run("doctor", "--gateway", f"http://127.0.0.1:{free_port()}", code=7)
    assert verdicts(body["result"])["gateway"] == "fail"
    assert "clock" not in verdicts(body["result"])
    body = run("doctor", "--gateway", "https://no-such-host.invalid", code=7)
    assert verdicts(body["result"])["dns"] == "fail"
    assert "tls" not in verdicts(body["result"])
    assert problem("doctor", "--gateway", "http://gw.example", code=3)["wanted"].startswith("https")


def test_each_broken_thing_has_its_verdict(federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = federation.stopped("south", tmp_path)
    doctor = ("--home", home, "doctor", "--offline")
    party, policy = home / "party.toml", home / "policy.toml"
    text = party.read_text()
    party.write_text(text.replace("held_out = 0.34", "held_out = 34"))
    assert verdicts(run(*doctor, code=3)["result"])["config"] == "fail"
    party.write_text(text.replace("visits.sql", "none.sql"))
    assert verdicts(run(*doctor, code=9)["result"])["data"] == "fail"
    party.write_text(text.replace(f'"env:{VARIABLE}"', '"prompt"'))
    assert verdicts(result(*doctor))["keys"] == "warn"
    party.write_text(text)
    written = policy.read_text()
    policy.write_text(written.replace("exclusions_required = false", "exclusions_required = true"))
    assert "policy.toml is not what is in force, which is version 1" in says(result(*doctor), "policy")
    policy.write_text(policy.read_text().replace("version     = 1", "version     = 2"))
    result("--home", home, "policy", "activate")
    assert "data.exclusions_required" in says(result(*doctor), "policy")
    with closing(sqlite3.connect(home / "state" / "party.db")) as store:
        store.execute("UPDATE activations SET policy = ? WHERE number = 2", (written.encode(),))
        store.commit()
    body = run(*doctor, code=12)["result"]
    assert "activation 2 of policy.toml" in says(body, "policy")
    (home / "state" / "party.db").unlink()
    policy.write_text(written.replace("valid_from  = 2", "valid_from  = 1"))
    policy.write_text(policy.read_text().replace("valid_until = 2", "valid_until = 1"))
    assert verdicts(run(*doctor, code=4)["result"])["policy"] == "fail"
    policy.write_text(written)
    monkeypatch.setenv(VARIABLE, "another")
    assert verdicts(run(*doctor, code=3)["result"])["keys"] == "fail"


def test_another_key_than_the_pinned_one(federation: Federation, tmp_path: Path) -> None:
    home = federation.stopped("east", tmp_path)
    party = home / "party.toml"
    fingerprint = federation.at("gateway", "gateway", "status")["fingerprint"]
    party.write_text(party.read_text().replace(fingerprint, "SHA256:" + "A" * 43))
    body = run("--home", home, "doctor", code=8)
    assert "Call its operator" in says(body["result"], "gateway")


def test_a_proxy_is_named_and_never_gone_around(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:sesame@127.0.0.1:{port}")
    body = run("doctor", "--gateway", "https://gw.example", code=7)
    assert f"http://…@127.0.0.1:{port}, as the environment says" in says(body["result"], "proxy")
    assert "the proxy resolves gw.example" in says(body["result"], "dns")
    assert "sesame" not in str(body)
    body = run("doctor", "--gateway", "https://no-such-host.invalid", "--proxy", "none", code=7)
    assert verdicts(body["result"])["proxy"] == "warn"


# --- TLS


class _Gateway(BaseHTTPRequestHandler):
    """Answers every request as something that is no gateway."""

    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@pytest.fixture
def tls_url(tmp_path: Path) -> Iterator[str]:
    make_certificate(tmp_path, "Inspecting Proxy CA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem", tmp_path / "key.pem")
    server = HTTPServer(("127.0.0.1", 0), _Gateway)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_interception_is_visible(tls_url: str, tmp_path: Path) -> None:
    body = run("doctor", "--gateway", tls_url, code=7)
    assert "CN=Inspecting Proxy CA" in says(body["result"], "tls")
    assert "ca_file" in says(body["result"], "tls")
    assert "gateway" not in verdicts(body["result"]), "nothing is sent over a connection that is not trusted"
    body = run("doctor", "--gateway", tls_url, "--ca-file", tmp_path / "chain.pem", code=7)
    assert verdicts(body["result"])["tls"] == "warn"
    assert "issued by CN=Inspecting Proxy CA" in says(body["result"], "tls")
    assert "HTTP 404" in says(body["result"], "gateway")


class _Tunnel(socketserver.BaseRequestHandler):
    """An HTTP proxy that knows CONNECT alone, and remembers for whom it was asked."""

    def handle(self) -> None:
        assert isinstance(self.server, _Proxy)
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.request.recv(4096)
        asked = head.split(b"\r\n", 1)[0].decode()
        self.server.asked.append(asked)
        host, _, port = asked.split()[1].partition(":")
        with socket.create_connection((host, int(port))) as there:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(there, self.request), daemon=True)
            back.start()
            _pump(self.request, there)
            back.join(timeout=5)


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.asked: list[str] = []


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


def test_everything_goes_through_the_proxy_that_is_named(tls_url: str, tmp_path: Path) -> None:
    with _Proxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{proxy.server_address[1]}"
        body = run("doctor", "--gateway", tls_url, "--proxy", url, "--ca-file", tmp_path / "chain.pem", code=7)
        proxy.shutdown()
        thread.join()
    assert "issued by CN=Inspecting Proxy CA" in says(body["result"], "tls")
    assert "HTTP 404" in says(body["result"], "gateway")
    assert {line.rpartition(" ")[0] for line in proxy.asked} == {f"CONNECT {tls_url.removeprefix('https://')}"}
    assert len(proxy.asked) == 2, "the handshake that shows the issuer, and the greeting"
