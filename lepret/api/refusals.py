"""Has every refusal under `/api/` be a problem document, whatever has made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from lepret.api.problems import CONTENT_TYPE, Problem, not_found, title_of
from lepret.common.api_calls import is_call

_DETAILS: Final[Mapping[int, str]] = {
    HTTPStatus.BAD_REQUEST: "The request is not valid, or is for a host that is not this one.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong here.",
}


def refusals_are_problems(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that writes a problem document in place of a page that refuses a call.

    Django, its middleware and ninja refuse some calls before an operation sees them, such as those
    with another method, or for another host.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        is_refusal = response.status_code >= HTTPStatus.BAD_REQUEST
        if is_refusal and is_call(request.path) and response["Content-Type"] != CONTENT_TYPE:
            _rewrite(response)
        return response

    return middleware


# It heeds no cookie, and needs no token of a form.
@csrf_exempt
def nothing_here(request: HttpRequest) -> HttpResponse:
    """404 for every method, where Django would redirect to the API's root."""
    return not_found().response()


def _rewrite(response: HttpResponse) -> None:
    """Replace the body. Other headers stay, such as `Allow`."""
    status = HTTPStatus(response.status_code)
    if "Allow" in response:
        response["Allow"] = ", ".join(sorted(response["Allow"].split(", ")))
        detail = f"What is possible here is {response['Allow']}."
    else:
        detail = _DETAILS.get(status, f"{title_of(status)}.")
    problem = Problem(status, detail).response()
    response.content = problem.content
    response["Content-Type"] = CONTENT_TYPE
    response["Content-Length"] = str(len(problem.content))
