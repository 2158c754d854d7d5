"""What opened sums do not hide: measured, with a fixed seed, by whoever only reads the sums and the lists (docs/threat-model.md).

    python -m benchmarks.not_hidden

Twelve members train one logistic regression on rows of their own, which differ from member to member; the sums are those that any correct
scheme opens, so no cryptography runs here. Two attacks, and how close each comes to a member's update (cosine; 1 is the same direction),
without noise and with Gaussian noise on each coordinate of a sum, of `noise` times the clip bound:

 1. *Difference*: a sum with a member, less the sum of the following round without it, against that member's update of the former round.
 2. *Regression*: over many rounds, whose lists keep to `max_small_changes = 0`, each member's mean update by least squares.

The page shows these figures; a test computes them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from parley_policies.enforcement.differencing import is_small_change, isolated

from benchmarks.harness import Row, run

Floats = NDArray[np.float64]

SEED: Final = 2027
MEMBERS: Final = 12
FEATURES: Final = 40
ROWS: Final = 300
FLOOR: Final = 3
CLIP: Final = 0.3
PRESENT: Final = 8  # of the members in a list of the regression
NOISES: Final = (0.0, 0.05, 0.3, 1.0)
FORMER: Final = (1, 10, 39)  # the round of the difference in which everybody is present
ROUNDS: Final = (12, 40)


@dataclass(frozen=True, slots=True)
class Training:
    """Every member's clipped update in every round, shape (rounds, members, features); nobody but the member sees one."""

    updates: Floats

    def sums(self, lists: list[frozenset[int]], noise: float, repeat: int = 0) -> Floats:
        """Return what is opened: the sum over each round's list, with noise of this standard deviation, in clip bounds."""
        drawn = np.random.default_rng((SEED, repeat)).normal(0.0, noise * CLIP, (len(lists), FEATURES))
        return np.stack([self.updates[number, sorted(members)].sum(axis=0) for number, members in enumerate(lists)]) + drawn


def trained(rounds: int) -> Training:
    """Return the updates of a training in which all members take part."""
    draw = np.random.default_rng(SEED)
    truth = draw.normal(0, 1, FEATURES)
    shifts = draw.normal(0, 0.5, (MEMBERS, FEATURES))
    rows = [draw.normal(0, 1, (ROWS, FEATURES)) + shift for shift in shifts]
    labels = [(draw.random(ROWS) < _sigmoid(x @ (truth + draw.normal(0, 0.3, FEATURES)))).astype(np.float64) for x in rows]
    model, updates = np.zeros(FEATURES), []
    for _ in range(rounds):
        made = np.stack([_update(model, x, y) for x, y in zip(rows, labels, strict=True)])
        updates.append(made)
        model = model + made.mean(axis=0)
    return Training(np.stack(updates))


def _update(model: Floats, x: Floats, y: Floats) -> Floats:
    local = model
    for _ in range(5):
        local = local - 0.1 * x.T @ (_sigmoid(x @ local) - y) / len(y)
    update: Floats = local - model
    return update * min(1.0, CLIP / float(np.linalg.norm(update)))


def _sigmoid(values: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-values))


def cosine(left: Floats, right: Floats) -> float:
    """Return the cosine between two vectors."""
    return float(left @ right / (np.linalg.norm(left) * np.linalg.norm(right)))


def difference(training: Training, first: int, noise: float) -> tuple[float, float]:
    """Return the median and the largest cosine over members: sum of round `first` (from 1) with a member, less the next one without it."""
    everyone = frozenset(range(MEMBERS))
    found = []
    for member in range(MEMBERS):
        lists = [everyone if number < first else everyone - {member} for number in range(len(training.updates))]
        sums = training.sums(lists, noise, member)
        found.append(cosine(sums[first - 1] - sums[first], training.updates[first - 1, member]))
    return float(np.median(found)), max(found)


def permitted_lists(rounds: int) -> list[frozenset[int]]:
    """Return random lists of PRESENT members, none of them a small change, none isolating fewer than FLOOR members of one base version."""
    draw = np.random.default_rng(SEED + 2)
    lists: list[frozenset[int]] = []
    while len(lists) < rounds:
        new = frozenset(int(member) for member in draw.choice(MEMBERS, PRESENT, replace=False))
        named = [frozenset(str(member) for member in members) for members in lists]
        candidate = frozenset(str(member) for member in new)
        if not is_small_change(named, candidate, FLOOR) and isolated([candidate], FLOOR) is None:
            lists.append(new)
    return lists


def regression(training: Training, rounds: int, noise: float) -> tuple[float, float]:
    """Return the median and the largest cosine over members between the least-squares estimate and the mean update over these rounds."""
    lists = permitted_lists(rounds)
    sums = training.sums(lists, noise)
    rows = np.array([[float(member in members) for member in range(MEMBERS)] for members in lists])
    estimates, *_ = np.linalg.lstsq(rows, sums, rcond=None)
    means = training.updates[:rounds].mean(axis=0)
    found = [cosine(estimates[member], means[member]) for member in range(MEMBERS)]
    return float(np.median(found)), max(found)


def sum_alone(training: Training, number: int) -> tuple[float, float]:
    """Return the median and the largest cosine over members between the sum of round `number` (from 1) and their updates: no attack."""
    found = [cosine(training.updates[number - 1].sum(axis=0), update) for update in training.updates[number - 1]]
    return float(np.median(found)), max(found)


def mean_alone(training: Training, rounds: int) -> tuple[float, float]:
    """Return the median and the largest cosine over members between the sum of all opened sums and their mean updates: no attack."""
    total = training.sums(permitted_lists(rounds), 0.0).sum(axis=0)
    found = [cosine(total, mean) for mean in training.updates[:rounds].mean(axis=0)]
    return float(np.median(found)), max(found)


def figures() -> dict[str, tuple[tuple[float, float], ...]]:
    """Return for each attack the median and the largest cosine over members: of the sums alone, then of the attack for each of NOISES."""
    training = trained(ROUNDS[-1])
    found = {}
    for first in FORMER:
        attacks = [difference(training, first, noise) for noise in NOISES]
        found[f"difference of rounds {first} and {first + 1}"] = (sum_alone(training, first), *attacks)
    for rounds in ROUNDS:
        attacks = [regression(training, rounds, noise) for noise in NOISES]
        found[f"regression over {rounds} rounds"] = (mean_alone(training, rounds), *attacks)
    return found


def measured() -> list[Row]:
    """Return every figure as a row."""
    kinds = ("sums_alone", *(f"noise_{noise}" for noise in NOISES))
    rows = []
    for name, pairs in figures().items():
        for kind, pair in zip(kinds, pairs, strict=True):
            named = f"{name.replace(' ', '_')}_{kind}"
            rows += [Row(f"{named}_{which}", value, "cosine") for which, value in zip(("median", "most"), pair, strict=True)]
    return rows


def table() -> str:
    """Return the figures as the page shows them: median over members, and in brackets the member that is hit worst."""
    head = ["", "the sums alone", "without noise", *(f"noise {noise:g}" for noise in NOISES[1:])]
    lines = [" | ".join(head).join(("|", " |")), "|---" * len(head) + "|"]
    for name, pairs in figures().items():
        lines.append(f"| {name} | " + " | ".join(f"{median:.2f} ({most:.2f})" for median, most in pairs) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run("not_hidden", measured)
