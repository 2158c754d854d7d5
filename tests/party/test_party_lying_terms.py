"""A party's service against a gateway that lies in the negotiation: what it refuses to sign, in which words, and what it tells nobody.

The party makes its offer itself; the gateway has it, and proposes what it likes. Whatever is wrong, what leaves is the same refusal; the
exact reason stays in the party's evidence.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from parley_party import studies
from parley_party.client import GatewayClient
from parley_party.errors import GatewayRefusedError
from parley_party.store import COPY, Change, Outgoing, PartyStore
from parley_party.studykeys import secrets_of
from parley_party.verbs import PartyVerbs
from parley_policies.errors import OUTWARD_REASON
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.negotiation.agreement import Refusal, acceptance, assemble
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.offer import Decline
from parley_policies.negotiation.proposal import Proposal, study_of_cohort
from parley_policies.negotiation.terms import Terms
from parley_protocol.bound import load_envelope
from parley_protocol.errors import RemoteProtocolError
from parley_protocol.limits import ANSWERS_A_DAY, PROPOSALS_A_DAY
from parley_protocol.negotiation import LEFT_OUT, Finalized, StudyState, Terminated
from parley_protocol.pacing import DAY_SECONDS, TooManyProposalsError
from parley_protocol.problems import Problem, Slug
from parley_protocol.relays import LogProof
from parley_service.storecopy import copy_store

from tests.attacks.broken_terms import ALTERED, BROKEN, EVERYONE, PARTIES, VICTIM, Altered, Broken
from tests.party.negotiating import Bench, play
from tests.policies import policy_samples
from tests.policies.policy_samples import Federation, changed, key_of, policy_text, proposal_of, study_of

SAMPLE = Federation.of(PARTIES)
FIRST, SECOND = SAMPLE.proposal.id, study_of_cohort(SAMPLE.proposal.id, 2)


async def refused(bench: Bench, terms: Terms) -> str:
    """The party has refused exactly these terms, in words that tell no clause; return why, as its own evidence says."""
    row = await bench.row(terms.study)
    assert row.state == StudyState.TERMINATED
    assert row.secrets == b""
    (note,) = await bench.evidence("terms refused", terms.study)
    assert row.reason == f"we refused the terms: {note['reason']}"
    (sent,) = await bench.sent("refuse", terms.study)
    envelope = load_envelope(json.loads(sent.body)["statement"], "refusal")
    refusal = Refusal.parse(envelope.payload)
    assert refusal == Refusal(study=terms.study, terms_digest=terms.digest(), party=bench.me, reason=OUTWARD_REASON)
    assert await bench.sent("accept") == []
    return str(note["reason"])


@pytest.mark.parametrize("attack", [*BROKEN, *ALTERED], ids=str)
def test_terms_that_break_one_clause_are_refused_by_it_and_nobody_is_told(tmp_path: Path, attack: Broken | Altered) -> None:
    sample = attack.federation()

    async def work(bench: Bench) -> None:
        await bench.request()
        terms = attack.terms(sample, await bench.offer())
        await bench.propose_terms(terms, FIRST)
        if terms.study != FIRST:  # no record of ours bears that name
            (complaint,) = await bench.evidence("passed over")
            assert "these are terms of another study" in complaint["reason"]
            assert (await bench.row()).state == StudyState.OFFERED
            return
        assert (await refused(bench, terms)).startswith(f"{attack.clause}: ")

    play(tmp_path, VICTIM, sample, work)


async def honest(bench: Bench, *members: str, study: str = FIRST) -> Terms:
    """Return what an honest gateway proposes to these members."""
    mine = await bench.offer()
    offers = [mine if party == bench.me else bench.sample.offer(party) for party in members or PARTIES]
    return changed(negotiate(bench.sample.proposal, offers, bench.sample.members, bench.sample.gateway).terms[0], study=study)


def test_honest_terms_are_signed(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.request()
        terms = await honest(bench)
        await bench.propose_terms(terms)
        assert (await bench.row()).state == StudyState.VERIFIED
        (sent,) = await bench.sent("accept")
        assert terms.canonical() == load_envelope(json.loads(sent.body)["statement"], "terms").payload

    play(tmp_path, VICTIM, SAMPLE, work)


# the policy that counts


STRICTER = load_policy(policy_text(VICTIM, version=2, max_small_changes=1).encode(), "stricter")
LAXER = load_policy(policy_text(VICTIM, version=2, max_small_changes=9).encode(), "laxer")


@pytest.mark.parametrize("newer", [STRICTER, LAXER], ids=["stricter", "laxer"])
def test_terms_of_an_offer_under_an_older_policy_are_refused_whatever_the_new_one_says(
    tmp_path: Path, newer: PolicyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway holds the terms back until the policy has changed; the offer commits to the older one."""

    async def work(bench: Bench) -> None:
        await bench.request()
        terms = await honest(bench)
        bench.activate(newer)
        await bench.propose_terms(terms)
        assert (await refused(bench, terms)).startswith("identity.version: wanted terms of an offer under the active policy, got version 2")

    play(tmp_path / "checked", VICTIM, SAMPLE, work)
    monkeypatch.setattr(studies, "check_offered_under", lambda *_: None)

    async def unchecked(bench: Bench) -> None:
        await bench.request()
        terms = await honest(bench)
        bench.activate(newer)
        await bench.propose_terms(terms)
        assert (await bench.row()).state == (StudyState.VERIFIED if newer is LAXER else StudyState.TERMINATED)

    play(tmp_path / "unchecked", VICTIM, SAMPLE, unchecked)


