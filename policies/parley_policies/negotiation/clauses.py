"""What a policy says to a study, a gateway, a set of members: one pure check a section, each raising Refused by the clause's name.

`make_offer` runs them before anything is disclosed, `check_terms` again before anything is signed, and the guard before anything runs, so
that no answer given earlier is trusted later. Nothing here reads a clock: `today` is an argument (UTC).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from parley_policies.errors import Refused
from parley_policies.model.countries import expanded
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.members import Directory, Member
from parley_policies.negotiation.proposal import STEPS, Proposal
from parley_policies.negotiation.terms import GatewayTerms
from parley_policies.taxonomy.taxonomy import Taxonomy


def check_in_force(policy: PrivacyPolicy, today: date) -> None:
    """Return if the policy is in force on `today` and no legal document is overdue for review."""
    if today < policy.identity.valid_from:
        raise Refused("identity.valid_from", f"a day from {policy.identity.valid_from} on", f"{today}")
    if today > policy.identity.valid_until:
        raise Refused(
            "identity.valid_until", f"a day up to {policy.identity.valid_until}", f"{today}", "put a new version of the policy in force"
        )
    if overdue := policy.overdue(today):
        raise Refused(
            "legal.documents", "every document reviewed by its review_by", f"overdue: {', '.join(overdue)}", "review it and say so"
        )


def check_purpose(policy: PrivacyPolicy, proposal: Proposal) -> None:
    """Return if every use and disease of the study is granted and none is prohibited, by meaning (`taxonomy`): narrower fits broader.

    A prohibition wins over any grant. It refuses what is narrower, and whatever includes something that it prohibits, since a study for
    the broader purpose could then be used for that.
    """
    purpose, asked, taxonomy = policy.purpose, proposal.purpose, Taxonomy.load()
    for use in asked.uses + asked.disease:
        _check_prohibited(use, purpose.prohibited, taxonomy)
    for use in asked.uses:
        _check_granted("purpose.granted", use, purpose.granted, taxonomy)
    if purpose.diseases and not asked.disease:
        raise Refused("purpose.diseases", f"a study that names its disease, one of {_terms(purpose.diseases, taxonomy)}", "none")
    for disease in asked.disease if purpose.diseases else ():
        _check_granted("purpose.diseases", disease, purpose.diseases, taxonomy)


def _check_prohibited(use: str, prohibited: tuple[str, ...], taxonomy: Taxonomy) -> None:
    for term in prohibited:
        if taxonomy.is_a(use, term):
            raise Refused("purpose.prohibited", f"none of {_terms(prohibited, taxonomy)}, nor what is narrower", taxonomy.says(use))
        if common := taxonomy.common((use,), (term,)):
            got = f"{taxonomy.says(use)}, which includes {_terms(sorted(common), taxonomy)}"
            raise Refused("purpose.prohibited", f"nothing that includes {taxonomy.says(term)}, or a part of it", got, "name a narrower one")


def _check_granted(clause: str, use: str, granted: tuple[str, ...], taxonomy: Taxonomy) -> None:
    if not any(taxonomy.is_a(use, term) for term in granted):
        raise Refused(clause, f"one of {_terms(granted, taxonomy)}, or narrower", taxonomy.says(use))


def check_gateway(policy: PrivacyPolicy, gateway: GatewayTerms, fingerprint: str) -> None:
    """Return if the gateway's key, countries and promises are as the policy wants. `fingerprint` is of its log key."""
    wanted = policy.gateway
    if fingerprint not in wanted.fingerprints:
        raise Refused("gateway.fingerprints", f"one of {_list(wanted.fingerprints)}", fingerprint)
    if not gateway.countries:
        raise Refused("gateway.countries", "the operator's country", "none declared")
    if foreign := sorted(set(gateway.countries) - expanded(wanted.countries)):
        raise Refused("gateway.countries", f"only {_list(wanted.countries)}", ", ".join(foreign))
    hours, days = gateway.incident_notice_hours, gateway.change_notice_days
    if hours is None or hours > wanted.incident_notice_hours_at_most:
        raise Refused("gateway.incident_notice_hours_at_most", f"at most {wanted.incident_notice_hours_at_most} hours", _promise(hours))
    if days is None or days < wanted.change_notice_days_at_least:
        raise Refused("gateway.change_notice_days_at_least", f"at least {wanted.change_notice_days_at_least} days", _promise(days))


