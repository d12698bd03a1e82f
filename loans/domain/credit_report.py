"""What the clearing house says of a person."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

WORST_SCORE: Final = 1
BEST_SCORE: Final = 10
MOST_FACTORS: Final = 5
LONGEST_CODE: Final = 50
CODE_PATTERN: Final = "[A-Za-z0-9][A-Za-z0-9._-]*"

CreditScore = Annotated[int, Field(strict=True, ge=WORST_SCORE, le=BEST_SCORE)]
Code = Annotated[str, Field(pattern=f"^{CODE_PATTERN}$", max_length=LONGEST_CODE)]
Factors = Annotated[tuple[Code, ...], Field(max_length=MOST_FACTORS, strict=False)]


class CreditReport(BaseModel):
    """A score, the codes of what has lowered it most (the worst first), and when it was made.

    Some clearing houses give the score alone.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    score: CreditScore
    factors: Factors = ()
    scored_at: AwareDatetime | None = None
