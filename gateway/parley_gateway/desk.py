"""What a study needs of the service around it, handed over once and by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from parley_crypto.keys import SigningKey
from parley_policies.negotiation.terms import GatewayTerms
from parley_protocol.pacing import Pace
from parley_service.errors import ServiceError

from parley_gateway.enrolment import Members
from parley_gateway.inbox import Inbox
from parley_gateway.intake import Intake
from parley_gateway.journal import Journal
from parley_gateway.kept import KeptRounds
from parley_gateway.metrics import Metrics
from parley_gateway.presence import Presence


@dataclass(frozen=True, slots=True)
class Desk:
    """The parts of the service that studies and rounds use."""

    clock: Callable[[], float]  # unix seconds
    journal: Journal
    inbox: Inbox
    presence: Presence
    members: Members
    intake: Intake
    kept: KeptRounds
    key: SigningKey  # of the log and of the gateway's statements
    gateway: GatewayTerms
    metrics: Metrics
    sums: Path
    paces: tuple[Pace, ...]  # how often a sponsor may propose
    on_failure: Callable[[ServiceError], None]
