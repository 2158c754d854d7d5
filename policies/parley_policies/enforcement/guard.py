"""The guard: the one gate through which anything leaves a party's service.

Pure. The service asks before it proposes, offers, signs, starts a study, begins a round, trains, seals, confirms and reveals; it acts only
with a verdict in hand, and writes that verdict into its egress log. Refused is raised otherwise and nothing is sent (invariant 9). The
guard keeps nothing: what was already done (rounds begun, studies running) is counted by the service's store and handed in.

Hours and rates bound when work *begins*; they do not hold back CONFIRM or REVEAL, which would make all other members wait. The end of a
policy does: when valid_until passes in mid-round there is no REVEAL (policy.md).

    guard = Guard(load_policy(raw), gateway_url)
    verdict = guard.check_send(Leaving.REVEAL, standing=standing, round_number=7, now=now)
    egress.append(verdict.as_data())
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum, unique
from typing import Any, assert_never

from parley_crypto.signing import Envelope

from parley_policies.approvals.agreements import approvals_of, check_approved
from parley_policies.approvals.holders import Holders
from parley_policies.errors import Refused
from parley_policies.model.hours import Hours
from parley_policies.model.loader import PolicyFile
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.profiles import check_place
from parley_policies.model.unsupported import check_supported
from parley_policies.negotiation.agreement import Agreement
from parley_policies.negotiation.clauses import check_columns, check_dataset, check_in_force
from parley_policies.negotiation.encoding import upload_mib
from parley_policies.negotiation.members import Directory
from parley_policies.negotiation.offer import check_proposal
from parley_policies.negotiation.proposal import Proposal
from parley_policies.negotiation.terms import GatewayTerms, StepTerms, Terms


@unique
class Leaving(StrEnum):
    """What may leave a party's service."""

    ENROLMENT = "enrolment"
    RECORD = "record"  # a statement about ourselves for the log: salted digests, and credentials, which are public
    PROPOSAL = "proposal"
    OFFER = "offer"
    DECLINE = "decline"
    ACCEPTANCE = "acceptance"
    REFUSAL = "refusal"
    START = "start"
    STOP = "stop"
    ADVERTISE = "advertise"
    SHARE = "share"
    UPLOAD = "upload"
    CONFIRM = "confirm"
    REVEAL = "reveal"
    WITHDRAWAL = "withdrawal"
    RELEASE = "release"
    METRIC = "metric"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a party recorded when it signed: the agreement, the digest of the policy file it signed under, the dataset it brings."""

    agreement: Agreement
    policy_digest: str
    dataset: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The guard's yes, for the egress log: what for, under which policy and agreement, which clauses were asked. `at` is in UTC."""

    purpose: str
    study: str
    agreement: str | None
    policy: str
    clauses: tuple[str, ...]
    at: datetime

    def as_data(self) -> dict[str, Any]:
        """Return the verdict as plain data for JSON."""
        return {
            "purpose": self.purpose,
            "study": self.study,
            "agreement": self.agreement,
            "policy": self.policy,
            "clauses": list(self.clauses),
            "at": self.at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Guard:
    """Asks one active policy. `gateway_url` is the address that the service dials; `holders` are the keys of the policy's roles."""

    active: PolicyFile
    gateway_url: str
    holders: Holders | None = None  # None: no key holds any role, so that nothing which wants approval is approved

    @property
    def policy(self) -> PrivacyPolicy:
        """The active policy."""
        return self.active.policy

    def check_study(
        self,
        proposal: Proposal,
        *,
        dataset: str,
        people: int,
        objectives: Collection[str],
        members: Directory,
        gateway: GatewayTerms,
        studies_running: int,
        now: datetime,
    ) -> Verdict:
        """Return the verdict that data may be read for this study, or raise Refused.

        `people` is how many are left in `dataset` after exclusions, `studies_running` how many other studies run at this party.
        """
        check_place(self.policy, self.gateway_url)
        check_proposal(self.policy, proposal, members=members, gateway=gateway, today=_today(now))
        check_columns(self.policy, proposal, objectives)
        check_dataset(self.policy, dataset, people)
        most = self.policy.limits.studies_at_once
        if most is not None and studies_running >= most:
            raise Refused("limits.studies_at_once", f"at most {most}", f"{studies_running} running and this one")
        asked = ("identity", "purpose", "gateway", "peers", "code.workloads", "model_use", "data", "limits.studies_at_once")
        return self._verdict("study", proposal.id, None, asked, now)

    def check_round(
        self,
        standing: Standing,
        *,
        step: int,
        round_number: int,
        segments: Collection[str],
        people: int,
        rounds_begun: int,
        rounds_in_24_hours: int,
        now: datetime,
    ) -> Verdict:
        """Return the verdict that a round may begin (before training and before ADVERTISE), or raise Refused.

        `step` is the index into the agreement's steps, `segments` what this party would send; `rounds_begun` counts the earlier
        rounds of this study, `rounds_in_24_hours` those of all studies in the 24 hours before `now`.
        """
        self._check_standing(standing, now)
        limits = self.policy.limits
        terms = self._step(standing, step)
        self._check_segments(standing, terms, segments)
        check_dataset(self.policy, standing.dataset, people)
        allowed = min(limits.rounds_a_study, sum(item.rounds for item in standing.agreement.terms.steps))
        if rounds_begun >= allowed:
            raise Refused("limits.rounds_a_study", f"at most {allowed} rounds", f"{rounds_begun} begun and round {round_number}")
        if limits.rounds_a_day is not None and rounds_in_24_hours >= limits.rounds_a_day:
            raise Refused("limits.rounds_a_day", f"at most {limits.rounds_a_day} in 24 hours", f"{rounds_in_24_hours} and one more")
        if limits.hours is not None and not Hours.parse(limits.hours).include(now):
            raise Refused("limits.hours", limits.hours, f"{now.astimezone(UTC):%H:%M} UTC", "the study goes on when the hours begin")
        asked = ("identity", "sharing.segments", "data", "limits.rounds_a_study", "limits.rounds_a_day", "limits.hours")
        return self._verdict(f"round {round_number} of {terms.workload}", standing.agreement.terms.study, standing, asked, now)

    def check_send(
        self,
        kind: Leaving,
        *,
        study: str = "",
        standing: Standing | None = None,
        step: int = 0,
        round_number: int = 0,
        segments: Collection[str] = (),
        cpu_seconds: float = 0.0,
        terms: Terms | None = None,
        approvals: Sequence[Envelope] = (),
        now: datetime,
    ) -> Verdict:
        """Return the verdict that a message of `kind` may leave, or raise Refused.

        Messages of a round need `standing`; UPLOAD also needs what it carries and the processor time that its training took. ACCEPTANCE
        needs the `terms` that it accepts, and the `approvals` of these by people (ApprovalInvalid if one of them does not count).
        To decline, refuse, stop, withdraw or release is always permitted: it says nothing, and a party can always leave.
        """
        check_place(self.policy, self.gateway_url)
        match kind:
            case Leaving.DECLINE | Leaving.REFUSAL | Leaving.STOP | Leaving.WITHDRAWAL | Leaving.RELEASE:
                return self._verdict(kind.value, study or _study(standing), standing, (), now)
            case Leaving.ENROLMENT | Leaving.RECORD:
                return self._verdict(kind.value, study, None, ("identity.profile",), now)
            case Leaving.METRIC:
                raise Refused("disclosure.own_metrics", "none: metrics of ours never leave in this version", kind.value)
            case Leaving.ACCEPTANCE:
                return self._check_acceptance(study, terms, approvals, now)
            case Leaving.PROPOSAL | Leaving.OFFER | Leaving.START:
                check_supported(self.policy)
                check_in_force(self.policy, _today(now))
                return self._verdict(kind.value, study, standing, ("identity", "legal.documents"), now)
            case Leaving.ADVERTISE | Leaving.SHARE | Leaving.UPLOAD | Leaving.CONFIRM | Leaving.REVEAL:
                return self._check_round_message(kind, standing, step, round_number, segments, cpu_seconds, now)
        assert_never(kind)

    def _check_acceptance(self, study: str, terms: Terms | None, approvals: Sequence[Envelope], now: datetime) -> Verdict:
        check_supported(self.policy)
        check_in_force(self.policy, _today(now))
        if terms is None:
            raise Refused("terms", "the terms that are accepted", f"none, for study {study}")
        holders = self.holders or Holders.none(self.policy.party)
        check_approved(self.policy, terms, approvals_of(holders, self.policy, terms, approvals))
        return self._verdict(Leaving.ACCEPTANCE.value, study, None, ("identity", "legal.documents", "approval.agreement"), now)

    def _check_round_message(
        self,
        kind: Leaving,
        standing: Standing | None,
        step: int,
        round_number: int,
        segments: Collection[str],
        cpu_seconds: float,
        now: datetime,
    ) -> Verdict:
        if standing is None:
            raise Refused("terms", "an agreement that this party signed", f"none, for {kind.value} of round {round_number}")
        self._check_standing(standing, now)
        asked: tuple[str, ...] = ("identity", "legal.documents")
        if kind is Leaving.UPLOAD:
            self._check_upload(standing, self._step(standing, step), segments, cpu_seconds)
            asked = (*asked, "sharing.segments", "sharing.mib_a_round", "limits.cpu_seconds_a_round")
        return self._verdict(f"{kind.value} of round {round_number}", standing.agreement.terms.study, standing, asked, now)

    def _check_standing(self, standing: Standing, now: datetime) -> None:
        """The agreement is in force, made under the policy that is active, and this party is in it."""
        check_place(self.policy, self.gateway_url)
        check_supported(self.policy)
        today = _today(now)
        check_in_force(self.policy, today)
        if standing.policy_digest != self.active.digest:
            raise Refused(
                "identity.version",
                f"the policy that the agreement was signed under ({standing.policy_digest[:16]}…)",
                f"{self.active.digest[:16]}…",
                "a changed policy needs a new negotiation",
            )
        terms = standing.agreement.terms
        if today > date.fromisoformat(terms.valid_until):
            raise Refused(
                "terms.valid_until", f"a day up to {terms.valid_until}", f"{today}", "renew the policy that ends first, and negotiate anew"
            )
        if self.policy.party not in {member.party for member in terms.members}:
            raise Refused("terms.members", f"{self.policy.party} among them", ", ".join(member.party for member in terms.members))

    def _step(self, standing: Standing, step: int) -> StepTerms:
        steps = standing.agreement.terms.steps
        if not 0 <= step < len(steps):
            raise Refused("terms.steps", f"a step below {len(steps)}", f"{step}")
        if steps[step].workload not in self.policy.code.workloads:
            raise Refused("code.workloads", ", ".join(self.policy.code.workloads) or "nothing", steps[step].workload)
        return steps[step]

    def _check_segments(self, standing: Standing, step: StepTerms, segments: Collection[str]) -> None:
        agreed = {segment.name for segment in step.segments if self.policy.party in segment.members}
        for name in segments:
            if name not in agreed:
                raise Refused("terms.steps", f"segments of ours in {step.workload}: {', '.join(sorted(agreed)) or 'none'}", name)
            if not self.policy.sharing.shares(name):
                raise Refused(f"sharing.segments.{name}", "granted", "not granted")
        if not segments:
            raise Refused("terms.steps", f"something of ours to send in study {standing.agreement.terms.study}", "no segment")

    def _check_upload(self, standing: Standing, step: StepTerms, segments: Collection[str], cpu_seconds: float) -> None:
        self._check_segments(standing, step, segments)
        mib = upload_mib(sum(step.segment(name).length for name in set(segments)), step.encoding)
        if mib > self.policy.sharing.mib_a_round:
            raise Refused("sharing.mib_a_round", f"at most {self.policy.sharing.mib_a_round} MiB", f"{mib:.3f} MiB")
        most = self.policy.limits.cpu_seconds_a_round
        if most is not None and cpu_seconds > most:
            raise Refused("limits.cpu_seconds_a_round", f"at most {most} seconds", f"{cpu_seconds:.1f}")

    def _verdict(self, purpose: str, study: str, standing: Standing | None, clauses: tuple[str, ...], now: datetime) -> Verdict:
        agreement = None if standing is None else standing.agreement.digest
        return Verdict(purpose, study, agreement, self.active.digest, clauses, _aware(now))


def _study(standing: Standing | None) -> str:
    return "" if standing is None else standing.agreement.terms.study


def _aware(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ValueError(f"now: wanted a time with its zone, got {now}")
    return now.astimezone(UTC)


def _today(now: datetime) -> date:
    return _aware(now).date()
