# ruff: noqa: INP001 - docs is a folder of pages, not a package
"""The parts of these pages that are taken from the code, so that they cannot drift from it.

A page marks a part with `<!-- generated: NAME -->` and `<!-- end: NAME -->` on lines of their own. `make docs` writes what stands between;
a test compares. What is not between marks is written by people.

    python -m docs.generate            write the pages
    python -m docs.generate --check    exit with 1 and name the pages that would change
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import typer
from parley.exits import EXIT_OF, ExitCode
from parley.main import NOUNS
from parley_policies.model.policy import PrivacyPolicy
from parley_policies.model.unsupported import Unsupported, unsupported_clauses
from parley_policies.model.upheld import Section, Upheld, entries_of, lattice_of, unit_of, upheld_of
from parley_policies.taxonomy.taxonomy import Taxonomy
from parley_protocol.diagram import round_diagram, study_diagram
from parley_protocol.phases import GATEWAY, PARTY
from parley_protocol.problems import Problem, Slug
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.trying import TRYING
from docs.wire import WIRE

PAGES: Final = Path(__file__).parent
_MARKED: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end: \2 -->\n)", re.DOTALL)

# A policy that asks for everything that a policy can ask for: what this version cannot uphold answers by name.
DEMANDING: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "schema": "parley.policy/1",
        "identity": {"party": "a", "version": 1, "valid_from": "2027-01-01", "valid_until": "2027-12-31"},
        "purpose": {"granted": [], "prohibited": []},
        "gateway": {"fingerprints": [], "countries": [], "incident_notice_hours_at_most": 0, "change_notice_days_at_least": 0},
        "peers": {"granted": [], "denied": [], "countries": []},
        "data": {"columns": [], "erasure_effect": "from-next-round", "minimum_fairness_check": ["age"]},
        "schemes": {"accepted": ["homomorphic"]},
        "sums": {"min_parties": 3, "groups": {"allowed": True}},
        "differential_privacy": {
            "required": True,
            "per_study": {"epsilon": 1.0, "delta": 1e-6},
            "lifetime": {"dataset": "d", "epsilon": 1.0, "delta": 1e-6, "years": 1},
        },
        "disclosure": {"own_metrics": "sum-only"},
        "robustness": {"least": "R2"},
        "approval": {"policy": [], "agreement": []},
    }
)

EXIT_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DONE": "done",
        "BUG": "a bug of this program, or two versions that do not fit: report it with the log",
        "USAGE": "the command line is not complete, or names what is not there",
        "INVALID": "a file or configuration is not valid",
        "REFUSED": "refused by our own policy",
        "NO_AGREEMENT": "no agreement is possible",
        "UNVERIFIED": "a verification failed",
        "UNREACHABLE": "the other side cannot be reached, or did not answer in time",
        "NOT_ENTITLED": "not authenticated, or not entitled",
        "DATA": "the data do not fit",
        "STATE": "wrong state, or locked",
        "EXTRA": "an extra is not installed",
        "STORE": "the store is damaged, or from a newer version",
        "INTERRUPTED": "interrupted",
    }
)

# The value with which a study can go on, for each clause that can make this version refuse one. A test holds that it is complete and true.
WORKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "data.exclusions_required": "false",
        "data.erasure_effect": '"from-next-study"',
        "data.minimum_fairness_check": "[]",
        "schemes.accepted": '["masked"]',
        "sums.groups": "{ allowed = false }",
        "differential_privacy.required": "false",
        "differential_privacy.per_study": "absent",
        "differential_privacy.lifetime": "absent",
        "sharing.fraction_a_round": "1.0",
        "disclosure.own_metrics": '"none"',
        "robustness.least": '"R0"',
    }
)

# Clauses that this version keeps without doing anything, because it does not do what they bound. A test holds that no code reads them.
IDLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "peers.trusted_set": "nobody continues another party's work in this version",
        "data.exclusions_max_age_hours": "lists of objections are not read in this version",
        "schemes.key_bits_at_least": "no homomorphic scheme in this version",
        "schemes.dealers_granted": "no homomorphic scheme in this version",
        "sums.min_cell": "no workload of this version shows counts",
        "differential_privacy.unit": "no noise in this version",
        "differential_privacy.adjacency": "no noise in this version",
        "differential_privacy.noise_trust": "no noise in this version",
        "disclosure.contribution_record": "contribution is not measured in this version; the gateway shows the log's record of rounds "
        'joined and bytes sent to its own party alone, which is `["self"]`, whatever more the clause permits; which rounds a party joined '
        "every member of the study sees in the certificates",
        "code.custom": "no custom code in this version",
        "retention.sealed_updates": "the gateway deletes a closed round's sealed updates when the next one closes, and the last "
        "ones a day after the study's end, which keeps both values",
        "retention.legal_hold": "nothing at a party expires by itself in this version",
    }
)


# Defaults that are not the strictest value of their field. A test holds that every other one is, and that these are not.
LAXER_DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "purpose.diseases": "it narrows `purpose.granted`, which has no default",
        "data.minimum_fairness_check": "what is asked for besides has no strictest value",
        "schemes.key_bits_at_least": "there is no longest key; the default is longer than guidance asks for",
        "model_use.forbidden": "it takes from `model_use.allowed`, whose default permits nothing",
        "limits.studies_at_once": "it protects only the party's own resources; absent, no limit",
        "limits.rounds_a_day": "it protects only the party's own resources; absent, no limit",
        "limits.hours": "it protects only the party's own resources; absent, any hour",
        "limits.cpu_seconds_a_round": "it protects only the party's own resources; absent, no limit",
    }
)


def laxer_defaults() -> str:
    """Return the fields whose default is not their strictest value, and why."""
    return "\n".join(f"- `{clause}`: {why};" for clause, why in LAXER_DEFAULTS.items()).removesuffix(";") + "."


def policy_reference() -> str:
    """Return every section of a policy as a table: field, unit, default, how it is upheld, what this version does, what it says."""
    refused = {item.clause: item for item in unsupported_clauses(demanding_policy())}
    return "\n".join(_section(name, info, refused) for name, info in PrivacyPolicy.model_fields.items() if _is_section(info))


def demanding_policy() -> PrivacyPolicy:
    """Return the policy that asks for everything."""
    return PrivacyPolicy.model_validate_json(json.dumps(dict(DEMANDING)))


def clauses() -> tuple[str, ...]:
    """Return the name of every clause, `section.field`."""
    return tuple(
        f"{section}.{field}" for section, info in PrivacyPolicy.model_fields.items() if _is_section(info) for field in _fields(info)
    )


def _is_section(info: FieldInfo) -> bool:
    return isinstance(info.annotation, type) and issubclass(info.annotation, Section)


def _fields(info: FieldInfo) -> Mapping[str, FieldInfo]:
    assert isinstance(info.annotation, type)  # noqa: S101 - for the type checker: `_is_section` said so
    assert issubclass(info.annotation, Section)  # noqa: S101
    return info.annotation.model_fields


def _section(name: str, info: FieldInfo, refused: Mapping[str, Unsupported]) -> str:
    doc = (info.annotation.__doc__ or "").splitlines()[0] if info.annotation else ""
    must = " The section must be written." if info.is_required() else ""
    lines = [
        f"### [{name}]",
        "",
        doc + must,
        "",
        "| field | unit | default | upheld | two policies together | in this version | says |",
        "|---|---|---|---|---|---|---|",
    ]
    for field, spec in _fields(info).items():
        upheld = upheld_of(spec)
        now = _now(f"{name}.{field}", upheld, refused)
        lines.append(_row(f"`{field}`", unit_of(spec), _default(name, field, spec), upheld.value, lattice_of(spec).value, now, _says(spec)))
        for entry, inner in entries_of(spec).items():
            default = _default(name, f"{field}.{entry}", inner)
            lines.append(_row(f"`{field}.{entry}`", unit_of(inner), default, "", lattice_of(inner).value, "", _says(inner)))
    return "\n".join([*lines, ""])


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _says(spec: FieldInfo) -> str:
    return spec.description or ""


def _default(section: str, field: str, spec: FieldInfo) -> str:
    if spec.is_required():
        return "**must be written**"
    if (section, field) == ("schemes", "colluding_parties_survived"):
        return "smallest `min_parties` less 2"
    value = spec.get_default(call_default_factory=True)
    return "absent" if value is None else f"`{_toml(value)}`"


def _toml(value: object) -> str:
    """Return a default as a policy file would say it."""
    match value:
        case BaseModel():
            return _toml(value.model_dump(exclude_none=True))
        case dict():
            return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in value.items()) + " }" if value else "{}"
        case tuple():
            return json.dumps(list(value))
        case _:
            return json.dumps(value)


def _now(clause: str, upheld: Upheld, refused: Mapping[str, Unsupported]) -> str:
    if clause in refused:
        return f"**refuses every study** unless `{WORKS[clause]}`: {refused[clause].why}"
    if clause in IDLE:
        return f"nothing to do: {IDLE[clause]}"
    return "recorded and signed; people keep it" if upheld is Upheld.DECLARED else "upheld"


def exit_codes() -> str:
    """Return the exit codes; KeyError for one that this page has no sentence for."""
    return "\n".join(["| exit code | meaning |", "|---|---|", *(f"| {code:d} | {EXIT_CODES[code.name]} |" for code in ExitCode)])


def problems_table() -> str:
    """Return the list of problems: name, HTTP status, exit code, what it says, what to do."""
    lines = ["| problem | HTTP | exit code | says | what to do |", "|---|---|---|---|---|"]
    for slug in Slug:
        problem = Problem(slug, "")
        lines.append(f"| `{slug}` | {problem.status} | {EXIT_OF[slug]:d} | {problem.title} | {problem.do} |")
    return "\n".join(lines)


def command_line() -> str:
    """Return every command: how it is called, what it does, its options."""
    return "\n".join(_noun(noun, _command(module, noun)) for noun, module in NOUNS.items())


def _command(module: str, noun: str) -> Any:  # noqa: ANN401 - a command of typer's parser, whose classes moved between its versions
    found = import_module(module)
    app = getattr(found, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(noun)(getattr(found, noun))
    return typer.main.get_command(app)


def _noun(noun: str, command: Any) -> str:  # noqa: ANN401 - as above
    verbs = getattr(command, "commands", None)
    if verbs is None:
        return "\n".join([f"## parley {noun}", "", *_verb(f"parley {noun}", command)])
    says = [f"## parley {noun}", "", _plain(command.help), ""]
    for name, verb in verbs.items():
        says += [f"### parley {noun} {name}", "", *_verb(f"parley {noun} {name}", verb)]
    return "\n".join(says)


def _verb(name: str, command: Any) -> list[str]:  # noqa: ANN401 - as above
    shown = [item for item in command.params if item.name != "help"]
    arguments = [item for item in shown if item.param_type_name == "argument"]
    options = [item for item in shown if item.param_type_name == "option"]
    called = " ".join([name, *map(_argument, arguments), *(f"{item.opts[0]} …" for item in options if item.required)])
    rows = [(f"`{_argument(item)}`", item) for item in arguments] + [
        (", ".join(f"`{each}`" for each in item.opts), item) for item in options
    ]
    lines = [_plain(command.help), "", "```", called + (" [OPTIONS]" if any(not item.required for item in options) else ""), "```", ""]
    if rows:
        lines += ["| | | default |", "|---|---|---|"]
        lines += [f"| {cell} | {_plain(getattr(item, 'help', '')).replace('|', chr(92) + '|')} | {_given(item)} |" for cell, item in rows]
        lines.append("")
    return lines


def _argument(item: Any) -> str:  # noqa: ANN401 - as above
    name = (getattr(item, "metavar", None) or item.name.upper()) + ("…" if item.nargs == -1 else "")
    return name if item.required else f"[{name}]"


def _given(item: Any) -> str:  # noqa: ANN401 - as above
    if item.required:
        return "must be given"
    return "" if item.default in (None, False, (), "") or callable(item.default) else f"`{item.default}`"


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _mermaid(diagram: str) -> str:
    return f"```mermaid\n{diagram}\n```\n"


def taxonomy() -> str:
    """Return the pinned taxonomy: its sources with their licences, and its terms as a tree. A term with two broader ones stands twice."""
    found = Taxonomy.load()
    sources = [
        f"| `{prefix}:` | {each.name} | {each.release} | {each.licence} | <{each.where}> |" for prefix, each in found.vocabularies.items()
    ]
    tops = [term for term, broader in found.broader.items() if not broader]
    tree = [line for top in tops for line in _branch(found, top, 0)]
    head = ["| prefix | vocabulary | release | licence | where |", "|---|---|---|---|---|"]
    return "\n".join([f"Version `{found.version}`.", "", *head, *sources, "", *tree])


def _branch(found: Taxonomy, term: str, depth: int) -> list[str]:
    below = [narrower for narrower, broader in found.broader.items() if term in broader]
    return [f"{'  ' * depth}- `{term}` {found.labels[term]}", *(line for each in below for line in _branch(found, each, depth + 1))]


PARTS: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "round-party": lambda: _mermaid(round_diagram(PARTY)),
        "round-gateway": lambda: _mermaid(round_diagram(GATEWAY)),
        "study": lambda: _mermaid(study_diagram()),
        "command-line": command_line,
        "policy": policy_reference,
        "laxer-defaults": laxer_defaults,
        "taxonomy": taxonomy,
        "exit-codes": exit_codes,
        "problems": problems_table,
        **TRYING,
        **WIRE,
    }
)


def rendered(text: str) -> str:
    """Return a page's text with every generated part made anew; KeyError for a part that nothing makes."""
    return _MARKED.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]().strip()}\n\n{match[3]}", text)


def marked_pages(folder: Path = PAGES) -> Iterable[Path]:
    """Return the pages that hold generated parts."""
    return [page for page in sorted(folder.rglob("*.md")) if _MARKED.search(page.read_text(encoding="utf-8"))]


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check say which would change."""
    stale = {
        page: text for page in marked_pages() if (text := rendered(page.read_text(encoding="utf-8"))) != page.read_text(encoding="utf-8")
    }
    check = "--check" in arguments
    for page, text in stale.items():
        if not check:
            page.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{page.relative_to(PAGES.parent)}: {'stale, run make docs' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
