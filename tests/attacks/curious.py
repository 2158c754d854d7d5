"""A sponsor that proposes one study after another to learn what stands in a rival's policy.

The gateway is honest, and the sponsor has what no rule forbids: four parties of its own with policies of its own, and any number of ids for
studies. `QUESTIONS` are its 200 proposals: one clause after another, then at random. `Watcher` keeps what its five parties are told: the
terms they are to sign, or that the study goes on without them. `candidates_left` says how many of the policies that the rival might
have are still possible after each question. Pure: the package's own code makes the offers and the terms.
"""

from __future__ import annotations

import hashlib
import json
import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Any, Final

from parley_policies.errors import Conflict, PolicyInvalid, Refused
from parley_policies.model.loader import PolicyFile
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.reading import validated
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.members import Member
from parley_policies.negotiation.offer import Offer, make_offer
from parley_policies.negotiation.proposal import Proposal

from tests.member_secrets import secrets_of
from tests.policies.policy_federations import PURPOSE, Clauses
from tests.policies.policy_samples import GATEWAY, SALT, TODAY, member_of, proposal_of

SPONSOR: Final = "acme"
OWN: Final = (SPONSOR, "acme-2", "acme-3", "acme-broker", "acme-us")
HONEST: Final = ("corp", "dell")
RIVAL: Final = "rival"
PARTIES: Final = (*OWN, *HONEST, RIVAL)
MEMBERS: Final[Mapping[str, Member]] = {
    **{party: member_of(party, party_class="fund") for party in PARTIES},
    "acme-broker": member_of("acme-broker", party_class="broker"),
    "acme-us": member_of("acme-us", party_class="fund", country="US"),
}
PEOPLE: Final = 1_730  # of the rival
USES: Final = ("internal-use", "publish-metrics", "publish-model", "sell")
QUESTIONS_ASKED: Final = 200


@dataclass(frozen=True)
class Question:
    """One proposal, and what the sponsor's own parties write into their policies for it."""

    invited: tuple[str, ...] = ("acme", "acme-2", "acme-3", RIVAL)
    clip: tuple[float, float] = (0.01, 100.0)
    rounds: tuple[int, int] = (1, 500)
    uses: tuple[str, ...] = (PURPOSE,)
    disease: tuple[str, ...] = ()
    columns: tuple[str, ...] = ("age", "sodium", "ill", "costly")
    model_use: tuple[str, ...] = ("internal-use",)
    length: int = 16  # of the trunk
    floor: int = 3
    records: int = 600  # of its own; every other party but the rival has 600

    def proposal(self, number: int) -> Proposal:
        plain = proposal_of((SPONSOR,)).model_dump()
        columns = {name: column for name, column in plain["columns"].items() if name in self.columns}
        wishes = {
            **plain["wishes"],
            "clip_bound": {"min": self.clip[0], "max": self.clip[1]},
            "rounds": {"min": self.rounds[0], "max": self.rounds[1]},
        }
        segments = [{**plain["segments"][0], "length": self.length}, *plain["segments"][1:]]
        return Proposal.model_validate(
            {
                **plain,
                "id": f"study-{number}",
                "invited": tuple(sorted(self.invited)),
                "purpose": {**plain["purpose"], "uses": self.uses, "disease": self.disease},
                "columns": columns,
                "wishes": wishes,
                "segments": tuple(segments),
                "model_use": {**plain["model_use"], "allowed": self.model_use},
            }
        )


