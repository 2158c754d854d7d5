"""The log as this party can fetch it: all of it under the newest checkpoint, checked to continue what this party saw before.

Leaves of studies that the party was not invited to, and other parties' own records, come as hashes (`parley_protocol.logentries`).

1. The gateway shows the key that party.toml pins, and the checkpoint is signed by it.
2. The checkpoint extends the last one that this party acted on, by a consistency proof: another history is refused.
3. Leaves and hashes that came give its root: none is altered, moved, left out or put in.

What the leaves mean is judged by `parley audit verify`, without the gateway.

    fetched = await fetch_log(link, party="clinic-a", key=keys.authentication, seen=await store.log_view("cardio"))
"""

from __future__ import annotations

from dataclasses import dataclass

from parley_crypto.keys import SigningKey, VerifyKey
from parley_crypto.merkle import Frontier
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.logentries import LogEntry, hash_of
from parley_protocol.problems import Slug

from parley_party.client import GatewayClient
from parley_party.config import GatewayLink
from parley_party.logview import SeenLog
from parley_party.store import LogView


@dataclass(frozen=True, slots=True)
class FetchedLog:
    """A whole log: the signed checkpoint, exactly the entries that it covers, and whose it is.

    `party` is to whom it was shown, None where no entry is hidden from whoever holds it.
    """

    checkpoint: str
    leaves: tuple[LogEntry, ...]
    key: VerifyKey
    origin: str
    party: str | None = None


async def fetch_log(link: GatewayLink, *, party: str, key: SigningKey, seen: LogView) -> FetchedLog:
    """Return the gateway's log; RemoteProtocolError if it is not the one that this party saw before."""
    async with GatewayClient(link, party=party, key=key) as client:
        greeting = await client.greet()  # 1
        known = SeenLog(greeting.key, greeting.log_origin, seen.size, seen.root)
        note = await client.checkpoint()
        checkpoint = known.read(note)
        proves = seen.size and seen.size <= checkpoint.size
        known.advanced(checkpoint, tuple(await client.consistency(seen.size, checkpoint.size)) if proves else ())  # 2
        leaves = tuple([leaf async for leaf in client.entries(0, checkpoint.size)])
    tree = Frontier()
    for leaf in leaves:
        tree.append(hash_of(leaf))
    if (tree.size, tree.root()) != (checkpoint.size, checkpoint.root):  # 3
        raise RemoteProtocolError(
            "log: the leaves that came are not those of the checkpoint",
            problem=Slug.VERIFICATION_FAILED,
            wanted=f"{checkpoint.size} leaves with root {checkpoint.root.hex()}",
            got=f"{tree.size} with {tree.root().hex()}",
        )
    return FetchedLog(note, leaves, greeting.key, greeting.log_origin, party)
