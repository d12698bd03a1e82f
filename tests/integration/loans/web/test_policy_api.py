"""The lending policy in the API."""

from __future__ import annotations

import pytest

from lepret.models import Scope
from loans.domain.policy import Policy
from tests.support.api import Caller, caller_for
from tests.support.policies import DEMO_LIKE, put_in_force
from tests.support.staff import make_clerk

pytestmark = [pytest.mark.django_db]


@pytest.fixture
def tool() -> Caller:
    """A tool that may read the policy, of somebody who is no underwriter."""
    return caller_for(make_clerk(), Scope.READ_POLICY)


@pytest.mark.usefixtures("event_store")
def test_before_there_is_any_it_is_version_0(tool: Caller) -> None:
    answer = tool.get("/policy").json()
    assert (answer["version"], answer["since"]) == (0, None)
    assert (answer["policy"]["deny_up_to"], answer["policy"]["approve_from"]) == (4, 7)


@pytest.mark.usefixtures("event_store")
def test_it_is_the_whole_policy_as_it_can_be_published_again(tool: Caller) -> None:
    version = put_in_force(DEMO_LIKE)
    answer = tool.get("/policy").json()
    assert answer["version"] == version
    assert answer["since"].endswith("Z")
    assert answer["policy"]["lease"] == "PT10M"
    assert Policy.model_validate(answer["policy"]) == DEMO_LIKE


@pytest.mark.usefixtures("no_event_store")
def test_without_the_event_store_it_says_when_to_try_again(tool: Caller) -> None:
    response = tool.get("/policy")
    assert response.status_code == 503
    assert "policy cannot be read" in response.json()["detail"]
    assert int(response["Retry-After"]) > 0
