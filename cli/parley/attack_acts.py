"""The acts: what the gateway tries, one lie after the other, and on which promise each must break.

`reason` is what an honest party's own words must contain: an act that is refused for another reason counts as not refused. The order
matters: lies before boxes make parties leave a round, two lists end one in RELEASE, and the altered sum ends the study.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from parley_crypto.keys import AgreementKey
from parley_protocol.bound import load_envelope, segment_size
from parley_protocol.codec import OPEN
from parley_protocol.messages import Opened
from parley_protocol.negotiation import Move, StudyRequest
from parley_protocol.phases import Event
from parley_protocol.relays import Keys, ListProposal, RoundOpen, SumOpened

from parley import attack_lies as lies
from parley.attack_liar import Said
from parley.attack_phantoms import STUDY as PHANTOM_STUDY
from parley.attack_phantoms import VICTIM, Phantoms
from parley.attack_stage import Stage

Play = Callable[[Stage], Awaitable[None]]
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Act:
    """One attempt: its name, what the gateway does, the invariant that it breaks on, words of the refusal, and how it is played."""

    name: str
    title: str
    does: str
    invariant: int
    reason: str
    play: Play

    def is_reason(self, words: str) -> bool:
        """Whether a party refused for the reason that this act must meet."""
        return re.search(self.reason, words) is not None


def _public() -> bytes:
    return AgreementKey(secrets.token_bytes(_KEY_BYTES)).public


async def swap_keys(stage: Stage) -> None:
    """Put the gateway's own keys under one party's name towards all others, to read what they box for it."""
    held, victim = await stage.hold_training(Event.KEYS), stage.parties[-1]
    channel, mask = _public(), _public()
    told = {party: lies.with_own_keys(lies.as_sent(said, Keys), victim, channel, mask) for party, said in held.items() if party != victim}
    await stage.tell({party: [(Event.KEYS, keys)] for party, keys in told.items()})
    stage.go_on()


async def invent_member(stage: Stage) -> None:
    """Add a member that does not exist, to fill the list with keys that the gateway holds."""
    held = await stage.hold_training(Event.KEYS)
    channel, mask = _public(), _public()
    await stage.tell({party: [(Event.KEYS, lies.with_invented(lies.as_sent(said, Keys), channel, mask))] for party, said in held.items()})
    stage.go_on()


async def fill_with_phantoms(stage: Stage) -> None:
    """Ask one lender into a study of its own and two parties that the gateway made up, on terms that reach its floor with them."""
    await stage.hold_training(Event.LIST)
    victim = VICTIM.id
    request = lies.as_sent(stage.liar.told[victim, Move.REQUEST, 0], StudyRequest)
    entry = next(entry for entry in request.members if entry.party == victim)
    phantoms = Phantoms.around(entry, datetime.now(UTC).date())
    stage.liar.keeps = lambda post: post.study == PHANTOM_STUDY
    stage.say({victim: [(Move.REQUEST, phantoms.request())]}, PHANTOM_STUDY)
    await stage.until(lambda: _answers(stage, victim) != [])
    offered = str(_answers(stage, victim)[0].body["statement"])
    await stage.tell({victim: [(Move.TERMS, phantoms.terms(offered, stage.terms().gateway))]}, PHANTOM_STUDY)
    stage.liar.keeps = lambda _: False
    stage.go_on()


def _answers(stage: Stage, party: str) -> list[Said]:
    return [post for post in stage.liar.posts if post.party == party and post.study == PHANTOM_STUDY]


async def replay_keys(stage: Stage) -> None:
    """Show the keys of an earlier round as this round's, and invite to a round number that was used."""
    held = await stage.hold_training(Event.KEYS)
    await stage.whisper({party: [(OPEN, lies.as_sent(stage.first_open(party), RoundOpen))] for party in held})
    told = {}
    for party, said in held.items():
        now = lies.as_sent(said, Keys)
        told[party] = [(Event.KEYS, lies.replayed(lies.as_sent(stage.earlier(party, Event.KEYS, now.round), Keys), now))]
    await stage.tell(told)
    stage.go_on()


