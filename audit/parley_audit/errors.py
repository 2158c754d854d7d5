"""Errors of the audit package, as one tree.

AuditError
├── FaultError     something in an export does not verify: which check, at which leaf, what was wanted and what was got
└── ExportError    an export cannot be made as asked
"""

from __future__ import annotations

from parley_audit.checks import Check, Fault


class AuditError(Exception):
    """Root of this package's errors."""


class FaultError(AuditError):
    """Something in an export does not verify."""

    def __init__(self, check: Check, message: str, leaf: int | None = None) -> None:
        super().__init__(message)
        self.fault = Fault(check, message, leaf)


class ExportError(AuditError):
    """An export cannot be made as asked."""
