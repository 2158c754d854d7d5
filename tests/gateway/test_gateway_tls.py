"""The gateway's own TLS: certificate and key from files that only it may read, read again when they change."""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from parley_gateway.config import Tls
from parley_gateway.tls import TlsContext
from parley_service.errors import ConfigError, SecretError

from tests.gateway.federation import started, write_config

TLS = """
[tls]
cert = "chain.pem"
key = "key.pem"
"""


def make_certificate(folder: Path, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "chain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    (folder / "key.pem").chmod(0o600)


def test_the_gateway_ends_tls_itself(tmp_path: Path) -> None:
    async def run() -> None:
        make_certificate(tmp_path, "first")
        write_config(tmp_path, TLS)
        service = await started(tmp_path)
        try:
            context = ssl.create_default_context(cafile=str(tmp_path / "chain.pem"))
            async with aiohttp.ClientSession() as session:
                async with session.get(f"https://127.0.0.1:{service.listen.port}/v1/gateway", ssl=context) as response:
                    assert (await response.json())["id"] == "gw.example"
                with pytest.raises(aiohttp.ClientError):
                    await session.get(f"http://127.0.0.1:{service.listen.port}/v1/gateway")
        finally:
            await service.stop()

    asyncio.run(run())


def test_a_new_certificate_is_taken_and_a_broken_one_is_not(tmp_path: Path) -> None:
    make_certificate(tmp_path, "first")
    files = Tls(cert=tmp_path / "chain.pem", key=tmp_path / "key.pem")
    tls = TlsContext(files)
    make_certificate(tmp_path, "second")
    os.utime(files.cert, (1, 1))
    tls.look()
    (tmp_path / "chain.pem").write_text("no certificate")
    os.utime(files.cert, (2, 2))
    tls.look()  # logged; the old one stays
    with pytest.raises(ConfigError):
        TlsContext(files)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    make_certificate(tmp_path, "first")
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(SecretError):
        TlsContext(Tls(cert=tmp_path / "chain.pem", key=tmp_path / "key.pem"))