async def abort_and_retry(stage: Stage) -> None:
    """Say that the round is over once all have uploaded, and open another from the same model without one party."""
    held, left_out = await stage.hold_training(Event.LIST), stage.parties[-1]
    told = {}
    for party, said in held.items():
        proposal = lies.as_sent(said, ListProposal)
        again = lies.reopened(lies.as_sent(stage.earlier(party, OPEN, proposal.round + 1), RoundOpen), proposal.round + 1)
        over = lies.aborted(proposal.agreement, proposal.round)
        told[party] = [(Event.ABORTED, over)] if party == left_out else [(Event.ABORTED, over), (OPEN, again)]
    await stage.tell(told)
    stage.go_on()


async def both_shares(stage: Stage) -> None:
    """Tell those that revealed for a list that one of its survivors dropped out after all."""
    held, victim = await stage.hold_training(Event.OPENED), stage.parties[-1]
    told = {}
    for party in held:
        notice = lies.as_sent(held[party], SumOpened)
        proposal = lies.as_sent(stage.liar.told[party, Event.LIST, notice.round], ListProposal)
        second = _without(stage, proposal, victim)
        signers = set(stage.parties) - {victim}
        forged = lies.certificate_of(second, dict.fromkeys(signers, secrets.token_bytes(_SIGNATURE_BYTES)))
        told[party] = [(Event.LIST, second), (Event.CERTIFIED, forged)]
    await stage.tell(told)
    stage.go_on()


async def old_history(stage: Stage) -> None:
    """Go on from an older certificate, so that an earlier model is trained once more; then serve that history to who asks."""
    held = await stage.hold_training(OPEN)
    leaves = stage.log.leaves()
    first = {party: lies.changed(lies.as_sent(said, RoundOpen), previous=lies.head_after_first(leaves)) for party, said in held.items()}
    await stage.tell({party: [(OPEN, opened)] for party, opened in first.items()})
    stage.liar.history = lambda _, __: lies.history_rows(leaves)
    await stage.tell({party: [(OPEN, opened)] for party, opened in first.items()})
    stage.liar.history = lambda _, rows: rows
    stage.go_on()


async def fork_log(stage: Stage) -> None:
    """Show a log in which an earlier certificate never was, under a checkpoint that the gateway signed."""
    held = await stage.hold_training(OPEN)
    history = lies.rewritten(stage.log.leaves())
    await stage.tell({party: [(OPEN, stage.log.fork(lies.as_sent(said, RoundOpen), history))] for party, said in held.items()})
    stage.go_on()


async def two_lists(stage: Stage) -> None:
    """Show half of the parties one survivor list and half another, then each half the other's, then a certificate of mixed signatures."""
    held, victim, posts = await stage.hold_training(Event.LIST), stage.parties[-1], len(stage.liar.posts)
    one = lies.as_sent(held[victim], ListProposal)
    other = _without(stage, one, victim)
    middle = len(stage.parties) // 2
    first, second = stage.parties[:middle], stage.parties[middle:]
    stage.liar.keeps = lambda post: post.kind == Event.CONFIRM and post.party in second
    stage.go_on(first)
    stage.say({party: [(Event.LIST, other)] for party in second})
    await stage.until(lambda: set(stage.signatures(Event.CONFIRM, one.round)) == set(stage.parties))
    mixed = lies.certificate_of(one, stage.signatures(Event.CONFIRM, one.round))
    await stage.tell({party: [(Event.LIST, other if party in first else one), (Event.CERTIFIED, mixed)] for party in stage.parties})
    stage.go_on()
    await stage.until(lambda: _released(stage, one.round))
    stage.liar.keeps = lambda _: False
    stage.count_reveals(posts, stage.parties)


