"""Sample federations for the policy tests: policies as TOML text, a directory of members, a gateway, a proposal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

from parley_crypto.keys import SigningKey
from parley_crypto.statement import Document
from parley_policies.model.loader import PolicyFile, load_policy
from parley_policies.model.profiles import render_profile
from parley_policies.negotiation.agreement import Agreement, acceptance, assemble
from parley_policies.negotiation.cohort_terms import Cohort, terms_of
from parley_policies.negotiation.cohorts import negotiate
from parley_policies.negotiation.members import Member
from parley_policies.negotiation.offer import Offer, make_offer
from parley_policies.negotiation.proposal import Proposal, ProposedSegment
from parley_policies.negotiation.study_file import StudyFile, load_study
from parley_policies.negotiation.terms import GatewayTerms, Terms

from tests.member_secrets import secrets_of

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
TODAY: Final = date(2027, 3, 1)
FROM: Final = date(2027, 1, 1)
UNTIL: Final = date(2027, 12, 31)
GATEWAY_KEY: Final = SigningKey(bytes([200]) * 32)
GATEWAY: Final = GatewayTerms(
    id="gw.example",
    key=GATEWAY_KEY.public.hex,
    operator="Operator e. V.",
    countries=("DE",),
    incident_notice_hours=24,
    change_notice_days=30,
)
COLUMNS: Final = ("age", "sodium", "ill", "costly")
SALT: Final = bytes(range(16))
IDS: Final = ("a-clinic", "b-clinic", "c-clinic", "d-fund", "e-fund", "f-fund", "g-fund", "h-clinic")
STUDY: Final = """
schema = "parley.study/1"
id = "risk"
title = "Risk"
sponsor = "{sponsor}"
invited = [{invited}]
summary = "Learn one risk model."
[purpose]
uses = ["dpv:ScientificResearch"]
[workload]
name = "train@1"
model = {{ kind = "mlp", hidden = [4] }}
[workload.train]
epochs = 2
[[objectives]]
id = "illness"
label = "ill"
kind = "binary"
[[objectives]]
id = "cost"
label = "costly"
kind = "binary"
[columns]
age = {{ type = "float", unit = "year", range = [18, 110] }}
sodium = {{ type = "float", unit = "mmol/L", range = [90, 180], missing = "allowed" }}
ill = {{ type = "bool", objectives = ["illness"] }}
costly = {{ type = "bool", objectives = ["cost"] }}
[wishes]
scheme = ["masked"]
rounds = {{ min = 5, max = 40 }}
clip_bound = {{ min = 0.1, max = 4.0 }}
answer_by = 2027-06-30
grace_seconds = 2.0
[model_use]
owner = "all members jointly"
allowed = ["internal-use"]
on_leaving = "keep-last-version"
benefit = "equal"
"""


def key_of(party: str) -> SigningKey:
    """Return a party's identity key."""
    return SigningKey(party.encode().ljust(32, b".")[:32])


def member_of(party: str, **changes: Any) -> Member:  # noqa: ANN401 - any field of a sample
    """Return a party as the directory lists it."""
    return replace(Member(party, f"{party} Ltd", "demo", "DE", key_of(party).public.hex), **changes)


def study_of(ids: Sequence[str]) -> StudyFile:
    return load_study(STUDY.format(sponsor=ids[0], invited=", ".join(f'"{party}"' for party in ids)).encode())


def proposal_of(ids: Sequence[str], **changes: Any) -> Proposal:  # noqa: ANN401 - any field of a sample
    """Return a proposal to `ids`; `changes` replace fields of its document."""
    proposal = study_of(ids).propose(
        (
            ProposedSegment(name="trunk", length=16),
            ProposedSegment(name="head:cost", length=5, objectives=("cost",)),
            ProposedSegment(name="head:illness", length=5, objectives=("illness",)),
        ),
        summary_length=7,
    )
    return changed(proposal, **changes)


D = TypeVar("D", bound=Document)


def changed(document: D, **changes: Any) -> D:  # noqa: ANN401 - any field of a sample
    """Return a new document with top-level fields replaced by plain data (`model_copy` would keep the old one's digest)."""
    return type(document).model_validate({**document.model_dump(), **changes})


def policy_text(party: str, edits: Mapping[str, str] | None = None, **values: Any) -> str:  # noqa: ANN401 - any field of a sample
    """Return a party's policy; `edits` replace whole lines by the key they begin with (`trust` -> `trust = "pinned"`)."""
    text = render_profile(
        "demo-open",
        **{
            "party": party,
            "valid_from": FROM,
            "valid_until": UNTIL,
            "gateway_fingerprint": GATEWAY_KEY.public.fingerprint,
            "datasets": ["visits"],
            "columns": list(COLUMNS),
            **values,
        },
    )
    for key, line in (edits or {}).items():
        lines = text.split("\n")
        found = [index for index, old in enumerate(lines) if old.split("=")[0].strip() == key]
        assert len(found) == 1, f"{key}: wanted one line, got {found}"
        lines[found[0]] = line
        text = "\n".join(lines)
    return text


def objectives_of(party: str) -> tuple[str, ...]:
    return ("illness",) if party.endswith("clinic") else ("cost",)


@dataclass(frozen=True)
class Federation:
    """Parties, their policies, and one proposal to all of them."""

    proposal: Proposal
    texts: Mapping[str, str]
    records: Mapping[str, int] = field(default_factory=dict)
    members: Mapping[str, Member] = field(default_factory=dict)
    gateway: GatewayTerms = GATEWAY

    @classmethod
    def of(
        cls,
        ids: Sequence[str] = IDS[:6],
        values: Mapping[str, Mapping[str, Any]] | None = None,
        edits: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Federation:
        """Return a federation; `values` and `edits` change single parties' policies."""
        texts = {party: policy_text(party, (edits or {}).get(party), **(values or {}).get(party, {})) for party in ids}
        return cls(proposal_of(ids), texts, dict.fromkeys(ids, 600), {party: member_of(party) for party in ids})

    def policy(self, party: str) -> PolicyFile:
        return load_policy(self.texts[party].encode(), party)

    def offer(self, party: str, **changes: Any) -> Offer:  # noqa: ANN401 - any field of a sample
        arguments: dict[str, Any] = {
            "dataset": "visits",
            "records": self.records[party],
            "objectives": objectives_of(party),
            "members": self.members,
            "gateway": self.gateway,
            "today": TODAY,
            "salt": SALT,
            "channel_key": secrets_of(party).channel_key,
            "commitment": secrets_of(party).commitment(self.proposal.digest(), party),
        }
        return make_offer(self.policy(party), self.proposal, **{**arguments, **changes})

    def offers(self) -> list[Offer]:
        return [self.offer(party) for party in self.texts]

    def terms(self) -> Terms:
        return negotiate(self.proposal, self.offers(), self.members, self.gateway).terms[0]

    def together(self, offers: Sequence[Offer] | None = None, parts: Mapping[str, tuple[str, ...]] | None = None) -> Terms:
        """Return the terms of one cohort of all, or of those who made `offers`."""
        given = sorted(self.offers() if offers is None else offers, key=lambda offer: offer.party)
        return terms_of(self.proposal, Cohort(tuple(given), parts), self.members, self.gateway, study=self.proposal.id)

    def agreement(self) -> Agreement:
        terms = self.terms()
        return Agreement.load(assemble(terms, [acceptance(terms, key_of(party)) for party in self.texts]))
