"""A national ID as somebody types it in where they do not apply, such as to find a request."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from lepret.common.input_errors import describe
from loans.domain.fields import NationalId

_rule: TypeAdapter[str] = TypeAdapter(NationalId)


def national_id_in(typed: str) -> str:
    """The national ID, by the rule of the command, as requests are recorded with it.

    Raises:
        ValueError: it is none; the text says what is wrong.
    """
    try:
        return _rule.validate_python(typed)
    except ValidationError as invalid:
        raise ValueError(describe(invalid.errors(include_input=False)[0])) from None
