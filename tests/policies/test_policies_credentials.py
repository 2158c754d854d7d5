from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.keys import SigningKey
from parley_crypto.signing import Envelope
from parley_policies.errors import CredentialInvalid, Refused
from parley_policies.model.unsupported import unsupported_clauses
from parley_policies.negotiation.checker import check_terms
from parley_policies.negotiation.credentials import Credential, check_credential, issue, read_credential
from parley_policies.negotiation.members import is_counted, uncounted
from parley_policies.negotiation.terms import MAX_CREDENTIAL_CHARACTERS, Terms

from tests.policies.credential_samples import ISSUER, UNTIL, credential_of
from tests.policies.policy_oracle import phantoms
from tests.policies.policy_samples import IDS, TODAY, Federation, changed, key_of, member_of

OTHER = SigningKey(b"nobody's".ljust(32, b"."))
FIVE = IDS[:5]
MEMBER = member_of("b-clinic")
# nobody is pinned: whoever counts does so by a credential
TRUST = f'trust = "pinned"\nissuers = ["{ISSUER.public.fingerprint}"]'


def altered(text: str, **changes: Any) -> str:  # noqa: ANN401 - any field of a sample
    """Return a credential whose content was changed after it was signed."""
    envelope = Envelope.load(text.encode())
    claimed = changed(Credential.parse(envelope.payload), **changes)
    return replace(envelope, payload=claimed.canonical()).dump().decode()


def resigned(text: str, *keys: SigningKey) -> str:
    credential = Credential.parse(Envelope.load(text.encode()).payload)
    return credential.sign(*keys).dump().decode()


GOOD = credential_of(MEMBER)
# what a gateway, or a party, may try to pass for a credential of b-clinic
WORTHLESS: dict[str, str] = {
    "for another key": credential_of(MEMBER, identity=key_of("c-clinic").public.fingerprint),
    "for another party": credential_of(MEMBER, party="c-clinic"),
    "for another class": credential_of(MEMBER, party_class="insurer"),
    "for another name": credential_of(MEMBER, legal_name="b-clinic Ltd."),
    "for another country": credential_of(MEMBER, country="US"),
    "of somebody else altogether": credential_of(member_of("c-clinic")),
    "expired": credential_of(MEMBER, valid_until=TODAY - timedelta(days=1)),
    "of an issuer whom nobody pins": credential_of(MEMBER, OTHER),
    "signed by another key than it names": resigned(GOOD, OTHER),
    "signed by two": resigned(GOOD, ISSUER, OTHER),
    "signed by nobody": resigned(GOOD),
    "prolonged": altered(GOOD, valid_until=UNTIL + timedelta(days=365)),
    "moved to another class": altered(credential_of(MEMBER, party_class="insurer"), party_class="demo"),
    "with another issuer written in": altered(credential_of(MEMBER, OTHER), issuer=ISSUER.public.hex),
    "of another kind of statement": Envelope.sign("text/plain", Envelope.load(GOOD.encode()).payload, ISSUER).dump().decode(),
    "too long": GOOD + " " * MAX_CREDENTIAL_CHARACTERS,
    "not in canonical form": replace(Envelope.load(GOOD.encode()), payload=b" " + Envelope.load(GOOD.encode()).payload).dump().decode(),
    "with a space": GOOD.replace(",", ", ", 1),
    "no envelope": "{}",
    "no text": "",
}


def federation(credentials: dict[str, tuple[str, ...]] | None = None, trust: str = TRUST) -> Federation:
    """Return five parties of which a-clinic believes the issuer and nobody else; each shows a good credential unless told otherwise."""
    sample = Federation.of(FIVE, {party: {"min_parties": 3, "colluders": 0} for party in FIVE}, {"a-clinic": {"trust": trust}})
    shown = {party: (credential_of(member),) for party, member in sample.members.items()} | (credentials or {})
    return replace(sample, members={party: replace(member, credentials=shown[party]) for party, member in sample.members.items()})


def policy_of(trust: str = TRUST) -> Any:  # noqa: ANN401 - a policy
    return federation(trust=trust).policy("a-clinic").policy


def check(sample: Federation, terms: Terms, party: str = "a-clinic", today: date = TODAY) -> None:
    check_terms(sample.policy(party).policy, terms, sample.proposal, sample.offer(party), sample.members, today=today)


def test_a_credential_names_exactly_its_party() -> None:
    found = check_credential(GOOD, MEMBER, [ISSUER.public.fingerprint], TODAY)
    assert (found.party, found.issuer_fingerprint, found.valid_until) == ("b-clinic", ISSUER.public.fingerprint, UNTIL)
    assert check_credential(GOOD, MEMBER, [ISSUER.public.fingerprint], UNTIL) == found


@pytest.mark.parametrize("what", WORTHLESS)
def test_anything_else_is_no_credential(what: str) -> None:
    with pytest.raises(CredentialInvalid):
        check_credential(WORTHLESS[what], MEMBER, [ISSUER.public.fingerprint], TODAY)
    shown = replace(MEMBER, credentials=(WORTHLESS[what],))
    assert uncounted(policy_of(), [shown], TODAY) == ("b-clinic",)


@given(st.text(max_size=200))
def test_no_text_makes_anybody_count(text: str) -> None:
    assert not is_counted(policy_of(), replace(MEMBER, credentials=(text,)), TODAY)


