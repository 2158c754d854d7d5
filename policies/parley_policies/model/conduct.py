"""Sections of a policy that say how people and services behave: use of the model, limits, code, retention, approval.

Defaults are the strictest value, except in `limits` for what protects only this party's own resources: there an absent field means
no limit (policy.md, Rules of the model).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from parley_policies.model.hours import Hours
from parley_policies.model.kinds import Natural, Role, Whole, Words, Workload
from parley_policies.model.lattices import Lattice
from parley_policies.model.upheld import Section, checked, declared, enforced


def _checked_hours(text: str) -> str:
    Hours.parse(text)
    return text


HoursText = Annotated[str, AfterValidator(_checked_hours)]
Prefixed256 = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class ModelUse(Section):
    """Who may do what with the result."""

    allowed: Annotated[
        tuple[Words, ...], declared("Uses of the result that this party permits; a study may name no other.", lattice=Lattice.INTERSECTION)
    ] = ()
    forbidden: Annotated[tuple[Words, ...], declared("Uses that it forbids; they win over allowed ones.", lattice=Lattice.UNION)] = ()
    publication: Annotated[
        Literal["never", "after-approval", "free"], declared("Whether the result may be published.", lattice=Lattice.LEAST_PUBLIC)
    ] = "never"
    benefit_least: Annotated[
        Literal["equal", "model-quality", "settlement"],
        checked(
            "Least benefit: the same model as everyone's, one that depends on contribution, or a settlement.", lattice=Lattice.MOST_BENEFIT
        ),
    ] = "equal"


class Limits(Section):
    """How much work is done. Only rounds_a_study bounds what is revealed; the others protect this party's own resources."""

    rounds_a_study: Annotated[
        Natural, enforced("Most rounds of one study, all its steps together.", lattice=Lattice.SMALLEST, unit="rounds")
    ] = 0
    studies_at_once: Annotated[
        Natural | None, enforced("Most studies that run at once; absent, no limit.", lattice=Lattice.SMALLEST, unit="studies")
    ] = None
    rounds_a_day: Annotated[
        Natural | None,
        enforced("Most rounds begun in 24 hours, all studies together; absent, no limit.", lattice=Lattice.SMALLEST, unit="rounds"),
    ] = None
    hours: Annotated[HoursText | None, enforced("Hours in which rounds may begin; absent, any hour.", lattice=Lattice.HOURS)] = None
    cpu_seconds_a_round: Annotated[
        Whole | None, enforced("Most processor time of one round's training; absent, no limit.", lattice=Lattice.SMALLEST, unit="seconds")
    ] = None


class Code(Section):
    """Which code may run on the data."""

    workloads: Annotated[tuple[Workload, ...], enforced("Workloads, as name@version.", lattice=Lattice.INTERSECTION)] = ()
    custom: Annotated[tuple[Prefixed256, ...], enforced("Digests of custom code.", lattice=Lattice.INTERSECTION)] = ()


class Retention(Section):
    """How long what lives."""

    sealed_updates: Annotated[
        Literal["until-round-closes", "until-study-closes"],
        checked(
            "How long the gateway may keep sealed updates. A closed round's stay until the study's next round has closed, the last round's "
            "until a day after the study's end: so long a member may have their sum recomputed. That they are deleted then is its "
            "signed promise.",
            lattice=Lattice.SHORTEST_KEPT,
        ),
    ] = "until-round-closes"
    model_versions_days: Annotated[
        Natural, declared("Longest that model versions are kept after a study has closed.", lattice=Lattice.SMALLEST, unit="days")
    ] = 0
    evidence_days: Annotated[
        Natural | None,
        declared(
            "Shortest that agreements, receipts and the egress log are kept; absent, without end.", lattice=Lattice.LARGEST, unit="days"
        ),
    ] = None
    legal_hold: Annotated[bool, enforced("While true nothing expires here.", lattice=Lattice.OWN)] = False
    withdrawal_notice_days: Annotated[
        Natural, declared("Notice that we promise before we leave a study.", lattice=Lattice.SMALLEST, unit="days")
    ] = 0


class Approval(Section):
    """Which people must sign, with keys that the engineer who runs the service does not hold. No defaults."""

    policy: Annotated[tuple[Role, ...], enforced("Roles that must sign a policy before it is active.", lattice=Lattice.UNION)]
    agreement: Annotated[tuple[Role, ...], enforced("Roles that must sign before the service accepts an agreement.", lattice=Lattice.UNION)]
    loosening_needs_all: Annotated[
        bool, enforced("Whether every role must sign what loosens the policy; tightening needs any one.", lattice=Lattice.EITHER)
    ] = True
