"""Errors of the learning package, as one tree.

    LearningError
    ├── ColumnError      a study's columns, objectives or model that this version cannot use
    ├── DataError        a party's values that do not fit the study's columns
    ├── VectorError      a vector, segment or sum of the wrong shape, or with values that are not finite
    └── ModelFileError   bytes that are no model file of this version

Every message names the thing, what was wanted, what was got, and what to do. No message holds a row's value except the one out of range.
"""

from __future__ import annotations


class LearningError(Exception):
    """Root of this package's errors."""


class ColumnError(LearningError):
    """A study's columns, objectives or model that this version cannot use."""


class DataError(LearningError):
    """A party's values that do not fit the study's columns."""


class VectorError(LearningError):
    """A vector, segment or sum of the wrong shape, or with values that are not finite."""


class ModelFileError(LearningError):
    """Bytes that are no model file of this version."""
