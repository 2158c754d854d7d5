"""Profiles: complete policies to start from, filled in with a party's own values.

A template holds `{{name}}` for what must be given and `{{name: default}}` for what may be. Values are plain data and become TOML text,
never template text; the result is loaded before it is returned, so a profile that is filled in badly is an error here and not at
the party. Dates are arguments: nothing here reads a clock.

`demo-open` is for trying things out on one machine. The strict ones demand what a hospital, or a company among competitors, tends to
demand, also where this version cannot uphold it: then it refuses studies by name. What only people can say stands empty in them, which
grants nothing, and the line says LOOK.

    >>> from datetime import date
    >>> text = render_profile("demo-open", party="clinic-a", valid_from=date(2027, 1, 1), valid_until=date(2027, 12, 31),
    ...                       gateway_fingerprint="SHA256:" + "A" * 43, datasets=["visits"], columns=["age", "ill"])
    >>> 'party       = "clinic-a"' in text
    True
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from datetime import date
from importlib import resources
from typing import Final
from urllib.parse import urlsplit

from parley_policies.errors import Fault, PolicyInvalid, Refused
from parley_policies.model.loader import load_policy
from parley_policies.model.policy import PrivacyPolicy

PROFILES: Final = ("demo-open", "health-strict", "finance-strict")
LOOPBACK_ONLY: Final = frozenset({"demo-open"})
_BUDGET_OF: Final = "lifetime_dataset"  # a lifetime budget is one dataset's: the first, unless another is named
_PLACE: Final = re.compile(r"\{\{([a-z_]+)(?:: (.*?))?\}\}(?!\})")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def placeholders(name: str) -> dict[str, str | None]:
    """Return the values that a profile takes and the default of each as TOML text, None where it must be given."""
    return {match[1]: match[2] for match in _PLACE.finditer(_template(name))}


def render_profile(name: str, **values: object) -> str:
    """Return a profile's policy as TOML text; PolicyInvalid for an unknown profile or value, a missing value, or one that does not fit.

    A value is text, a number, a truth value, a date, a list of those, or a table of those by name.
    """
    known = placeholders(name)
    faults = [
        Fault(key, f"a value that the profile takes ({', '.join(known)})", repr(values[key])) for key in sorted(set(values) - set(known))
    ]
    faults += [
        Fault(key, "a value (the profile has no default for it)", "nothing")
        for key, default in known.items()
        if default is None and key not in values
    ]
    if faults:
        raise PolicyInvalid(name, *faults)
    given = {key: _toml(name, key, value) for key, value in values.items()}
    if _BUDGET_OF in known and isinstance(datasets := values.get("datasets"), list | tuple) and datasets:
        given.setdefault(_BUDGET_OF, _toml(name, _BUDGET_OF, datasets[0]))
    text = _PLACE.sub(lambda match: given.get(match[1]) or match[2], _template(name))
    load_policy(text.encode(), name)
    return text


def check_place(policy: PrivacyPolicy, gateway_url: str) -> None:
    """Return unless the policy was made from a profile for loopback alone and `gateway_url` leads elsewhere: then Refused."""
    if policy.identity.profile in LOOPBACK_ONLY and not _is_loopback(urlsplit(gateway_url).hostname or ""):
        raise Refused(
            "identity.profile",
            "a gateway on loopback (127.0.0.1, ::1, localhost)",
            f"{gateway_url} with the profile {policy.identity.profile}",
            "write a policy of your own, starting from a strict profile",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _template(name: str) -> str:
    if name not in PROFILES:
        raise PolicyInvalid(name, Fault("profile", f"one of {', '.join(PROFILES)}", repr(name)))
    return resources.files("parley_policies").joinpath("profiles", f"{name}.toml").read_text(encoding="utf-8")


def _toml(profile: str, key: str, value: object) -> str:
    match value:
        case str() if not _CONTROL.search(value):
            return json.dumps(value, ensure_ascii=False)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case date():
            return value.isoformat()
        case list() | tuple():
            return "[" + ", ".join(_toml(profile, key, item) for item in value) + "]"
        case Mapping():
            return "{ " + ", ".join(f"{json.dumps(str(name))} = {_toml(profile, key, item)}" for name, item in value.items()) + " }"
    raise PolicyInvalid(profile, Fault(key, "text, a number, a date, a list or a table of those", repr(value)[:80]))
