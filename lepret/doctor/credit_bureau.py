"""Whether the credit bureau can be reached. It is asked for no score: each is somebody's."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import httpx2
from django.conf import settings

from lepret.doctor.places import place_in
from lepret.doctor.report import SECONDS_FOR_AN_ANSWER, Trouble

VARIABLE: Final = "CREDIT_BUREAU_URL"
_PORTS: Final = {"http": 80, "https": 443}
# What to do about statuses. Any other says that somebody is there, who expects no GET.
_WRONG: Final = (
    (range(300, 400), f"correct {VARIABLE}, since nobody follows it elsewhere"),
    ((401, 403), f"correct the credentials in {VARIABLE}"),
    (range(500, 600), "wait, or call them; what needs a score waits, too, and loses nothing"),
)


def can_be_reached() -> str:
    """See that it answers HTTP.

    Raises:
        Trouble: it does not, or says that it does not work.
    """
    url = settings.CREDIT_BUREAU_URL
    if url is None:
        return f"none: {VARIABLE} is not set, so the simulator stands in, and makes scores up"
    place = place_in(url, "the credit bureau", VARIABLE, port=_PORTS[urlsplit(url).scheme])
    try:
        status = _status(f"{url.rstrip('/')}/scores")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise place.trouble_of(error) or Trouble(
            f"{place} does not keep to HTTP ({type(error).__qualname__}): correct {VARIABLE}"
        ) from None
    for wrong, words in _WRONG:
        if status in wrong:
            raise Trouble(f"{place} answers {status}: {words}")
    return f"{place} can be reached (it answers GET with {status}); it was asked for no score"


def _status(url: str) -> int:
    # Only the beginning of the answer: the rest may be long, or come slowly.
    with httpx2.stream("GET", url, timeout=SECONDS_FOR_AN_ANSWER) as response:
        return response.status_code
