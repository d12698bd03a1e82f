"""Who gets what: every kind of person at every address and socket, every token at every operation.

The tables say what is expected. An address, a socket or an operation that they do not name fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.apps import apps
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from lepret.api import tokens
from lepret.asgi import application
from lepret.models import ApiToken, Scope, StaffSession
from lepret.urls import api
from readmodels.models import (
    LoanRequest,
    LoanStatus,
    ParkedCreditCheck,
    PendingRequest,
)
from readmodels.pages.event_history import history_of
from readmodels.urls import websocket_urlpatterns
from tests.support.addresses import addresses, filled_in
from tests.support.api import Caller, somebody
from tests.support.loans import AT, UNDER_REVIEW_AT, append_requested_loan
from tests.support.processes import PATIENCE
from tests.support.projection_statuses import checkpoint, failure, rebuild, skipped_event
from tests.support.staff import make_clerk, make_policy_maker, make_underwriter

pytestmark = [
    pytest.mark.usefixtures("streams", "channel_layer", "no_patience"),
    pytest.mark.django_db,
    # Django's own admin templates use undefined variables.
    pytest.mark.ignore_template_errors,
]

# A stranger's, from a network of nobody's (RFC 5737).
ADDRESS: Final = "203.0.113.9"
ORIGIN: Final = b"http://localhost"

# A status, or `login`: a redirect to a login page. The request is without parameters and fields, so
# that 200 after POST is a form with errors. A star stands for one part of a path; the first line
# that fits counts.
ANSWERS: Final = """
                                           stranger  no group  underwriter  clerk  policy  superuser
GET   /                                       200       200       200          200    200     200
POST  /                                       422       422       422          422    422     422
POST  /validate/                              400       400       400          400    400     400
GET   /loans/<loan_request_id>/               200       200       200          200    200     200
GET   /find/                                  200       200       200          200    200     200
POST  /find/                                  422       422       422          422    422     422
GET   /privacy/                               200       200       200          200    200     200
GET   /underwriting/                          login     403       200          403    403     200
GET   /underwriting/<loan_request_id>/        login     403       200          403    403     200
POST  /underwriting/<loan_request_id>/notes/  login     403       422          403    403     422
GET   /underwriting/<loan_request_id>/approve/  login   403       200          403    403     200
POST  /underwriting/<loan_request_id>/approve/  login   403       422          403    403     422
GET   /underwriting/<loan_request_id>/deny/   login     403       200          403    403     200
POST  /underwriting/<loan_request_id>/deny/   login     403       422          403    403     422
POST  /underwriting/<loan_request_id>/claim/  login     403       302          403    403     302
POST  /underwriting/<loan_request_id>/release/  login   403       302          403    403     302
GET   /underwriting/<loan_request_id>/hand-over/  login  403      200          403    403     200
POST  /underwriting/<loan_request_id>/hand-over/  login  403      422          403    403     422
GET   /underwriting/<loan_request_id>/escalate/  login  403       200          403    403     200
POST  /underwriting/<loan_request_id>/escalate/  login  403       422          403    403     422
POST  /underwriting/next/                     login     403       302          403    403     302

GET   /accounts/                              login     200       200          200    200     200
POST  /accounts/                              login     405       405          405    405     405
GET   /accounts/login/                        200       302       302          302    302     302
POST  /accounts/login/                        200       200       200          200    200     200
POST  /accounts/logout/                       login     login     login        login  login   login
GET   /accounts/login/code/                   login     login     login        login  login   login
POST  /accounts/login/code/                   login     login     login        login  login   login
GET   /accounts/provider/                     404       404       404          404    404     404
POST  /accounts/provider/                     404       404       404          404    404     404
GET   /accounts/provider/callback/            404       404       404          404    404     404
POST  /accounts/provider/callback/            404       404       404          404    404     404
GET   /accounts/home/                         login     200       302          302    302     302
POST  /accounts/home/                         login     200       302          302    302     302
GET   /accounts/password/                     login     200       200          200    200     200
POST  /accounts/password/                     login     200       200          200    200     200
GET   /accounts/password/changed/             login     200       200          200    200     200
GET   /accounts/second-factor/                login     200       200          200    200     200
POST  /accounts/second-factor/                login     200       200          200    200     200
GET   /accounts/sessions/                     login     200       200          200    200     200
POST  /accounts/sessions/                     login     200       200          200    200     200

GET   /healthz                                200       200       200          200    200     200
GET   /readyz                                 200       200       200          200    200     200
GET   /metrics                                403       403       403          403    403     403

