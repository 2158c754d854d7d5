"""Terms under attack: a gateway that breaks one clause of one party's policy, or that alters whom, what or which offer they are of.

What each party answers to the same terms through its running service stands in `tests/party/test_party_lying_terms.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.terms import Terms

from tests.attacks.broken_terms import ALTERED, BROKEN, VICTIM, Altered, Broken
from tests.attacks.guards import Attack, check_mutations, check_refused
from tests.policies.policy_samples import TODAY, Federation


def checked(federation: Federation, party: str, terms: Terms, own: Offer) -> None:
    """Let a party check terms against its own policy, as its service does."""
    check_terms(federation.policy(party).policy, terms, federation.proposal, own, federation.members, today=TODAY)


def signed_by_the_victim(attack: Broken | Altered) -> None:
    """The victim checks, and would sign."""
    federation = attack.federation()
    own = federation.offer(VICTIM)
    checked(federation, VICTIM, attack.terms(federation, own), own)


def attack_of(item: Broken | Altered) -> Attack:
    play: Callable[[], None] = partial(signed_by_the_victim, item)
    return Attack(str(item), play, f"^{item.clause}: wanted", item.without)


ATTACKS = [attack_of(item) for item in (*BROKEN, *ALTERED)]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_is_refused(attack: Attack) -> None:
    check_refused(attack)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_attack_succeeds_without_its_checks(attack: Attack) -> None:
    check_mutations(attack)


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_every_other_member_would_sign(broken: Broken) -> None:
    """So it is the right party that refuses, and nobody else learns by refusing what its clause is."""
    federation = broken.federation()
    terms = broken.terms(federation, federation.offer(VICTIM))
    for member in terms.members:
        if member.party != VICTIM:
            checked(federation, member.party, terms, federation.offer(member.party))