def questions() -> tuple[Question, ...]:
    """Return the sponsor's proposals: first those that an attentive reader of the schema would try, then at random."""
    plain = Question()
    asked = [plain, replace(plain, invited=PARTIES), *_one_by_one(plain)]
    dice = random.Random(4)
    while len(asked) < QUESTIONS_ASKED:
        low = dice.choice([0.01, 0.1, 0.4, 0.8, 1.6])
        asked.append(
            Question(
                invited=(SPONSOR, RIVAL, *dice.sample([*OWN[1:], *HONEST], dice.randint(2, 6))),
                clip=(low, low * dice.choice([1.0, 2.0, 50.0])),
                rounds=(dice.choice([1, 5, 20, 40]), 500),
                uses=dice.choice([(PURPOSE,), ("dpv:Education",), (PURPOSE, "dpv:Education")]),
                columns=("age", "costly", "ill", *dice.sample(["sodium"], dice.randint(0, 1))),
                model_use=tuple(dice.sample(USES, dice.randint(1, 2))),
                length=dice.choice([16, 100_000, 400_000]),
                floor=dice.randint(3, 5),
                records=dice.choice([60, 600, 6_000]),
            )
        )
    return tuple(asked)


def _one_by_one(plain: Question) -> Iterator[Question]:
    yield from (replace(plain, uses=(use,)) for use in ("dpv:Education", "dpv:Marketing", "DUO:0000006"))
    yield from (replace(plain, disease=(disease,)) for disease in ("MONDO:0005252", "MONDO:0005148"))
    yield from (replace(plain, columns=tuple(name for name in plain.columns if name != left)) for left in ("sodium", "age"))
    yield from (replace(plain, model_use=(use,)) for use in USES)
    yield from (replace(plain, invited=(*plain.invited, party)) for party in (*OWN[3:], *HONEST))
    yield from (replace(plain, clip=(0.01, high)) for high in (0.02, 0.04, 0.06, 0.1, 0.3))
    yield from (replace(plain, rounds=(least, 500)) for least in (10, 50, 90))
    yield from (replace(plain, length=length) for length in (50_000, 200_000, 250_000, 300_000, 1_000_000))
    yield from (replace(plain, records=records) for records in (60, 1_500, 6_000))
    yield from (replace(plain, invited=(*OWN[:3], *HONEST, RIVAL), records=records) for records in (60, 600, 6_000))


def rival_table() -> dict[str, Any]:
    """Return the rival's policy: strict in some clauses, so that a candidate can be laxer or stricter."""
    clauses = Clauses(
        trunk=4, head=3, colluders=1, classes=frozenset({"fund"}), countries=frozenset({"DE"}), clip_min=0.05, clip_max=2.0,
        pins=frozenset(PARTIES) - {"acme-us"},
        weight_cap=0.4, weight_cap_of_others=0.45, record_count="rounded:500", rounds=60, mib=1.0, lying=True, small_changes=1,
    )  # fmt: skip
    table = tomllib.loads(clauses.text(RIVAL))
    table["identity"].update({"supersedes": "sha256:" + "1" * 64})
    table["legal"].update({"documents": [{"kind": "dpia", "reference": "D-1", "sha256": "2" * 64, "review_by": date(2027, 11, 30)}]})
    table["model_use"].update({"allowed": ["internal-use", "publish-metrics"]})
    table["peers"]["granted"] = ["class:fund"]
    return table


def changed_in(table: Mapping[str, Any], clause: str, value: object) -> dict[str, Any]:
    """Return a policy's table with one clause replaced; None removes it."""
    section, name = clause.split(".")
    changed = deepcopy(dict(table))
    changed.setdefault(section, {})
    changed[section].pop(name, None)
    if value is not None:
        changed[section][name] = value
    return changed


def policy_of(table: Mapping[str, Any], name: str = RIVAL) -> PolicyFile:
    policy = validated(PrivacyPolicy, _frozen(table), name, PolicyInvalid)
    return PolicyFile(name, policy, hashlib.sha256(json.dumps(table, default=str, sort_keys=True).encode()).hexdigest())


def _frozen(value: Any) -> Any:  # noqa: ANN401 - what TOML holds
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


