"""Settle what a trial needs and nobody said: members, gateway, data, day.

What is not in the facts is assumed as favourably as policies let it be, and every assumption is listed. Keys are throwaway: made from
names, so that the same files give the same trial, and of use to nobody. Where policies pin fingerprints, the one that most of them pin for
a party is taken for its real one and stands for the throwaway key; a policy that pins another differs, as it would in earnest. Nothing
here reads a clock: the day of the trial is an argument.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from parley_crypto.keys import AgreementKey, SigningKey

from parley_policies.model.countries import expanded
from parley_policies.model.loader import PolicyFile
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.credentials import Credential, issue
from parley_policies.negotiation.members import Directory, Member
from parley_policies.negotiation.study_file import StudyFile
from parley_policies.negotiation.terms import GatewayTerms
from parley_policies.trial.facts import Facts

GATEWAY: Final = "gateway"
ALL: Final = "everyone"
DATASET, RECORDS, LABELS = "dataset", "number of records", "has labels for"
OF_ITS_OWN_POLICY: Final = frozenset({DATASET, RECORDS, LABELS})  # assumed of a party by its own policy and no other
_RECORDS: Final = 1_000  # assumed of a party whose policy asks for no more
_CLASS: Final = "class:"


@dataclass(frozen=True, slots=True)
class Assumed:
    """One thing that no file says: of whom, what, the value that was taken, and why that one."""

    of: str
    what: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class OwnData:
    """What one party has: a dataset, so many people in it, labels for these objectives."""

    dataset: str
    records: int
    objectives: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settled:
    """All that a negotiation needs besides study and policies. `policies` pin throwaway keys where they pinned real ones."""

    day: date
    gateway: GatewayTerms
    members: Directory
    policies: Mapping[str, PolicyFile]
    data: Mapping[str, OwnData]
    assumed: tuple[Assumed, ...]
    real: Mapping[str, str]  # fingerprint of a throwaway key -> the real one that it stands for

    def told(self, text: str) -> str:
        """Return a sentence with real fingerprints in it instead of those of throwaway keys."""
        for throwaway, real in self.real.items():
            text = text.replace(throwaway, real)
        return text


def settle(study: StudyFile, policies: Mapping[str, PolicyFile], facts: Facts, *, today: date) -> Settled:
    """Return what the facts say and, where they say nothing, what is most favourable; `policies` by party, `today` the day (UTC)."""
    ordered = {party: policies[party] for party in sorted(policies)}
    settling = _Settling(study, {party: file.policy for party, file in ordered.items()}, facts)
    day = settling.day(today)
    gateway, gateway_pin = settling.gateway()
    pins: dict[str, str] = {}
    members = {}
    for party in sorted(study.invited):
        members[party] = settling.member(party)
        pins |= settling.pin(party)
    pinned = {party: replace(file, policy=_with_throwaway_pins(file.policy, pins, members, gateway_pin)) for party, file in ordered.items()}
    data = {party: settling.data(party) for party in ordered if party in members}
    real = {member.fingerprint: pins.get(party, f"the key of {party}") for party, member in members.items()}
    real[identity(GATEWAY).public.fingerprint] = gateway_pin or "the key of the gateway"
    return Settled(day, gateway, members, pinned, data, tuple(settling.assumed), real)


def identity(party: str) -> SigningKey:
    """Return a party's throwaway identity key."""
    return SigningKey(_drawn("identity", party))


def channel_key(party: str) -> str:
    """Return a party's throwaway channel key (X25519, public half, hexadecimal)."""
    return AgreementKey(_drawn("channel", party)).public.hex()


def commitment(party: str) -> str:
    """Return a party's throwaway commitment (hexadecimal)."""
    return _drawn("commitment", party).hex()


def salt(party: str) -> bytes:
    """Return a party's throwaway salt."""
    return _drawn("salt", party)


def _drawn(what: str, party: str) -> bytes:
    return hashlib.sha256(f"parley trial {what} {party}".encode()).digest()


def _credential(issuer: str, member: Member) -> str:
    """Return the credential that an issuer, by its fingerprint in policies, would give a member: signed by a throwaway key."""
    key = identity(f"issuer {issuer}")
    return issue(
        Credential(
            issuer=key.public.hex,
            party=member.party,
            legal_name=member.legal_name,
            party_class=member.party_class,
            country=member.country,
            identity=member.fingerprint,
            valid_until=date.max,
        ),
        key,
    )


def _most(votes: Iterable[str], prefer: Iterable[str] = ()) -> str | None:
    """Return what is named most often; of several `prefer`red ones first, then in order of name. None of no votes."""
    counted = Counter(votes)
    liked = set(prefer)
    return min(counted, key=lambda name: (-counted[name], name not in liked, name), default=None)


