"""Ways to loosen one clause of a policy for one study, each from the smallest step to the largest that the study could need.

Only clauses that a party may negotiate: nothing legal, nothing of people's rights, no validity. Steps are ordered: a later one permits all
that an earlier one does, so the smallest that helps can be searched for. Each says in a sentence what privacy it costs.

    for ladder in ladders(policy, proposal, settled): ladder.steps[0].policy
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from parley_policies.model.policy import PrivacyPolicy
from parley_policies.negotiation.encoding import summary_encoding, train_encoding, upload_mib
from parley_policies.negotiation.members import Directory, is_counted
from parley_policies.negotiation.proposal import STEPS, SUMMARY, Proposal
from parley_policies.negotiation.terms import MIN_FLOOR, GatewayTerms

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """A policy with one clause loosened: the clause, its value before and after as words, and what privacy that costs."""

    clause: str
    before: str
    after: str
    costs: str
    policy: PrivacyPolicy


@dataclass(frozen=True, slots=True)
class Ladder:
    """Ever larger steps of one clause."""

    clause: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Around:
    """What stands around a policy in one study: the proposal, the members, the gateway, the party's objectives and people, the day."""

    proposal: Proposal
    members: Directory
    gateway: GatewayTerms
    objectives: tuple[str, ...]
    people: int
    today: date


def ladders(policy: PrivacyPolicy, around: Around) -> tuple[Ladder, ...]:
    """Return every way to loosen one clause of `policy` that the study could have a use for."""
    found = (ladder for make in _MAKERS for ladder in make(policy, around))
    return tuple(ladder for ladder in found if ladder.steps)


def smallest(ladder: Ladder, found: Callable[[PrivacyPolicy], T | None]) -> tuple[Step, T] | None:
    """Return the smallest step whose policy `found` finds something for, with that; None where even the largest has nothing.

    The largest is asked first, since most steps help nobody; then by halving, since each step permits all that those before it do.
    """
    best = found(ladder.steps[-1].policy)
    if best is None:
        return None
    low, high = 0, len(ladder.steps) - 1
    while low < high:
        middle = (low + high) // 2
        here = found(ladder.steps[middle].policy)
        if here is None:
            low = middle + 1
        else:
            high, best = middle, here
    return ladder.steps[high], best


def _with(policy: PrivacyPolicy, section: str, **changes: Any) -> PrivacyPolicy | None:  # noqa: ANN401 - any clause's value
    """Return the policy with clauses of one section changed; None where the policy's own rules forbid it."""
    old = getattr(policy, section)
    table = {name: getattr(policy, name) for name in PrivacyPolicy.model_fields} | {section: old.model_copy(update=changes)}
    try:
        return PrivacyPolicy.model_validate(table)
    except ValidationError:
        return None


def _ladder(clause: str, policies: Iterable[tuple[PrivacyPolicy | None, object, object, str]]) -> Ladder:
    return Ladder(clause, tuple(Step(clause, str(old), str(new), costs, changed) for changed, old, new, costs in policies if changed))


# sums: how many parties are in what is opened


def _floors(policy: PrivacyPolicy, _: Around) -> Iterator[Ladder]:
    written = policy.sums.min_parties
    if isinstance(written, int):
        yield _ladder("sums.min_parties", (_floor_step(policy, k, written, k) for k in range(written - 1, MIN_FLOOR - 1, -1)))
        return
    for name, floor in written.items():
        lower = range(floor - 1, MIN_FLOOR - 1, -1)
        yield _ladder(f"sums.min_parties.{name}", (_floor_step(policy, {**written, name: k}, floor, k, name) for k in lower))


def _floor_step(
    policy: PrivacyPolicy, table: int | dict[str, int], old: int, new: int, name: str = ""
) -> tuple[PrivacyPolicy | None, object, object, str]:
    changed = _with(policy, "sums", min_parties=table)
    costs = f"sums{f' of {name}' if name else ''} may then be read over {new} instead of {old} parties"
    if changed is not None and changed.colluders < policy.colluders:
        costs += f", and only {changed.colluders} instead of {policy.colluders} may conspire"
    return changed, old, new, costs


