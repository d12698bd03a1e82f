"""Guessing passwords on a running system."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2

from tests.support.demo import Demo
from tests.support.processes import PATIENCE
from tests.support.web_servers import post

AT_ONCE = 30


def test_wrong_passwords_at_the_same_moment_are_all_counted(demo: Demo) -> None:
    with ExitStack() as stack:
        browser = stack.enter_context(
            httpx2.Client(base_url=demo.base_url, timeout=PATIENCE, trust_env=False)
        )
        browser.get("/accounts/login/")
        threads = stack.enter_context(ThreadPoolExecutor(AT_ONCE))

        def guess(number: int) -> int:
            login = {"username": "nobody", "password": f"guess {number}"}
            return post(browser, "/accounts/login/", **login).status_code

        answers = Counter(threads.map(guess, range(AT_ONCE)))
    assert set(answers) <= {200, 429}
    # A slow machine refuses more.
    assert answers[200] <= 10
    assert answers[429] >= AT_ONCE - 10
