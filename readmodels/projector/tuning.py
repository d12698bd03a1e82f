"""The times and limits of a projector, in one place, so that tests can pass in their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lepret.common.backoff import Backoff


@dataclass(frozen=True)
class Tuning:
    """Times are in seconds. For `manage.py project` the setting `PROJECTOR_TUNING` changes them."""

    # Followers and rebuilds.
    batch_size: int = 1_000
    # A batch ends earlier with the event that makes it larger than this.
    batch_bytes: int = 4_000_000
    poll_seconds: float = 0.5
    # How long a live event that no page shows may wait for others to share its commit.
    hold_seconds: float = 0.1
    # How long one that a page shows waits for a projection that leads to commit it, and for pages
    # to read that: at the same time, each would take longer.
    give_way_seconds: float = 0.005
    # Under load, events that a page shows are committed together this often, and less often if that
    # took more than this share of the time; after a pause, the first few commits are made at once.
    commit_seconds: float = 0.02
    commit_share: float = 0.1
    commits_at_once: int = 5
    # After a commit of twice so many events each of these times is twice as long, and so on; the
    # first grows up to this, the second up to the first. If many come, commits of few would take
    # the machine from those who send them.
    busy_events: int = 5
    longest_hold_seconds: float = 0.25
    # How often a projection that is stopped asks whether it may go on.
    stopped_poll_seconds: float = 1.0
    # How often a follower looks whether an older database was restored.
    checkpoint_seconds: float = 3.0
    first_retry_seconds: float = 0.1
    longest_retry_seconds: float = 5.0
    # How many changes from before a projection is live are announced when it is.
    most_late_changes: int = 1_000
    # How long the live rows may stand still while a rebuild applies the last events.
    finish_seconds: float = 1.0

    # Feeds. How many events a feed reads ahead of its slowest cursor, and how many it keeps that
    # all its cursors have taken, so that others can join.
    ahead: int = 2_000
    keep: int = 1_000
    # The same in bytes: whichever comes first. One event may be more than that by itself.
    ahead_bytes: int = 16_000_000
    keep_bytes: int = 4_000_000
    # While there is history to be read, a batch waits this long to become full.
    linger_seconds: float = 0.1
    # A cursor that makes the others wait for longer than this is left behind ...
    most_wait_seconds: float = 1.0
    # ... and returns when it is no more than this many events behind.
    near: int = 100
    # After so much silence the store is asked, with a timeout, whether it has more events; if so,
    # they may take the grace period to arrive.
    probe_after_idle_seconds: float = 10.0
    probe_timeout_seconds: float = 5.0
    grace_seconds: float = 2.0

    # Coordination. How often a coordinator looks what runs where.
    look_seconds: float = 0.5
    # How long a follower may take to stop before another projector starts one.
    release_seconds: float = 5.0
    # The server ends the session of a projector that it has not heard from for so long: one that
    # hangs or is cut off, while the kernel of either side still believes in the connection.
    lease_seconds: float = 1.4

    def backoff(self) -> Backoff:
        """For the delays between attempts."""
        return Backoff(first=self.first_retry_seconds, longest=self.longest_retry_seconds)


DEFAULT: Final = Tuning()