@given(st.integers(min_value=0, max_value=len(GOOD) - 1), st.integers(min_value=1, max_value=127))
def test_no_changed_character_goes_unnoticed(at: int, by: int) -> None:
    text = GOOD[:at] + chr(ord(GOOD[at]) ^ by) + GOOD[at + 1 :]
    assert not is_counted(policy_of(), replace(MEMBER, credentials=(text,)), TODAY)


def test_one_good_credential_among_others_is_enough() -> None:
    assert is_counted(policy_of(), replace(MEMBER, credentials=(*WORTHLESS.values(), GOOD)), TODAY)
    assert not is_counted(policy_of(), MEMBER, TODAY)


def test_without_issuers_no_credential_counts() -> None:
    shown = replace(MEMBER, credentials=(GOOD,))
    assert not is_counted(policy_of('trust = "pinned"'), shown, TODAY)
    assert is_counted(policy_of('trust = "first-use"'), MEMBER, TODAY)
    assert is_counted(policy_of(f'trust = "pinned"\nfingerprints = {{ b-clinic = "{MEMBER.fingerprint}" }}'), MEMBER, TODAY)


def test_a_key_signs_only_as_itself() -> None:
    credential = read_credential(GOOD)
    with pytest.raises(CredentialInvalid, match="wanted the key of"):
        issue(credential, OTHER)


def test_a_policy_of_issuers_is_upheld() -> None:
    assert unsupported_clauses(policy_of()) == ()


@given(
    st.lists(st.sampled_from([*WORTHLESS.values(), GOOD]), max_size=3).map(tuple),
    st.sampled_from([TODAY, UNTIL, UNTIL + timedelta(days=1)]),
)
def test_an_independent_judge_agrees(shown: tuple[str, ...], today: date) -> None:
    policy = policy_of()
    directory = {"b-clinic": {**asdict(MEMBER), "credentials": shown}}
    judged = phantoms(policy.model_dump(), ["b-clinic"], directory, today)
    assert judged == len(uncounted(policy, [replace(MEMBER, credentials=shown)], today))


# in a negotiation


def test_members_with_credentials_count_toward_the_floor() -> None:
    sample = federation()
    assert sample.offer("a-clinic").uncounted == ()
    terms = sample.terms()
    assert terms.max_colluders == 0
    assert terms.member("b-clinic").credentials == (GOOD,)
    for party in FIVE:
        check(sample, terms, party)


@pytest.mark.parametrize("what", ["stripped", *WORTHLESS])
def test_without_a_good_one_a_member_counts_as_a_conspirator(what: str) -> None:
    shown = (WORTHLESS[what],) if what != "stripped" and len(WORTHLESS[what]) <= MAX_CREDENTIAL_CHARACTERS else ()
    sample = federation({"b-clinic": shown})
    assert sample.offer("a-clinic").uncounted == ("b-clinic",)
    terms = sample.terms()
    assert terms.max_colluders == 1
    check(sample, terms)
    with pytest.raises(Refused, match="b-clinic neither pinned, vouched for nor trusted"):
        check(sample, changed(terms, max_colluders=0, threshold=4))


LIES: dict[str, Callable[[dict[str, tuple[str, ...]]], dict[str, tuple[str, ...]]]] = {
    "strips them": lambda shown: dict.fromkeys(shown, ()),
    "strips one": lambda shown: {**shown, "b-clinic": ()},
    "swaps two": lambda shown: {**shown, "b-clinic": shown["c-clinic"], "c-clinic": shown["b-clinic"]},
    "adds one": lambda shown: {**shown, "b-clinic": (*shown["b-clinic"], WORTHLESS["of an issuer whom nobody pins"])},
    "prolongs one": lambda shown: {**shown, "b-clinic": (WORTHLESS["prolonged"],)},
}


@pytest.mark.parametrize("lie", LIES)
def test_terms_that_do_not_show_a_good_credential_are_refused(lie: str) -> None:
    sample = federation()
    terms = sample.terms()
    told = LIES[lie]({member.party: member.credentials for member in terms.members})
    members = [{**member.model_dump(), "credentials": told[member.party]} for member in terms.members]
    if lie == "adds one":  # as good as none, beside a good one
        check(sample, changed(terms, members=members))
        return
    with pytest.raises(Refused, match=r"b-clinic.* neither pinned, vouched for nor trusted"):
        check(sample, changed(terms, members=members))


@pytest.mark.parametrize("lie", LIES)
def test_a_gateway_that_lies_from_the_start_gains_no_phantom(lie: str) -> None:
    honest = federation()
    told = LIES[lie]({party: member.credentials for party, member in honest.members.items()})
    sample = federation(told)
    good = {party for party in FIVE[1:] if credential_of(member_of(party)) in told[party]}
    assert set(sample.offer("a-clinic").uncounted) == set(FIVE[1:]) - good


def test_a_phantom_with_the_key_of_the_gateway_is_not_counted_under_anothers_credential() -> None:
    sample = federation()
    phantom = replace(sample.members["b-clinic"], identity=OTHER.public.hex)
    assert uncounted(sample.policy("a-clinic").policy, [phantom], TODAY) == ("b-clinic",)


def test_a_credential_that_ends_counts_until_its_last_day() -> None:
    sample = federation()
    policy, members = sample.policy("a-clinic").policy, sample.members.values()
    assert uncounted(policy, members, UNTIL) == ()
    assert uncounted(policy, members, UNTIL + timedelta(days=1)) == FIVE[1:]
    with pytest.raises(Refused, match="counted as conspirators"):
        check(sample, sample.terms(), today=UNTIL + timedelta(days=1))
