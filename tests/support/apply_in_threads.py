"""A process that applies for loans in several threads, as a web server does.

    python -m tests.support.apply_in_threads SEED REQUESTS PEOPLE THREADS

`EVENTSTORE_URI` names the event store. The seed determines who is approved at once; most requests
need an underwriter. Prints how many requests were accepted and refused, as JSON.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID


def main(seed: int, requests: int, people: int, threads: int) -> None:
    """Apply `requests` times, each time for one of `people` people."""
    chance = random.Random(seed)
    made = [
        (UUID(int=chance.getrandbits(128)), chance.randrange(people), chance.choice([5, 6, 6, 9]))
        for _ in range(requests)
    ]
    with ThreadPoolExecutor(threads) as executor:
        outcomes = Counter(executor.map(lambda each: _apply(*each), made))
    sys.stdout.write(json.dumps(outcomes) + "\n")


def _apply(loan_request_id: UUID, person: int, score: int) -> str:
    # Imported here, since Django must be set up first.
    from django.utils import timezone  # noqa: PLC0415

    from loans.adapters.event_store import StaleRevision  # noqa: PLC0415
    from loans.application import use_cases  # noqa: PLC0415
    from loans.application.policies import Policies  # noqa: PLC0415
    from loans.dependencies import event_store, reservations  # noqa: PLC0415
    from loans.domain.commands import RequestLoan  # noqa: PLC0415
    from loans.domain.reservation import OpenRequestExists  # noqa: PLC0415
    from tests.support.fakes import FakeCreditBureau  # noqa: PLC0415

    command = RequestLoan(
        id=loan_request_id,
        issued_at=timezone.now(),
        name="Ann Example",
        national_id=f"{person:06}aa",
        amount=5000,
    )
    try:
        use_cases.request_loan(
            command,
            event_store=event_store(),
            policies=Policies(event_store()),
            credit_bureau=FakeCreditBureau(score),
            reservations=reservations(),
        )
    except OpenRequestExists:
        return "refused"
    except StaleRevision:
        return "overtaken"
    return "accepted"


if __name__ == "__main__":
    import django

    django.setup()
    main(*map(int, sys.argv[1:]))
