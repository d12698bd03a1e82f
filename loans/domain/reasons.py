"""The types of what an underwriter denies for, which the command and the JSON API share."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from loans.domain.credit_report import Code
from loans.domain.fields import ShortText
from loans.domain.policy import MOST_REASONS, OTHER

SHORTEST_REASON_TEXT: Final = 10


def _one_to_four(codes: object) -> object:
    if isinstance(codes, (list, tuple)) and not 1 <= len(codes) <= MOST_REASONS:
        raise PydanticCustomError("reasons_count", "Give one to four reasons.")
    return codes


def _each_once(codes: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(codes)) < len(codes):
        raise PydanticCustomError("reasons_twice", "Give each reason once.")
    return codes


def _says_what_other_is(text: str, info: ValidationInfo) -> str:
    # Reasons that are refused themselves are not among the data.
    if text and OTHER not in info.data.get("reasons", (OTHER,)):
        raise PydanticCustomError(
            "reason_text_alone", "This is for the reason `other`, which is not among the reasons."
        )
    if 0 < len(text) < SHORTEST_REASON_TEXT:
        raise PydanticCustomError(
            "reason_text_too_short", "Say it to the applicant in at least 10 characters."
        )
    return text


Reasons = Annotated[
    tuple[Code, ...],
    # Without `min_length`, which counts only what is valid.
    Field(
        max_length=MOST_REASONS,
        strict=False,
        json_schema_extra={"minItems": 1, "uniqueItems": True},
    ),
    BeforeValidator(_one_to_four),
    AfterValidator(_each_once),
]
"""One to four different codes. Whether the policy in force has them is for the decider to say."""

ReasonText = Annotated[ShortText, AfterValidator(_says_what_other_is)]
"""What the applicant is told of the reason `other`. In its model, it comes after `reasons`."""
