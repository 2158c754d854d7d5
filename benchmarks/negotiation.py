"""How long it takes to choose cohorts, how much data they use, and how much two simpler rules would use of the same federations.

Federations are drawn from fixed seeds: parties with one of two objectives, told records, floors of 3 to 8, conspirators, clip ranges, and a
part of all pairs denied by one of the two. Offers are given, so that only the negotiation is measured: choosing, and drawing up the terms.
Processor time of one thread. Baselines: one cohort that keeps everybody's strictest rule, without those whom anybody denies; and what
platforms with one policy do, where the commonest floors and conspirators are everybody's and who differs, or is denied, is out.

    python -m benchmarks.negotiation [--json]
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from itertools import combinations
from typing import Final

from parley_crypto.keys import AgreementKey, SigningKey
from parley_policies.errors import Conflict
from parley_policies.negotiation.cohort_terms import Cohort, terms_of
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.members import Directory, Member
from parley_policies.negotiation.offer import Offer, OfferedSegment
from parley_policies.negotiation.outcome import Negotiated, counted_records, data_used
from parley_policies.negotiation.proposal import ClipWish, Proposal, ProposedSegment
from parley_policies.negotiation.study_file import load_study
from parley_policies.negotiation.terms import GatewayTerms

from benchmarks.harness import Row, run

SEEDS: Final = (1, 2, 3)
OBJECTIVES: Final = ("cost", "illness")
LARGE: Final = 100
STUDY: Final = """
schema = "parley.study/1"
id = "risk"
title = "Risk"
sponsor = "{sponsor}"
invited = [{invited}]
summary = "Learn one risk model."
[purpose]
uses = ["dpv:ScientificResearch"]
[workload]
name = "train@1"
model = {{ kind = "mlp", hidden = [4] }}
[[objectives]]
id = "illness"
label = "ill"
kind = "binary"
[[objectives]]
id = "cost"
label = "costly"
kind = "binary"
[columns]
age = {{ type = "float", unit = "year", range = [18, 110] }}
ill = {{ type = "bool", objectives = ["illness"] }}
costly = {{ type = "bool", objectives = ["cost"] }}
[wishes]
scheme = ["masked"]
rounds = {{ min = 5, max = 40 }}
clip_bound = {{ min = 0.1, max = 4.0 }}
answer_by = 2027-06-30
[model_use]
owner = "all members jointly"
allowed = ["internal-use"]
on_leaving = "keep-last-version"
benefit = "equal"
"""


def _bytes(*what: object) -> bytes:
    return sha256(repr(what).encode()).digest()


GATEWAY: Final = GatewayTerms(
    id="gw.example",
    key=SigningKey(_bytes("gateway")).public.hex,
    operator="Operator e. V.",
    countries=("DE",),
    incident_notice_hours=24,
    change_notice_days=30,
)


@dataclass(frozen=True)
class Federation:
    """A proposal, the offers on it, and the directory."""

    proposal: Proposal
    offers: tuple[Offer, ...]
    members: Directory

    @classmethod
    def drawn(cls, size: int, denied: float, seed: int) -> Federation:
        """Return a federation of so many parties, in which one of each `denied` part of all pairs denies the other."""
        chance = random.Random(f"{size} {denied} {seed}")  # noqa: S311 - a fixed sample, no secret
        ids = [f"party-{number:03}" for number in range(size)]
        pairs = chance.sample(list(combinations(ids, 2)), round(denied * size * (size - 1) / 2))
        proposal = _proposal(ids)
        offers = tuple(_offer(proposal, party, chance, tuple(sorted(b for a, b in pairs if a == party))) for party in ids)
        members = {party: Member(party, f"{party} Ltd", "demo", "DE", SigningKey(_bytes(party)).public.hex) for party in ids}
        return cls(proposal, offers, members)

    def negotiated(self) -> tuple[Negotiated, float]:
        """Return what becomes of it, and the seconds it took."""
        start = time.process_time()
        found = negotiate(self.proposal, self.offers, self.members, GATEWAY)
        return found, time.process_time() - start

    def everything(self) -> int:
        """Return the data that would be used if nothing kept anybody from anything."""
        records = counted_records(self.offers)
        return sum(2 * records[offer.party] for offer in self.offers)

    def used_by(self, offers: Iterable[Offer]) -> int:
        """Return the data that one cohort of exactly these uses; 0 if there are no terms for it."""
        try:
            terms = terms_of(self.proposal, Cohort(tuple(offers)), self.members, GATEWAY, study=self.proposal.id)
        except Conflict:
            return 0
        return data_used(terms, counted_records(self.offers))

    def strictest_for_all(self) -> int:
        """Return what one cohort uses that keeps everybody's strictest rule: whom anybody denies is out, all others are in."""
        named = frozenset(party for offer in self.offers for party in offer.apart)
        return self.used_by(offer for offer in self.offers if offer.party not in named)

    def who_differs_is_out(self) -> int:
        """Return what one cohort uses of those with the commonest rules, who neither deny nor are denied by one of the others in it."""
        rules = Counter((offer.colluders, _floors(offer)) for offer in self.offers)
        commonest = min(rules, key=lambda rule: (-rules[rule], rule))
        same = [offer for offer in self.offers if (offer.colluders, _floors(offer)) == commonest]
        named = {party for offer in same for party in offer.apart} | {offer.party for offer in same if set(offer.apart) & _ids(same)}
        return self.used_by(offer for offer in same if offer.party not in named)