# one offer, one answer


def finalized(terms: Terms, *signers: str) -> Finalized:
    signed = assemble(terms, [acceptance(terms, key_of(party)) for party in signers])
    proof = LogProof(checkpoint="", old_size=0, consistency=(), index=0, inclusion=())
    return Finalized(agreement=signed.dump().decode(), log=proof, key_parts=(), boxes={})


async def not_taken(bench: Bench, terms: Terms, *signers: str) -> str:
    """The party takes no agreement on `terms`, signed by `signers`; return why."""
    with pytest.raises(RemoteProtocolError) as caught:
        await bench.federation.negotiation.on_finalized(terms.study, finalized(terms, *signers), Change())
    assert (await bench.row(terms.study)).agreement == ""
    return str(caught.value)


def test_an_agreement_that_this_party_did_not_sign_is_none(tmp_path: Path) -> None:
    """Without its signature; before it signed; on other terms than it signed; under a key that the gateway made in its name."""
    others = [party for party in PARTIES if party != VICTIM]

    async def work(bench: Bench) -> None:
        await bench.request()
        terms = await honest(bench)
        assert "lacking c-clinic" in await not_taken(bench, terms, *others)
        assert "not on the terms that we signed: wanted None" in await not_taken(bench, terms, *PARTIES)  # as if it had signed
        await bench.propose_terms(terms)
        laxer = changed(terms, max_small_changes=5)
        assert f"wanted {terms.digest()}, got {laxer.digest()}" in await not_taken(bench, laxer, *PARTIES)
        rows = [row.model_dump() for row in terms.members]
        rows[PARTIES.index(VICTIM)]["identity"] = key_of("z-party").public.hex
        stolen = changed(terms, members=rows)
        assert f"wanted {terms.digest()}" in await not_taken(bench, stolen, *others, "z-party")

    play(tmp_path, VICTIM, SAMPLE, work)


COHORTS = ((FIRST, SECOND), (SECOND, FIRST))


@pytest.mark.parametrize(("signed", "asked"), COHORTS, ids=["first, then second", "second, then first"])
def test_who_signed_terms_of_one_cohort_signs_none_of_another(tmp_path: Path, signed: str, asked: str) -> None:
    """Two cohorts of one proposal that share members would be summed apart and told each other's difference."""

    async def work(bench: Bench) -> None:
        await bench.request()
        mine, others = await honest(bench, *PARTIES[:4], study=signed), await honest(bench, *PARTIES[1:], study=asked)
        await bench.propose_terms(mine)
        assert (await bench.row(signed)).state == StudyState.VERIFIED
        await bench.propose_terms(others)
        (complaint,) = await bench.evidence("passed over", asked)
        assert f"this party signed other terms of the same proposal: wanted those of {signed}" in complaint["reason"]
        (accepted,) = await bench.sent("accept")
        assert accepted.study == signed
        assert await bench.sent("refuse") == []
        await bench.propose_terms(mine)  # repeated: known
        assert len(await bench.sent("accept")) == 1

    play(tmp_path, VICTIM, SAMPLE, work)


