"""The evidence of a demo: one party's export of the log, as `parley audit export --all` makes it, and the offline audit of it."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Final

from parley_audit.checks import Report
from parley_audit.claims import Audience
from parley_audit.export import write_export
from parley_audit.verify import verify
from parley_crypto.keys import VerifyKey
from parley_party import config as party_config
from parley_party import keystore, reading
from parley_party.logexport import fetch_log
from parley_party.store import LogView

from parley.audit import Folder
from parley.demo_folders import party_file
from parley.demo_plan import DemoPlan
from parley.demo_studies import SHARED

EXPORTER: Final = SHARED.sponsor
EXPORT: Final = "export"


async def export_log(plan: DemoPlan, federation: str) -> Folder:
    """Fetch the whole log as a party does, compared with what it saw before, and write it into the report's folder."""
    config = party_config.load(party_file(plan, EXPORTER))
    keys = keystore.load(config.keys.dir, config.keys.passphrase.read(config.folder, os.environ))
    seen = await asyncio.to_thread(partial(reading.read, config, lambda store: store.log_view(federation), LogView(0, 0, "")))
    log = await fetch_log(config.gateways[federation], party=EXPORTER, key=keys.authentication, seen=seen)
    folder = Folder(plan.out / EXPORT)
    folder.path.mkdir(parents=True)
    write_export(folder, log.leaves, checkpoint=log.checkpoint, gateway=log.key, origin=log.origin, audience=Audience.PARTY)
    return folder


def audit(folder: Folder, gateway: VerifyKey) -> Report:
    """Verify the export under the gateway's key as the parties know it."""
    return verify(folder, gateway_key=gateway)
