"""Whom a party counts in a round, by what its members showed when they signed: a gateway that lies about it only makes conspirators."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from parley_crypto.keys import SigningKey
from parley_party.house import House
from parley_party.keystore import PartyKeys
from parley_party.studies import directory_of
from parley_policies.enforcement.guard import Guard
from parley_policies.negotiation.offer import Offer
from parley_policies.negotiation.terms import Terms
from parley_protocol.negotiation import MemberEntry
from parley_service.keyfile import StorageKey

from tests.policies.credential_samples import ISSUER, UNTIL, credential_of
from tests.policies.policy_samples import IDS, TODAY, Federation, changed, key_of

FOUR = IDS[:4]
ME = "a-clinic"
TRUST = f'trust = "pinned"\nissuers = ["{ISSUER.public.fingerprint}"]'


def federation() -> Federation:
    sample = Federation.of(FOUR, {party: {"min_parties": 3, "colluders": 0} for party in FOUR}, {ME: {"trust": TRUST}})
    members = {party: replace(member, credentials=(credential_of(member),)) for party, member in sample.members.items()}
    return replace(sample, members=members)


def entries(sample: Federation, shown: dict[str, tuple[str, ...]]) -> tuple[MemberEntry, ...]:
    """Return the members as a gateway would show them, with the credentials that it chooses."""
    return tuple(
        MemberEntry(
            party=member.party,
            legal_name=member.legal_name,
            party_class=member.party_class,
            country=member.country,
            identity=member.identity,
            authentication=member.identity,
            revoked=False,
            credentials=shown[member.party],
        )
        for member in sample.members.values()
    )


def house(sample: Federation, today: date = TODAY) -> House:
    keys = PartyKeys(key_of(ME), SigningKey(bytes(32)), SigningKey(bytes(32)), StorageKey(bytes(32)))
    return House(
        ME, keys, Guard(sample.policy(ME), "http://127.0.0.1:1"), datetime(today.year, today.month, today.day, 12, tzinfo=UTC).timestamp
    )


def counted(sample: Federation, terms: Terms, today: date = TODAY) -> set[str]:
    return set(house(sample, today).counted(terms))


def retold(terms: Terms, shown: dict[str, tuple[str, ...]]) -> Terms:
    return changed(terms, members=[{**member.model_dump(), "credentials": shown[member.party]} for member in terms.members])


def lies(shown: dict[str, tuple[str, ...]]) -> dict[str, tuple[dict[str, tuple[str, ...]], set[str]]]:
    """Return what a gateway may make of the credentials, and who is left to count."""
    b, c = shown["b-clinic"], shown["c-clinic"]
    return {
        "nothing": (shown, set(FOUR)),
        "strips all": (dict.fromkeys(shown, ()), {ME}),
        "strips one": ({**shown, "b-clinic": ()}, set(FOUR) - {"b-clinic"}),
        "swaps two": ({**shown, "b-clinic": c, "c-clinic": b}, {ME, "d-fund"}),
        "gives one to all": (dict.fromkeys(shown, b), {ME, "b-clinic"}),
        "cuts one short": ({**shown, "b-clinic": (b[0][:-2],)}, set(FOUR) - {"b-clinic"}),
    }


@pytest.mark.parametrize("lie", lies(dict.fromkeys(FOUR, ("",))))
def test_in_a_round_only_those_count_for_whom_an_issuer_vouches_in_the_agreement(lie: str) -> None:
    sample = federation()
    terms = sample.terms()
    told, expected = lies({member.party: member.credentials for member in terms.members})[lie]
    assert counted(sample, retold(terms, told)) == expected


@pytest.mark.parametrize("lie", lies(dict.fromkeys(FOUR, ("",))))
def test_an_offer_names_as_uncounted_whom_the_gateway_shows_without_a_good_credential(lie: str) -> None:
    sample = federation()
    told, expected = lies({party: member.credentials for party, member in sample.members.items()})[lie]
    seen = directory_of(entries(sample, told))
    offer: Offer = sample.offer(ME, members=seen)
    assert set(offer.uncounted) == set(FOUR) - expected


def test_a_credential_that_ends_during_a_study_counts_no_longer() -> None:
    sample = federation()
    terms = sample.terms()
    assert counted(sample, terms, UNTIL) == set(FOUR)
    assert counted(sample, terms, UNTIL + timedelta(days=1)) == {ME}


def test_a_directory_as_it_was_stored_before_credentials_is_read() -> None:
    stored = [entry.model_dump(exclude={"credentials"}) for entry in entries(federation(), dict.fromkeys(FOUR, ()))]
    seen = directory_of(tuple(MemberEntry.model_validate(entry) for entry in json.loads(json.dumps(stored))))
    assert all(member.credentials == () for member in seen.values())
