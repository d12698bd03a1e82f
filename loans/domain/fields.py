"""The types of what people fill in, and the only place that validates it.

The form, the validation while typing, and the JSON API all go by them. Each shows the errors in its
own way.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from loans.domain import text

LONGEST_NAME: Final = 200
HIGHEST_AMOUNT: Final = 9_999_999_999
LONGEST_SHORT_TEXT: Final = 200
LONGEST_TEXT: Final = 500
LONGEST_LONG_TEXT: Final = 2_000
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


def _valid_text(value: str, *, longest: int) -> str:
    if len(value) > _MUCH_LONGER * longest:
        raise _text_too_long(longest)
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
    if len(several_lines) > longest:
        raise _text_too_long(longest)
    return several_lines


def _not_empty(value: str) -> str:
    if not value:
        raise PydanticCustomError("text_missing", "This field is required.")
    return value


def _text_too_long(longest: int) -> PydanticCustomError:
    return PydanticCustomError(
        "text_too_long", "At most {longest} characters.", {"longest": longest}
    )


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
    AfterValidator(partial(_valid_text, longest=LONGEST_TEXT)),
    WithJsonSchema({"type": "string", "maxLength": LONGEST_TEXT}),
]
Words = Annotated[
    Text,
    AfterValidator(_not_empty),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}),
]
ShortText = Annotated[
    str,
    AfterValidator(partial(_valid_text, longest=LONGEST_SHORT_TEXT)),
    WithJsonSchema({"type": "string", "maxLength": LONGEST_SHORT_TEXT}),
]
LongText = Annotated[
    str,
    AfterValidator(partial(_valid_text, longest=LONGEST_LONG_TEXT)),
    WithJsonSchema({"type": "string", "maxLength": LONGEST_LONG_TEXT}),
]
Username = Annotated[str, Field(min_length=1, max_length=LONGEST_USERNAME)]
Revision = Annotated[int, Field(ge=0, le=LATEST_REVISION)]
