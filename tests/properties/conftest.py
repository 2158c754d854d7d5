"""Hypothesis without deadlines: how long an example takes says how busy the machine is, not whether a property holds."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")