def check_peers(policy: PrivacyPolicy, parties: Iterable[str], directory: Directory) -> None:
    """Return if the policy permits every one of `parties` beside its own. One that the directory lacks is judged by its id alone."""
    for party in parties:
        if party == policy.party:
            continue
        member = directory.get(party)
        if party in policy.peers.denied:
            raise Refused("peers.denied", "no denied party", party)
        if member is not None:
            _check_peer(policy, member)


def _check_peer(policy: PrivacyPolicy, member: Member) -> None:
    peers = policy.peers
    if any(member.named_by(peer) for peer in peers.denied):
        raise Refused("peers.denied", "no denied party", f"{member.party} (class {member.party_class})")
    if not any(member.named_by(peer) for peer in peers.granted):
        raise Refused("peers.granted", f"one of {_list(peers.granted)}", f"{member.party} (class {member.party_class})")
    if member.country not in expanded(peers.countries) | expanded(transfer.country for transfer in peers.transfers):
        raise Refused("peers.countries", f"one of {_list(peers.countries)}, or a transfer", f"{member.party} in {member.country}")
    if member.revoked:
        raise Refused("peers.granted", f"{member.party} with a key in force", "its key is revoked")


def not_permitted(policy: PrivacyPolicy, parties: Iterable[str], directory: Directory) -> tuple[str, ...]:
    """Return those of `parties` that the policy does not permit beside its own, in id order."""
    found = []
    for party in parties:
        try:
            check_peers(policy, (party,), directory)
        except Refused:
            found.append(party)
    return tuple(sorted(found))


def check_pins(policy: PrivacyPolicy, parties: Iterable[str], directory: Directory) -> None:
    """Return if each of `parties` that the policy pins has the pinned key in the directory."""
    for party in parties:
        member, pinned = directory.get(party), policy.peers.fingerprints.get(party)
        if party != policy.party and member is not None and pinned is not None and pinned != member.fingerprint:
            do = "do not go on before you have compared it outside the gateway"
            raise Refused(f"peers.fingerprints.{party}", pinned, member.fingerprint, do)


def check_workload(policy: PrivacyPolicy, proposal: Proposal) -> None:
    """Return if this version has the workload and the policy permits every step of it."""
    name = proposal.workload.name
    if name not in STEPS:
        raise Refused("code.workloads", f"a workload of this version ({', '.join(STEPS)})", name)
    for step in STEPS[name]:
        if step not in policy.code.workloads:
            raise Refused("code.workloads", f"one of {_list(policy.code.workloads)}", step)
    if proposal.workload.start != "new":
        raise Refused("code.workloads", 'a study with start = "new" (this version continues no older model)', proposal.workload.start)


def check_columns(policy: PrivacyPolicy, proposal: Proposal, objectives: Iterable[str]) -> None:
    """Return if the policy lets every column be read that these objectives need: all features and their labels."""
    for column in proposal.needed_columns(tuple(objectives)):
        if column not in policy.data.columns:
            raise Refused("data.columns", f"only {_list(policy.data.columns)}", column)


def check_dataset(policy: PrivacyPolicy, dataset: str, people: int) -> None:
    """Return if the policy lets this dataset be used, with so many people left after exclusions."""
    data = policy.data
    if dataset not in data.datasets:
        raise Refused("data.datasets", f"one of {_list(data.datasets)}", dataset)
    if data.min_people is None:
        raise Refused("data.min_people", "a number", "nothing written", "write data.min_people")
    if people < data.min_people:
        raise Refused("data.min_people", f"at least {data.min_people} people", f"{people}")


def check_model_use(policy: PrivacyPolicy, proposal: Proposal) -> None:
    """Return if the study names no use of its result that the policy does not permit, and gives every member the same model."""
    use = policy.model_use
    for name in proposal.model_use.allowed:
        if name in use.forbidden:
            raise Refused("model_use.forbidden", f"none of {_list(use.forbidden)}", name)
        if name not in use.allowed:
            raise Refused("model_use.allowed", f"only {_list(use.allowed)}", name)
    if proposal.model_use.benefit != "equal":
        raise Refused("model_use.benefit_least", "equal (this version gives every member the same model)", proposal.model_use.benefit)


def check_invited(policy: PrivacyPolicy, proposal: Proposal) -> None:
    """Return if this party was invited."""
    if policy.party not in proposal.invited:
        raise Refused("identity.party", f"an invitation of {policy.party}", f"{len(proposal.invited)} others")


def _terms(values: Iterable[str], taxonomy: Taxonomy) -> str:
    return _list(map(taxonomy.says, values))


def _list(values: Iterable[str]) -> str:
    return ", ".join(values) or "nothing"


def _promise(value: int | None) -> str:
    return "no promise" if value is None else str(value)
