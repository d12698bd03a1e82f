"""How long it takes to say what another policy would have done, beside reading and decoding alone.

    uv run --group test python benchmarks/simulate.py --events 1000000 --json

Fills an event store of its own with made-up loans and measures, each in a process of its own:

- `raw`: only reading and decoding `$all`;
- `simulation`: what `manage.py simulate_policy` does, and by how many megabytes its process grew
  after the first 10,000 events.

A simulation may take twice as long as `raw`. The measuring process gets one core and the event
store the others, as in `replay.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import ran_on
from benchmarks.replay import filled_event_store, measured


def main() -> None:
    """Measure, and print a table."""
    arguments = _arguments()
    figures = _measure(arguments.events)
    Console().print(_table(figures))
    if arguments.json:
        print(json.dumps(figures))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="the figures as the last line")
    return parser.parse_args()


def _measure(events: int) -> dict[str, Any]:
    # What else runs on the machine slows both down, and not always alike.
    machine = ran_on()
    with (
        tempfile.TemporaryDirectory() as folder,
        filled_event_store(Path(folder) / "events", events) as uri,
    ):
        raw = measured("raw", events, uri)
        simulation = measured("simulation", events, uri)
    return {
        "events": events,
        "ran_on": machine,
        "raw_seconds": events / raw["per_second"],
        "simulation_seconds": events / simulation["per_second"],
        "ratio": raw["per_second"] / simulation["per_second"],
        "growth_mb": simulation["growth_mb"],
    }


def _table(figures: dict[str, Any]) -> Table:
    title = f"{figures['events']:,} events; {figures['ran_on']}"
    growth = figures["growth_mb"]
    table = Table("reading and decoding", "simulation", "ratio", "growth", title=title)
    table.add_row(
        f"{figures['raw_seconds']:.1f} s",
        f"{figures['simulation_seconds']:.1f} s",
        f"{figures['ratio']:.2f}",
        "" if growth is None else f"{growth:.1f} MB",
    )
    return table


if __name__ == "__main__":
    main()
