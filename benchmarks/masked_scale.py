"""Five hundred parties in one process: one round, then five in each of which members drop out in another phase (`make scale`).

Every party is a state machine of its own that verifies what it is sent, on the terms that an agreement of so many members would have. Sums
are compared with the plain ones to the bit. Processor time of one thread; it takes minutes.

    python -m benchmarks.masked_scale [--json]
"""

from __future__ import annotations

import time
from typing import Final

from parley_protocol.ids import Phase

from benchmarks.harness import Row, run
from benchmarks.masked_rounds import TimedSimulation, check_exact, one_round, terms_of

MEMBERS: Final = 500
DROPPED: Final = 20  # one member in so many drops out, in each round others
PHASES: Final = (Phase.ADVERTISE, Phase.SHARE, Phase.COLLECT, Phase.CONFIRM, Phase.REVEAL)
ONE_ROUND_SECONDS: Final = 60.0
FIVE_ROUNDS_SECONDS: Final = 300.0


def rows(members: int = MEMBERS) -> list[Row]:
    """Run the rounds of so many members; goals are for five hundred."""
    terms = terms_of(members)
    start = time.process_time()
    one_round(terms)
    found = [Row(f"one round of {members}", time.process_time() - start, "CPU s", ONE_ROUND_SECONDS, "<=")]
    simulation, seconds = TimedSimulation(terms), 0.0
    for number, phase in enumerate(PHASES):
        start = time.process_time()
        dropped = round_with_dropouts(simulation, number, phase)
        seconds += time.process_time() - start
        found.append(Row(f"a round in which {dropped} drop out in {phase}", time.process_time() - start, "CPU s"))
    found.append(Row("the five rounds together", seconds, "CPU s", FIVE_ROUNDS_SECONDS, "<="))
    if terms.graph is not None:
        found += [Row(f"neighbour graph: {name}", value, "members") for name, value in terms.graph.model_dump().items()]
    return [*found, Row("messages of one party in five rounds", max(simulation.control.values()) / 1e3, "KB")]


def round_with_dropouts(simulation: TimedSimulation, number: int, phase: Phase) -> int:
    """Run a round in which some fall silent before they answer in `phase`, and have them back for the next; return how many they were."""
    gone = [member.party for member in simulation.terms.members[number::DROPPED]]
    if simulation.run(dict.fromkeys(gone, phase)) is not Phase.CLOSED:
        raise ArithmeticError(f"round in which {len(gone)} drop out in {phase}: wanted it opened, got {simulation.state.phase}")
    check_exact(simulation)
    if refused := [refusal for party in simulation.parties.values() for refusal in party.refusals]:
        raise ArithmeticError(f"round in which {len(gone)} drop out in {phase}: wanted nothing refused, got {refused[0]}")
    simulation.away.clear()
    return len(gone)


if __name__ == "__main__":
    run("masked_scale", rows)
