"""The commands, named in the imperative, and the only place that validates input.

The form, the validation while typing, and the JSON API all build these models. Each shows the
errors in its own way.
"""

from __future__ import annotations

import re
from typing import Annotated, Final
from uuid import UUID, uuid5

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from loans.domain import text
from loans.domain.credit_score import CreditScore
from loans.domain.events import DenialReason

LONGEST_NAME: Final = 200
HIGHEST_AMOUNT: Final = 9_999_999_999
LONGEST_TEXT: Final = 500
LONGEST_USERNAME: Final = 150
LATEST_REVISION: Final = 2**63 - 1
NATIONAL_ID_PATTERN: Final = "[0-9]{6}[A-Za-z]{2}"

# What is longer as it was sent is not looked at. Each letter may come with its marks, and spaces.
_MUCH_LONGER: Final = 4
_LONGEST_NATIONAL_ID_SENT: Final = 100


def _valid_name(value: str) -> str:
    if len(value) > _MUCH_LONGER * LONGEST_NAME:
        raise _name_too_long()
    name = re.sub(" {2,}", " ", text.cleaned(value))
    if not name:
        raise PydanticCustomError("name_missing", "Enter a name.")
    if not text.is_printable(name):
        raise PydanticCustomError(
            "name_characters", "A name has no control characters, or others that cannot be shown."
        )
    if text.has_odd_marks(name):
        raise PydanticCustomError(
            "name_marks", "A name has at most four accents on a letter, and none on its own."
        )
    if not text.has_letter(name):
        raise PydanticCustomError("name_without_letters", "A name has at least one letter.")
    if len(name) > LONGEST_NAME:
        raise _name_too_long()
    return name


def _name_too_long() -> PydanticCustomError:
    return PydanticCustomError("name_too_long", "A name has at most 200 characters.")


def _valid_national_id(value: str) -> str:
    national_id = text.without_separators(value[:_LONGEST_NATIONAL_ID_SENT])
    if not national_id:
        raise PydanticCustomError("national_id_missing", "Enter a national ID.")
    if len(value) > _LONGEST_NATIONAL_ID_SENT or not re.fullmatch(NATIONAL_ID_PATTERN, national_id):
        raise PydanticCustomError(
            "national_id_format", "A national ID is six digits and two letters, such as 123456aa."
        )
    return national_id.lower()


def _valid_amount(value: object) -> object:
    if value == "":
        raise PydanticCustomError("amount_missing", "Enter an amount.")
    # bool is a subclass of int, so `isinstance` would let True pass as 1.
    if type(value) is not int:
        raise PydanticCustomError("amount_format", "An amount is a whole number, digits only.")
    if value < 1:
        raise PydanticCustomError("amount_too_low", "An amount is at least 1.")
    if value > HIGHEST_AMOUNT:
        raise PydanticCustomError("amount_too_high", "An amount is at most 9,999,999,999.")
    return value


def _valid_text(value: str) -> str:
    if len(value) > _MUCH_LONGER * LONGEST_TEXT:
        raise _text_too_long()
    several_lines = text.cleaned(value.replace("\r\n", "\n"))
    if not text.is_printable(several_lines.replace("\n", "")):
        raise PydanticCustomError(
            "text_characters",
            "No control characters but line breaks, or others that cannot be shown.",
        )
    if text.has_odd_marks(several_lines):
        raise PydanticCustomError(
            "text_marks", "At most four accents on a letter, and none on its own."
        )
    if len(several_lines) > LONGEST_TEXT:
        raise _text_too_long()
    return several_lines


def _text_too_long() -> PydanticCustomError:
    return PydanticCustomError("text_too_long", "At most 500 characters.")


Name = Annotated[
    str,
    AfterValidator(_valid_name),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}),
]
NationalId = Annotated[
    str,
    AfterValidator(_valid_national_id),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^{NATIONAL_ID_PATTERN}$",
            "description": "Spaces and hyphens in it, and the case of letters, make no difference.",
        }
    ),
]
Amount = Annotated[
    int,
    BeforeValidator(_valid_amount),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": HIGHEST_AMOUNT}),
]
Text = Annotated[
    str,
    AfterValidator(_valid_text),
    WithJsonSchema({"type": "string", "maxLength": LONGEST_TEXT}),
]
Username = Annotated[str, Field(min_length=1, max_length=LONGEST_USERNAME)]
Revision = Annotated[int, Field(ge=0, le=LATEST_REVISION)]


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

    `credit_score` is filled in by the use case, never by the applicant. `None` means that the
    credit bureau has not given one yet.
    """

    name: Name = Field(repr=False)
    national_id: NationalId = Field(repr=False)
    amount: Amount
    address: Text = Field(default="", repr=False)
    credit_score: CreditScore | None = None

    @property
    def command_id(self) -> UUID:
        return self.id


class RecordCreditScore(Command):
    """Record the score of a request that was accepted without one."""

    credit_score: CreditScore

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


class UnderwritersDecision(Command):
    """What an underwriter decides. `decided_by` is the username.

    `shown_revision` is the revision of the request that the underwriter saw; `None` accepts any
    revision.
    """

    decided_by: Username
    note: Text = Field(default="", repr=False)
    shown_revision: Revision | None = None


class ApproveLoan(UnderwritersDecision):
    """Approve a request that is under review."""

    @property
    def command_id(self) -> UUID:
        return _decision_id(self, self.decided_by, self.note)


class DenyLoan(UnderwritersDecision):
    """Deny a request that is under review, for a reason."""

    reason: Annotated[DenialReason, Field(strict=False)]

    @property
    def command_id(self) -> UUID:
        return _decision_id(self, self.decided_by, self.reason, self.note)


LoanCommand = (
    RequestLoan | RecordCreditScore | ParkCreditCheck | LapseApplication | ApproveLoan | DenyLoan
)


def _decision_id(command: Command, *parts: str) -> UUID:
    # A request is decided only once. So the same decision by the same person is the same command,
    # also when the button is pressed again.
    return uuid5(command.id, "\n".join((type(command).__name__, *parts)))