def _colluders(policy: PrivacyPolicy, _: Around) -> Iterator[Ladder]:
    now = policy.colluders
    steps = ((_with(policy, "schemes", colluding_parties_survived=c), now, c, _conspiring(now, c)) for c in range(now - 1, -1, -1))
    yield _ladder("schemes.colluding_parties_survived", steps)


def _conspiring(old: int, new: int) -> str:
    return f"{_parties(new + 1)} that conspire with the gateway could then learn what now takes {old + 1}"


def _parties(count: int) -> str:
    return "1 party" if count == 1 else f"{count} parties"


def _lying(policy: PrivacyPolicy, _: Around) -> Iterator[Ladder]:
    if policy.schemes.gateway_may_lie:
        changed = _with(policy, "schemes", gateway_may_lie=False)
        yield _ladder("schemes.gateway_may_lie", ((changed, "true", "false", "a gateway that lies could then learn more than sums"),))


# peers: with whom


def _peers(policy: PrivacyPolicy, around: Around) -> Iterator[Ladder]:
    others = [member for party, member in sorted(around.members.items()) if party != policy.party]
    peers = policy.peers
    strangers = [member for member in others if not any(member.named_by(peer) for peer in peers.granted)]
    classes = Counter(f"class:{member.party_class}" for member in strangers)
    entries = sorted(name for name, count in classes.items() if count > 1) + [member.party for member in strangers]
    for entry in entries:
        changed = _with(policy, "peers", granted=(*peers.granted, entry))
        costs = f"{entry} would be in our sums, and read the results"
        yield _ladder("peers.granted", ((changed, _list(peers.granted), f"also {entry}", costs),))
    for entry in peers.denied:
        if any(member.named_by(entry) for member in others):
            changed = _with(policy, "peers", denied=tuple(peer for peer in peers.denied if peer != entry))
            yield _ladder("peers.denied", ((changed, _list(peers.denied), f"without {entry}", f"{entry} would no longer be kept out"),))
    for country in sorted({member.country for member in others}):
        changed = _with(policy, "peers", countries=(*peers.countries, country))
        costs = f"members in {country} would read the results: a transfer there needs its instrument"
        yield _ladder("peers.countries", ((changed, _list(peers.countries), f"also {country}", costs),))
    for member in others:
        if not is_counted(policy, member, around.today) and peers.fingerprints.get(member.party) is None:
            changed = _with(policy, "peers", fingerprints={**peers.fingerprints, member.party: member.fingerprint})
            costs = "none, once its fingerprint was compared outside the gateway: until then it may be a phantom"
            yield _ladder(f"peers.fingerprints.{member.party}", ((changed, "not pinned", "pinned", costs),))


# purpose, gateway, use of the model: what for, by whom


def _purpose(policy: PrivacyPolicy, around: Around) -> Iterator[Ladder]:
    purpose, asked = policy.purpose, around.proposal.purpose
    for use in asked.uses:
        changed = _with(policy, "purpose", granted=(*purpose.granted, use))
        yield _ladder("purpose.granted", ((changed, _list(purpose.granted), f"also {use}", f"our data would serve {use}"),))
    for use in purpose.prohibited:
        changed = _with(policy, "purpose", prohibited=tuple(other for other in purpose.prohibited if other != use))
        yield _ladder("purpose.prohibited", ((changed, _list(purpose.prohibited), f"without {use}", f"results might serve {use}"),))
    for disease in asked.disease:
        changed = _with(policy, "purpose", diseases=(*purpose.diseases, disease)) if purpose.diseases else None
        yield _ladder("purpose.diseases", ((changed, _list(purpose.diseases), f"also {disease}", f"our data would serve {disease}"),))


