"""Errors of the policies package, as one tree.

    PolicyError
    ├── FileInvalid            a file that people write does not hold what it should: file, field, wanted, got
    │   ├── PolicyInvalid      a policy, or a profile it was to be made from
    │   ├── StudyInvalid       a study file
    │   └── FactsInvalid       a facts file of `parley policy try`
    ├── Refused                this party's own policy says no: clause, wanted, got
    ├── Conflict               no value satisfies every member: field, parties
    ├── OfferInvalid           an offer that does not belong to the proposal or to whom it speaks for
    ├── AgreementInvalid       an agreement that not all of its members signed
    ├── CredentialInvalid      a credential that does not speak for the party that shows it, or whose issuer is not believed
    ├── TaxonomyInvalid        the packaged taxonomy is not what it was made as
    └── ApprovalInvalid        a person's signature that is none: by another key or role, or on something else

Every message names the thing, what was wanted, what was got and, where it is not plain, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

OUTWARD_REASON: Final = "this party's policy does not permit the study"


class PolicyError(Exception):
    """Root of this package's errors."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file: the field as a dotted path, what was wanted and what was got."""

    field: str
    wanted: str
    got: str

    def __str__(self) -> str:
        return f"{self.field}: wanted {self.wanted}, got {self.got}"


class FileInvalid(PolicyError):  # noqa: N818 - the word people read
    """A file that people write and that does not hold what it should. Carries all faults; the message shows each on a line."""

    what: ClassVar[str] = "file"

    def __init__(self, file: str, *faults: Fault) -> None:
        self.file: Final = file
        self.faults: Final = faults
        super().__init__(f"{self.what} {file}: " + "\n  ".join(str(fault) for fault in faults))


class PolicyInvalid(FileInvalid):
    """A policy file, or a profile it was to be made from, that this version refuses to read."""

    what = "policy"


class StudyInvalid(FileInvalid):
    """A study file that this version refuses to read."""

    what = "study file"


class FactsInvalid(FileInvalid):
    """A facts file that this version refuses to read."""

    what = "facts file"


class Refused(PolicyError):  # noqa: N818 - the word people read
    """This party's own policy, or its guard, says no.

    `clause` is the field of the policy (or of the study, where that is at fault). `str()` is the exact reason, for this party alone;
    `outward` is all that leaves the house. It is the same whatever the clause: a reason that differed would tell a denied
    peer by elimination that it is denied (policy.md, Explaining).
    """

    outward: Final = OUTWARD_REASON

    def __init__(self, clause: str, wanted: str, got: str, do: str = "") -> None:
        self.clause: Final = clause
        self.wanted: Final = wanted
        self.got: Final = got
        self.do: Final = do
        super().__init__(f"{clause}: wanted {wanted}, got {got}" + (f"; {do}" if do else ""))


class Conflict(PolicyError):  # noqa: N818 - the glossary's word
    """No value of `field` satisfies all; `parties` are those whose clauses meet in it, in id order."""

    def __init__(self, field: str, parties: tuple[str, ...], wanted: str, got: str) -> None:
        self.field: Final = field
        self.parties: Final = tuple(sorted(parties))
        self.wanted: Final = wanted
        self.got: Final = got
        super().__init__(f"{field}: wanted {wanted}, got {got} ({', '.join(self.parties) or 'nobody'})")


class OfferInvalid(PolicyError):  # noqa: N818 - as MalformedError's siblings
    """An offer that does not belong to the proposal, or speaks for a party that was not invited or has spoken already."""


class AgreementInvalid(PolicyError):  # noqa: N818 - as MalformedError's siblings
    """An agreement that not all of its members signed, or an acceptance by somebody who is no member."""


class CredentialInvalid(PolicyError):  # noqa: N818 - as its siblings
    """A credential that is not its issuer's, or does not speak for the party that shows it, or of an issuer that is not believed."""


class TaxonomyInvalid(PolicyError):  # noqa: N818 - as its siblings
    """A taxonomy that is no order of terms, or whose content is not the one it was made with."""


class ApprovalInvalid(PolicyError):  # noqa: N818 - as MalformedError's siblings
    """A person's signature that does not count: by a key that does not hold the role, on another file or other terms, or for another party.

    A signature that is lacking is `Refused`, by the clause that wants it.
    """
