"""The evidence of a demo: one party's export of the log, as files beside the report, and what the offline audit makes of it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from parley_audit.checks import Report
from parley_audit.claims import Audience
from parley_audit.export import write_export
from parley_audit.verify import verify
from parley_crypto.keys import VerifyKey
from parley_party import config as party_config
from parley_party import keystore
from parley_party.client import GatewayClient

from parley.demo_folders import party_file
from parley.demo_plan import DemoPlan
from parley.demo_studies import SHARED

EXPORTER: Final = SHARED.sponsor
EXPORT: Final = "export"


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """An export on the disk: source and sink of `parley_audit`."""

    path: Path

    def names(self) -> Collection[str]:
        """Return the names of all files in it."""
        return [entry.name for entry in self.path.iterdir()]

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading."""
        return (self.path / name).open("rb")

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a new file for writing."""
        return (self.path / name).open("xb")


async def export_log(plan: DemoPlan, federation: str) -> ExportFolder:
    """Fetch the whole log as a party does and write it into the report's folder; the gateway must run."""
    config = party_config.load(party_file(plan, EXPORTER))
    keys = keystore.load(config.keys.dir, config.keys.passphrase.read(config.folder, {}))
    async with GatewayClient(config.gateways[federation], party=EXPORTER, key=keys.authentication) as client:
        greeting = await client.greet()  # refused unless its key is the one that party.toml pins
        note = await client.checkpoint()
        size = int(note.split("\n")[1])
        leaves = [leaf async for leaf in client.entries(0, size)]
    folder = ExportFolder(plan.out / EXPORT)
    folder.path.mkdir(parents=True)
    write_export(folder, leaves, checkpoint=note, gateway=greeting.key, origin=greeting.log_origin, audience=Audience.PARTY, studies=None)
    return folder


def audit(folder: ExportFolder, gateway: VerifyKey) -> Report:
    """Verify the export under the gateway's key as the parties know it."""
    return verify(folder, gateway_key=gateway)
