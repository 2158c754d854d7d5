"""A certified round recomputed here (invariant 13): against a gateway that a member helps, tags prove nothing.

What the gateway hands out for it (`parley_protocol.unmasking`) is checked against the certificate that this party verified when it took the
round, and the sums against the statement that the gateway signed then: this party's model was computed from bytes with those digests. One
sealed update is in memory at a time. No secret of this party's is used, and nothing of a sealed update is kept.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from parley_crypto.errors import CryptoError
from parley_policies.negotiation.agreement import Agreement
from parley_protocol.bound import load_envelope
from parley_protocol.cohort import Cohort
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.messages import Opened, SurvivorList
from parley_protocol.problems import Slug
from parley_protocol.proving import SumNotProvenError
from parley_protocol.unmasking import Recomputation, Unmasking

from parley_party.client import GatewayClient
from parley_party.errors import StudyError
from parley_party.store import PartyStore
from parley_party.tables import CertificateRow, StudyRow


@dataclass(frozen=True, slots=True)
class Recomputed:
    """A round whose sums were recomputed and are the ones that the gateway signed for."""

    opened: Opened
    updates: int
    size: int  # bytes of sealed updates

    @property
    def round(self) -> int:
        """The round's number."""
        return self.opened.round


async def recompute(client: GatewayClient, store: PartyStore, study: StudyRow, number: int | None) -> Recomputed:
    """Recompute a round that this party took, the newest one if `number` is None.

    SumNotProvenError: the sums, or what the gateway hands out, are not what the members signed. GatewayRefusedError: it hands nothing
    out; that alone proves nothing, and what it keeps of a round goes when the next one closes.
    """
    row = await _taken(store, study.study, number)
    listed = SurvivorList.parse(load_envelope(row.certificate, "certificate").payload)
    opened = Opened.parse(load_envelope(row.opened, "opened sums").payload)
    terms = Agreement.load(load_envelope(study.agreement, "agreement")).terms
    cohort = Cohort(terms, terms.steps[listed.step], listed.round, bytes.fromhex(study.graph_seed))
    raw = await client.unmasking(study.study, row.round)
    try:
        work = await asyncio.to_thread(lambda: Recomputation(cohort, listed, Unmasking.parse(bytes(raw))))
        for party, upload in work.uploads.items():
            body = await client.update(study.study, row.round, party, upload.size) if upload.size else bytearray()
            await asyncio.to_thread(work.take, party, body)
        await asyncio.to_thread(work.check, opened)
    except SumNotProvenError:
        raise
    except (RemoteProtocolError, CryptoError) as error:
        raise SumNotProvenError(f"round {row.round} cannot be recomputed from what the gateway hands out: {error}") from error
    return Recomputed(opened, len(work.uploads), sum(upload.size for upload in work.uploads.values()))


async def _taken(store: PartyStore, study: str, number: int | None) -> CertificateRow:
    rows = await store.certificates(study)
    chosen = [row for row in rows if number is None or row.round == number]
    if not chosen:
        raise StudyError(
            f"study {study}",
            wanted="a certified round that this party has taken" if number is None else f"round {number} among those it has taken",
            got=f"{len(rows)} rounds",
            problem=Slug.WRONG_STATE,
        )
    return chosen[-1]
