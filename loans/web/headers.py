"""The request headers of the JSON API's commands: `Idempotency-Key` and `If-Match`."""

from __future__ import annotations

import re
from typing import Annotated, Final

from ninja import Header
from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from lepret.api.openapi import EXAMPLE_ID

IDEMPOTENCY_KEY: Final = "Idempotency-Key"

# A string as in RFC 9651 (section 3.3.3); many clients send it without the quotes.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"')
_BARE: Final = re.compile(r"[!#-~][ -~]{0,254}")
_KEY_SCHEMA: Final = {"type": "string", "pattern": f"^({_QUOTED.pattern}|{_BARE.pattern})$"}

# A revision as an entity tag (RFC 9110, section 8.8.3).
_ETAG: Final = re.compile('"(0|[1-9][0-9]{0,17})"')
_CONDITION_SCHEMA: Final = {"type": "string", "pattern": rf"^(\*|{_ETAG.pattern})$"}


def _key_in(value: str) -> str:
    if quoted := _QUOTED.fullmatch(value):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    if _BARE.fullmatch(value):
        return value
    raise PydanticCustomError(
        "idempotency_key", "This must be 1 to 255 printable ASCII characters, in double quotes."
    )


def _revision_in(value: str) -> int | None:
    if value.strip() == "*":
        return None
    if tag := _ETAG.fullmatch(value.strip()):
        return int(tag[1])
    message = 'This must be one ETag as it was answered, such as "2", or *.'
    raise PydanticCustomError("if_match", message)


KeyHeader = Annotated[
    Annotated[str, BeforeValidator(_key_in), WithJsonSchema(_KEY_SCHEMA)] | None,
    Header(
        alias=IDEMPOTENCY_KEY,
        description="A string of the caller's choice, 1 to 255 printable ASCII characters. The "
        "same call sent again with the same key is carried out once, and answered as the first "
        "time; another call with that key is refused. Keys belong to the token's user. Without a "
        "token, a key must be a UUID.",
        examples=[f'"{EXAMPLE_ID}"'],
    ),
]

RevisionHeader = Annotated[
    Annotated[int | None, BeforeValidator(_revision_in), WithJsonSchema(_CONDITION_SCHEMA)],
    Header(
        alias="If-Match",
        description="The `etag` of the request as it was shown to whoever decides, or `*`.",
        examples=['"2"'],
    ),
]