def _ids(offers: Iterable[Offer]) -> frozenset[str]:
    return frozenset(offer.party for offer in offers)


def _floors(offer: Offer) -> tuple[int, ...]:
    return tuple(segment.min_parties for segment in offer.segments)


def _proposal(ids: list[str]) -> Proposal:
    study = load_study(STUDY.format(sponsor=ids[0], invited=", ".join(f'"{party}"' for party in ids)).encode())
    heads = tuple(ProposedSegment(name=f"head:{name}", length=500, objectives=(name,)) for name in OBJECTIVES)
    return study.propose((ProposedSegment(name="trunk", length=16_000), *heads), summary_length=60)


def _offer(proposal: Proposal, party: str, chance: random.Random, apart: tuple[str, ...]) -> Offer:
    objective = chance.choice(OBJECTIVES)
    colluders = chance.choice((1, 1, 1, 2))
    floor, head = max(chance.choice((3, 3, 3, 4, 4, 5, 6, 8)), colluders + 2), max(chance.choice((3, 3, 4, 5)), colluders + 2)
    floors = {"summary": floor, "trunk": floor, f"head:{objective}": head}
    return Offer(
        study=proposal.id,
        proposal_digest=proposal.digest(),
        party=party,
        gateway_digest=GATEWAY.digest(),
        policy="0" * 64,
        channel_key=AgreementKey(_bytes(party, "channel")).public.hex(),
        commitment="1" * 64,
        documents=(),
        trust="pinned",
        objectives=(objective,),
        records=chance.choice(("hidden", *(f"rounded:{50 * chance.randrange(1, 41)}" for _ in range(9)))),
        schemes=("masked",),
        segments=tuple(OfferedSegment(name=name, min_parties=least) for name, least in floors.items()),
        gateway_may_lie=True,
        colluders=colluders,
        uncounted=(),
        apart=apart,
        max_small_changes=0,
        clip_bound=ClipWish(min=chance.choice((0.1, 0.5)), max=chance.choice((1.0, 2.0, 4.0))),
        privacy=None,
        max_weight_ratio=1.0,
        weight_cap=1.0,
        weight_cap_of_others=1.0,
        rounds=41,
        mib_a_round=64.0,
        robustness="R0",
        opened_sums_readable_by="gateway",
        exclusions_required=False,
        valid_until=date(2027, 12, 31),
    )


def rows() -> list[Row]:
    """Measure each size; the slowest and the widest gap of its federations count."""
    found: list[Row] = []
    everything = ours = strictest = commonest = 0
    for name, size, denied, goal in (
        ("solve_n20", 20, 0.05, 1.0),
        ("solve_n50_d5", 50, 0.05, 10.0),
        ("solve_n50_d10", 50, 0.10, 30.0),
        ("solve_n100", LARGE, 0.05, 60.0),
    ):
        federations = [Federation.drawn(size, denied, seed) for seed in SEEDS]
        outcomes = [federation.negotiated() for federation in federations]
        found.append(Row(f"{name}_s", max(seconds for _, seconds in outcomes), "CPU s", goal, "<="))
        if size == LARGE:
            found.append(Row(f"{name}_gap", max(negotiated.gap for negotiated, _ in outcomes), "of the bound", 0.02, "<="))
        everything += sum(federation.everything() for federation in federations)
        ours += sum(negotiated.value for negotiated, _ in outcomes)
        strictest += sum(federation.strictest_for_all() for federation in federations)
        commonest += sum(federation.who_differs_is_out() for federation in federations)
        found.append(Row(f"{name}_bound", sum(n.bound for n, _ in outcomes) / sum(f.everything() for f in federations), "of all data"))
    return [
        *found,
        Row("data_used_ratio", ours / everything, "of all data"),
        Row("data_used_ratio of strictest terms for all in one cohort", strictest / everything, "of all data"),
        Row("data_used_ratio where everyone who differs is out", commonest / everything, "of all data"),
    ]


if __name__ == "__main__":
    run("negotiation", rows)
