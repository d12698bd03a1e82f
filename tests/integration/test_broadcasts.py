"""Broadcasts over a real Valkey that comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from pytest_django import Settings

from lepret import settings as project_settings
from readmodels.broadcasts import UNDERWRITING, Broadcaster
from tests.support.valkey import RunningValkey, running_valkey

SECONDS = 10.0


@pytest.fixture
def valkey(tmp_path: Path, settings: Settings) -> Iterator[RunningValkey]:
    """A Valkey of this test's own, with the options that the project's settings have."""
    layer = project_settings.CHANNEL_LAYERS[DEFAULT_CHANNEL_LAYER]
    with running_valkey(tmp_path) as valkey:
        host = {**layer["CONFIG"]["hosts"][0], "address": valkey.url}
        settings.CHANNEL_LAYERS = {DEFAULT_CHANNEL_LAYER: {**layer, "CONFIG": {"hosts": [host]}}}
        channel_layers.backends.clear()
        yield valkey
        channel_layers.backends.clear()


def send(broadcaster: Broadcaster) -> None:
    broadcaster.send({UNDERWRITING: {uuid4()}}).result(SECONDS)


def test_the_first_broadcast_after_a_restart_is_not_lost(
    valkey: RunningValkey, caplog: pytest.LogCaptureFixture
) -> None:
    with Broadcaster() as broadcaster:
        send(broadcaster)
        valkey.restart()
        send(broadcaster)
    assert "Lost the channel layer" not in caplog.text


def test_a_valkey_that_is_away_fails_nothing_and_is_said_once(
    valkey: RunningValkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with Broadcaster() as broadcaster:
        valkey.stop()
        send(broadcaster)
        send(broadcaster)
        valkey.restart()
        send(broadcaster)
    said = [record.getMessage().split(" (")[0] for record in caplog.records]
    assert said == ["Lost the channel layer", "Regained the channel layer"]