@dataclass(slots=True)
class _Settling:
    """Goes through what is needed and notes each assumption."""

    study: StudyFile
    policies: Mapping[str, PrivacyPolicy]
    facts: Facts
    assumed: list[Assumed]

    def __init__(self, study: StudyFile, policies: Mapping[str, PrivacyPolicy], facts: Facts) -> None:
        self.study, self.policies, self.facts, self.assumed = study, policies, facts, []

    def _assume(self, of: str, what: str, value: object, why: str) -> None:
        self.assumed.append(Assumed(of, what, str(value), why))

    def _others(self, party: str) -> list[PrivacyPolicy]:
        return [policy for other, policy in self.policies.items() if other != party]

    def day(self, today: date) -> date:
        if self.facts.day is not None:
            return self.facts.day
        begin = max((policy.identity.valid_from for policy in self.policies.values()), default=today)
        day = min(max(today, begin), self.study.wishes.answer_by)
        if day != today:
            self._assume(ALL, "day", day, "the first day on which all policies are in force, or the last on which an offer counts")
        return day

    def gateway(self) -> tuple[GatewayTerms, str | None]:
        """Return the gateway, and the fingerprint in policies that stands for it."""
        given = self.facts.gateway
        clauses = [policy.gateway for policy in self.policies.values()]
        pin = given.fingerprint
        if pin is None:
            pin = _most(name for clause in clauses for name in clause.fingerprints)
            if pin is not None:
                self._assume(GATEWAY, "fingerprint", pin, "the one that most policies name")
        countries = given.countries
        if countries is None:
            found = _most(country for clause in clauses for country in sorted(expanded(clause.countries)))
            countries = () if found is None else (found,)
            self._assume(GATEWAY, "countries", found or "none", "the one that most policies permit")
        hours, days = given.incident_notice_hours, given.change_notice_days
        if hours is None:
            hours = min((clause.incident_notice_hours_at_most for clause in clauses), default=0)
            self._assume(GATEWAY, "notice of an incident", f"{hours} hours", "the shortest that a policy demands")
        if days is None:
            days = max((clause.change_notice_days_at_least for clause in clauses), default=0)
            self._assume(GATEWAY, "notice of a change", f"{days} days", "the longest that a policy demands")
        return GatewayTerms(
            id=given.id or GATEWAY,
            key=identity(GATEWAY).public.hex,
            operator=given.operator or "an operator",
            countries=countries,
            incident_notice_hours=hours,
            change_notice_days=days,
        ), pin

    def member(self, party: str) -> Member:
        given = self.facts.of(party)
        described = Member(
            party=party,
            legal_name=given.legal_name or self._legal_name(party),
            party_class=given.party_class or self._class(party),
            country=given.country or self._country(party),
            identity=identity(party).public.hex,
            revoked=given.revoked,
        )
        return replace(described, credentials=tuple(_credential(issuer, described) for issuer in self._issuers(party)))

    def _issuers(self, party: str) -> tuple[str, ...]:
        given = self.facts.of(party).vouched_by
        if given is not None:
            return given
        believed = tuple(sorted({issuer for policy in self._others(party) for issuer in policy.peers.issuers}))
        if believed:
            self._assume(party, "vouched for by", ", ".join(believed), "every issuer that a policy believes")
        return believed

    def _legal_name(self, party: str) -> str:
        policy = self.policies.get(party)
        return (policy.legal.controller if policy is not None else "") or party

    def _class(self, party: str) -> str:
        votes = [
            peer.removeprefix(_CLASS)
            for policy in self._others(party)
            if party not in policy.peers.granted
            for peer in sorted(set(policy.peers.granted) - set(policy.peers.denied))
            if peer.startswith(_CLASS)
        ]
        found = _most(votes) or "party"
        self._assume(party, "class", found, "the one that most other policies grant" if votes else "no other policy asks for one")
        return found

    def _country(self, party: str) -> str:
        votes: list[str] = []
        for policy in self._others(party):
            votes += sorted(expanded(policy.peers.countries) | expanded(transfer.country for transfer in policy.peers.transfers))
        own = self.policies.get(party)
        near = () if own is None else expanded(own.gateway.countries)
        found = _most(votes, near) or min(near, default="DE")
        self._assume(party, "country", found, "one that most other policies permit" if votes else "no other policy asks for one")
        return found

    def pin(self, party: str) -> dict[str, str]:
        """Return the fingerprint in policies that stands for the party's throwaway key."""
        pin = self.facts.of(party).fingerprint
        if pin is None:
            pins = (policy.peers.fingerprints.get(party) for policy in self._others(party))
            pin = _most(name for name in pins if name is not None)
            if pin is not None:
                self._assume(party, "fingerprint", pin, "the one that most other policies pin")
        return {} if pin is None else {party: pin}

    def data(self, party: str) -> OwnData:
        given, policy = self.facts.of(party), self.policies[party]
        dataset, records, objectives = given.dataset, given.records, given.objectives
        if dataset is None:
            dataset = next(iter(policy.data.datasets), "data")
            self._assume(party, DATASET, dataset, "the first that its policy names" if policy.data.datasets else "its policy names none")
        if records is None:
            records = max(_RECORDS, policy.data.min_people or 0)
            self._assume(party, RECORDS, f"{records:,}", "enough for its own policy")
        if objectives is None:
            readable = self.study.labelled(policy.data.columns)
            objectives = readable
            self._assume(party, LABELS, ", ".join(readable) or "nothing", "labels that its policy lets be read")
        return OwnData(dataset, records, objectives)


def _with_throwaway_pins(policy: PrivacyPolicy, pins: Mapping[str, str], members: Directory, gateway_pin: str | None) -> PrivacyPolicy:
    """Return a policy whose pins of real keys are pins of the trial's; a pin that differs from the real key stays and differs."""
    fingerprints = {
        party: members[party].fingerprint if pins.get(party) == pin else pin for party, pin in policy.peers.fingerprints.items()
    }
    issuers = tuple(identity(f"issuer {issuer}").public.fingerprint for issuer in policy.peers.issuers)
    named = policy.gateway.fingerprints
    own = identity(GATEWAY).public.fingerprint
    stands = tuple(own if name == gateway_pin else name for name in named)
    return policy.model_copy(
        update={
            "peers": policy.peers.model_copy(update={"fingerprints": fingerprints, "issuers": issuers}),
            "gateway": policy.gateway.model_copy(update={"fingerprints": stands}),
        }
    )
