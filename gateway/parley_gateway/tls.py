"""The gateway's own TLS, where no proxy ends it: certificate and key are read again when their files change, without a restart."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final, Self

from parley_service.errors import ConfigError
from parley_service.logs import get_log
from parley_service.secrets import require_private

from parley_gateway.config import Tls

LOOK_SECONDS: Final = 60.0
_LOG: Final = get_log("parley.gateway.tls")


class TlsContext:
    """An ssl context that follows its files."""

    def __init__(self, files: Tls) -> None:
        self._files: Final = files
        self.context: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._task: asyncio.Task[None] | None = None
        self._load()
        self._seen = self._times()

    def _load(self) -> None:
        require_private(self._files.key)
        try:
            self.context.load_cert_chain(self._files.cert, self._files.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"tls: {self._files.cert} and {self._files.key}", wanted="a certificate chain and its key in PEM", got=str(error)[:200]
            ) from error

    def _times(self) -> tuple[float, float]:
        return self._files.cert.stat().st_mtime, self._files.key.stat().st_mtime

    def watch(self) -> Self:
        """Look at the files from time to time until `stop`."""
        self._task = asyncio.create_task(self._watch())
        return self

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Read the files again if they changed; what does not load is logged, and the old ones stay in use."""
        try:
            times = self._times()
            if times != self._seen:
                self._load()
                self._seen = times
                _LOG.info("tls.reloaded")
        except (OSError, ConfigError) as error:
            _LOG.error("tls.not_reloaded", reason=str(error))

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
