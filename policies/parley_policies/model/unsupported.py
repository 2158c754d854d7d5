"""Clauses that this version cannot uphold. Each makes the party refuse every study, by name.

A promise that nobody keeps is worse than none. A clause is listed when it *requires* more than this version does. One that only permits
what this version never does (another scheme besides masked, a dealer, a custom digest) is not: what is permitted and not done harms
nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from parley_policies.errors import Refused
from parley_policies.model.policy import PrivacyPolicy


@dataclass(frozen=True, slots=True)
class Unsupported:
    """One clause, the value it has, and why this version cannot uphold it."""

    clause: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.clause} = {self.value}: {self.why}"


def unsupported_clauses(policy: PrivacyPolicy) -> tuple[Unsupported, ...]:
    """Return every clause of `policy` that this version cannot uphold, in the order of the schema."""
    return (*_people(policy), *_sums(policy), *_privacy(policy), *_readers(policy))


def check_supported(policy: PrivacyPolicy, assume: frozenset[str] = frozenset()) -> None:
    """Return if this version upholds the whole policy; Refused names the first clause that it does not, and the number of others.

    `assume` names clauses that are treated as if it did: for trying policies, never for a service.
    """
    found = tuple(item for item in unsupported_clauses(policy) if item.clause not in assume)
    if found:
        others = f"; and {len(found) - 1} more: {', '.join(item.clause for item in found[1:])}" if found[1:] else ""
        first = found[0]
        raise Refused(first.clause, "a clause that this version can uphold", f"{first.value} ({first.why}){others}")


def _people(policy: PrivacyPolicy) -> Iterator[Unsupported]:
    if policy.data.exclusions_required:
        yield Unsupported("data.exclusions_required", "true", "lists of objections and withdrawals are not read yet")
    if policy.data.erasure_effect != "from-next-study":
        yield Unsupported("data.erasure_effect", policy.data.erasure_effect, "data are read once, at study start")
    if policy.data.minimum_fairness_check:
        yield Unsupported(
            "data.minimum_fairness_check", _list(policy.data.minimum_fairness_check), "versions are not evaluated by group yet"
        )


def _sums(policy: PrivacyPolicy) -> Iterator[Unsupported]:
    if "masked" not in policy.schemes.accepted:
        yield Unsupported("schemes.accepted", _list(policy.schemes.accepted), "masked is the only scheme yet")
    if policy.sums.groups.allowed:
        yield Unsupported("sums.groups", "allowed", "sums over groups are not made or bounded yet")


def _privacy(policy: PrivacyPolicy) -> Iterator[Unsupported]:
    privacy = policy.differential_privacy
    if privacy.required:
        yield Unsupported("differential_privacy.required", "true", "noise is not added yet")
    if privacy.per_study is not None:
        yield Unsupported("differential_privacy.per_study", f"epsilon {privacy.per_study.epsilon}", "privacy loss is not accounted yet")
    if privacy.lifetime is not None:
        yield Unsupported("differential_privacy.lifetime", f"epsilon {privacy.lifetime.epsilon}", "privacy loss is not accounted yet")
    if policy.sharing.fraction_a_round < 1:
        yield Unsupported("sharing.fraction_a_round", str(policy.sharing.fraction_a_round), "every round sends all coordinates")


def _readers(policy: PrivacyPolicy) -> Iterator[Unsupported]:
    if policy.disclosure.own_metrics != "none":
        yield Unsupported("disclosure.own_metrics", str(policy.disclosure.own_metrics), "metrics never leave yet, not even in a sum")
    if policy.robustness.least != "R0":
        yield Unsupported("robustness.least", policy.robustness.least, "updates are clipped (R0) and nothing more")


def _list(values: tuple[str, ...]) -> str:
    return ", ".join(values) or "(empty)"
