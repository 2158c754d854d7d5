"""How a policy comes into force: who must sign, and every way around it that is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley_crypto.keys import SigningKey
from parley_crypto.signing import Envelope
from parley_policies.approvals.activation import Activated, check_activation, needed
from parley_policies.approvals.holders import roles_of
from parley_policies.approvals.statements import PolicyApproval, load_signed, read_role_key
from parley_policies.errors import ApprovalInvalid, Refused
from parley_policies.model.changes import signatures
from parley_policies.model.loader import PolicyFile

from tests.policies.approval_samples import (
    DOCTOR,
    KEYS,
    OFFICER,
    PARTY,
    SECURITY,
    approval,
    file_of,
    holders,
    public,
    role_key,
    word,
)
from tests.policies.policy_samples import TODAY, Federation, key_of

BOTH = (OFFICER, SECURITY)
SERVICE_KEY = key_of(PARTY)
TIGHTER = {"min_people": "min_people = 900"}
LOOSER = {"min_people": "min_people = 11"}
ENGINEER = role_key("role:engineer")


def activate(old: Activated | None, new: PolicyFile, *approvals: Envelope, today: date = TODAY) -> Activated:
    return check_activation(old, new, approvals, today=today, service_keys=(SERVICE_KEY.public,))


def signed(file: PolicyFile, roles: Sequence[str] = BOTH, named: tuple[str, ...] | None = None) -> list[Envelope]:
    return [approval(file, role, named=named) for role in roles]


def first(file: PolicyFile | None = None) -> Activated:
    """The first activation: both roles sign the file, and whose keys hold the roles."""
    file = file or file_of(edits={"min_people": "min_people = 500"})
    return activate(None, file, *signed(file, named=holders()))


def refused(old: Activated | None, new: PolicyFile, *approvals: Envelope, today: date = TODAY) -> Refused:
    with pytest.raises(Refused) as caught:
        activate(old, new, *approvals, today=today)
    return caught.value


def invalid(words: str, old: Activated | None, new: PolicyFile, *approvals: Envelope) -> None:
    with pytest.raises(ApprovalInvalid, match=words):
        activate(old, new, *approvals)


def test_the_first_activation_fixes_whose_keys_hold_the_roles() -> None:
    active = first()
    assert (active.number, active.version) == (1, 1)
    assert dict(active.holders.keys) == {role: key.public for role, key in sorted(KEYS.items())}
    assert [signer.role for signer in active.signers] == [*BOTH]


def test_a_policy_that_names_no_role_is_the_operators() -> None:
    mine = activate(None, file_of(policy=(), agreement=()))
    assert (mine.signers, dict(mine.holders.keys)) == ((), {})
    later = activate(mine, file_of(2, policy=(), agreement=(), edits=LOOSER))
    assert later.number == 2
    asked = file_of(3)
    assert "name the key of each role" in str(refused(later, asked))
    assert activate(later, asked, *signed(asked, named=holders())).number == 3


def test_tightening_needs_any_one_role_and_loosening_all() -> None:
    active = first()
    tighter = file_of(2, edits=TIGHTER)
    for role in BOTH:
        assert activate(active, tighter, approval(tighter, role)).version == 2
    looser = file_of(2, edits=LOOSER)
    for role in BOTH:
        lacking = refused(active, looser, approval(looser, role))
        assert lacking.clause == "approval.policy"
        assert "loosens data.min_people" in lacking.do
        assert next(other for other in BOTH if other != role) in lacking.do
    assert activate(active, looser, *signed(looser)).version == 2


def test_nobody_tightens_without_a_signature() -> None:
    assert "only tightens: any one of role:" in refused(first(), file_of(2, edits=TIGHTER)).do


def test_what_loosens_may_be_left_to_one_role_by_a_policy_that_says_so() -> None:
    edits = {"min_people": "min_people = 500", "agreement": f'agreement = ["{DOCTOR}"]\nloosening_needs_all = false'}
    active = first(file_of(edits=edits))
    looser = file_of(2, edits={**edits, **LOOSER})
    assert activate(active, looser, approval(looser, OFFICER)).version == 2
    assert refused(active, looser).clause == "approval.policy"


def test_to_say_so_is_itself_a_loosening() -> None:
    looser = file_of(2, edits={"min_people": "min_people = 500", "agreement": f'agreement = ["{DOCTOR}"]\nloosening_needs_all = false'})
    assert "approval.loosening_needs_all" in refused(first(), looser, approval(looser, OFFICER)).do


def test_a_loosening_does_not_hide_among_clauses_that_tighten() -> None:
    edits = {**TIGHTER, "mib_a_round": "mib_a_round = 1", "rounds_a_study": "rounds_a_study = 2", "trust": 'trust = "pinned"'}
    hidden = file_of(2, edits={**edits, "columns": 'columns = ["age", "sodium", "ill", "costly", "diagnosis"]'})
    found = refused(first(), hidden, approval(hidden, OFFICER))
    assert "it loosens data.columns:" in found.do
    assert activate(first(), file_of(2, edits=edits), approval(file_of(2, edits=edits), OFFICER)).version == 2


def test_to_ask_fewer_people_is_a_loosening_that_those_must_sign_who_are_dropped() -> None:
    fewer = file_of(2, policy=(OFFICER,), edits={"min_people": "min_people = 500"})
    assert SECURITY in refused(first(), fewer, approval(fewer, OFFICER)).do
    active = activate(first(), fewer, *signed(fewer))
    assert set(active.holders.keys) == {OFFICER, DOCTOR}
    assert refused(first(), file_of(2, policy=(), agreement=(), edits=TIGHTER)).clause == "approval.policy"


def test_roles_for_agreements_need_roles_for_the_policy() -> None:
    assert "strike out" in refused(None, file_of(policy=())).do


@pytest.mark.parametrize(
    "new",
    [
        file_of(2, edits=TIGHTER),
        file_of(2, edits=LOOSER),
        file_of(2, edits={"min_people": "min_people = 500"}),
        file_of(2, policy=(OFFICER,), edits=LOOSER),
        file_of(2, policy=(OFFICER, SECURITY, DOCTOR), edits=TIGHTER),
    ],
)
def test_who_must_sign_is_what_policy_diff_says(new: PolicyFile) -> None:
    active = first()
    asked, wanted = signatures(active.file.policy, new.policy), needed(active, new, active.holders.of(roles_of(new.policy)))
    assert [role for role, _ in wanted.all_of] == list(asked.all_of)
    assert [role for role, _ in wanted.any_of] == list(asked.any_of)


# versions and days


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_version_does_not_come_back(version: int) -> None:
    active, newer = first(), file_of(2, edits=TIGHTER)
    newest = activate(active, newer, approval(newer, OFFICER))
    old = active.file if version == 1 else newer
    again = refused(newest, old, *signed(old))
    assert (again.clause, "does not come back" in again.do) == ("identity.version", True)


def test_a_version_names_its_predecessor_rightly_or_not_at_all() -> None:
    active = first()
    right = file_of(2, edits={**TIGHTER, "version": f'version = 2\nsupersedes = "sha256:{active.file.digest}"'})
    wrong = file_of(2, edits={**TIGHTER, "version": f'version = 2\nsupersedes = "sha256:{"0" * 64}"'})
    assert activate(active, right, approval(right, OFFICER)).version == 2
    assert refused(active, wrong, *signed(wrong)).clause == "identity.supersedes"


@pytest.mark.parametrize("today", [date(2026, 12, 31), date(2028, 1, 1)])
def test_a_policy_is_activated_while_it_is_valid(today: date) -> None:
    file = file_of()
    assert refused(None, file, *signed(file, named=holders()), today=today).clause == "identity.valid_from"


def test_a_policy_of_another_party_is_refused() -> None:
    other = PolicyFile(
        "policy.toml",
        file_of(2).policy.model_copy(update={"identity": file_of(2).policy.identity.model_copy(update={"party": "b-clinic"})}),
        "0" * 64,
    )
    assert refused(first(), other).clause == "identity.party"


# signatures that are none


def test_a_signature_on_another_file_does_not_count() -> None:
    tighter, other = file_of(2, edits=TIGHTER), file_of(2, edits=LOOSER)
    invalid("of this file", first(), other, approval(tighter, OFFICER))
    lying = PolicyApproval(party=PARTY, role=OFFICER, version=3, policy=tighter.digest, holders=None, at=0).sign(KEYS[OFFICER])
    invalid("of this file", first(), tighter, lying)


def test_a_signature_for_another_party_does_not_count() -> None:
    tighter = file_of(2, edits=TIGHTER)
    invalid("wanted one for a-clinic, got one for b-clinic", first(), tighter, approval(tighter, OFFICER, party="b-clinic"))


def test_a_signature_for_another_role_does_not_count() -> None:
    looser = file_of(2, edits=LOOSER)
    twice = approval(looser, SECURITY, key=KEYS[OFFICER])
    invalid("wanted the key that holds role:it-security", first(), looser, approval(looser, OFFICER), twice)
    assert SECURITY in refused(first(), looser, approval(looser, OFFICER), approval(looser, OFFICER)).do


def test_a_role_that_only_approves_agreements_puts_no_policy_in_force() -> None:
    tighter = file_of(2, edits=TIGHTER)
    assert refused(first(), tighter, approval(tighter, DOCTOR)).clause == "approval.policy"


def test_the_engineer_signs_with_a_key_of_his_own() -> None:
    looser = file_of(2, edits=LOOSER)
    invalid("wanted the key that holds role:privacy-officer", first(), looser, approval(looser, OFFICER, key=ENGINEER))


def test_the_engineer_names_his_own_keys_as_those_of_the_roles() -> None:
    own = {role: role_key(role, 7) for role in KEYS}
    looser = file_of(2, edits=LOOSER)
    stolen = [approval(looser, role, key=own[role], named=holders(own)) for role in BOTH]
    found = refused(first(), looser, *stolen)
    assert "changes whose key holds a role" in found.do
    assert KEYS[OFFICER].public.fingerprint[:15] in found.do


def test_a_signature_that_was_altered_does_not_count() -> None:
    tighter = file_of(2, edits=TIGHTER)
    good = approval(tighter, OFFICER)
    other = Envelope(good.payload_type, good.payload.replace(b'"at":18', b'"at":17'), good.signatures)
    invalid("does not verify", first(), tighter, other)


def test_a_statement_of_another_kind_is_no_approval() -> None:
    terms = Federation.of().terms()
    invalid("wanted application/vnd.parley.policy-approval", first(), file_of(2, edits=TIGHTER), word(terms, OFFICER))


@pytest.mark.parametrize("count", [0, 2])
def test_an_approval_has_one_signature(count: int) -> None:
    file = file_of()
    said = PolicyApproval(party=PARTY, role=OFFICER, version=1, policy=file.digest, holders=None, at=0)
    with pytest.raises(ApprovalInvalid, match="wanted one signature"):
        load_signed(said.sign(*[KEYS[OFFICER], ENGINEER][:count]).dump().decode(), "approval")


def test_what_is_no_envelope_is_no_approval() -> None:
    with pytest.raises(ApprovalInvalid, match="approval: statement"):
        load_signed("{}", "approval")


# keys of roles


def test_a_key_is_replaced_only_by_all_with_the_old_keys_and_the_new_one() -> None:
    keys = {**KEYS, OFFICER: role_key(OFFICER, 1)}
    file = file_of(2, edits=TIGHTER)
    named = holders(keys)
    old, new = [approval(file, role, named=named) for role in BOTH], approval(file, OFFICER, key=keys[OFFICER], named=named)
    for some in ([old[0], new], [*old], [new, old[1]]):
        assert "changes whose key" in refused(first(), file, *some).do
    active = activate(first(), file, *old, new)
    assert active.holders.key(OFFICER) == keys[OFFICER].public
    later = file_of(3, edits={"min_people": "min_people = 950"})
    invalid("wanted the key that holds role:privacy-officer", active, later, approval(later, OFFICER))
    assert activate(active, later, approval(later, OFFICER, key=keys[OFFICER])).number == 3


def test_a_role_that_is_added_takes_a_key_that_all_have_signed() -> None:
    file = file_of(2, agreement=(DOCTOR, "role:ethics"), edits={"min_people": "min_people = 500"})
    assert refused(first(), file, *signed(file)).got == "no key for role:ethics"
    named = holders({**KEYS, "role:ethics": role_key("role:ethics")})
    assert "changes whose key" in refused(first(), file, approval(file, OFFICER, named=named)).do
    assert activate(first(), file, *signed(file, named=named)).holders.key("role:ethics") == role_key("role:ethics").public


def test_all_sign_the_same_keys() -> None:
    file = file_of()
    other = holders({**KEYS, DOCTOR: ENGINEER})
    invalid("the same keys", None, file, approval(file, OFFICER, named=holders()), approval(file, SECURITY, named=other))


def test_two_roles_never_have_one_key() -> None:
    file = file_of()
    keys = {**KEYS, SECURITY: KEYS[OFFICER]}
    named = holders(keys)
    invalid("which is the key of role:it-security", None, file, *[approval(file, role, key=keys[role], named=named) for role in BOTH])


def test_no_role_has_a_key_of_the_service() -> None:
    file = file_of()
    named = holders({**KEYS, DOCTOR: SERVICE_KEY})
    invalid("which is a key of the party's service", None, file, *signed(file, named=named))


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (holders({role: KEYS[role] for role in BOTH}), "wanted one for each role that the policy names"),
        (holders({**KEYS, "role:other": ENGINEER}), "wanted one for each role that the policy names"),
        ((*holders(), public(DOCTOR, ENGINEER)), "role key of role:doctor: wanted one, got two"),
        ((*holders({role: KEYS[role] for role in BOTH}), public(DOCTOR, party="b-clinic")), "wanted one of a-clinic, got one of b-clinic"),
    ],
)
def test_the_keys_that_are_named_are_one_for_each_role(named: tuple[str, ...], words: str) -> None:
    file = file_of()
    invalid(words, None, file, *signed(file, named=named))


def test_a_key_takes_its_role_itself() -> None:
    mine = read_role_key(public(DOCTOR))
    forged = mine.sign(ENGINEER).dump().decode()
    with pytest.raises(ApprovalInvalid, match="role key"):
        read_role_key(forged)


def test_the_first_activation_wants_every_role() -> None:
    file = file_of()
    assert "the first one" in refused(None, file, *signed(file, (OFFICER,), named=holders())).do
    assert "name the key of each role" in str(refused(None, file, *signed(file)))


# laws


@given(roles=st.sets(st.sampled_from(BOTH)), fewest=st.sampled_from((11, 900)), thieves=st.sets(st.sampled_from(BOTH)))
def test_in_force_exactly_with_enough_true_signatures(roles: set[str], fewest: int, thieves: set[str]) -> None:
    """Whatever is handed in: all of a loosening, one of a tightening, and not one false signature."""
    file = file_of(2, edits={"min_people": f"min_people = {fewest}"})
    given_in = [approval(file, role) for role in roles] + [approval(file, role, key=role_key(role, 9)) for role in thieves]
    enough = roles == set(BOTH) if fewest < 500 else bool(roles)
    try:
        activate(first(), file, *given_in)
    except (Refused, ApprovalInvalid):
        assert thieves or not enough
    else:
        assert enough
        assert not thieves


def keys_of(numbers: Mapping[str, int]) -> dict[str, SigningKey]:
    return {role: role_key(role, number) for role, number in numbers.items()}


@given(st.lists(st.tuples(st.sampled_from(BOTH), st.sampled_from((OFFICER, SECURITY, DOCTOR))), max_size=3))
def test_no_single_role_changes_a_key(steps: list[tuple[str, str]]) -> None:
    """One role alone, in as many steps as it likes, never comes to hold a key of another role."""
    active = first()
    for version, (signer, role) in enumerate(steps, start=2):
        keys = {**KEYS, role: role_key(role, version)}
        file = file_of(version, edits=TIGHTER)
        named = holders(keys)
        alone = [approval(file, signer, named=named)] + ([approval(file, signer, key=keys[signer], named=named)] if signer == role else [])
        with pytest.raises(Refused):
            activate(active, file, *alone)
    assert dict(active.holders.keys) == {role: key.public for role, key in sorted(KEYS.items())}