def test_a_cohort_takes_over_the_offer_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.request()
        before = (await bench.row()).model_copy()
        storage = bench.house.keys.storage
        drawn = secrets_of(before, storage).dump()
        await bench.propose_terms(await honest(bench, study=SECOND))
        old, new = await bench.row(FIRST), await bench.row(SECOND)
        assert (old.state, old.reason, old.secrets) == (StudyState.TERMINATED, f"goes on as {SECOND}", b"")
        assert new.state == StudyState.VERIFIED
        assert secrets_of(new, storage).dump() == drawn
        assert (new.offer, new.salt, new.dataset, new.proposal) == (before.offer, before.salt, before.dataset, before.proposal)
        (people,) = await bench.evidence("offered", SECOND)
        assert people == {"people": bench.data.people}
        assert old.asked_at == before.asked_at > new.asked_at == 0  # one proposal
        await bench.request()  # of the study that ended here: old news
        assert (await bench.row(FIRST)).state == StudyState.TERMINATED

    play(tmp_path, VICTIM, SAMPLE, work)


@pytest.mark.parametrize("landed", [False, True])
def test_a_party_that_dies_while_its_study_splits_has_moved_or_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, landed: bool
) -> None:
    """Both records and the acceptance are one write; the gateway brings the terms again after the restart."""
    whole = PartyStore.apply
    seen: list[Terms] = []

    async def dies(store: PartyStore, federation: str, change: Change) -> list[Outgoing]:
        if landed:
            await whole(store, federation, change)
        raise KilledError

    async def first(bench: Bench) -> None:
        await bench.request()
        seen.append(await honest(bench, study=SECOND))
        monkeypatch.setattr(PartyStore, "apply", dies)
        with pytest.raises(KilledError):
            await bench.propose_terms(seen[0])
        monkeypatch.setattr(PartyStore, "apply", whole)

    async def second(bench: Bench) -> None:
        (old,) = [row for row in await bench.store.studies() if row.study == FIRST]
        assert old.state == (StudyState.TERMINATED if landed else StudyState.OFFERED)
        assert bool(old.secrets) is not landed
        assert (await bench.store.study(SECOND) is not None) is landed
        await bench.propose_terms(seen[0])
        assert ((await bench.row(FIRST)).state, (await bench.row(SECOND)).state) == (StudyState.TERMINATED, StudyState.VERIFIED)
        assert len(await bench.sent("accept")) == 1
        assert len(await bench.evidence("terms accepted")) == 1

    play(tmp_path, VICTIM, SAMPLE, first)
    play(tmp_path, VICTIM, SAMPLE, second)


class KilledError(Exception):
    """The process died here."""


