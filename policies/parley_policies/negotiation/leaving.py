"""Why somebody is in no cohort: the best single reason that can be shown cheaply, with those whose clauses meet in it.

Looked at from the cohorts that were chosen: with whom in each of them the party may not be, or, where no pair stands against it, what the
drawing up of terms says to the cohort with it. A party that was out before there was a choice has its reason from there (`candidates`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from parley_policies.errors import Conflict
from parley_policies.negotiation.candidates import pair_conflict
from parley_policies.negotiation.cohort_terms import Cohort
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.outcome import Left
from parley_policies.negotiation.terms import Terms

VALUE: Final = "value"  # no clause: other choices use more data
_SAYS: Final = {
    "peers": "it may not be in a cohort with",
    "sharing.clip_bound": "its range of clip bounds does not meet that of",
    "channel_key": "it has a channel key in common with",
    "identity": "it has an identity key in common with",
}


def left_because(offer: Offer, cohorts: Iterable[Cohort], members: Directory, draw: Callable[[Cohort], Terms]) -> Left:
    """Return why `offer`'s party is in none of `cohorts`. `draw` draws up the terms of a cohort, or raises Conflict."""
    chosen = tuple(cohorts)
    open_to_it = [cohort for cohort in chosen if not any(pair_conflict(offer, other, members) for other in cohort.offers)]
    if not open_to_it:
        return _kept_apart(offer, chosen, members)
    larger = sorted((*open_to_it[0].offers, offer), key=lambda item: item.party)
    try:
        with_it = draw(Cohort(tuple(larger)))
    except Conflict as conflict:
        return Left(offer.party, conflict.field, f"with it: wanted {conflict.wanted}, got {conflict.got}", conflict.parties)
    if with_it.max_colluders > draw(open_to_it[0]).max_colluders:
        together = frozenset(item.party for item in larger)
        reckoning = [item.party for item in larger if item.colluders + len(together & set(item.uncounted)) == with_it.max_colluders]
        why = f"with it {with_it.max_colluders} conspirators must be survived, sums must be larger, and fewer data are used"
        return Left(offer.party, "schemes.colluding_parties_survived", why, tuple(reckoning))
    return Left(offer.party, VALUE, "more data are used without it")


def _kept_apart(offer: Offer, cohorts: tuple[Cohort, ...], members: Directory) -> Left:
    """Return the clause that keeps the party out of the first cohort, and with whom it may not be in each."""
    against = {other.party: pair_conflict(offer, other, members) for cohort in cohorts for other in cohort.offers}
    against = {party: clause for party, clause in against.items() if clause}
    clause = next(clause for party, clause in sorted(against.items()) if party in cohorts[0].parties)
    others = [party for party, found in sorted(against.items()) if found == clause]
    naming = {other.party for cohort in cohorts for other in cohort.offers if offer.party in other.apart}
    whose = {offer.party, *others}
    if clause == "peers":
        whose = (naming & set(others)) | ({offer.party} if set(others) & set(offer.apart) else set())
    return Left(offer.party, clause, f"{_SAYS[clause]} {', '.join(others)}", tuple(sorted(whose)))