async def say_released(stage: Stage) -> None:
    """Say that the round was released: without proof, then with the proof of the round before."""
    held = await stage.hold_training(Event.LIST)
    told = {}
    for party, said in held.items():
        proposal = lies.as_sent(said, ListProposal)
        known = max(int(post.body["round"]) for post in stage.liar.posts if post.kind == Event.RELEASE)
        bare = lies.released_by(proposal.agreement, proposal.round, {})
        old = lies.released_by(proposal.agreement, proposal.round, stage.signatures(Event.RELEASE, known))
        told[party] = [(Event.RELEASED, bare), (Event.RELEASED, old)]
    await stage.tell(told)
    stage.go_on()


async def alter_sums(stage: Stage) -> None:
    """Hand a different sum to each party: first beside the signed statement of the true one, then under one signed for it."""
    held = await stage.hold_training(Event.OPENED)
    told = {}
    for by, (party, said) in enumerate(sorted(held.items()), start=1):
        false = lies.altered_sum(lies.as_sent(said, SumOpened), by)
        told[party] = [(Event.OPENED, false), (Event.OPENED, lies.signed_sum(false, _parts(stage, said), stage.log.key))]
    await stage.tell(told)
    stage.go_on()


def _without(stage: Stage, proposal: ListProposal, victim: str) -> ListProposal:
    """Return the list without `victim`, opening what may still be opened."""
    step = stage.terms().steps[-1]
    left = set(proposal.survivors) - {victim}
    open_still = [segment.name for segment in step.segments if len(left & set(segment.members)) >= segment.floor]
    return lies.opening_only(lies.without(proposal, victim), open_still)


def _released(stage: Stage, number: int) -> bool:
    return all((party, Event.RELEASED, number) in stage.liar.told for party in stage.parties)


def _parts(stage: Stage, said: Said) -> list[int]:
    """Return the bytes of each opened segment."""
    opened = Opened.parse(load_envelope(lies.as_sent(said, SumOpened).opened, "opened sums").payload)
    step = stage.terms().steps[-1]
    return [segment_size(step, segment.name) for segment in opened.segments]


ACTS: Final = (
    Act(
        "keys",
        "swaps a party's keys",
        "puts keys of its own under one party's name, to read what the others box for it",
        4,
        r"^keys of .* does not verify",
        swap_keys,
    ),
    Act(
        "shares",
        "asks for both shares",
        "says, when all have revealed, that one survivor dropped out after all",
        2,
        r"wanted the survivor list that we signed|valid signatures of members, got 0",
        both_shares,
    ),
    Act(
        "member",
        "invents a member",
        "adds the keys of a member that does not exist",
        4,
        r"wanted distinct members of the agreement",
        invent_member,
    ),
    Act(
        "phantoms",
        "fills a floor with phantoms",
        "invites one lender into a study with two parties that it made up, listed and signed for",
        1,
        r"lender-nv, lender-wa",
        fill_with_phantoms,
    ),
    Act(
        "abort",
        "says aborted, and retries",
        "takes the updates, gives the round up by its word, and opens another without one party",
        3,
        r"got aborted|can only be finished",
        abort_and_retry,
    ),
    Act(
        "replay",
        "replays a round",
        "shows an old round's keys as this one's, and opens a round number again",
        5,
        r"^keys of .* does not verify",
        replay_keys,
    ),
    Act(
        "history",
        "serves an old history",
        "goes on from an older certificate than the newest, to train an old model once more",
        3,
        r"wanted a successor of",
        old_history,
    ),
    Act(
        "lists",
        "shows two survivor lists",
        "lets each half sign a list of its own, then shows each half the other's",
        3,
        r"wanted the survivor list that we signed|valid signatures of members, got",
        two_lists,
    ),
    Act(
        "released",
        "says that a round is released",
        "says so without proof, then with the proof of the round before",
        3,
        r"^release of ",
        say_released,
    ),
    Act(
        "fork",
        "rewrites the log",
        "shows a log in which an earlier certificate never was, well signed",
        3,
        r"rewritten, or forked",
        fork_log,
    ),
    Act(
        "sums",
        "alters the sums",
        "hands every party a sum of its own, first under the true statement, then under a false one",
        13,
        r"wanted the bytes that the gateway signed for|its tags do not prove it",
        alter_sums,
    ),
)
