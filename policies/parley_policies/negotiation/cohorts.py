"""Which parties are summed together, and on what terms.

`negotiate` is pure and gives the same for the same offers in any order, on any machine. Where no cohort can be formed it raises the
Conflict that stands against the cohort of all. A study that splits keeps its id with the cohort that uses most data; each further one is a
study of its own, `risk--2`, with an agreement and a model of its own, and a party is in one of them. The gateway runs this and can only
propose: every member checks the result (`checker`).

The integer program (`solver`) knows every rule that is linear. What is not, it leaves to the code that draws up terms (`cohort_terms`):
a choice that this refuses is forbidden, and the program solved again. Where that comes to no end, or the program to no solution, the
greedy answer stands, with the bound that was proven.

    negotiated = negotiate(proposal, offers, members, gateway)
    for terms in negotiated.terms: ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from parley_policies.errors import Conflict, OfferInvalid
from parley_policies.negotiation import solver
from parley_policies.negotiation.candidates import problem_of
from parley_policies.negotiation.choosing import Group, Problem, completed, greedy, in_order, whole
from parley_policies.negotiation.cohort_terms import Cohort, terms_of
from parley_policies.negotiation.leaving import left_because
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.outcome import Negotiated, counted_records, data_used
from parley_policies.negotiation.proposal import Proposal, study_of_cohort
from parley_policies.negotiation.terms import GatewayTerms, Terms

REPAIRS: Final = 2_000  # over the number of parties: how often the program is solved again without what the exact rules refused
SOLVED_MEMBERS: Final = 250  # with more parties the program takes minutes: the greedy answer stands


def negotiate(proposal: Proposal, offers: Iterable[Offer], members: Directory, gateway: GatewayTerms) -> Negotiated:
    """Return the terms of the cohorts that use most data; Conflict if there is none, OfferInvalid for an offer out of place."""
    given = checked_offers(proposal, offers, members)
    problem, out = problem_of(proposal, given, members, gateway)
    drawing = _Drawing(proposal, given, members, gateway)
    groups, bound, method = _chosen(problem, drawing)
    if not groups:
        terms_of(proposal, Cohort(given), members, gateway, study=proposal.id)
        raise Conflict("sums.min_parties", tuple(offer.party for offer in given), "a cohort that every policy permits", "none")
    cohorts = tuple(drawing.cohort(group) for group in in_order(problem, groups))
    terms = tuple(drawing.terms(cohort, number) for number, cohort in enumerate(cohorts, start=1))
    value = sum(data_used(each, counted_records(given)) for each in terms)
    placed = {party for cohort in cohorts for party in cohort.parties} | {left.party for left in out}
    left = [left_because(offer, cohorts, members, drawing.terms) for offer in given if offer.party not in placed]
    return Negotiated(terms, tuple(sorted((*out, *left), key=lambda item: item.party)), value, max(value, bound), method)


def _chosen(problem: Problem, drawing: _Drawing) -> tuple[tuple[Group, ...], int, Literal["exact", "limit", "greedy"]]:
    """Return the groups, a bound on the value of any choice, and how they were found."""
    everyone = whole(problem, problem.alive)
    if everyone is not None and problem.value(everyone) == problem.everything() and drawing.fits(everyone):
        return (everyone,), problem.everything(), "exact"
    bound = problem.everything()
    if len(problem.alive) <= SOLVED_MEMBERS:
        forbidden: list[Group] = []
        for _ in range(max(1, REPAIRS // max(1, len(problem.alive)))):
            best = solver.best(problem, forbidden)
            bound = min(bound, best.bound)
            refused = [group for group in best.groups if not drawing.fits(group)]
            if best.exact and not refused:
                return best.groups, bound, "exact"
            if not refused:
                return completed(problem, best.groups or greedy(problem, drawing.fits), drawing.fits), bound, "limit"
            forbidden += refused
    return greedy(problem, drawing.fits), bound, "greedy"


@dataclass(slots=True)
class _Drawing:
    """Draws up terms for groups of a problem, and remembers which it could not."""

    proposal: Proposal
    offers: tuple[Offer, ...]
    members: Directory
    gateway: GatewayTerms
    _known: dict[tuple[object, ...], bool] = field(default_factory=dict)

    def fits(self, group: Group) -> bool:
        """Whether there are terms for a group."""
        key = group.key()
        if key not in self._known:
            try:
                self.terms(self.cohort(group))
            except Conflict:
                self._known[key] = False
            else:
                self._known[key] = True
        return self._known[key]

    def terms(self, cohort: Cohort, number: int = 1) -> Terms:
        """Return the terms of the cohort of that number; Conflict where there are none."""
        return terms_of(self.proposal, cohort, self.members, self.gateway, study=study_of_cohort(self.proposal.id, number))

    def cohort(self, group: Group) -> Cohort:
        """Return a group as the cohort that it is."""
        parts: Mapping[str, tuple[str, ...]] = {
            name: tuple(self.offers[party].party for party in sorted(who)) for name, who in group.parts.items()
        }
        return Cohort(tuple(self.offers[party] for party in sorted(group.members)), parts)


def checked_offers(proposal: Proposal, offers: Iterable[Offer], members: Directory) -> tuple[Offer, ...]:
    """Return the offers in id order; OfferInvalid unless each is of an enrolled, invited party, for this proposal, and its only one."""
    chosen: dict[str, Offer] = {}
    digest = proposal.digest()
    for offer in offers:
        if offer.party in chosen and chosen[offer.party] != offer:
            raise OfferInvalid(f"offer of {offer.party}: wanted one, got two that differ")
        if (offer.study, offer.proposal_digest) != (proposal.id, digest):
            raise OfferInvalid(f"offer of {offer.party}: wanted study {proposal.id}, proposal {digest[:16]}…, got {offer.study}")
        if offer.party not in proposal.invited or offer.party not in members:
            raise OfferInvalid(f"offer of {offer.party}: wanted an enrolled party that was invited")
        chosen[offer.party] = offer
    return tuple(chosen[party] for party in sorted(chosen))