@cache
def _lax_policy(party: str, floor: int, clip_max: float) -> PolicyFile:
    """Return the policy of everybody else: it binds nothing, but for the sponsor's own floor and, where asked for, a clip bound."""
    classes = frozenset({"fund", "broker"})
    clauses = Clauses(trunk=floor, classes=classes, clip_min=0.001, clip_max=clip_max, rounds=1_000, valid_until=date(2029, 12, 31))
    table = tomllib.loads(clauses.text(party))
    table["purpose"] = {"granted": [PURPOSE, "dpv:Education", "dpv:Marketing", "DUO:0000006"], "prohibited": []}
    table["model_use"]["allowed"] = list(USES)
    return policy_of(table, party)


def offer_of(active: PolicyFile, proposal: Proposal, people: int) -> Offer | None:
    """Return a party's offer; None where its policy declines."""
    party = active.policy.party
    try:
        return make_offer(
            active, proposal, dataset="visits", records=people, objectives=("cost",), members=MEMBERS, gateway=GATEWAY, today=TODAY,
            salt=SALT, channel_key=secrets_of(party).channel_key, commitment=secrets_of(party).commitment(proposal.digest(), party),
        )  # fmt: skip
    except Refused:
        return None


class Watcher:
    """The sponsor's side: asks, and keeps what its parties are told. `narrow` are the clip bounds of others that have any."""

    def __init__(self, asked: Sequence[Question], narrow: Sequence[tuple[str, float]] = ()) -> None:
        self._narrow = dict(narrow)
        self.proposals = [question.proposal(number) for number, question in enumerate(asked)]
        self._others = [
            [offer for party in proposal.invited if party != RIVAL and (offer := self._offer(party, question, proposal)) is not None]
            for question, proposal in zip(asked, self.proposals, strict=True)
        ]

    def _offer(self, party: str, question: Question, proposal: Proposal) -> Offer | None:
        floor, records = (question.floor, question.records) if party == SPONSOR else (3, 600)
        return offer_of(_lax_policy(party, floor, self._narrow.get(party, 1_000.0)), proposal, records)

    def told(self, number: int, rival: Offer | None) -> str:
        """Return all that the sponsor's parties are told in answer to question `number`."""
        proposal, offers = self.proposals[number], [*self._others[number], *([rival] if rival else [])]
        try:
            outcome = negotiate(proposal, offers, MEMBERS, GATEWAY)
        except Conflict:
            return "no terms"
        seen = [terms.model_dump(mode="json") for terms in outcome.terms if set(OWN) & {member.party for member in terms.members}]
        for terms in seen:
            for member in terms["members"]:
                member.pop("offer")  # the digest of a signed statement that holds a fresh key and a salted digest: nobody can guess it
        return json.dumps(seen, sort_keys=True)


def candidates_left(
    asked: Sequence[Question], tables: Sequence[Mapping[str, Any]], people: Sequence[int] = (), narrow: Sequence[tuple[str, float]] = ()
) -> list[int]:
    """Return after each question how many of the policies `tables` (the first is the rival's) give the answers that the sponsor got.

    `people` are the numbers of people with each, where they differ; `narrow` as a `Watcher` takes it.
    """
    watcher, counts = _watcher(tuple(asked), tuple(narrow)), list(people) or [PEOPLE] * len(tables)
    left, remaining = [policy_of(table) for table in tables], []
    alive = list(range(len(tables)))
    for number, proposal in enumerate(watcher.proposals):
        offers = {index: offer_of(left[index], proposal, counts[index]) for index in alive}
        truth = offers[0]
        answer = ""
        for index in [index for index in alive if _apart(offers[index], truth)]:
            answer = answer or watcher.told(number, truth)
            if watcher.told(number, offers[index]) != answer:
                alive.remove(index)
        remaining.append(len(alive))
    return remaining


@cache
def _watcher(asked: tuple[Question, ...], narrow: tuple[tuple[str, float], ...]) -> Watcher:
    return Watcher(asked, narrow)


def _apart(one: Offer | None, other: Offer | None) -> bool:
    """Whether two offers differ in more than the salted digest of the policy."""
    if one is None or other is None:
        return one is not other
    return one.model_copy(update={"policy": ""}).model_dump() != other.model_copy(update={"policy": ""}).model_dump()
