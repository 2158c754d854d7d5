"""The evidence of a demo: the log as its parties were shown it, put together, and the offline audit of it.

The gateway shows each party only what concerns it: its studies, and its own records. The report is about all six, so each party fetches
the log as `parley audit export` does, and what they were shown together is the whole log. Parties of a real federation would each have to
hand theirs out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from parley_audit.checks import Report
from parley_audit.claims import Audience
from parley_audit.export import write_export
from parley_audit.verify import verify
from parley_crypto.keys import VerifyKey
from parley_party import config as party_config
from parley_party import keystore, reading
from parley_party.logexport import FetchedLog, fetch_log
from parley_party.store import LogView
from parley_protocol.logentries import HiddenLeaf, LogEntry
from parley_protocol.problems import Slug

from parley.audit import Folder
from parley.demo_folders import party_file
from parley.demo_plan import DemoError, DemoPlan
from parley.demo_studies import SHARED

EXPORT: Final = "export"


async def export_log(plan: DemoPlan, federation: str) -> Folder:
    """Fetch the log as every party does, compared with what it saw before, and write the whole of it into the report's folder."""
    log = together([await _fetched(plan, federation, party) for party in SHARED.parties])
    folder = Folder(plan.out / EXPORT)
    folder.path.mkdir(parents=True)
    write_export(folder, log.leaves, checkpoint=log.checkpoint, gateway=log.key, origin=log.origin, audience=Audience.PARTY)
    return folder


async def _fetched(plan: DemoPlan, federation: str, party: str) -> FetchedLog:
    config = party_config.load(party_file(plan, party))
    keys = keystore.load(config.keys.dir, config.keys.passphrase.read(config.folder, os.environ))
    seen = await asyncio.to_thread(partial(reading.read, config, lambda store: store.log_view(federation), LogView(0, 0, "")))
    return await fetch_log(config.gateways[federation], party=party, key=keys.authentication, seen=seen)


def together(logs: Sequence[FetchedLog]) -> FetchedLog:
    """Return the one log that several parties were shown, with every leaf that any of them was shown; DemoError if one stays hidden."""
    checkpoints = {log.checkpoint for log in logs}
    if len(checkpoints) != 1:
        raise DemoError("the log of the demo", problem=Slug.CONFLICT, wanted="one checkpoint for all", got=f"{len(checkpoints)}")
    leaves = tuple(_shown(entries) for entries in zip(*(log.leaves for log in logs), strict=True))
    hidden = sum(isinstance(leaf, HiddenLeaf) for leaf in leaves)
    if hidden:
        raise DemoError(
            "the log of the demo", problem=Slug.VERIFICATION_FAILED, wanted="each leaf shown to a party", got=f"{hidden} hidden"
        )
    return replace(logs[0], leaves=leaves, party=None)


def _shown(entries: Sequence[LogEntry]) -> LogEntry:
    return next((entry for entry in entries if not isinstance(entry, HiddenLeaf)), entries[0])


def audit(folder: Folder, gateway: VerifyKey) -> Report:
    """Verify the export under the gateway's key as the parties know it."""
    return verify(folder, gateway_key=gateway)