def _gateway(policy: PrivacyPolicy, around: Around) -> Iterator[Ladder]:
    wanted, found = policy.gateway, around.gateway
    changed = _with(policy, "gateway", countries=tuple(dict.fromkeys((*wanted.countries, *found.countries))))
    costs = f"sealed updates and names would be held in {_list(found.countries)}"
    yield _ladder("gateway.countries", ((changed, _list(wanted.countries), f"also {_list(found.countries)}", costs),))
    if found.incident_notice_hours is not None and found.incident_notice_hours > wanted.incident_notice_hours_at_most:
        now, hours = wanted.incident_notice_hours_at_most, found.incident_notice_hours
        changed = _with(policy, "gateway", incident_notice_hours_at_most=hours)
        costs = f"we might learn of an incident {hours - now} hours later"
        yield _ladder("gateway.incident_notice_hours_at_most", ((changed, now, hours, costs),))
    if found.change_notice_days is not None and found.change_notice_days < wanted.change_notice_days_at_least:
        now, days = wanted.change_notice_days_at_least, found.change_notice_days
        changed = _with(policy, "gateway", change_notice_days_at_least=days)
        yield _ladder("gateway.change_notice_days_at_least", ((changed, now, days, f"hosting might change on {days} days' notice"),))


def _model_use(policy: PrivacyPolicy, around: Around) -> Iterator[Ladder]:
    use, asked = policy.model_use, around.proposal.model_use.allowed
    for name in asked:
        changed = _with(policy, "model_use", allowed=(*use.allowed, name))
        yield _ladder("model_use.allowed", ((changed, _list(use.allowed), f"also {name}", f"the result may be used for {name}"),))
        if name in use.forbidden:
            changed = _with(policy, "model_use", forbidden=tuple(other for other in use.forbidden if other != name))
            yield _ladder("model_use.forbidden", ((changed, _list(use.forbidden), f"without {name}", f"nothing forbids {name}"),))


# data and sharing: what leaves, how much


def _data(policy: PrivacyPolicy, around: Around) -> Iterator[Ladder]:
    lacking = [name for name in around.proposal.needed_columns(around.objectives) if name not in policy.data.columns]
    if lacking:
        changed = _with(policy, "data", columns=(*policy.data.columns, *lacking))
        costs = f"{_list(lacking)} would be read at home, and the results depend on it"
        yield _ladder("data.columns", ((changed, _list(policy.data.columns), f"also {_list(lacking)}", costs),))
    least = policy.data.min_people
    if least is not None and 1 <= around.people < least:
        changed = _with(policy, "data", min_people=around.people)
        costs = f"each person weighs more: one of {around.people} instead of one of {least}"
        yield _ladder("data.min_people", ((changed, least, around.people, costs),))


def _segments(policy: PrivacyPolicy, around: Around) -> Iterator[Ladder]:
    names = [SUMMARY, *(segment.name for segment in around.proposal.segments_for(around.objectives))]
    for name in names:
        if not policy.sharing.shares(name):
            changed = _with(policy, "sharing", segments={**policy.sharing.segments, name: True})
            costs = f"our part of {name} would leave, inside sums"
            yield _ladder(f"sharing.segments.{name}", ((changed, "kept at home", "shared", costs),))


_CAPS: Final = tuple(round(0.05 * step, 2) for step in range(1, 21))


def _caps(policy: PrivacyPolicy, _: Around) -> Iterator[Ladder]:
    sharing = policy.sharing
    for name, whose in (("weight_cap", "our own data"), ("weight_cap_of_others", "one other member's data")):
        now: float = getattr(sharing, name)
        steps = (
            (_with(policy, "sharing", **{name: cap}), f"{now:.0%}", f"{cap:.0%}", f"up to {cap:.0%} of a sum may be {whose}")
            for cap in _CAPS
            if cap > now
        )
        yield _ladder(f"sharing.{name}", steps)
    for ratio in (2.0, 4.0, 8.0, 16.0, 64.0):
        if ratio > sharing.max_weight_ratio:
            changed = _with(policy, "sharing", max_weight_ratio=ratio)
            costs = f"members with a laxer epsilon may outweigh us {ratio:g} times"
            yield _ladder("sharing.max_weight_ratio", ((changed, f"{sharing.max_weight_ratio:g}", f"{ratio:g}", costs),))