GET   /api/openapi.json                       200       200       200          200    200     200
POST  /api/openapi.json                       405       405       405          405    405     405
GET   /api/docs                               200       200       200          200    200     200
POST  /api/docs                               405       405       405          405    405     405
GET   /api                                    404       404       404          404    404     404
POST  /api                                    404       404       404          404    404     404
GET   /api/                                   404       404       404          404    404     404
POST  /api/                                   404       404       404          404    404     404
POST  /api/loan-requests                      400       400       400          400    400     400
GET   /api/loan-requests/<id>                 200       200       200          200    200     200
POST  /api/loan-requests/<id>/*               401       401       401          401    401     401
GET   /api/underwriting/queue                 401       401       401          401    401     401
GET   /api/policy                               401       401       401          401    401     401
POST  /api/queue/next                           401       401       401          401    401     401

GET   /admin/                                 login     login     login        200    200     200
POST  /admin/                                 login     login     login        200    200     200
GET   /admin/login/                           200       200       200          302    302     302
POST  /admin/login/                           200       200       200          200    200     200
GET   /admin/logout/                          405       405       405          405    405     405
POST  /admin/logout/                          login     login     login        login  login   login
GET   /admin/password_change/                 login     200       200          200    200     200
POST  /admin/password_change/                 login     200       200          200    200     200
GET   /admin/password_change/done/            login     login     login        200    200     200
GET   /admin/autocomplete/                    login     login     login        403    403     403
GET   /admin/jsi18n/                          login     login     login        200    200     200
GET   /admin/r/<content_type_id>/<object_id>/   login   login     login        404    404     404
POST  /admin/r/<content_type_id>/<object_id>/   login   login     login        404    404     404
GET   /admin/<app_label>/                     login     login     login        404    404     200
POST  /admin/<app_label>/                     login     login     login        404    404     200
GET   /admin/<url>                            login     login     login        404    404     404
POST  /admin/<url>                            login     login     login        404    404     404
GET   /admin/*/*/<object_id>/                 login     login     login        302    302     302
POST  /admin/*/*/<object_id>/                 login     login     login        302    302     302

