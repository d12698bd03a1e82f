"""The demo's data directory: who may use it, and what a fresh start deletes."""

from __future__ import annotations

from pathlib import Path

import pytest
from dotenv import dotenv_values

from lepret.demo.directory import DirectoryRefused, claimed
from lepret.demo.system import without_credentials


def names(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


class TestClaiming:
    def test_makes_the_directory_for_its_owner_alone(self, tmp_path: Path) -> None:
        with claimed(tmp_path / "new" / "data") as directory:
            assert directory.path.stat().st_mode & 0o777 == 0o700

    def test_refuses_a_directory_that_another_demo_uses(self, tmp_path: Path) -> None:
        with (
            claimed(tmp_path),
            pytest.raises(DirectoryRefused, match=r"^Another demo \(process \d+\) is using"),
            claimed(tmp_path),
        ):
            pass
        with claimed(tmp_path):
            pass

    def test_refuses_a_directory_with_foreign_files(self, tmp_path: Path) -> None:
        (tmp_path / "lepret.sqlite3.backup").touch()
        with (
            pytest.raises(DirectoryRefused, match=r"not a demo's \(lepret.sqlite3.backup,"),
            claimed(tmp_path),
        ):
            pass
        assert names(tmp_path) == {"lepret.sqlite3.backup"}

    @pytest.mark.parametrize("name", ["lepret.sqlite3", "events.sqlite3"])
    def test_refuses_the_data_of_a_server_that_is_no_demo(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("data")
        for _ in range(2):
            with (
                pytest.raises(DirectoryRefused, match=f"holds a {name} that no demo made"),
                claimed(tmp_path),
            ):
                pass
        assert names(tmp_path) == {name}

    def test_accepts_a_directory_with_only_a_demos_files(self, tmp_path: Path) -> None:
        (tmp_path / "lepret.sqlite3").touch()
        with claimed(tmp_path):
            pass

    def test_refuses_what_cannot_be_a_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with (
            pytest.raises(DirectoryRefused, match=r"file/data cannot hold the data: Not a dir"),
            claimed(tmp_path / "file" / "data"),
        ):
            pass


class TestDeletingFiles:
    def test_deletes_what_the_demo_made_and_nothing_else(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "kept").touch()
        data = tmp_path / "data"
        with claimed(data) as directory:
            directory.secret_key()
            directory.hmac_key()
            directory.publish({"REDIS_URL": "redis://127.0.0.1:1/0"})
            for name in ("events.sqlite3-wal", "lepret.sqlite3", "lepret.sqlite3.backup"):
                (data / name).touch()
            (data / "valkey").symlink_to(elsewhere)

            directory.delete_files()

            assert names(data) == {"demo.lock", "lepret.sqlite3.backup"}
        assert names(elsewhere) == {"kept"}

    def test_deletes_directories_with_what_is_in_them(self, tmp_path: Path) -> None:
        with claimed(tmp_path) as directory:
            (directory.valkey / "dump.rdb").touch()
            directory.delete_files()
            assert names(tmp_path) == {"demo.lock"}


class TestSecrets:
    def test_the_keys_stay_the_same_and_only_the_owner_can_read_them(self, tmp_path: Path) -> None:
        with claimed(tmp_path) as directory:
            keys = [directory.secret_key(), directory.hmac_key(), directory.password()]
        with claimed(tmp_path) as directory:
            again = [directory.secret_key(), directory.hmac_key(), directory.password()]
        assert again == keys
        assert len(set(keys)) == 3
        assert all(len(key) >= 50 for key in keys[:2])
        assert len(keys[2]) >= 12
        for name in ("secret.key", "hmac.key", "password"):
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o600

    def test_only_the_owner_can_read_what_is_published_until_it_is_withdrawn(
        self, tmp_path: Path
    ) -> None:
        with claimed(tmp_path) as directory:
            directory.publish({"A": "1"})
            directory.publish(environment := {"A": "2", "B": r"x=y #it's \'z\\"})
            file = tmp_path / "demo.env"
            assert dotenv_values(file) == environment
            assert file.stat().st_mode & 0o777 == 0o600
            directory.withdraw()
            directory.withdraw()
            assert names(tmp_path) == {"demo.lock"}

    @pytest.mark.parametrize(
        ("uri", "shown"),
        [
            ("esdb://127.0.0.1:2113?tls=false", "esdb://127.0.0.1:2113?tls=false"),
            ("esdb://me:p@ss@a:1,b:2?tls=true", "esdb://a:1,b:2?tls=true"),
        ],
    )
    def test_an_address_is_shown_without_its_credentials(self, uri: str, shown: str) -> None:
        assert without_credentials(uri) == shown
