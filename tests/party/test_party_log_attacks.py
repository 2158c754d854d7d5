"""A gateway that shows a party another log than it showed before, or another party another one: what it signed stands against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from parley.demo_studies import SHARED
from parley_crypto.checkpoint import parse_and_verify
from parley_crypto.errors import VerificationError
from parley_crypto.keys import SigningKey
from parley_crypto.merkle import Tree, leaf_hash, verify_consistency
from parley_crypto.signing import Envelope
from parley_gateway.tlog import TransparencyLog
from parley_party.logview import SeenLog
from parley_party.store import Change, PartyStore
from parley_party.studies import Negotiation
from parley_policies.negotiation.agreement import acceptance, assemble
from parley_policies.negotiation.terms import Terms
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.logentries import Reach
from parley_protocol.negotiation import Finalized
from parley_protocol.relays import LogProof
from parley_service.keyfile import StorageKey

from tests.demo.demo_samples import key_of
from tests.member_secrets import handed_on, key_part
from tests.party.test_party_members_key import IDS, ME, NO_PROOF, TERMS, accepted, finalized, row_of, run

KEY, ORIGIN = SigningKey(bytes(range(32))), "gw/log"
FIRST = SeenLog(KEY.public, ORIGIN, 0, "")


def leaf(name: str) -> Envelope:
    return Envelope.sign("text/plain", name.encode(), KEY)


def log_of(*names: str) -> TransparencyLog:
    log = TransparencyLog(KEY, ORIGIN)
    for name in names:
        log.append(leaf(name).dump(), Reach())
    log.seal()
    return log


def seen(view: SeenLog, proof: LogProof, name: str) -> SeenLog:
    """Take a proof as the federation does: the leaf stands in the log, and the log extends what was seen."""
    view.check_holds(leaf(name), proof)
    return view.advanced(view.read(proof.checkpoint), proof.consistency)


AT_THREE = seen(FIRST, log_of("a", "b", "c").prove(old_size=0, index=2), "c")
Shown = Callable[[], tuple[LogProof, str]]
SHOWN: dict[str, tuple[Shown, str]] = {
    "an old checkpoint": (lambda: (log_of("a", "b").prove(old_size=2, index=1), "b"), "it went back"),
    "a fork of the same size": (lambda: (log_of("a", "b", "x").prove(old_size=3, index=2), "x"), "rewritten, or forked"),
    "a longer fork": (lambda: (log_of("a", "x", "c", "d").prove(old_size=3, index=3), "d"), "rewritten, or forked"),
    "a leaf that is not in it": (lambda: (log_of("a", "b", "c", "d").prove(old_size=3, index=3), "x"), "does not stand in it"),
    "a leaf at another place": (lambda: (log_of("a", "b", "c", "d").prove(old_size=3, index=2), "d"), "does not stand in it"),
    "a place behind its end": (
        lambda: (log_of("a", "b", "c", "d").prove(old_size=3, index=3).model_copy(update={"index": 9}), "d"),
        "does not stand in it",
    ),
}


@pytest.mark.parametrize("which", SHOWN)
def test_what_does_not_continue_the_log_that_was_seen_is_refused(which: str) -> None:
    show, words = SHOWN[which]
    with pytest.raises(RemoteProtocolError, match=words):
        seen(AT_THREE, *show())


@pytest.mark.parametrize(("key", "origin"), [(SigningKey(bytes(32)), ORIGIN), (KEY, "other/log")])
def test_a_checkpoint_of_another_log_is_refused(key: SigningKey, origin: str) -> None:
    log = TransparencyLog(key, origin)
    for name in ("a", "b", "c", "d"):
        log.append(leaf(name).dump(), Reach())
    log.seal()
    with pytest.raises(RemoteProtocolError, match="checkpoint"):
        seen(AT_THREE, log.prove(old_size=3, index=3), "d")


def test_two_parties_that_were_shown_forks_can_never_be_shown_one_log_again_and_prove_it_to_each_other() -> None:
    """Each alone sees nothing wrong; the first leaf that both must see does not stand in a log that extends both."""
    logs = log_of("a", "b", "for one"), log_of("a", "b", "for two")
    one, two = (seen(FIRST, log.prove(old_size=0, index=2), name) for log, name in zip(logs, ("for one", "for two"), strict=True))
    for log in logs:
        log.append(leaf("for both").dump(), Reach())
        log.seal()
    assert seen(one, logs[0].prove(old_size=3, index=3), "for both").size == 4
    for view, log in ((one, logs[1]), (two, logs[0])):
        with pytest.raises(RemoteProtocolError, match="rewritten, or forked"):
            seen(view, log.prove(old_size=3, index=3), "for both")
    # what either holds is signed by the gateway, and no proof makes one of it
    notes = [parse_and_verify(log.prove(old_size=3, index=3).checkpoint, KEY.public, ORIGIN) for log in logs]
    tree = Tree(leaf_hash(leaf(name).dump()) for name in ("a", "b", "for one", "for both"))
    assert notes[0].root == tree.root()
    with pytest.raises(VerificationError):
        verify_consistency(3, 4, tree.consistency_proof(3, 4), bytes.fromhex(two.root), notes[0].root)


# another agreement


def signed_by_all(terms: Terms) -> Finalized:
    return Finalized(
        agreement=assemble(terms, (acceptance(terms, key_of(party)) for party in IDS)).dump().decode(),
        log=NO_PROOF,
        key_parts=tuple(key_part(terms, party, key_of(party)).dump().decode() for party in IDS),
        boxes=handed_on(terms, ME),
    )


@pytest.mark.parametrize("changes", [{"study": "elsewhere"}, {"max_small_changes": 7}, {"opened_sums_readable_by": "parties"}])
def test_another_agreement_of_the_same_members_is_not_taken_up(tmp_path: Path, changes: dict[str, object]) -> None:
    """All of them signed it, this party too, in another negotiation: it is not what it answered in this one."""
    other = TERMS.model_copy(update=changes)

    async def work(negotiation: Negotiation, store: PartyStore, _: StorageKey) -> None:
        await accepted(negotiation)
        with pytest.raises(RemoteProtocolError, match="not on the terms that we signed"):
            await negotiation.on_finalized(SHARED.id, signed_by_all(other), Change())
        assert (await row_of(store)).agreement == ""
        assert await negotiation.on_finalized(SHARED.id, finalized(), Change()) is not None

    run(tmp_path, work)
