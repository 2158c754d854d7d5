"""Counters and gauges of a gateway, in a registry of their own. They name no party and no study: /metrics has no authentication."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """What /metrics shows."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self.requests: Final = Counter("parley_gateway_requests", "Requests answered", ["route", "status"], registry=self.registry)
        self.uploaded: Final = Counter("parley_gateway_uploaded_bytes", "Bytes of sealed updates taken", registry=self.registry)
        self.polls: Final = Gauge("parley_gateway_polls_open", "Long polls that wait", registry=self.registry)
        self.leaves: Final = Gauge("parley_gateway_log_leaves", "Leaves of the log", registry=self.registry)
        self.studies: Final = Gauge("parley_gateway_studies_running", "Studies that run", registry=self.registry)
        self.rounds: Final = Counter("parley_gateway_rounds_opened", "Rounds whose sums were opened", registry=self.registry)
        self.round_seconds: Final = Histogram(
            "parley_gateway_round_seconds",
            "Seconds from the opening of a round to its sums",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1_800, 7_200, 43_200),
            registry=self.registry,
        )