def _clip_bound(policy: PrivacyPolicy, around: Around) -> Iterator[Ladder]:
    granted, wished = policy.sharing.clip_bound, around.proposal.wishes.clip_bound
    if granted is None:
        return
    lower = sorted({bound for bound in (wished.min, *_between(wished.min, granted.min)) if bound < granted.min}, reverse=True)
    higher = sorted({bound for bound in (wished.max, *_between(granted.max, wished.max)) if bound > granted.max})
    now = f"{granted.min:g} to {granted.max:g}"
    for bounds, cost in (
        ([(low, granted.max) for low in lower], "none of privacy: updates may be shortened more, which costs accuracy"),
        ([(granted.min, high) for high in higher], "our update may weigh more in a sum, and show more of what we learned"),
    ):
        changed = ((_with_clip(policy, low, high), now, f"{low:g} to {high:g}", cost) for low, high in bounds)
        yield _ladder("sharing.clip_bound", changed)


def _between(low: float, high: float) -> list[float]:
    """Return nine values between two bounds, evenly, rounded so that they read well; none where they are in the wrong order."""
    return [float(f"{low + (high - low) * part / 10:.3g}") for part in range(1, 10)] if low < high else []


def _with_clip(policy: PrivacyPolicy, low: float, high: float) -> PrivacyPolicy | None:
    granted = policy.sharing.clip_bound
    return None if granted is None else _with(policy, "sharing", clip_bound=granted.model_copy(update={"min": low, "max": high}))


def _work(policy: PrivacyPolicy, around: Around) -> Iterator[Ladder]:
    proposal, wishes = around.proposal, around.proposal.wishes
    least, now = wishes.rounds.min + 1, policy.limits.rounds_a_study
    if now < least:
        changed = _with(policy, "limits", rounds_a_study=least)
        costs = f"{least} sums of ours would be opened instead of at most {now}"
        yield _ladder("limits.rounds_a_study", ((changed, now, least, costs),))
    lengths = sum(segment.length for segment in proposal.segments_for(around.objectives))
    n = len(proposal.invited)
    mib = max(upload_mib(lengths, train_encoding(wishes.clip_bound.max, n)), upload_mib(proposal.summary_length, summary_encoding(n)))
    if policy.sharing.mib_a_round < mib:
        room = float(f"{mib * 1.01:.3g}")
        changed = _with(policy, "sharing", mib_a_round=room)
        costs = "none of privacy: more is uploaded"
        yield _ladder("sharing.mib_a_round", ((changed, f"{policy.sharing.mib_a_round:g} MiB", f"{room:g} MiB", costs),))
    lacking = [step for step in STEPS.get(proposal.workload.name, ()) if step not in policy.code.workloads]
    if lacking:
        changed = _with(policy, "code", workloads=(*policy.code.workloads, *lacking))
        yield _ladder(
            "code.workloads", ((changed, _list(policy.code.workloads), f"also {_list(lacking)}", "this code would run on our data"),)
        )


def _privacy(policy: PrivacyPolicy, around: Around) -> Iterator[Ladder]:
    granted, wished = policy.differential_privacy.per_study, around.proposal.wishes.epsilon
    if granted is None:
        return
    levels = [granted.epsilon * factor for factor in (1.5, 2.0, 3.0, 4.0, 8.0)]
    most = None if wished is None else wished.max
    steps = (
        (
            _with(policy, "differential_privacy", per_study=granted.model_copy(update={"epsilon": epsilon})),
            f"epsilon {granted.epsilon:g}",
            f"epsilon {epsilon:g}",
            f"what one unit changes may show e^{epsilon:g} instead of e^{granted.epsilon:g} times as clearly",
        )
        for epsilon in levels
        if most is None or epsilon <= most
    )
    yield _ladder("differential_privacy.per_study", steps)


def _list(values: Iterable[str]) -> str:
    return ", ".join(values) or "nothing"


_MAKERS: Final[tuple[Callable[[PrivacyPolicy, Around], Iterator[Ladder]], ...]] = (
    _purpose,
    _gateway,
    _peers,
    _data,
    _colluders,
    _lying,
    _floors,
    _privacy,
    _segments,
    _clip_bound,
    _caps,
    _model_use,
    _work,
)