def test_who_is_left_out_keeps_no_secret_and_signs_nothing_later(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.request()
        terms = await honest(bench)
        await bench.send("terminated", FIRST, Terminated(reason=LEFT_OUT))
        row = await bench.row()
        assert (row.state, row.reason, row.secrets) == (StudyState.TERMINATED, LEFT_OUT, b"")
        for study in (FIRST, SECOND):
            await bench.propose_terms(changed(terms, study=study))
        assert await bench.sent("accept") == []

    play(tmp_path, VICTIM, SAMPLE, work)


def test_terms_of_a_study_that_nobody_proposed_are_passed_over(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        await bench.request()
        await bench.propose_terms(await honest(bench, study="other--2"))
        (complaint,) = await bench.evidence("passed over", "other--2")
        assert "wanted a study that this party knows" in complaint["reason"]

    play(tmp_path, VICTIM, SAMPLE, work)


def test_an_offer_in_a_backup_is_answered_by_nobody_who_restores_it(tmp_path: Path) -> None:
    """Since the backup was made this party may have signed terms of one cohort; from the copy it would sign those of another."""
    seen: list[Terms] = []

    async def first(bench: Bench) -> None:
        await bench.request()
        seen.append(await honest(bench, study=SECOND))
        copy_store(tmp_path / "old" / "party.db", tmp_path / "backup.db", COPY)
        await bench.propose_terms(await honest(bench))
        assert len(await bench.sent("accept")) == 1

    async def second(bench: Bench) -> None:
        row = await bench.row()
        assert (row.state, row.secrets) == (StudyState.TERMINATED, b"")
        assert "backup" in row.reason
        await bench.propose_terms(seen[0])
        assert await bench.sent("accept") == []

    (tmp_path / "old").mkdir()
    play(tmp_path / "old", VICTIM, SAMPLE, first)
    (tmp_path / "backup.db").rename(tmp_path / "party.db")
    (tmp_path / "old" / "keys").rename(tmp_path / "keys")
    play(tmp_path, VICTIM, SAMPLE, second)


# how often a sponsor may ask


def numbered(number: int, sponsor: str = PARTIES[0]) -> Proposal:
    return proposal_of((sponsor, *(party for party in PARTIES if party != sponsor)), id=f"risk-{number}")


def test_a_party_answers_a_sponsor_so_often_whatever_the_gateway_lets_through(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        for number in range(PROPOSALS_A_DAY):
            await bench.request(numbered(number))
        await bench.request(numbered(0))  # again: nothing is asked
        assert (bench.data.asked, len(await bench.sent("offer"))) == (PROPOSALS_A_DAY, PROPOSALS_A_DAY)
        await bench.request(numbered(100))
        await bench.request(numbered(101))  # the first refusal is not counted: the wait does not grow
        assert bench.data.asked == PROPOSALS_A_DAY  # neither the data nor the policy were asked
        row = await bench.row("risk-100")
        assert row.reason == ("we declined: proposals of a-clinic: wanted at most 10 a day, got one more, before 2027-03-02 12:00 UTC")
        (declined,) = await bench.sent("decline", "risk-100")
        statement = Decline.parse(load_envelope(json.loads(declined.body)["statement"], "decline").payload)
        assert statement.reason == OUTWARD_REASON
        await bench.request(numbered(102, "b-clinic"))
        assert bench.data.asked == PROPOSALS_A_DAY + 1
        bench.now[0] += DAY_SECONDS
        await bench.request(numbered(103))
        assert bench.data.asked == PROPOSALS_A_DAY + 2

    play(tmp_path, VICTIM, SAMPLE, work)


def test_sponsors_that_take_turns_are_counted_together_and_our_own_proposals_are_not(tmp_path: Path) -> None:
    sponsors = [party for party in EVERYONE if party != VICTIM]

    async def work(bench: Bench) -> None:
        for number in range(ANSWERS_A_DAY):
            await bench.request(numbered(number, sponsors[number % len(sponsors)]))
        await bench.request(numbered(200, sponsors[ANSWERS_A_DAY % len(sponsors)]))
        assert bench.data.asked == ANSWERS_A_DAY
        assert "proposals of all sponsors: wanted at most 30 a day" in (await bench.row("risk-200")).reason
        await bench.federation.negotiation.propose(study_of((VICTIM, *(party for party in PARTIES if party != VICTIM))))

    play(tmp_path, VICTIM, replace(SAMPLE, members=Federation.of(EVERYONE).members), work)


def test_a_sponsor_is_told_by_its_own_service_when_it_may_propose_again(tmp_path: Path) -> None:
    async def work(bench: Bench) -> None:
        file = study_of((VICTIM, *(party for party in PARTIES if party != VICTIM)))
        for number in range(PROPOSALS_A_DAY):
            await bench.federation.negotiation.propose(file.model_copy(update={"id": f"ours-{number}"}))
        with pytest.raises(TooManyProposalsError) as caught:
            await bench.federation.negotiation.propose(file.model_copy(update={"id": "ours-100"}))
        assert caught.value.to_problem().do == "Propose again after 2027-03-02 12:00 UTC."
        assert await bench.store.study("ours-100") is None  # its id is still free
        assert len(await bench.sent("propose")) == PROPOSALS_A_DAY

    play(tmp_path, VICTIM, SAMPLE, work)


def test_a_proposal_that_the_gateway_does_not_take_ends_here_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(Slug.TOO_MANY_PROPOSALS, "proposals of c-clinic", wanted="at most 2 a day", do="Propose again after …")

    async def post(*_: object) -> int:
        raise GatewayRefusedError(problem)

    async def work(bench: Bench) -> None:
        monkeypatch.setattr(GatewayClient, "post", post)
        verbs = PartyVerbs(cast("Any", None), cast("Any", None), cast("Any", None), bench.store, {"demo": bench.federation}).table()
        text = policy_samples.STUDY.format(sponsor=VICTIM, invited=", ".join(f'"{party}"' for party in (VICTIM, *PARTIES[:2])))
        with pytest.raises(GatewayRefusedError) as caught:
            await cast("Any", verbs["study.propose"])({"toml": text})
        assert caught.value.problem is Slug.TOO_MANY_PROPOSALS
        row = await bench.row("risk")
        assert row.state == StudyState.TERMINATED
        assert row.reason == "the gateway did not take the proposal: proposals of c-clinic: wanted at most 2 a day"

    play(tmp_path, VICTIM, SAMPLE, work)
