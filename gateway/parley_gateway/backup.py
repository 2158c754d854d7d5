"""A gateway's store as a whole: what a backup of it is, and whether what it holds is sound.

`check` reads one moment of the store of a running or stopped service and recomputes it: SQLite's own pages, the log's Merkle tree from its
leaves and its signed checkpoint, each study's chain of certificates and their places in the log, the files of opened sums, the numbers of
the events of open rounds. A backup holds no sealed update, no share and no box; opened sums are in it, since members that rejoin need them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

from blake3 import blake3
from parley_crypto.checkpoint import parse_and_verify
from parley_crypto.keys import VerifyKey
from parley_crypto.merkle import Tree, leaf_hash
from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope, segment_size
from parley_protocol.certificates import Chain, extend, verify_opened
from parley_protocol.codec import load_post
from parley_protocol.keyparts import KeyPart, graph_seed
from parley_protocol.messages import Opened, SurvivorList
from parley_service.backup import Site
from parley_service.errors import StoreDamagedError
from parley_service.findings import Finding, faults_of
from parley_service.storecopy import integrity_faults

from parley_gateway.app import data_folder, log_origin
from parley_gateway.config import GatewayConfig
from parley_gateway.entries import OPEN, CertificateEntry, Kept, RoundEvent, StudyEntry
from parley_gateway.founding import read_public_key
from parley_gateway.reading import store_path
from parley_gateway.rounds import TICK
from parley_gateway.store import COPY, read_kept
from parley_gateway.sums import sums_path

SUMS: Final = "sums"


def site(config: GatewayConfig, environ: Mapping[str, str]) -> Site:
    """Return what `parley store` works on in a gateway's folder."""
    folder = data_folder(config)
    return Site("gateway", config.gateway.id, folder, store_path(config, environ), COPY, {SUMS: folder / SUMS})


def check(config: GatewayConfig, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return what was recomputed of the store, and the faults; StoreError if this version cannot read it at all."""
    path = store_path(config, environ)
    pages = Finding("pages, indexes and rows", path.name, tuple(integrity_faults(path)))
    if not pages.sound:
        return (pages,)
    kept = read_kept(path)
    log = Finding(
        "the log", f"{len(kept.leaves)} leaves", faults_of([partial(_log, kept, read_public_key(config.folder), log_origin(config))])
    )
    found = [pages, log]
    for study in kept.studies:
        certificates = [entry for entry in kept.certificates if entry.study == study.study]
        chain: tuple[str, ...] = ()
        if certificates:
            chain = faults_of([partial(_chain, study, certificates, kept)])
            found.append(Finding(f"{study.study}: certificates", str(len(certificates)), chain))
        if certificates and not chain:
            sums = faults_of(partial(_sums, study, entry, data_folder(config) / SUMS) for entry in certificates)
            found.append(Finding(f"{study.study}: opened sums", str(len(certificates)), sums))
    opened = {(entry.study, entry.number) for entry in kept.rounds if entry.state == OPEN}
    rounds = {place: list(events) for place, events in groupby(kept.events, lambda event: (event.study, event.round)) if place in opened}
    faults = faults_of(partial(_events, *place, events) for place, events in rounds.items())
    return (*found, Finding("open rounds", str(len(opened)), faults))


def _log(kept: Kept, key: VerifyKey, origin: str) -> None:
    for position, leaf in enumerate(kept.leaves):
        if leaf.index != position or leaf_hash(leaf.body) != leaf.hash:
            raise StoreDamagedError(f"leaf {leaf.index}", wanted=f"number {position}, with the hash of its body", got="another")
    if kept.checkpoint is None:
        if kept.leaves:
            raise StoreDamagedError("the log", wanted="a checkpoint over its leaves", got="none")
        return
    found, tree = parse_and_verify(kept.checkpoint[1], key, origin), Tree(leaf.hash for leaf in kept.leaves)
    if (found.size, found.root) != (tree.size, tree.root()):
        raise StoreDamagedError("the log", wanted=f"{found.size} leaves with the signed root", got=f"{tree.size} leaves with another")


def _terms(study: StudyEntry) -> Terms:
    return Agreement.load(load_envelope(study.agreement, "agreement")).terms


def _graph_seed(terms: Terms, kept: Kept) -> bytes:
    """Return the seed of the study's neighbour graph from the key parts in the log; empty for a study without a graph."""
    if terms.graph is None:
        return b""
    leaves = (load_envelope(leaf.body.decode(), "leaf") for leaf in kept.leaves)
    parts = [KeyPart.parse(leaf.payload) for leaf in leaves if leaf.payload_type == KeyPart.kind]
    return graph_seed(terms, {part.party: part for part in parts if part.agreement == terms.digest()})


def _chain(study: StudyEntry, certificates: Iterable[CertificateEntry], kept: Kept) -> None:
    terms = _terms(study)
    chain = Chain.start(terms.digest(), _graph_seed(terms, kept))
    for entry in certificates:
        chain, listed = extend(chain, terms, load_envelope(entry.certificate, "certificate"))
        verify_opened(terms, listed, load_envelope(entry.opened, "opened sums"))
        logged = kept.leaves[entry.leaf].body if 0 <= entry.leaf < len(kept.leaves) else b""
        if logged != entry.certificate.encode():
            raise StoreDamagedError(
                f"{study.study}: certificate of round {entry.round}", wanted=f"leaf {entry.leaf} of the log", got="another"
            )


def _sums(study: StudyEntry, entry: CertificateEntry, folder: Path) -> None:
    listed = SurvivorList.parse(load_envelope(entry.certificate, "certificate").payload)
    opened = Opened.parse(load_envelope(entry.opened, "opened sums").payload)
    step = _terms(study).steps[listed.step]
    path = sums_path(folder, study.study, entry.round)
    with path.open("rb") as file:
        for segment in opened.segments:
            if blake3(file.read(segment_size(step, segment.name))).hexdigest() != segment.body:
                raise StoreDamagedError(f"opened sums {path.name} of {study.study}", wanted=f"the digest of {segment.name}", got="another")
        if file.read(1):
            raise StoreDamagedError(f"opened sums {path.name} of {study.study}", wanted="the segments that were opened", got="more")


def _events(study: str, number: int, events: list[RoundEvent]) -> None:
    for position, event in enumerate(events):
        if event.seq != position:
            raise StoreDamagedError(f"{study}: events of round {number}", wanted=f"number {position}", got=str(event.seq))
        if event.kind != TICK:
            load_post(event.kind, event.body)
