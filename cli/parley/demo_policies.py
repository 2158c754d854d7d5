"""The six policies of the demo, as six organizations would write them: alike in what protects, different in what each can live with.

All were made from the profile `demo-open` (so a service refuses them off loopback) and tightened: every peer's key is pinned, every purpose
named. What differs is in `CHOICES`, a row a clause. `policy_text` gives a party's file once all fingerprints are known.

    >>> sorted(CHOICES["sharing.record_count"].values())
    ['"exact"', '"hidden"', '"rounded:100"', '"rounded:100"', '"rounded:50"', '"rounded:50"']
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from parley.demo_data import DEMO_PARTIES, HELD_OUT, DemoParty, demo_columns

DATASET: Final = "loans"
COUNTRY: Final = "US"
PURPOSE: Final = "dpv:NonCommercialResearch"  # of the studies: narrower than what is granted, and nothing that New Jersey prohibits
MODEL_USE: Final = "internal-use"


def _row(fl: object, il: object, nj: object, ca: object, ny: object, tx: object) -> Mapping[str, str]:
    """Return one clause's value at each party as TOML text; a mapping stands for an inline table."""
    return {party.id: _toml(value) for party, value in zip(DEMO_PARTIES, (fl, il, nj, ca, ny, tx), strict=True)}


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_toml(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value)


def _clip(low: float, high: float) -> Mapping[str, float]:
    return {"min": low, "max": high}


_RESEARCH: Final = ("dpv:ResearchAndDevelopment",)
_CREDIT: Final = (*_RESEARCH, "dpv:CreditChecking")
_TO_USE: Final = (MODEL_USE,)
_TO_TELL: Final = (MODEL_USE, "publish-metrics")

# What the six want differently, in the order of DEMO_PARTIES: insurers of FL, IL and NJ, then lenders of CA, NY and TX.
CHOICES: Final[Mapping[str, Mapping[str, str]]] = {
    "purpose.granted": _row(_RESEARCH, _RESEARCH, _RESEARCH, _CREDIT, _CREDIT, _CREDIT),
    "purpose.prohibited": _row(
        ["dpv:Marketing"],
        ["dpv:Marketing", "dpv:Advertising"],
        ["dpv:Marketing", "dpv:SellInsightsFromData"],
        ["dpv:Marketing"],
        ["dpv:Marketing", "dpv:SellDataToThirdParties"],
        ["dpv:Marketing"],
    ),
    "gateway.incident_notice_hours_at_most": _row(72, 72, 24, 48, 72, 72),
    "gateway.change_notice_days_at_least": _row(7, 14, 30, 14, 30, 7),
    "data.min_people": _row(200, 100, 150, 300, 250, 300),
    "schemes.colluding_parties_survived": _row(1, 0, 1, 1, 1, 0),
    "sums.max_small_changes": _row(4, 3, 2, 2, 6, 4),
    "sharing.clip_bound": _row(_clip(0.05, 2.0), _clip(0.1, 1.0), _clip(0.1, 0.5), _clip(0.05, 1.0), _clip(0.2, 0.5), _clip(0.01, 5.0)),
    "sharing.weight_cap": _row(0.5, 0.5, 0.6, 0.5, 0.45, 0.6),
    "sharing.weight_cap_of_others": _row(0.6, 0.5, 0.6, 0.5, 0.5, 0.6),
    "sharing.record_count": _row("rounded:100", "rounded:50", "exact", "rounded:100", "hidden", "rounded:50"),
    "sharing.mib_a_round": _row(16.0, 8.0, 4.0, 64.0, 16.0, 32.0),
    "model_use.allowed": _row(_TO_TELL, _TO_USE, _TO_USE, _TO_TELL, _TO_USE, _TO_TELL),
    "limits.rounds_a_study": _row(120, 60, 41, 80, 41, 200),
    "limits.studies_at_once": _row(2, 2, 1, 3, 2, 4),
    "limits.rounds_a_day": _row(500, 200, 200, 1_000, 300, 1_000),
    "retention.model_versions_days": _row(365, 730, 365, 2_555, 730, 1_825),
    "retention.evidence_days": _row(2_555, 2_555, 3_650, 2_555, 3_650, 1_825),
}
_DAYS_VALID: Final = dict(zip((party.id for party in DEMO_PARTIES), (365, 300, 180, 365, 240, 400), strict=True))

