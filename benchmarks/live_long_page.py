"""For `live.py`: how long the longest page of the queue takes, on the server and in a browser."""

from __future__ import annotations

import shutil
import statistics
import time
from typing import Any, Final

import httpx2
from playwright.async_api import Browser, async_playwright

from benchmarks.cores import cpu_seconds
from tests.support.web_servers import Daphne

PATH: Final = "/underwriting/"
FETCHES: Final = 12
OPENINGS: Final = 5
SLOWER: Final = 4
PATIENCE_MS: Final = 60_000

# Its scripts run before `DOMContentLoaded` is over, and what follows the next frame is painted.
NOTE_WHEN_PAINTED: Final = """
addEventListener("DOMContentLoaded", () => requestAnimationFrame(() => setTimeout(() => {
  window.paintedAt = performance.now();
})));
"""
IS_LIVE: Final = """() =>
  window.paintedAt && document.getElementById("connection")?.dataset.state === "live"
"""
TIMES: Final = """() => {
  const [navigation] = performance.getEntriesByType("navigation");
  return [window.paintedAt, window.paintedAt - navigation.responseStart, performance.now()];
}"""


async def fetching(web: Daphne, cookie: str) -> dict[str, float]:
    """How long the answer takes, and how much processor time of the server."""
    took, cpu = [], []
    async with httpx2.AsyncClient(base_url=web.base_url, trust_env=False, timeout=60) as client:
        await client.get(PATH, headers={"Cookie": cookie})  # Not measured: caches are empty.
        for _ in range(FETCHES):
            cpu_before, began = cpu_seconds(web.pid), time.perf_counter()
            answer = await client.get(PATH, headers={"Cookie": cookie})
            took.append(time.perf_counter() - began)
            cpu.append(cpu_seconds(web.pid) - cpu_before)
            assert answer.status_code == httpx2.codes.OK
    return {
        "rows": answer.text.count('<tr id="request-'),
        "bytes": len(answer.content),
        "median_ms": round(1000 * statistics.median(took), 1),
        "cpu_ms": round(1000 * statistics.mean(cpu), 1),
    }


async def opening_in_browser(url: str, cookie: str) -> dict[str, float]:
    """How long a slow Chromium takes to show the page; nothing where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        return {}
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = await playwright.chromium.launch(executable_path=path, args=arguments)
        times = [await _opening(browser, url, cookie) for _ in range(OPENINGS)]
        await browser.close()
    usable, from_answer, live = (statistics.median(each) for each in zip(*times, strict=True))
    return {
        "usable_ms": round(usable),
        "usable_from_answer_ms": round(from_answer),
        "live_ms": round(live),
    }


async def _opening(browser: Browser, url: str, cookie: str) -> Any:
    name, _, value = cookie.partition("=")
    context = await browser.new_context(base_url=url, bypass_csp=True)
    await context.add_cookies([{"name": name, "value": value, "url": url}])
    page = await context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    await page.add_init_script(NOTE_WHEN_PAINTED)
    session = await context.new_cdp_session(page)
    await session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    await page.goto(PATH)
    await page.wait_for_function(IS_LIVE)
    times = await page.evaluate(TIMES)
    await context.close()
    return times
