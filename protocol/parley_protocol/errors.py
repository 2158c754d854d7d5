"""Errors of the protocol package, as one tree.

    ProtocolError
    ├── LocalProtocolError    we misused the protocol: a fault of ours, never caused by what a peer sent
    └── RemoteProtocolError   a peer broke the rules, or asked for what it may not have

After h11 (python-hyper/h11, `_util.py`): the two are separate, so that whoever catches one never hides the other. Every message names
the thing; `wanted` and `got` say the rest; `problem` is the name under which it is answered (`parley_protocol.problems`).

    >>> error = RemoteProtocolError("round 3: survivor list", problem=Slug.PROTOCOL_BROKEN, wanted="5 signatures", got="4")
    >>> str(error)
    'round 3: survivor list: wanted 5 signatures, got 4'
"""

from __future__ import annotations

from parley_protocol.problems import ProblemError, Slug


class ProtocolError(ProblemError):
    """Root of this package's errors."""


class LocalProtocolError(ProtocolError):
    """We misused the protocol: a message out of turn, an argument out of range. A bug, or a command given in the wrong state."""

    usual_problem = Slug.WRONG_STATE


class RemoteProtocolError(ProtocolError):
    """A peer broke the rules. What it sent is refused and changes nothing."""

    usual_problem = Slug.PROTOCOL_BROKEN