_COMMENT_COLUMN: Final = 52
_WIDTH: Final = 118
_TEMPLATE: Final = """\
# policy.toml of {legal_name}. Part of the demo of Parley: LOOPBACK ONLY, the service refuses it off this machine.
# [E] enforced by this service   [P] checked by every party's service   [D] declared: a signed promise
# What is not granted here is denied.
schema = "parley.policy/1"

[identity]
party       = "{party}"
version     = 1
valid_from  = {valid_from}
valid_until = {valid_until}               # [E] last day; then the service stops by itself
profile     = "demo-open"                 # [E] loopback only; made from it and tightened

[legal]
controller  = "{legal_name}"              # [D]
role        = "demonstration"             # [D]

[purpose]
granted     = {purpose.granted}           # [P]
prohibited  = {purpose.prohibited}        # [P] a prohibition wins over any grant

[gateway]
fingerprints = ["{gateway}"]              # [E]
countries    = ["US"]                     # [P]
incident_notice_hours_at_most = {gateway.incident_notice_hours_at_most}    # [P]
change_notice_days_at_least   = {gateway.change_notice_days_at_least}      # [P]

[peers]
granted     = ["class:insurer", "class:lender"]    # [P]
denied      = []                          # [E]
countries   = ["US"]                      # [P]
trust       = "pinned"                    # [E] only members whose key stands here count toward min_parties

[peers.fingerprints]                      # [E] compared outside the gateway
{peers}

[data]
datasets    = ["{dataset}"]               # [E] a dataset not named is not used
# [E] nothing else is read
columns     = {columns}
min_people  = {data.min_people}           # [E]
exclusions_required = false               # [E]
erasure_effect = "from-next-study"        # [E]

[schemes]
accepted    = ["masked"]                  # [P]
gateway_may_lie = true                    # [P]
colluding_parties_survived = {schemes.colluding_parties_survived}          # [P]

[sums]
min_parties = 3                           # [E] smallest number of parties, us included, in anything ever opened
groups      = {{ allowed = false }}       # [E]
max_small_changes = {sums.max_small_changes}       # [E] rounds whose list may differ by fewer than min_parties

[differential_privacy]
required    = false                       # [E] opened sums carry no noise: read the threat model

[sharing]
segments    = {{ summary = true, trunk = true, "head:{objective}" = true }}    # [E]
clip_bound  = {sharing.clip_bound}        # [E] cap on the L2 norm of our update
weight_cap  = {sharing.weight_cap}        # [P] largest part of a sum that may be ours
weight_cap_of_others = {sharing.weight_cap_of_others}        # [P] and any other member's
record_count = {sharing.record_count}     # [E] exact | rounded:N | hidden
mib_a_round = {sharing.mib_a_round}       # [E]
fraction_a_round = 1.0                    # [E]

[disclosure]
own_metrics = "none"                      # [E] our scores never leave this service
opened_sums_readable_by = "gateway"       # [P]
contribution_record = ["self"]            # [E]

[model_use]
allowed     = {model_use.allowed}         # [D]
forbidden   = ["re-identification", "membership-inference", "sale"]    # [D]
publication = "never"                     # [D]
benefit_least = "equal"                   # [P]

[limits]
rounds_a_study = {limits.rounds_a_study}  # [E] all steps together
studies_at_once = {limits.studies_at_once}    # [E]
rounds_a_day = {limits.rounds_a_day}      # [E]

[code]
workloads   = ["preprocess@1", "train@1"]     # [E]

[robustness]
least       = "R0"                        # [P]

[retention]
sealed_updates = "until-round-closes"     # [P]
model_versions_days = {retention.model_versions_days}    # [D]
evidence_days = {retention.evidence_days}     # [D]

[approval]
policy      = []                          # [E] nobody: the first `parley party serve` activates it
agreement   = []                          # [E]
"""


@dataclass(frozen=True, slots=True)
class Pins:
    """What people compared before anything was written: the fingerprint of the gateway's key and of each party's identity key."""

    gateway: str
    parties: Mapping[str, str]


def policy_text(party: DemoParty, pins: Pins, today: date) -> str:
    """Return a party's policy.toml, in force from `today` on, with the gateway's key and those of all its peers."""
    peers = [f'{other} = "{fingerprint}"' for other, fingerprint in sorted(pins.parties.items()) if other != party.id]
    values = {
        "party": party.id,
        "legal_name": party.legal_name,
        "objective": party.objective,
        "dataset": DATASET,
        "columns": _lines(_readable_columns(party)),
        "gateway": pins.gateway,
        "peers": "\n".join(peers),
        "valid_from": today.isoformat(),
        "valid_until": (today + timedelta(days=_DAYS_VALID[party.id])).isoformat(),
    }
    text = _TEMPLATE
    for clause, by_party in CHOICES.items():
        text = text.replace(f"{{{clause}}}", by_party[party.id])
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return "\n".join(_aligned(line) for line in text.replace("{{", "{").replace("}}", "}").split("\n"))


def _aligned(line: str) -> str:
    """Return a line with its comment on how it is upheld in the same column as the others'."""
    left, mark, comment = line.partition("# [")
    return f"{left.rstrip():<{_COMMENT_COLUMN}} {mark}{comment}" if mark and left else line


def _lines(names: tuple[str, ...]) -> str:
    """Return a TOML array over several lines."""
    wrapped = textwrap.wrap(", ".join(json.dumps(name) for name in names), _WIDTH, break_long_words=False)
    return "[\n" + "\n".join(f"  {line}" for line in wrapped) + "\n]"


def _readable_columns(party: DemoParty) -> tuple[str, ...]:
    """Return the features and the party's own label; the column that marks held-out rows is the data engineer's, not a study's."""
    return tuple(sorted(name for name in demo_columns(party.objective) if name != HELD_OUT["column"]))
