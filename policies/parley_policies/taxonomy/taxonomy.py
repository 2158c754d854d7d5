"""The pinned taxonomy: which purpose, data use or disease is narrower than which.

Policies grant and prohibit by identifiers of DPV, DUO and MONDO; a study names its own. They are matched by meaning: a narrower one fits a
broader. What is narrower stands in one small file that comes with this package, is dated, and names its sources, their releases and
licences. Its version (date and digest) stands in the terms of every agreement, and each member compares it with its own: two services with
different files would judge the same study differently.

What the file does not know, and `text:` identifiers, match exactly. Vocabularies are not mapped onto each other. Nothing is fetched: the
file is made by `policies/make_taxonomy.py` from a table that people typed.

    >>> taxonomy = Taxonomy.load()
    >>> taxonomy.is_a("MONDO:0005009", "MONDO:0005252"), taxonomy.is_a("dpv:ResearchAndDevelopment", "dpv:ScientificResearch")
    (True, False)
    >>> taxonomy.says("MONDO:0005252"), taxonomy.says("text:pricing")
    ('MONDO:0005252 (heart failure)', 'text:pricing')
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final, Literal

from parley_crypto.statement import canonical_json
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parley_policies.errors import TaxonomyInvalid

SCHEMA: Final = "parley.taxonomy/1"
_DIGITS: Final = 16  # of the digest in a version: 64 bits, and a file is chosen by whoever releases the software

TaxonomyVersion = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}\+[0-9a-f]{16}$")]  # date, and the first digits of the content's SHA-256


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Vocabulary(_Entry):
    """Where terms come from."""

    name: str
    release: str
    licence: str
    where: str


class _Term(_Entry):
    label: str
    broader: list[str]


class _File(_Entry):
    schema_: Annotated[Literal["parley.taxonomy/1"], Field(alias="schema")]
    sha256: str
    date: str
    vocabularies: dict[str, Vocabulary]
    terms: dict[str, _Term]


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a taxonomy's date, vocabularies and terms as canonical JSON (RFC 8785): 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json({name: content[name] for name in ("date", "vocabularies", "terms")})).hexdigest()


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """A partial order of terms. `version` names it: the date, and the first 16 digits of its SHA-256."""

    version: str
    vocabularies: Mapping[str, Vocabulary] = field(repr=False)
    labels: Mapping[str, str] = field(repr=False)
    broader: Mapping[str, tuple[str, ...]] = field(repr=False)  # a term -> the nearest broader ones
    _above: Mapping[str, frozenset[str]] = field(repr=False)  # a term -> itself and everything broader
    _below: Mapping[str, frozenset[str]] = field(repr=False)  # a term -> itself and everything narrower

    @staticmethod
    def load() -> Taxonomy:
        """Return the taxonomy of this version of the software."""
        return _pinned()

    @staticmethod
    def parse(raw: bytes) -> Taxonomy:
        """Return the taxonomy in a file; TaxonomyInvalid if it is not one, was altered, or is no order."""
        try:
            file = _File.model_validate_json(raw)
            stated = content_digest(json.loads(raw))
        except ValidationError as error:
            raise TaxonomyInvalid(f"taxonomy: wanted a file {SCHEMA}, got {error.errors(include_url=False)[0]['msg']}") from error
        if stated != file.sha256:
            raise TaxonomyInvalid(f"taxonomy: wanted content with sha256 {file.sha256}, got {stated}; install the package again")
        broader = {term: tuple(entry.broader) for term, entry in file.terms.items()}
        above = _closure(broader)
        return Taxonomy(
            version=f"{file.date}+{file.sha256[:_DIGITS]}",
            vocabularies=file.vocabularies,
            labels={term: entry.label for term, entry in file.terms.items()},
            broader=broader,
            _above=above,
            _below={term: frozenset(other for other in above if term in above[other]) for term in above},
        )

    def is_a(self, narrow: str, broad: str) -> bool:
        """Whether `narrow` is `broad` or narrower than it. A term that the taxonomy does not know is narrower than nothing but itself."""
        return narrow == broad or broad in self._above.get(narrow, ())

    def widest(self, terms: Iterable[str]) -> frozenset[str]:
        """Return those of `terms` that are narrower than no other of them: what grants, or prohibits, the same in fewest words."""
        given = frozenset(terms)
        return frozenset(term for term in given if not self._above.get(term, frozenset()) & given - {term})

    def common(self, one: Iterable[str], other: Iterable[str]) -> frozenset[str]:
        """Return the widest terms that are one of `one` or narrower, and one of `other` or narrower: what two grants have in common."""
        return self.widest(self._down(one) & self._down(other))

    def _down(self, terms: Iterable[str]) -> frozenset[str]:
        return frozenset[str]().union(*(self._below.get(term, {term}) for term in terms))

    def knows(self, term: str) -> bool:
        """Whether the taxonomy holds a term, so that it is matched by meaning."""
        return term in self.labels

    def says(self, term: str) -> str:
        """Return a term with its label, for people to read; as it stands where the taxonomy does not know it."""
        label = self.labels.get(term)
        return term if label is None else f"{term} ({label})"


@cache
def _pinned() -> Taxonomy:
    return Taxonomy.parse(resources.files("parley_policies").joinpath("taxonomy", "taxonomy.json").read_bytes())


def _closure(broader: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """Return each term with all that is broader, itself included; TaxonomyInvalid for an unknown term or a circle."""
    above: dict[str, frozenset[str]] = {}
    rest = {term: tuple(parents) for term, parents in broader.items()}
    while rest:
        ready = [term for term, parents in rest.items() if all(parent in above for parent in parents)]
        if not ready:
            raise TaxonomyInvalid(f"taxonomy: wanted an order of terms, got a circle or an unknown term at {min(rest)}")
        for term in ready:
            above[term] = frozenset({term}).union(*(above[parent] for parent in rest.pop(term)))
    return above
