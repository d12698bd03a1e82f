"""What the log says of an error."""

from __future__ import annotations

import pydantic

from lepret.common.error_places import type_and_place


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")

    amount: int


def described(**values: object) -> str:
    try:
        Strict.model_validate(values)
    except pydantic.ValidationError as error:
        return type_and_place(error)
    raise AssertionError("it is valid")


def test_a_validation_error_names_the_fields_and_not_their_values() -> None:
    words = described(amount="4711 and a secret")
    assert words.endswith("(amount: int_parsing)")
    assert "secret" not in words


def test_a_line_names_twenty_fields_at_most_and_says_how_many_more_there_are() -> None:
    words = described(amount=1, **{f"x{number}": 1 for number in range(5000)})
    assert words.count("extra_forbidden") == 20
    assert words.endswith("and 4980 more)")


def test_a_long_name_is_shortened() -> None:
    assert len(described(amount=1, **{"x" * 60_000: 1})) < 200