GET   /admin/policy/                          login     403       403          200    200     200
GET   /admin/policy/propose/                  login     403       403          403    200     200
POST  /admin/policy/propose/                  login     403       403          403    422     422
GET   /admin/policy/<number>/                 login     403       403          404    404     404
POST  /admin/policy/<number>/*/               login     403       403          403    404     404
GET   /admin/policy/simulations/              login     403       403          403    200     200
POST  /admin/policy/simulations/              login     403       403          403    422     422
GET   /admin/policy/simulations/<run_id>/     login     403       403          403    404     404

GET   /admin/auth/user/<id>/password/         login     login     login        302    302     302
POST  /admin/auth/user/<id>/password/         login     login     login        302    302     302
GET   /admin/auth/*/                          login     login     login        403    403     200
POST  /admin/auth/*/                          login     login     login        403    403     200
GET   /admin/auth/*/add/                      login     login     login        403    403     200
POST  /admin/auth/*/add/                      login     login     login        403    403     200
GET   /admin/auth/*/<object_id>/*/            login     login     login        403    403     200
POST  /admin/auth/*/<object_id>/*/            login     login     login        403    403     200

GET   /admin/lepret/apitoken/                 login     login     login        403    403     200
POST  /admin/lepret/apitoken/                 login     login     login        403    403     200
GET   /admin/lepret/apitoken/<object_id>/history/  login  login   login        403    403     200
POST  /admin/lepret/apitoken/<object_id>/history/  login  login   login        403    403     200
GET   /admin/lepret/apitoken/<object_id>/change/   login  login   login        403    403     200

GET   /admin/readmodels/*/                    login     login     login        200    403     200
POST  /admin/readmodels/*/                    login     login     login        200    403     200
GET   /admin/readmodels/*/<object_id>/history/  login   login     login        302    302     302
POST  /admin/readmodels/*/<object_id>/history/  login   login     login        302    302     302
GET   /admin/readmodels/*/<object_id>/change/   login   login     login        200    403     200
GET   /admin/*/*/add/                         login     login     login        403    403     403
POST  /admin/*/*/add/                         login     login     login        403    403     403
GET   /admin/*/*/<object_id>/*/               login     login     login        403    403     403
POST  /admin/*/*/<object_id>/*/               login     login     login        403    403     403
"""
SOCKETS: Final = """
                                           stranger  no group  underwriter  clerk  policy  superuser
OPEN  /ws/loans/<loan_request_id>/            yes       yes       yes          yes    yes     yes
OPEN  /ws/underwriting/                       no        no        yes          no     no      yes
OPEN  /ws/underwriting/<loan_request_id>/     no        no        yes          no     no      yes
"""
TOKENS: Final = """
                         request_loan  get_loan_request  list_queue  decide, claim  get_policy
none                     201           200               401         401            401
malformed                401           401               401         401            401
unknown                  401           401               401         401            401
revoked                  401           401               401         401            401
expired                  401           401               401         401            401
of someone inactive      401           401               401         401            401
without the scope        403           200               403         403            403
of a former underwriter  201           200               403         403            200
good                     201           200               200         200            200
"""

# Those who are nobody to the site, however they became so, are answered like a stranger.
PEOPLE: Final = {
    "anonymous": "stranger",
    "inactive": "stranger",
    "logged out": "stranger",
    "expired": "stranger",
    "no group": "no group",
    "underwriter": "underwriter",
    "clerk": "clerk",
    "policy maker": "policy",
    "superuser": "superuser",
}
OTHER_METHODS: Final = ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
# They take no cookie for a login, and need no token of a form.
WITHOUT_CSRF_TOKEN: Final = ("/validate/", "/api")


@dataclass(frozen=True)
class Line:
    """A line of a table: what each kind of person is answered there."""

    method: str
    pattern: str
    answers: dict[str, str]

    def fits(self, method: str, address: str) -> bool:
        pattern = re.escape(self.pattern).replace(r"\*", "[^/<>]+")
        return self.method == method and re.fullmatch(pattern, address) is not None


def lines_of(table: str) -> list[Line]:
    header, *rows = [line for line in table.splitlines() if line.strip()]
    columns = re.split(r"\s{2,}", header.strip())
    lines = []
    for row in rows:
        method, pattern, *answers = row.split()
        lines.append(Line(method, pattern, dict(zip(columns, answers, strict=True))))
    return lines


PAGES: Final = lines_of(ANSWERS)


def expected(method: str, address: str, kind: str) -> set[str]:
    """What the table allows. A method that it does not name is refused."""
    answers: dict[str, str] = {}
    for line in PAGES:
        if line.fits(line.method, address):
            answers.setdefault(line.method, line.answers[kind])
    assert answers, f"{address} is in no line of ANSWERS: who may do what there?"
    if method in answers:
        return {answers[method]}
    # Some views look at the person before they look at the method.
    return {"405"} | (set(answers.values()) & {"login", "403"})


@pytest.fixture
def loan() -> UUID:
    """A request under review, with a row of each read model, and a row of every other model."""
    user = User.objects.create_user("owner")
    tokens.issue(user, name="a tool", scopes=tuple(Scope))
    loan = append_requested_loan(score=5).loan_request_id
    person: Any = {"name": "Ann Example", "national_id": "555555aa", "requested_at": AT}
    LoanStatus.objects.create(id=loan, status="under_review", amount=5000, received_at=AT)
    LoanRequest.objects.create(id=loan, status="under_review", amount=5000, **person)
    PendingRequest.objects.create(id=loan, amount=5000, credit_score=5, **person)
    ParkedCreditCheck.objects.create(id=loan, parked_at=AT, reason="no answer", attempts=24)
    checkpoint("loan_status", 5)
    failure("loan_status")
    rebuild("loan_status", 3)
    skipped_event("loan_status")
    return loan


def someone(kind: str) -> User:
    match kind:
        case "clerk":
            return make_clerk("walter")
        case "policy maker":
            return make_policy_maker("walter")
        case "superuser":
            return User.objects.create_superuser("walter")
        case "no group":
            return User.objects.create_user("walter")
        case _:
            return make_underwriter("walter")


def browser_of(kind: str, user: User | None, **options: Any) -> Client:
    """The browser of such a person, who has just come back to it."""
    browser = Client(REMOTE_ADDR=ADDRESS, raise_request_exception=False, **options)
    if user is None:
        return browser
    browser.force_login(user)
    session = browser.cookies[settings.SESSION_COOKIE_NAME].value
    if kind == "inactive":
        User.objects.filter(pk=user.pk).update(is_active=False)
    if kind == "expired":
        past = timezone.now() - timedelta(seconds=1)
        StaffSession.objects.filter(session_key=session).update(expire_date=past)
    if kind == "logged out":
        browser.logout()
        browser.cookies[settings.SESSION_COOKIE_NAME] = session
    return browser


@pytest.fixture(params=PEOPLE)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def new_browser(kind: str) -> Callable[..., Client]:
    """Makes browsers of one and the same person."""
    user = None if kind == "anonymous" else someone(kind)

    def make(**options: Any) -> Client:
        if user is not None and kind == "inactive":
            User.objects.filter(pk=user.pk).update(is_active=True)
        return browser_of(kind, user, **options)

    return make


def paths(loan: UUID) -> Iterator[tuple[str, str]]:
    """Each address of the site, with a path of what is there."""
    for address in addresses():
        model = re.match(r"/admin/(\w+)/(\w+)/<", address)

        def value_of(name: str, model: re.Match[str] | None = model) -> Any:
            if name in ("object_id", "id") and model is not None and model[1] != "r":
                first = apps.get_model(model[1], model[2])._default_manager.order_by("pk").first()
                assert first is not None, f"{model[2]} needs a row for this test"
                return first.pk
            others: dict[str, Any] = {"app_label": "auth", "url": "nowhere"}
            others |= {"content_type_id": 1, "object_id": 1, "number": 1}
            return others.get(name, loan)

        yield address, filled_in(address, value_of)


def answer_to(browser: Client, method: str, path: str) -> str:
    response = browser.generic(method, path)
    location = response.headers.get("Location", "")
    leads_to_login = response.status_code == 302 and re.match("/(accounts|admin)/login/", location)
    return "login" if leads_to_login else str(response.status_code)


class TestPages:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_everyone_gets_what_the_table_says(
        self, kind: str, new_browser: Callable[..., Client], loan: UUID, method: str
    ) -> None:
        wrong = {}
        browser = new_browser()
        for address, path in paths(loan):
            wanted = expected(method, address, PEOPLE[kind])
            got = answer_to(browser, method, path)
            if "logout" in address:
                browser = new_browser()
            if got not in wanted:
                wrong[f"{method} {address}"] = f"{got} instead of {' or '.join(wanted)}"
        assert wrong == {}
        if kind not in ("underwriter", "superuser"):
            assert len(history_of(loan).entries) == UNDER_REVIEW_AT + 1

    def test_no_other_method_opens_what_these_do_not(
        self, kind: str, new_browser: Callable[..., Client], loan: UUID
    ) -> None:
        opened = set()
        browser = new_browser()
        for address, path in paths(loan):
            may = set().union(*(expected(each, address, PEOPLE[kind]) for each in ("GET", "POST")))
            for method in OTHER_METHODS:
                response = browser.generic(method, path)
                # To OPTIONS some views of Django tell the methods, with an empty body.
                if response.status_code < 300 and "200" not in may and response.content:
                    opened.add(f"{method} {address}")
        assert opened == set()

    def test_head_is_answered_as_get_is(self, loan: UUID) -> None:
        browser = browser_of("superuser", someone("superuser"))
        different = {}
        for address, path in paths(loan):
            get, head = (browser.generic(method, path) for method in ("GET", "HEAD"))
            if head.status_code != get.status_code or head.content:
                different[address] = f"{head.status_code} instead of {get.status_code}"
        assert different == {}

    def test_only_pages_that_heed_no_login_do_without_a_forms_token(self, loan: UUID) -> None:
        browser = browser_of("superuser", someone("superuser"), enforce_csrf_checks=True)
        without = {
            address
            for address, path in paths(loan)
            if address != "/admin/logout/"
            and answer_to(browser, "POST", path) not in ("403", "405")
        }
        assert {each for each in without if not each.startswith(WITHOUT_CSRF_TOKEN)} == set()

    def test_the_table_has_no_line_too_many(self) -> None:
        unused = {
            f"{line.method} {line.pattern}"
            for line in PAGES
            if not any(line.fits(line.method, address) for address in addresses())
        }
        assert unused == set()


class TestSockets:
    def test_everyone_gets_what_the_table_says(
        self, kind: str, new_browser: Callable[..., Client]
    ) -> None:
        wrong = {}
        # In no read model: it is looked up in other threads, which see no rows of this test.
        loan = append_requested_loan(score=5).loan_request_id
        for route in websocket_urlpatterns:
            address = "/" + re.sub(r"<\w+:(\w+)>", r"<\1>", str(route.pattern))
            [line] = [each for each in lines_of(SOCKETS) if each.fits("OPEN", address)]
            cookies = new_browser().cookies.output(header="", sep=";").strip()
            opens = "yes" if opens_for(cookies, filled_in(address, lambda _: loan)) else "no"
            if opens != line.answers[PEOPLE[kind]]:
                wrong[address] = opens
        assert wrong == {}


@async_to_sync
async def opens_for(cookies: str, path: str) -> bool:
    headers = [(b"host", b"localhost"), (b"origin", ORIGIN), (b"cookie", cookies.encode())]
    socket = WebsocketCommunicator(application, path, headers)
    is_accepted, _ = await socket.connect(PATIENCE)
    await socket.disconnect(timeout=PATIENCE)
    return is_accepted


def callers(state: str, operation: str) -> list[Caller]:
    """Those who call with a token in this state."""
    user = make_underwriter()
    now = timezone.now()
    match state:
        case "none":
            return [Caller()]
        case "malformed":
            return [Caller(""), Caller("x y"), Caller("lepret_"), Caller("é"), Caller(",")]
        case "unknown":
            return [Caller(tokens.PREFIX + "x" * 43)]
        case "without the scope":
            scopes = [scope for scope in Scope if scope is not SCOPES[operation]]
            return [Caller(tokens.issue(user, name="a tool", scopes=scopes)[0])]
    caller = Caller(tokens.issue(user, name="a tool", scopes=tuple(Scope))[0])
    match state:
        case "revoked":
            ApiToken.objects.update(revoked_at=now)
        case "expired":
            ApiToken.objects.update(expires_at=now - timedelta(seconds=1))
        case "of someone inactive":
            User.objects.update(is_active=False)
        case "of a former underwriter":
            user.groups.clear()
    return [caller]


SCOPES: Final = {
    "request_loan": Scope.CREATE,
    "get_loan_request": None,
    "list_queue": Scope.READ_QUEUE,
    "approve_loan_request": Scope.DECIDE,
    "deny_loan_request": Scope.DECIDE,
    "add_note": Scope.DECIDE,
    "claim_loan_request": Scope.DECIDE,
    "release_loan_request": Scope.DECIDE,
    "hand_over_loan_request": Scope.DECIDE,
    "escalate_loan_request": Scope.DECIDE,
    "claim_next": Scope.DECIDE,
    "get_policy": Scope.READ_POLICY,
}


CLAIMS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "claim_loan_request": ("/loan-requests/{}/claim", {}),
    "release_loan_request": ("/loan-requests/{}/release", {}),
    "hand_over_loan_request": ("/loan-requests/{}/hand-over", {"to": "uma"}),
    "escalate_loan_request": ("/loan-requests/{}/escalate", {"why": "Odd papers."}),
    "claim_next": ("/queue/next", {}),
}


def answer_of(caller: Caller, operation: str, loan: UUID) -> int:
    match operation:
        case "request_loan":
            body = {"name": "Ann Example", "national_id": somebody(), "amount": 5000}
            response = caller.apply(body)
        case "get_loan_request":
            response = caller.get(f"/loan-requests/{loan}")
        case "list_queue":
            response = caller.get("/underwriting/queue")
        case "get_policy":
            response = caller.get("/policy")
        case "approve_loan_request":
            response = caller.approve(loan)
        case "deny_loan_request":
            response = caller.deny(loan)
        case "add_note":
            response = caller.note(loan)
        case _ if operation in CLAIMS:
            path, sent = CLAIMS[operation]
            response = caller.post(path.format(loan), sent)
        case _:
            raise AssertionError(f"{operation} is new: say here how it is called")
    status: int = response.status_code
    return status


def token_states() -> dict[str, dict[str, int]]:
    """For each state of a token, how each operation answers."""
    states = {}
    for row in TOKENS.strip().splitlines()[1:]:
        state, *answers = re.split(r"\s{2,}", row)
        applies, asks, lists, decides, reads = map(int, answers)
        states[state] = {
            "request_loan": applies,
            "get_loan_request": asks,
            "list_queue": lists,
            "approve_loan_request": decides,
            "deny_loan_request": decides,
            "add_note": decides,
            "claim_loan_request": decides,
            "release_loan_request": decides,
            "hand_over_loan_request": decides,
            "escalate_loan_request": decides,
            "claim_next": decides,
            "get_policy": reads,
        }
    return states


class TestTokens:
    def test_the_table_has_every_operation(self) -> None:
        described = api.get_openapi_schema()["paths"].values()
        operations = {each["operationId"] for methods in described for each in methods.values()}
        assert all(set(answers) == operations for answers in token_states().values())

    @pytest.mark.parametrize("operation", SCOPES)
    @pytest.mark.parametrize("state", token_states())
    def test_each_gets_what_the_table_says(self, state: str, operation: str) -> None:
        wanted = token_states()[state][operation]
        for caller in callers(state, operation):
            loan = append_requested_loan(score=5).loan_request_id
            person: Any = {"name": "Ann Example", "national_id": "555555aa", "requested_at": AT}
            PendingRequest.objects.create(id=loan, amount=5000, credit_score=5, **person)
            assert answer_of(caller, operation, loan) == wanted
            if wanted >= 400:
                assert len(history_of(loan).entries) == UNDER_REVIEW_AT + 1
