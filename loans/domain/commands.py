"""The commands, named in the imperative. `loans/domain/fields.py` validates what people fill in."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID, uuid5

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from loans.domain.credit_report import CreditReport
from loans.domain.fields import Amount, Name, NationalId, Revision, Text, Username, Words
from loans.domain.reasons import Reasons, ReasonText


class Command(BaseModel):
    """What someone wants to happen. `decide` accepts or rejects it.

    `id` is that of the loan request. `issued_at` is when the command was given, since the domain
    has no clock.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    id: Annotated[UUID, Field(strict=False)]
    issued_at: AwareDatetime

    @property
    def command_id(self) -> UUID:
        """Stays the same if the command is sent again. Event ids are derived from it."""
        raise NotImplementedError


class RequestLoan(Command):
    """Apply for a loan of `amount` whole units.

    `credit_report` is filled in by the use case, never by the applicant. `None` means that the
    credit bureau has not given one yet.
    """

    name: Name = Field(repr=False)
    national_id: NationalId = Field(repr=False)
    amount: Amount
    address: Text = Field(default="", repr=False)
    credit_report: CreditReport | None = None

    @property
    def command_id(self) -> UUID:
        return self.id


class RecordCreditScore(Command):
    """Record the score of a request that was accepted without one."""

    credit_report: CreditReport

    @property
    def command_id(self) -> UUID:
        return uuid5(self.id, type(self).__name__)


class ParkCreditCheck(Command):
    """Stop asking the credit bureau about a request until an operator has looked into it."""

    reason: str
    attempts: int

    @property
    def command_id(self) -> UUID:
        # A check that is parked, replayed and parked again is parked twice: two commands.
        return uuid5(self.id, f"{type(self).__name__}\n{self.issued_at.isoformat()}")


class LapseApplication(Command):
    """Prevent an application that is late from being recorded on `revision`."""

    revision: Revision | None

    @property
    def command_id(self) -> UUID:
        return uuid5(self.id, f"{type(self).__name__}\n{self.revision}")


class UnderwritersCommand(Command):
    """What an underwriter does with a request that a page has shown.

    `shown_revision` is the revision of the request that the underwriter saw; `None` accepts any
    revision.
    """

    shown_revision: Revision | None = None

    @property
    def command_id(self) -> UUID:
        # What one person says on one screen is one command, also when the button is pressed again.
        # On a later screen, the same may be said of another matter: somebody's vote has come.
        said = self.model_dump_json(exclude={"id", "issued_at", "as_lead"}, exclude_defaults=True)
        when = "" if self.is_known_again else self.issued_at.isoformat()
        return uuid5(self.id, f"{type(self).__name__}\n{said}\n{when}")

    @property
    def is_known_again(self) -> bool:
        """Whether the command says enough to tell it from another one with the same words."""
        return self.shown_revision is not None


class UnderwritersDecision(UnderwritersCommand):
    """What an underwriter decides. `decided_by` is the username; `as_lead`: that of a lead."""

    decided_by: Username
    as_lead: bool = False
    note: Text = Field(default="", repr=False)


class AddNote(UnderwritersCommand):
    """Note something on a request, for the staff. `by` is the username.

    A program that shows no page may give the note an id, `sent_as`: with that it can be sent again.
    """

    by: Username
    text: Words = Field(repr=False)
    sent_as: Annotated[UUID | None, Field(strict=False)] = None

    @property
    def is_known_again(self) -> bool:
        return self.sent_as is not None or super().is_known_again


class ApproveLoan(UnderwritersDecision):
    """Approve a request that is under review."""


class DenyLoan(UnderwritersDecision):
    """Deny a request that is under review, for reasons that the policy has.

    `reason_text` tells the applicant what the reason `other` is.
    """

    reasons: Reasons
    reason_text: ReasonText = Field(default="", repr=False)


class DeskCommand(Command):
    """Who works on a request. `by` is the username of whoever says so.

    What it leads to depends on the moment, which no page knows: there is no revision in it.
    """

    by: Username

    @property
    def command_id(self) -> UUID:
        return uuid5(self.id, "\n".join((type(self).__name__, *self._said())))

    def _said(self) -> tuple[str, ...]:
        return self.by, self.issued_at.isoformat()


class ClaimRequest(DeskCommand):
    """Work on a request that nobody else works on, or go on with it.

    `as_next`: any request would do, so none on which `by` has given an opinion is claimed.
    """

    as_lead: bool = False
    as_next: bool = False


class ReleaseRequest(DeskCommand):
    """Let go of a request that one holds."""


class HandOver(DeskCommand):
    """Give a request to the underwriter `to`: one's own or, as a lead who says why, anybody's."""

    to: Username
    as_lead: bool = False
    to_lead: bool = False
    why: Text = Field(default="", repr=False)

    def _said(self) -> tuple[str, ...]:
        return self.by, self.to, self.issued_at.isoformat()


class EscalateRequest(DeskCommand):
    """Leave a request to the leads."""

    why: Words = Field(repr=False)


LoanCommand = (
    RequestLoan
    | RecordCreditScore
    | ParkCreditCheck
    | LapseApplication
    | ApproveLoan
    | DenyLoan
    | AddNote
    | ClaimRequest
    | ReleaseRequest
    | HandOver
    | EscalateRequest
)
