"""The README's example of a new read model, taken from the README and run."""

from __future__ import annotations

import re
import sys
from collections import Counter
from types import ModuleType
from typing import Any

import pytest
from django.apps.registry import Apps
from django.db import models

from loans.domain.loan_request import Status
from readmodels import models as read_models_module
from readmodels.database import read_models_connection
from readmodels.projections import Projection
from tests.support.loans import append_a_loan_of_each_kind, recorded_loans
from tests.support.processes import PROJECT
from tests.support.projectors import catch_up, following, rebuild, wait_for

pytestmark = pytest.mark.usefixtures("event_store", "read_models")

README = PROJECT / "README.md"


@pytest.fixture
def daily_figures(monkeypatch: pytest.MonkeyPatch) -> type[models.Model]:
    """The model that the example refers to, with its table."""
    meta = type("Meta", (), {"app_label": "readmodels", "apps": Apps()})
    columns = {
        "day": models.DateField(primary_key=True),
        "approved": models.PositiveIntegerField(default=0),
    }
    body: dict[str, Any] = {"__module__": read_models_module.__name__, "Meta": meta, **columns}
    model = type("DailyFigures", (models.Model,), body)
    monkeypatch.setattr(read_models_module, "DailyFigures", model, raising=False)
    with read_models_connection().schema_editor() as editor:
        editor.create_model(model)
    return model


@pytest.fixture
def projection(daily_figures: type[models.Model], monkeypatch: pytest.MonkeyPatch) -> Projection:
    """The projection that the module in the README defines."""
    example = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert example is not None
    module = ModuleType("readmodels.projections.daily_figures")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(example[1], module.__dict__)  # noqa: S102 (it is what a reader is told to write)
    made: Projection = module.__dict__["PROJECTION"]
    return made


def figures(model: type[models.Model]) -> dict[object, int]:
    return dict(model._default_manager.values_list("pk", "approved"))


def approved_by_day() -> Counter[object]:
    decisions = [
        loan.decision for loan in recorded_loans().values() if loan.status is Status.APPROVED
    ]
    return Counter(each.decided_at.date() for each in decisions if each is not None)


def test_catches_up_from_the_beginning_beside_the_others_and_keeps_level(
    projection: Projection, daily_figures: type[models.Model]
) -> None:
    for _ in range(3):
        append_a_loan_of_each_kind()
    catch_up()

    with following(projection):
        wait_for(projection, append_a_loan_of_each_kind().position)

    assert sum(figures(daily_figures).values()) == 8
    assert figures(daily_figures) == approved_by_day()


def test_can_be_rebuilt(projection: Projection, daily_figures: type[models.Model]) -> None:
    append_a_loan_of_each_kind()
    catch_up(projection)
    built = figures(daily_figures)

    rebuild(projection)

    assert figures(daily_figures) == built == approved_by_day()
