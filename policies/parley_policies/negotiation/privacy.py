"""Different demands on noise in one cohort: one noise for all, and a clip bound for each member (policy.md, Different ε).

Under the Gaussian mechanism a member whose update has the norm c and that hides under noise of standard deviation σ loses c²/(2σ²) of
zCDP a round (Bun and Steinke 2016, proposition 1.6). So in T rounds a member that grants (ε, δ), which is ρ with
ε = ρ + 2·sqrt(ρ·ln(1/δ)) (there, proposition 1.3), may send up to c = σ·sqrt(2ρ/T): who grants less clips lower, and nobody has to take
the strictest ε of all. How far others may outweigh it, each member bounds by `max_weight_ratio`. The scale is fixed by the largest clip
bound that all permit.

Who grants what only its own offer says; the terms hold the noise and the bounds. Each member checks its own. No noise is added here.

    >>> round(rho_of(1.0, 1e-6), 5)
    0.01746
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from parley_policies.errors import Conflict, Refused
from parley_policies.model.lattices import SCALES, Lattice
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.offer import Offer, OfferedPrivacy, offered_privacy
from parley_policies.negotiation.terms import PrivacyTerms, Terms

NOT_ADDED: Final = "differential_privacy.required"  # the clause by whose name this version refuses terms with noise
_ROUNDING: Final = 1 + 1e-9


def rho_of(epsilon: float, delta: float) -> float:
    """Return the ρ of zCDP that implies (ε, δ): the root of ε = ρ + 2·sqrt(ρ·ln(1/δ)); 0 < δ < 1."""
    log = math.log(1 / delta)
    return (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2


def reach(epsilon: float, delta: float, rounds: int) -> float:
    """Return the largest clip bound over σ with which so many rounds lose at most (ε, δ)."""
    return math.sqrt(2 * rho_of(epsilon, delta) / rounds)


def privacy_of(offers: Sequence[Offer], clip_bound: float, rounds: int) -> PrivacyTerms | None:
    """Return noise and clip bounds for members in this order, the largest of which is `clip_bound`; None where nobody demands noise.

    Conflict names a member whose bound would lie below the least that it accepts.
    """
    demands = [offer.privacy for offer in offers if offer.privacy is not None]
    if not demands:
        return None
    reaches = [math.inf if offer.privacy is None else reach(offer.privacy.epsilon, offer.privacy.delta, rounds) for offer in offers]
    parts = _balanced(reaches, [offer.max_weight_ratio for offer in offers])
    scale = clip_bound / max(parts)
    bounds = tuple(clip_bound if part == max(parts) else part * scale for part in parts)
    for offer, bound in zip(offers, bounds, strict=True):
        if bound < offer.clip_bound.min:
            demanding = tuple(each.party for each in offers if each.privacy is not None)
            raise Conflict("sharing.clip_bound", demanding, f"at least {offer.clip_bound.min} for {offer.party}", f"{bound:.4g}")
    return PrivacyTerms(
        unit=_strongest(Lattice.STRONGEST_UNIT, [demand.unit for demand in demands]),
        adjacency=_strongest(Lattice.STRONGEST_ADJACENCY, [demand.adjacency for demand in demands]),
        noise_trust=_strongest(Lattice.LEAST_NOISE_TRUST, [demand.noise_trust for demand in demands]),
        delta=min(demand.delta for demand in demands),
        noise=scale,
        clip_bounds=bounds,
    )


def _balanced(reaches: Sequence[float], ratios: Sequence[float]) -> list[float]:
    """Return the largest bounds, in units of σ, of which none is above its reach, nor above any member's ratio times that one's own."""
    parts = list(reaches)
    while True:
        most = min(ratio * part for ratio, part in zip(ratios, parts, strict=True))
        lowered = [min(part, most) for part in parts]
        if lowered == parts:
            return parts
        parts = lowered


def _strongest(lattice: Lattice, words: Sequence[str]) -> str:
    return max(words, key=SCALES[lattice].index)


def check_privacy(policy: PrivacyPolicy, terms: Terms, assume: frozenset[str]) -> None:
    """Return if the noise of `terms`, or that there is none, is as this policy demands; Refused by the clause's name otherwise.

    `assume` as in `check_proposal`: without it, terms with noise are refused in any case, since this version adds none.
    """
    demand, found = offered_privacy(policy), terms.privacy
    if found is None:
        if demand is not None:
            raise Refused("differential_privacy.per_study", f"noise for epsilon {demand.epsilon:g}", "terms without noise")
        return
    _check_bounds(policy, terms, found)
    if demand is not None:
        _check_loss(demand, terms, found, found.clip_bounds[terms.rank(policy.party) - 1])
    if NOT_ADDED not in assume:
        raise Refused(NOT_ADDED, "terms without noise", "terms with it", "this version adds no noise")


def _check_bounds(policy: PrivacyPolicy, terms: Terms, found: PrivacyTerms) -> None:
    if len(found.clip_bounds) != len(terms.members) or max(found.clip_bounds) != terms.clip_bound:
        raise Refused("terms.privacy.clip_bounds", f"one a member, the largest {terms.clip_bound}", f"{found.clip_bounds}")
    mine, granted = found.clip_bounds[terms.rank(policy.party) - 1], policy.sharing.clip_bound
    if granted is None or not granted.min <= mine <= granted.max:
        raise Refused("sharing.clip_bound", "a range written" if granted is None else f"{granted.min} to {granted.max}", f"{mine}")
    if terms.clip_bound > policy.sharing.max_weight_ratio * mine * _ROUNDING:
        raise Refused("sharing.max_weight_ratio", f"at most {policy.sharing.max_weight_ratio:g}", f"{terms.clip_bound / mine:.4g}")


def _check_loss(demand: OfferedPrivacy, terms: Terms, found: PrivacyTerms, mine: float) -> None:
    for name, lattice in _SCALES.items():
        wanted, got = getattr(demand, name), getattr(found, name)
        if SCALES[lattice].index(got) < SCALES[lattice].index(wanted):
            raise Refused(f"differential_privacy.{name}", f"{wanted}, or stronger", got)
    if found.delta > demand.delta:
        raise Refused("differential_privacy.per_study", f"a delta of at most {demand.delta:g}", f"{found.delta:g}")
    most = found.noise * reach(demand.epsilon, demand.delta, sum(step.rounds for step in terms.steps))
    if mine > most * _ROUNDING:
        raise Refused("differential_privacy.per_study", f"a clip bound of at most {most:.6g} under this noise", f"{mine:.6g}")


_SCALES: Final = {
    "unit": Lattice.STRONGEST_UNIT,
    "adjacency": Lattice.STRONGEST_ADJACENCY,
    "noise_trust": Lattice.LEAST_NOISE_TRUST,
}
