"""Random federations of up to 12 parties, as values that can be loosened clause by clause, and hypothesis strategies for them."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import cache
from typing import Any, Final

from hypothesis import strategies as st
from parley_policies.errors import Refused
from parley_policies.negotiation.members import Member
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.proposal import Proposal

from tests.policies.policy_samples import GATEWAY, UNTIL, Federation, key_of, member_of, policy_text, proposal_of

PARTIES: Final = tuple(f"{letter}-party" for letter in "abcdefghijkl")
PURPOSE: Final = "dpv:ScientificResearch"
HEADS: Final = ("head:cost", "head:illness")
LEAST: Final = 3  # members of a cohort
ODD: Final = 0.04  # how often a clause is not what it mostly is
TIMES: Final = (date(2027, 6, 1), date(2027, 9, 30), UNTIL)


@dataclass(frozen=True)
class Clauses:
    """What one policy says, as far as it varies here. Without arguments: as lax as these federations get."""

    trunk: int = 3
    head: int = 3
    colluders: int = 0
    pins: frozenset[str] | None = None  # None: trust on first use
    denied: frozenset[str] = frozenset()
    classes: frozenset[str] = frozenset({"clinic", "fund"})
    countries: frozenset[str] = frozenset({"DE", "US"})
    withheld: frozenset[str] = frozenset()
    clip_min: float = 0.05
    clip_max: float = 10.0
    weight_cap: float = 1.0
    weight_cap_of_others: float = 1.0
    record_count: str = "exact"
    rounds: int = 100
    mib: float = 64.0
    lying: bool = False
    readers: str = "gateway"
    small_changes: int = 2
    purposes: tuple[str, ...] = (PURPOSE,)
    valid_until: date = UNTIL

    def text(self, party: str) -> str:
        """Return the policy of `party` as TOML."""
        shared = {"summary": True, "trunk": True, **{head: head not in self.withheld for head in HEADS}}
        trust = 'trust = "first-use"'
        if self.pins is not None:
            pins = ", ".join(f'{other} = "{key_of(other).public.fingerprint}"' for other in sorted(self.pins))
            trust = f'trust = "pinned"\nfingerprints = {{ {pins} }}'
        return policy_text(
            party,
            {
                "trust": trust,
                "denied": f"denied = {_list(self.denied)}",
                "gateway_may_lie": f"gateway_may_lie = {str(self.lying).lower()}",
                "clip_bound": f"clip_bound = {{ min = {self.clip_min}, max = {self.clip_max} }}",
                "opened_sums_readable_by": f'opened_sums_readable_by = "{self.readers}"',
            },
            min_parties={"summary": self.trunk, "trunk": self.trunk, "head:*": self.head},
            colluders=self.colluders,
            peers=[f"class:{name}" for name in sorted(self.classes)] or ["class:nobody"],
            countries=sorted(self.countries | {"DE"}),  # the gateway's too
            segments=shared,
            weight_cap=self.weight_cap,
            weight_cap_of_others=self.weight_cap_of_others,
            record_count=self.record_count,
            rounds_a_study=self.rounds,
            mib_a_round=self.mib,
            max_small_changes=self.small_changes,
            purposes=list(self.purposes) or ["dpv:Education"],
            valid_until=self.valid_until,
        )

    def renamed(self, names: Mapping[str, str]) -> Clauses:
        pins = None if self.pins is None else frozenset(names.get(party, party) for party in self.pins)
        return replace(self, pins=pins, denied=frozenset(names.get(party, party) for party in self.denied))

    def looser(self) -> Iterator[tuple[str, Clauses]]:
        """Yield each policy that is laxer in one clause alone, and the clause. How records are told is no permission, so it stays."""
        lax = Clauses()
        for name in ("trunk", "head", "colluders"):
            value = getattr(self, name)
            if value > getattr(lax, name) and (name == "colluders" or value - 1 >= self.colluders + 2):
                yield name, replace(self, **{name: value - 1})
        for name in (
            "pins", "clip_min", "clip_max", "weight_cap", "weight_cap_of_others", "rounds", "mib", "lying", "readers", "small_changes",
            "classes", "countries", "purposes", "valid_until",
        ):  # fmt: skip
            if getattr(self, name) != getattr(lax, name):
                yield name, replace(self, **{name: getattr(lax, name)})
        for name in ("denied", "withheld"):
            for item in sorted(getattr(self, name)):
                yield name, replace(self, **{name: getattr(self, name) - {item}})
        if self.pins is not None:
            for party in sorted(set(PARTIES) - self.pins):
                yield "pins", replace(self, pins=self.pins | {party})


def _list(values: frozenset[str]) -> str:
    return "[" + ", ".join(f'"{value}"' for value in sorted(values)) + "]"


@dataclass(frozen=True)
class Side:
    """One party: its policy, and facts that no policy says."""

    clauses: Clauses = Clauses()
    objectives: tuple[str, ...] = ("cost",)
    people: int = 600
    party_class: str = "clinic"
    country: str = "DE"


@cache
def _proposal(parties: tuple[str, ...]) -> Proposal:
    return proposal_of(parties)


@dataclass(frozen=True)
class Case:
    """A federation: sides by party. The first party in id order is the sponsor."""

    sides: Mapping[str, Side] = field(default_factory=dict)

    @property
    def proposal(self) -> Proposal:
        return _proposal(tuple(self.sides))

    @property
    def directory(self) -> dict[str, Member]:
        return {party: member_of(party, party_class=side.party_class, country=side.country) for party, side in self.sides.items()}

    def federation(self) -> Federation:
        texts = {party: side.clauses.text(party) for party, side in self.sides.items()}
        return Federation(self.proposal, texts, {party: side.people for party, side in self.sides.items()}, self.directory)

    def offers(self) -> list[Offer]:
        """Return the offers of those whose policies permit one."""
        federation, found = self.federation(), []
        for party, side in self.sides.items():
            try:
                found.append(federation.offer(party, objectives=side.objectives))
            except Refused:
                continue
        return found

    def with_clauses(self, party: str, clauses: Clauses) -> Case:
        return Case({**self.sides, party: replace(self.sides[party], clauses=clauses)})

    def renamed(self, names: Mapping[str, str]) -> Case:
        """Return the same federation under other names, wherever they stand."""
        sides = {names[party]: replace(side, clauses=side.clauses.renamed(names)) for party, side in self.sides.items()}
        return Case(dict(sorted(sides.items())))

    # as plain data, for the oracle

    def tables(self) -> dict[str, dict[str, Any]]:
        return {party: tomllib.loads(side.clauses.text(party)) for party, side in self.sides.items()}

    def facts(self, party: str) -> dict[str, Any]:
        side = self.sides[party]
        return {"dataset": "visits", "people": side.people, "objectives": side.objectives}

    def listed(self) -> dict[str, dict[str, Any]]:
        return {party: asdict(member) for party, member in self.directory.items()}

    def asked(self) -> dict[str, Any]:
        return self.proposal.model_dump(mode="json")

    def gateway(self) -> dict[str, Any]:
        return GATEWAY.model_dump(mode="json")


class Dice(random.Random):
    """Chance that a number stands for: hypothesis draws the number, since choices one by one would favour the dullest federations."""

    def mostly(self, usual: Any, *others: Any) -> Any:  # noqa: ANN401 - any field
        """Return `usual` nearly always: with twenty clauses and twelve parties, most federations would fall apart otherwise."""
        return self.choice(others) if self.random() < ODD else usual


def _clauses(dice: Dice, parties: Sequence[str], *, hidden: bool) -> Clauses:
    colluders = dice.mostly(0, 1, 2)
    low, high = dice.mostly((0.05, 10.0), (0.05, 0.25), (0.5, 1.0), (1.0, 2.0), (0.05, 0.09))
    return Clauses(
        trunk=max(colluders + 2, dice.choice([3, 3, 3, 3, 4, 5])),
        head=max(colluders + 2, dice.mostly(3, 4, 5)),
        colluders=colluders,
        pins=dice.mostly(None, *(frozenset(PARTIES) - set(dice.sample(parties, 2)) for _ in range(2))),
        denied=frozenset(dice.sample(parties, dice.choice([0, 0, 0, 0, 0, 1, 2]))),
        classes=frozenset(dice.mostly(("clinic", "fund"), ("clinic",), ("fund",))),
        countries=frozenset(dice.mostly(("DE", "US"), ("DE",))),
        withheld=frozenset(dice.mostly((), ("head:cost",), ("head:illness",))),
        clip_min=low,
        clip_max=high,
        weight_cap=dice.mostly(1.0, 0.26, 0.34, 0.51),
        weight_cap_of_others=dice.mostly(1.0, 0.21, 0.34, 0.41),
        record_count=dice.choice(["exact", "rounded:100", "rounded:500", *(["hidden"] if hidden else [])]),
        rounds=dice.mostly(100, 6, 20, 5),
        mib=dice.mostly(64.0, 0.00009, 0.00007),  # bytes for one head only, and for none
        lying=dice.random() < 0.5,
        readers=dice.mostly("gateway", "parties"),
        small_changes=dice.randint(0, 2),
        purposes=dice.mostly((PURPOSE,), ()),
        valid_until=dice.choice(TIMES),
    )


def drawn(parties: Sequence[str], seed: int, *, hidden: bool) -> Case:
    """Return the federation of `parties` that a number stands for; some have camps that deny each other."""
    dice = Dice(f"{len(parties)}/{seed}")
    camps = dice.choice([1, 2, 2, 3]) if len(parties) >= 2 * LEAST else 1
    camp = {party: dice.randint(1, camps) for party in parties}
    sides = {}
    for party in parties:
        own = _clauses(dice, parties, hidden=hidden)
        if dice.random() < 0.7:
            own = replace(own, denied=own.denied | {other for other in parties if camp[other] != camp[party]})
        objectives = dice.choice([("cost",), ("cost",), ("illness",), ("cost", "illness")])
        party_class, country = dice.mostly("clinic", "fund"), dice.mostly("DE", "US")
        sides[party] = Side(own, objectives, dice.randint(50, 3_000), party_class, country)
    return Case(sides)


@st.composite
def cases(draw: st.DrawFn, *, most: int = 12, hidden: bool = True, least: int = LEAST) -> Case:
    """Draw a federation of `least` to `most` parties."""
    parties = PARTIES[: draw(st.integers(least, most))]
    return drawn(parties, draw(st.integers(0, 2**32)), hidden=hidden)
