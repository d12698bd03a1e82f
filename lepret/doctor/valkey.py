"""Whether Valkey does what the channel layer, the cache and live pages need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.cache import cache
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.retry import Retry

from lepret.common.cache_pool import Cache, Limit
from lepret.doctor.places import Place, place_in, unreadable
from lepret.doctor.report import SECONDS_FOR_AN_ANSWER, Trouble

VARIABLE: Final = "REDIS_URL"
_PORT: Final = 6379
# As the channel layer names those of its groups.
_CHANNEL: Final = "asgi__group__doctor"
_KEY: Final = "doctor"
_KEY_SECONDS: Final = 10
# Beside the one that live pages have for who is present.
_PRESENCE: Final = "lepret:doctor"

# What Valkey says from version 9.1 on, where Lua is a module.
_NO_SCRIPTS: Final = "Could not find scripting engine"

# The first that fits.
_IN_WORDS: Final[tuple[tuple[type[RedisError], str], ...]] = (
    (AuthenticationError, f"refuses the password of {{user}}: correct {VARIABLE}, or that user"),
    (NoPermissionError, f"lets {{user}} do nothing: correct {VARIABLE}, or that user's rights"),
    (BusyLoadingError, "is loading its data: wait"),
    (ReadOnlyError, f"is a replica, which can only be read: name the primary in {VARIABLE}"),
    (OutOfMemoryError, "is full: raise maxmemory, or let it evict (volatile-ttl)"),
    (ResponseError, f"does not take what {VARIABLE} says: correct the number of its database"),
)


def passes_messages_and_counts() -> str:
    """See that it does what channel layer, cache and live pages need.

    Raises:
        Trouble: it does not.
    """
    url = settings.ENVIRONMENT.redis_url
    place = place_in(url, "Valkey", VARIABLE, port=_PORT)
    user = unquote(urlsplit(url).username or "") or "default"
    try:
        with Redis.from_url(
            url,
            socket_connect_timeout=SECONDS_FOR_AN_ANSWER,
            socket_timeout=SECONDS_FOR_AN_ANSWER,
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        ) as client:
            server = client.execute_command("HELLO")
            _try_all(client, user, place)
    except RedisError as error:
        raise _trouble_of(error, user, place) from None
    except (TypeError, ValueError):  # An option that there is not.
        raise unreadable(VARIABLE) from None
    return f"{_described(server)} at {place} as {user} passes messages on, and counts"


def _described(server: dict[str, Any]) -> str:
    return f"{str(server['server']).capitalize()} {server['version']}"


def _try_all(client: Redis, user: str, place: Place) -> None:
    uses: tuple[tuple[str, str, Callable[[], object]], ...] = (
        ("subscribe", "+subscribe &asgi*", lambda: _subscribe(client)),
        ("publish", "+publish &asgi*", lambda: client.publish(_CHANNEL, "")),
        ("count", "+@read +@write +evalsha +script|load ~lepret*", _count),
        (
            "keep for some seconds who looks at a request",
            "+@read +@write +@transaction +time ~lepret*",
            lambda: _be_present(client),
        ),
    )
    for verb, rules, use in uses:
        try:
            use()
        except NoPermissionError:
            raise Trouble(
                f"{user} may not {verb} in Valkey at {place}: add {rules} to its rights (ACL)"
            ) from None
        except ResponseError as error:
            if _NO_SCRIPTS in str(error):
                raise Trouble(
                    f"Valkey at {place} runs no scripts, with which it counts: load its module lua"
                ) from None
            raise


def _subscribe(client: Redis) -> None:
    with client.pubsub() as subscription:  # type: ignore[no-untyped-call]
        subscription.subscribe(_CHANNEL)
        subscription.get_message(timeout=SECONDS_FOR_AN_ANSWER)


def _count() -> None:
    # By the cache itself, with the keys and the commands of all who use it.
    cache.set(_KEY, 0, _KEY_SECONDS)
    cache.incr(_KEY)
    cache.get_many([_KEY])
    cache.delete(_KEY)
    cast(Cache, cache).count({_KEY: Limit(1, _KEY_SECONDS)})


def _be_present(client: Redis) -> None:
    # With the commands of `readmodels.live.presence`.
    client.time()
    with client.pipeline() as commands:
        commands.zadd(_PRESENCE, {"doctor": 0})
        commands.expire(_PRESENCE, _KEY_SECONDS)
        commands.execute()
    client.zrange(_PRESENCE, 0, -1, withscores=True)
    client.zremrangebyscore(_PRESENCE, "-inf", 0)
    client.zrem(_PRESENCE, "doctor")


def _trouble_of(error: RedisError, user: str, place: Place) -> Trouble:
    for kind, words in _IN_WORDS:
        if isinstance(error, kind):
            return Trouble(f"Valkey at {place} {words.format(user=user)}")
    return place.trouble_of(error) or place.ends_connections()
