"""`parley version`: the build, the protocol that it speaks, and which extras are there. Works without any extra."""

from __future__ import annotations

import platform
from importlib import metadata

import typer
from parley_protocol.limits import PROTOCOL_MAX, PROTOCOL_MIN

from parley.extras import DISTRIBUTION, EXTRAS
from parley.output import Facts, Table
from parley.session import session_of


def version(context: typer.Context) -> None:
    """Build, protocol range, extras present and missing."""
    build = metadata.version(DISTRIBUTION)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    extras = {extra.name: {"present": extra.versions(), "missing": list(extra.missing)} for extra in EXTRAS}
    result = {
        "version": build,
        "protocol": {"min": PROTOCOL_MIN, "max": PROTOCOL_MAX},
        "python": python,
        "platform": platform.platform(),
        "extras": extras,
    }
    spoken = str(PROTOCOL_MAX) if PROTOCOL_MIN == PROTOCOL_MAX else f"{PROTOCOL_MIN} to {PROTOCOL_MAX}"
    rows = [
        (extra.name, ", ".join(f"{n} {v}" for n, v in extra.versions().items()), ", ".join(extra.missing), extra.serves) for extra in EXTRAS
    ]
    session_of(context).out.result(
        result,
        Facts({"parley": build, "protocol": spoken, "python": python, "platform": platform.platform()}),
        Table(("extra", "present", "missing", "serves"), rows),
    )
