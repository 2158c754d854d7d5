"""The check that every member makes before it signs: proposed terms against its **own full policy**.

Pure, and the same function wherever it runs: in the party's service, in `policy try`, in an audit where the policy is at hand. The gateway
only proposes; what it computed is not trusted. Numbered as the argument goes:

1. the policy is in force, upholdable, and permits this proposal (purpose, gateway, workload, use of the model);
2. the terms are of this proposal, of the taxonomy it was matched by, of the offer that this party made, and of the gateway it knows;
3. every member is invited, enrolled, has the key we know, and is one that the policy permits; those that are neither pinned, nor
   vouched for by an issuer that we believe, nor trusted on first use count as conspirators: floors less those among them must still reach
   this party's own, and more conspirators must be survived;
4. thresholds and the neighbour graph follow from n and c; what is not negotiable is as strict as the policy, noise among it (`privacy`);
5. every segment that holds this party is one that it shares, with a floor that its policy accepts and that can be reached;
6. rounds, bytes, clip bound, encoding and weights stay inside the policy and the sponsor's wishes.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Final

from parley_policies.errors import Refused
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.clauses import check_columns, check_peers
from parley_policies.negotiation.cohort_terms import HONEST_BESIDE_ONE, smallest_sum, timing_of
from parley_policies.negotiation.encoding import summary_encoding, train_encoding, upload_mib
from parley_policies.negotiation.members import Directory, uncounted
from parley_policies.negotiation.offer import Offer, check_proposal
from parley_policies.negotiation.privacy import check_privacy
from parley_policies.negotiation.proposal import PREPROCESS, SUMMARY, TRAIN, Proposal, studies_of
from parley_policies.negotiation.terms import MIN_FLOOR, MemberTerms, SegmentTerms, StepTerms, Terms, graph_of, required_threshold
from parley_policies.negotiation.weights import CappedSegment, is_within
from parley_policies.taxonomy.taxonomy import Taxonomy

_STEPS: Final = (PREPROCESS, TRAIN)


def check_terms(
    policy: PrivacyPolicy,
    terms: Terms,
    proposal: Proposal,
    own_offer: Offer,
    members: Directory,
    *,
    today: date,
    assume: frozenset[str] = frozenset(),
) -> None:
    """Return if this party may sign `terms`; Refused by the name of the clause, or of the term, that stands against it.

    `members` is the party's own view of the directory (see `members`), `own_offer` the offer that it signed, `today` the day (UTC),
    `assume` as in `check_proposal`.
    """
    check_proposal(policy, proposal, members=members, gateway=terms.gateway, today=today, assume=assume)
    _check_bound(policy, terms, proposal, own_offer)
    _check_members(policy, terms, proposal, own_offer, members)
    shown = (replace(members[member.party], credentials=member.credentials) for member in terms.members)  # what every round goes by
    phantoms = uncounted(policy, shown, today)
    _check_protection(policy, terms, phantoms)
    check_privacy(policy, terms, assume)
    _check_steps(policy, terms, proposal, own_offer, phantoms)
    _check_validity(policy, terms, today)


def _check_bound(policy: PrivacyPolicy, terms: Terms, proposal: Proposal, offer: Offer) -> None:
    digest = proposal.digest()
    if terms.study not in studies_of(proposal.id):
        raise Refused("terms.study", f"one of {', '.join(studies_of(proposal.id))}", terms.study)
    _same("proposal_digest", digest, terms.proposal_digest)
    _same("purpose", proposal.purpose.uses, terms.purpose)
    _same("taxonomy", Taxonomy.load().version, terms.taxonomy)
    _same("timing", timing_of(proposal), terms.timing)
    if (offer.party, offer.study, offer.proposal_digest) != (policy.party, proposal.id, digest):
        raise Refused("terms.members", f"our own offer on {proposal.id}", f"one of {offer.party} on {offer.study}")
    _same("gateway", offer.gateway_digest, terms.gateway.digest())


def _check_members(policy: PrivacyPolicy, terms: Terms, proposal: Proposal, offer: Offer, members: Directory) -> None:
    ids = [member.party for member in terms.members]
    if policy.party not in ids:
        raise Refused("terms.members", f"{policy.party} among them", ", ".join(ids))
    for member in terms.members:
        _check_member(member, proposal, members)
    check_peers(policy, ids, members)
    own = terms.member(policy.party)
    _same("members.offer", offer.digest(), own.offer)
    _same("members.objectives", offer.objectives, own.objectives)
    _same("members.records", offer.records, own.records)
    _same("members.trust", offer.trust, own.trust)
    _same("members.channel_key", offer.channel_key, own.channel_key)
    _same("members.commitment", offer.commitment, own.commitment)
    _same("members.documents", tuple(document.sha256 for document in policy.legal.documents), own.documents)
    check_columns(policy, proposal, own.objectives)


def _check_member(member: MemberTerms, proposal: Proposal, members: Directory) -> None:
    if member.party not in proposal.invited:
        raise Refused("terms.members", "only parties that the proposal invites", member.party)
    known = members.get(member.party)
    if known is None:
        raise Refused("terms.members", "only enrolled parties", member.party)
    _same(f"members.{member.party}.identity", known.identity, member.identity)
    facts = (known.legal_name, known.party_class, known.country)
    _same(f"members.{member.party}", facts, (member.legal_name, member.party_class, member.country))
    if unknown := sorted(set(member.objectives) - {objective.id for objective in proposal.objectives}):
        raise Refused("terms.members", "objectives of the study", f"{', '.join(unknown)} of {member.party}")


def _check_protection(policy: PrivacyPolicy, terms: Terms, phantoms: tuple[str, ...]) -> None:
    least = policy.colluders + len(phantoms)
    if terms.max_colluders < least:
        raise Refused("schemes.colluding_parties_survived", f"at least {least}{_phantoms(phantoms)}", f"{terms.max_colluders}")
    if policy.schemes.gateway_may_lie and not terms.gateway_may_lie:
        raise Refused("schemes.gateway_may_lie", "true", "false")
    threshold = required_threshold(len(terms.members), terms.max_colluders, gateway_may_lie=terms.gateway_may_lie)
    _same("threshold", threshold, terms.threshold)
    if threshold > len(terms.members):
        raise Refused("terms.threshold", f"at most n = {len(terms.members)}", f"{threshold}")
    _same("graph", graph_of(len(terms.members), terms.max_colluders, threshold), terms.graph)
    if terms.max_small_changes > policy.sums.max_small_changes:
        raise Refused("sums.max_small_changes", f"at most {policy.sums.max_small_changes}", f"{terms.max_small_changes}")
    if terms.scheme not in policy.schemes.accepted:
        raise Refused("schemes.accepted", ", ".join(policy.schemes.accepted), terms.scheme)
    readers = policy.disclosure.opened_sums_readable_by
    if readers == "parties" and terms.opened_sums_readable_by != readers:
        raise Refused("disclosure.opened_sums_readable_by", readers, terms.opened_sums_readable_by)
    if policy.data.exclusions_required and not terms.exclusions_required:
        raise Refused("data.exclusions_required", "true", "false")


def _check_steps(policy: PrivacyPolicy, terms: Terms, proposal: Proposal, offer: Offer, phantoms: tuple[str, ...]) -> None:
    _same("steps", _STEPS, tuple(step.workload for step in terms.steps))
    preprocess, train = terms.steps
    _same("steps.preprocess@1.rounds", 1, preprocess.rounds)
    _same("steps.preprocess@1.segments", (SUMMARY,), tuple(segment.name for segment in preprocess.segments))
    _check_rounds(policy, terms, proposal)
    _check_clip_bound(policy, terms, proposal)
    n = len(terms.members)
    _same("steps.preprocess@1.encoding", summary_encoding(n), preprocess.encoding)
    _same("steps.train@1.encoding", train_encoding(terms.clip_bound, n), train.encoding)
    names = [segment.name for segment in train.segments]
    needed = [segment.name for segment in proposal.segments if segment.name in names or not segment.objectives]
    _same("steps.train@1.segments", needed, names)
    if not names:
        raise Refused("terms.steps", "at least one segment of the model", "none")
    for step in terms.steps:
        for segment in step.segments:
            _check_segment(policy, terms, proposal, offer, segment, phantoms)
        mib = upload_mib(sum(segment.length for segment in step.segments if policy.party in segment.members), step.encoding)
        if mib > policy.sharing.mib_a_round:
            raise Refused("sharing.mib_a_round", f"at most {policy.sharing.mib_a_round} MiB", f"{mib:.3f} MiB")
    _check_weights(policy, terms, train)


def _check_rounds(policy: PrivacyPolicy, terms: Terms, proposal: Proposal) -> None:
    rounds, wished = terms.steps[1].rounds, proposal.wishes.rounds
    if not wished.min <= rounds <= wished.max:
        raise Refused("terms.steps.train@1.rounds", f"{wished.min} to {wished.max}, as wished for", f"{rounds}")
    if sum(step.rounds for step in terms.steps) > policy.limits.rounds_a_study:
        raise Refused("limits.rounds_a_study", f"at most {policy.limits.rounds_a_study}", f"{sum(step.rounds for step in terms.steps)}")


def _check_clip_bound(policy: PrivacyPolicy, terms: Terms, proposal: Proposal) -> None:
    granted, wished = policy.sharing.clip_bound, proposal.wishes.clip_bound
    if granted is None or not granted.min <= terms.clip_bound <= granted.max:
        wanted = "a range written" if granted is None else f"{granted.min} to {granted.max}"
        raise Refused("sharing.clip_bound", wanted, f"{terms.clip_bound}")
    if not wished.min <= terms.clip_bound <= wished.max:
        raise Refused("terms.clip_bound", f"{wished.min} to {wished.max}, as wished for", f"{terms.clip_bound}")


def _check_segment(
    policy: PrivacyPolicy, terms: Terms, proposal: Proposal, offer: Offer, segment: SegmentTerms, phantoms: tuple[str, ...]
) -> None:
    proposed = proposal.segment_of(segment.name)
    if proposed is None:
        raise Refused("terms.steps", "segments of the proposal", segment.name)
    _same(f"steps.{segment.name}.length", proposed.length, segment.length)
    if not proposed.objectives:
        _same(f"steps.{segment.name}.members", tuple(member.party for member in terms.members), segment.members)
    for party in segment.members:
        if proposed.objectives and not set(proposed.objectives) & set(terms.member(party).objectives):
            raise Refused(f"terms.steps.{segment.name}.members", f"only parties with {', '.join(proposed.objectives)}", party)
    least = max(MIN_FLOOR, terms.max_colluders + HONEST_BESIDE_ONE)
    if not least <= segment.floor <= len(segment.members):
        raise Refused(f"terms.steps.{segment.name}.floor", f"{least} to {len(segment.members)}", f"{segment.floor}")
    if policy.party in segment.members:
        _check_own_segment(policy, offer, segment, tuple(party for party in phantoms if party in segment.member_set))


def _check_own_segment(policy: PrivacyPolicy, offer: Offer, segment: SegmentTerms, phantoms: tuple[str, ...]) -> None:
    if not policy.sharing.shares(segment.name) or offer.min_parties(segment.name) is None:
        raise Refused(f"sharing.segments.{segment.name}", "only what this policy shares and our offer named", segment.name)
    own = policy.sums.floor(segment.name)
    if own is None or segment.floor - len(phantoms) < own:
        wanted = "a number" if own is None else f"at least {own + len(phantoms)}{_phantoms(phantoms)}"
        raise Refused(f"sums.min_parties.{segment.name}", wanted, f"{segment.floor}")


def _check_weights(policy: PrivacyPolicy, terms: Terms, step: StepTerms) -> None:
    weights = {member.party: member.weight for member in terms.members}
    for segment in step.segments:
        if policy.party not in segment.members:
            continue
        held = CappedSegment(segment.members, smallest_sum(segment, len(terms.members), terms.threshold), {})
        for party in segment.members:
            name = "weight_cap" if party == policy.party else "weight_cap_of_others"
            cap: float = getattr(policy.sharing, name)
            if not is_within(party, cap, weights, held):
                raise Refused(f"sharing.{name}", f"at most {cap} of any sum of {segment.name}", f"weight {weights[party]} of {party}")


def _check_validity(policy: PrivacyPolicy, terms: Terms, today: date) -> None:
    try:
        until = date.fromisoformat(terms.valid_until)
    except ValueError as error:
        raise Refused("terms.valid_until", "a date, YYYY-MM-DD", terms.valid_until) from error
    if not today <= until <= policy.identity.valid_until:
        raise Refused("identity.valid_until", f"a day from {today} to {policy.identity.valid_until}", terms.valid_until)


def _phantoms(parties: tuple[str, ...]) -> str:
    return f" ({', '.join(parties)} neither pinned, vouched for nor trusted: counted as conspirators)" if parties else ""


def _same(term: str, wanted: object, got: object) -> None:
    if wanted != got:
        raise Refused(f"terms.{term}", str(wanted), str(got))
