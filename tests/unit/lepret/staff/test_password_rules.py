"""Which passwords are too easy to guess here."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from pytest_django import Settings

from lepret.staff.password_rules import SITE_WORDS, GuessableValidator, SiteWordsValidator


class TestWordsOfThisSite:
    @pytest.mark.parametrize(
        "password",
        [
            "Underwriting2026!",
            "lepret loan desk 2026",
            "Backoffice.12345",
            "back-office-clerk",
            "L3pret!Und3rwr1t3r",
            "x-lepret-lepret-1",
            *(f"{word}-{word}-2026" for word in SITE_WORDS),
        ],
    )
    def test_are_not_the_main_part_of_a_password(self, password: str) -> None:
        with pytest.raises(ValidationError, match="words of this site"):
            SiteWordsValidator().validate(password)

    @pytest.mark.parametrize(
        "password", ["lepret orbit kettle", "947205618340", "!!!???###$$$", "river orbit kettle"]
    )
    def test_may_be_a_part_of_it(self, password: str) -> None:
        SiteWordsValidator().validate(password)

    def test_are_also_those_of_its_hosts(self, settings: Settings) -> None:
        SiteWordsValidator().validate("Sparkasse-2026!")
        settings.ALLOWED_HOSTS = [".sparkasse.example"]
        with pytest.raises(ValidationError, match="words of this site"):
            SiteWordsValidator().validate("Sparkasse-2026!")

    def test_may_be_missing_where_any_host_is_allowed(self, settings: Settings) -> None:
        settings.ALLOWED_HOSTS = ["*", "127.0.0.1", "[::1]"]
        SiteWordsValidator().validate("river orbit kettle")


class TestGuessable:
    @pytest.mark.parametrize(
        "password",
        [
            "password12345!",
            "trustno1trustno1",
            "Liverpool.2024",
            "iloveyou12345",
            "qwertyuiop123",
            "1qaz2wsx3edc4rfv",
            "aaaaaaaaaaaaaaaaaaaa",
            "abc" * 100,
            "123456789012345678901234",
        ],
    )
    def test_ones_are_refused(self, password: str) -> None:
        with pytest.raises(ValidationError, match="easy to guess"):
            GuessableValidator().validate(password)

    def test_ones_are_those_of_the_users_name(self) -> None:
        GuessableValidator().validate("Xq7vukzelmod12")
        with pytest.raises(ValidationError, match="easy to guess"):
            GuessableValidator().validate("Xq7vukzelmod12", User(username="xq7vukzelmod"))

    @pytest.mark.parametrize(
        "password",
        [
            "947205618340",
            "river orbit kettle",
            "Kürbis 🎃 Suppe",
            "kM2vp)x8qLz!",
            "river orbit " * 400,
        ],
    )
    def test_others_are_not(self, password: str) -> None:
        GuessableValidator().validate(password)
