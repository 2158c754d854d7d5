"""One federation for all tests of the command line. Tests read it, or add to it what no other test reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.cli_federation import PASSPHRASE, VARIABLE, Federation, made


@pytest.fixture(scope="session")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, PASSPHRASE)
        patch.delenv("PARLEY_HOME", raising=False)
        with made(tmp_path_factory.mktemp("federation")) as running:
            yield running
