"""Names that people read instead of those in the code (glossary): models, parts of a vector, terms."""

from __future__ import annotations

from typing import Final

MODEL_NAMES: Final = {
    "local_logistic": "alone, logistic",
    "local_mlp": "alone, small network",
    "same_objective": "with the two others of its kind",
    "federated": "with all five others",
}
MODEL_PHRASES: Final = {  # inside a sentence
    "local_logistic": "alone with a logistic model",
    "local_mlp": "alone with a small network",
    "same_objective": "with the two others of its kind",
    "federated": "with all five others",
}
_TERMS: Final = {
    "max_colluders": "parties that may conspire and still learn nothing",
    "gateway_may_lie": "gateway not trusted",
    "max_small_changes": "small changes of the list allowed",
    "clip_bound": "cap on one party's contribution",
    "rounds": "rounds, all steps together",
    "weights": "weights",
    "valid_until": "in force until",
}


def part_name(segment: str) -> str:
    """Return a segment as people read it."""
    kind, _, objective = segment.partition(":")
    match kind:
        case "trunk":
            return "shared part"
        case "head":
            return f"part for {objective}"
        case _:
            return segment


def term_name(term: str) -> str:
    """Return a term as people read it."""
    if term.startswith("min_parties of "):
        return f"least parties summed together, {part_name(term.removeprefix('min_parties of '))}"
    return _TERMS.get(term, term)


def numbers(values: tuple[int, ...]) -> str:
    """Return whole numbers in order, runs of them by their ends: `12 to 30, 34`; nothing for none."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)
