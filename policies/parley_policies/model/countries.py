"""Countries and the two groups of countries that policies name: `EU` and `EEA`.

Codes are ISO 3166-1 alpha-2. The members stand here as of 2020-02-01 (the United Kingdom left); a change of either group is a new
version of this software, and until then a policy can name countries one by one.

    >>> "NO" in expanded(("EEA",)), "NO" in expanded(("EU",))
    (True, False)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

EU: Final = frozenset("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())  # noqa: SIM905 - read as one line
EEA: Final = EU | {"IS", "LI", "NO"}
GROUPS: Final = {"EU": EU, "EEA": EEA}


def expanded(names: Iterable[str]) -> frozenset[str]:
    """Return the countries that `names` (codes, `EU`, `EEA`) stand for."""
    return frozenset[str]().union(*(GROUPS.get(name, frozenset({name})) for name in names))


# Names as people read them; a code that is not here is shown as a code.
NAMES: Final = {
    "EU": "the European Union",
    "EEA": "the European Economic Area",
    "AT": "Austria",
    "BE": "Belgium",
    "BG": "Bulgaria",
    "CY": "Cyprus",
    "CZ": "Czechia",
    "DE": "Germany",
    "DK": "Denmark",
    "EE": "Estonia",
    "ES": "Spain",
    "FI": "Finland",
    "FR": "France",
    "GR": "Greece",
    "HR": "Croatia",
    "HU": "Hungary",
    "IE": "Ireland",
    "IT": "Italy",
    "LT": "Lithuania",
    "LU": "Luxembourg",
    "LV": "Latvia",
    "MT": "Malta",
    "NL": "the Netherlands",
    "PL": "Poland",
    "PT": "Portugal",
    "RO": "Romania",
    "SE": "Sweden",
    "SI": "Slovenia",
    "SK": "Slovakia",
    "IS": "Iceland",
    "LI": "Liechtenstein",
    "NO": "Norway",
    "CH": "Switzerland",
    "GB": "the United Kingdom",
    "US": "the United States",
    "CA": "Canada",
    "AU": "Australia",
    "NZ": "New Zealand",
    "JP": "Japan",
    "KR": "South Korea",
}
