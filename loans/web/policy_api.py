"""The lending policy in the JSON API: not from a read model, but as this process decides by it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from django.http import HttpRequest
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from lepret.api.auth import Bearer
from lepret.api.problems import problems, unavailable
from lepret.api.routing import Router
from lepret.models import Scope
from loans.application.policies import PolicyUnavailable
from loans.dependencies import policies
from loans.domain.policy import VERSION_0, Policy

router = Router()

_EXAMPLE: Final = Policy(deny_unexplained=False, automatic_up_to=10_000, four_eyes_above=10_000)


class PolicyAnswer(BaseModel):
    """The lending policy in force."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "version": 1,
                    "since": "2026-11-23T09:30:00Z",
                    "policy": _EXAMPLE.model_dump(mode="json"),
                }
            ]
        }
    )

    version: int = Field(description="What decisions name. 0 is what holds before there is any.")
    since: datetime | None = Field(description="From when on it is in force; null for version 0.")
    # As it is stored, and as it can be published again.
    policy: Annotated[Policy, PlainSerializer(lambda policy: policy.model_dump(mode="json"))]


@router.get(
    "/policy",
    operation_id="get_policy",
    summary="See the lending policy in force",
    tags=["Lending policy"],
    auth=Bearer(Scope.READ_POLICY),
    response={200: PolicyAnswer, **problems(403)},
    openapi_extra={"responses": {200: {"description": "All of the policy in force."}}},
)
def policy(request: HttpRequest) -> PolicyAnswer:
    """The version of the lending policy that decides now, with the reasons that can be given.

    A change is known here within seconds.
    """
    try:
        version = policies().version_in_force(timezone.now())
    except PolicyUnavailable:
        raise unavailable("The lending policy cannot be read at the moment.") from None
    if version is None:
        return PolicyAnswer(version=VERSION_0.version, since=None, policy=VERSION_0.policy)
    return PolicyAnswer(version=version.number, since=version.in_force_from, policy=version.policy)
