"""The demo's data directory: its lock, its files, and how it is emptied."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lepret.environment import DEMO_ENVIRONMENT_FILE

_LOCK = "demo.lock"
_EVENTS = "events.sqlite3"
_DATABASE = "lepret.sqlite3"
_KEY = "secret.key"
_HMAC_KEY = "hmac.key"
_PASSWORD = "password"  # noqa: S105 (a file's name)
_VALKEY = "valkey"
# Whole names, so that a user's `lepret.sqlite3.backup` is never deleted. SQLite keeps further files
# beside a database, and the event store keeps a lock file.
_BESIDE_A_DATABASE = ("", "-wal", "-shm", "-journal", ".lock", ".head")
_MADE_BY_THE_DEMO = frozenset(
    [_LOCK, _VALKEY]
    + [
        f"{name}{ending}"
        for name in (_KEY, _HMAC_KEY, _PASSWORD, DEMO_ENVIRONMENT_FILE)
        for ending in ("", ".new")
    ]
    + [f"{name}{ending}" for name in (_EVENTS, _DATABASE) for ending in _BESIDE_A_DATABASE]
)

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


class DirectoryRefused(Exception):
    """The directory cannot be used: another demo uses it, it has foreign files, or no access."""


@dataclass(frozen=True)
class DemoDirectory:
    """A data directory that is locked for this process."""

    path: Path

    @property
    def events(self) -> Path:
        """The embedded event store's file."""
        return self.path / _EVENTS

    @property
    def database(self) -> Path:
        """The SQLite file with everything that Django stores."""
        return self.path / _DATABASE

    @property
    def valkey(self) -> Path:
        """Valkey's working directory, created if missing."""
        directory = self.path / _VALKEY
        directory.mkdir(exist_ok=True)
        return directory

    def secret_key(self) -> str:
        """The key that Django signs with. Made once, so that sessions survive a restart."""
        return self._key(_KEY)

    def hmac_key(self) -> str:
        """The key of the hashes in stream names. Made once, since the streams are kept too."""
        return self._key(_HMAC_KEY)

    def password(self) -> str:
        """The accounts' password while other machines can reach the demo. Made once."""
        return self._key(_PASSWORD, random_bytes=9)

    def delete_files(self) -> None:
        """Delete the files of earlier demos, and nothing else. The lock stays held."""
        for entry in self.path.iterdir():
            if entry.name not in _MADE_BY_THE_DEMO - {_LOCK}:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def publish(self, environment: Mapping[str, str]) -> None:
        """Save these variables for commands in other terminals: see `lepret.environment`."""
        lines = [f"{name}={_quoted(value)}\n" for name, value in environment.items()]
        _write_private(self.path / DEMO_ENVIRONMENT_FILE, "".join(lines))

    def withdraw(self) -> None:
        """Delete the file that `publish` wrote, if there is one."""
        (self.path / DEMO_ENVIRONMENT_FILE).unlink(missing_ok=True)

    def _key(self, name: str, *, random_bytes: int = 50) -> str:
        file = self.path / name
        if not file.is_file():
            _write_private(file, secrets.token_urlsafe(random_bytes))
        return file.read_text().strip()


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[DemoDirectory]:
    """The directory, created if missing, and locked against other demos until the block ends.

    The operating system releases the lock when the process ends, however it ends.

    Raises:
        DirectoryRefused: the message says why, in one line.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_other_files(path)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DirectoryRefused(f"{path} cannot hold the data: {error.strerror}") from error
    try:
        _hold(lock, path)
        yield DemoDirectory(path)
    finally:
        os.close(lock)


def _refuse_other_files(path: Path) -> None:
    """Refuse a directory with foreign files, unless a demo has used it before."""
    names = sorted(entry.name for entry in path.iterdir())
    if _LOCK in names:
        return
    if not names:
        path.chmod(0o700)  # It will hold personal data, and may be readable for everyone.
    for name in names:
        if name not in _MADE_BY_THE_DEMO:
            raise DirectoryRefused(
                f"{path} holds files that are not a demo's ({name}, for one); "
                "choose another directory with --data-dir"
            )
    for name in (_DATABASE, _EVENTS):
        # A server that is no demo may keep its data here: see LEPRET_DATA_DIR.
        if name in names and (path / name).stat().st_size > 0:
            raise DirectoryRefused(
                f"{path} holds a {name} that no demo made; choose another directory with --data-dir"
            )


def _hold(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).decode(errors="replace").strip()
        raise DirectoryRefused(
            f"Another demo (process {holder or 'unknown'}) is using {path}; "
            "stop it, or choose another directory with --data-dir"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())


def _quoted(value: str) -> str:
    """In quotes for python-dotenv, which would take a bare `#` for a comment."""
    return "'{}'".format(value.replace("\\", r"\\").replace("'", r"\'"))


def _write_private(file: Path, text: str) -> None:
    """Write a file atomically, readable only for its owner."""
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, _NEW_FILE, 0o600), "w") as stream:
        stream.write(text)
    unfinished.replace(file)
