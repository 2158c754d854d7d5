"""Every check of the code that protects a party has an attack that only this check, or it with others, refuses.

A check that is added to these modules without an attack fails here, and so does an attack on a check that is gone.
"""

from __future__ import annotations

from types import ModuleType

import pytest
from parley_crypto import fixedpoint
from parley_policies.negotiation import checker
from parley_protocol import (
    bound,
    certificates,
    columns,
    commitments,
    gateway_posts,
    keyparts,
    members_key,
    opening,
    party_round,
    party_spec,
    promises,
    proving,
    release,
    round_secrets,
    unmasking,
)

from tests.attacks import (
    test_attacks_both_shares,
    test_attacks_certificates,
    test_attacks_culprits,
    test_attacks_differencing,
    test_attacks_encoding,
    test_attacks_floor,
    test_attacks_graph,
    test_attacks_keyparts,
    test_attacks_keys,
    test_attacks_manifests,
    test_attacks_members,
    test_attacks_one_list,
    test_attacks_promises,
    test_attacks_recompute,
    test_attacks_release,
    test_attacks_replay,
    test_attacks_shares,
    test_attacks_sums,
    test_attacks_terms,
)
from tests.attacks.guards import Guard, Same, every_guard

ATTACKED: tuple[ModuleType, ...] = (
    test_attacks_both_shares,
    test_attacks_certificates,
    test_attacks_culprits,
    test_attacks_differencing,
    test_attacks_encoding,
    test_attacks_floor,
    test_attacks_graph,
    test_attacks_keyparts,
    test_attacks_keys,
    test_attacks_manifests,
    test_attacks_members,
    test_attacks_one_list,
    test_attacks_promises,
    test_attacks_recompute,
    test_attacks_release,
    test_attacks_replay,
    test_attacks_shares,
    test_attacks_sums,
    test_attacks_terms,
)
MODULES = (
    party_round,
    party_spec,
    bound,
    columns,
    commitments,
    certificates,
    promises,
    proving,
    release,
    round_secrets,
    gateway_posts,
    opening,
    unmasking,
    keyparts,
    members_key,
    fixedpoint,
    checker,
)
ELSEWHERE_OPERANDS = {
    "certificate is None": "for the type checker: there is a certificate whenever there is a list",
    "granted is None": "for the type checker: there is an offer only where a range is granted",
    "own is None": "for the type checker: what a policy shares has a floor",
    "not policy.sharing.shares(segment.name)": "an offer names nothing else: the attack on a part that stays at home takes both out",
    "offer.min_parties(segment.name) is None": "a policy shares nothing else: the same attack",
}
ELSEWHERE_WORDS = {
    "in one round are never given": "a second lock on our own mistakes: test_a_mistake_of_our_own_cannot_give_both_shares breaks the first",
    "a round that is over has none": "no message reaches it: test_a_round_without_boxes_may_be_given_up, test_who_released_keeps_nothing_…",
    "encoding: wanted a finite positive bound": "arguments of our own: tests/crypto/test_crypto_fixedpoint.py",
    "opening needs": "an order of our own: tests/protocol/test_protocol_gateway.py",
    "secrets of an offer: wanted": "bytes of our own drawing: tests/protocol/test_protocol_keyparts.py",
    "our own offer on ": "an argument of our own: tests/policies/test_policies_checker.py",
    " among them": "so does what follows, which finds no row of ours: tests/policies/test_policies_checker.py",
    "only enrolled parties": "a party's directory holds whom the proposal invites: tests/party/test_party_lying_terms.py",
    "terms.threshold": "the graph of such terms cannot be computed either: tests/policies/test_policies_checker.py",
    "schemes.accepted": "terms have one scheme in this version: they do not parse with another",
    "data.exclusions_required": "a policy that requires them refuses every study in this version",
    "at least one segment of the model": "every model has a trunk, or is one head: tests/policies/test_policies_checker.py",
    "segments of the proposal": "names were compared before: tests/policies/test_policies_checker.py",
    "encoding: wanted values below 2^": "arguments of our own: tests/crypto/test_crypto_fixedpoint.py",
}


def guards() -> list[Guard]:
    return [item for module in ATTACKED for attack in module.ATTACKS for item in attack.without if isinstance(item, Guard)]


def covers(guard: Guard, function: str, message: str, operand: str) -> bool:
    """Say whether taking `guard` out takes out this check: of a chain of `or` this very operand."""
    same_operand = bool(guard.operand) and guard.operand in operand if operand else not guard.operand
    same_words = guard.words == message if isinstance(guard, Same) else guard.words in message
    return guard.function == function and same_words and same_operand


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_check_has_an_attack(module: ModuleType) -> None:
    known = guards()
    without_attack = [
        (function, message, operand)
        for function, message, operand in every_guard(module)
        if operand not in ELSEWHERE_OPERANDS
        and not any(words in message for words in ELSEWHERE_WORDS)
        and not any(covers(guard, function, message, operand) for guard in known)
    ]
    assert without_attack == []


def test_no_attack_is_named_twice() -> None:
    for module in ATTACKED:
        names = [attack.name for attack in module.ATTACKS]
        assert len(set(names)) == len(names), module.__name__
