"""``python -m lepret.eventstore``: run the embedded event store until SIGTERM or SIGINT.

With ``--backup`` or ``--verify``, back its file up or verify it, also while a server uses it.
"""

import argparse
import asyncio
import ctypes
import gc
import logging
import signal
import socket
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from lepret.eventstore.backup import back_up
from lepret.eventstore.server import Server
from lepret.eventstore.storage.datafile import DataFileError, lock_data_file, prepare_data_file
from lepret.eventstore.verifying import verify_file
from lepret.eventstore.wire.listening import PortError, listen

_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK = 256 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Do what these arguments say, by default those of the command line.

    Returns the exit status: 1 when the file or the port cannot be used, or the backup not be made.
    """
    arguments = _arguments(argv)
    logging.basicConfig(format="lepret.eventstore: %(levelname)s: %(message)s")
    try:
        if arguments.backup is not None:
            _back_up(arguments)
        elif arguments.verify:
            _verify(arguments)
        else:
            _serve(arguments)
    except KeyboardInterrupt:
        sys.stderr.write("lepret.eventstore: interrupted\n")
        return 1
    except (DataFileError, PortError) as error:
        sys.stderr.write(f"lepret.eventstore: {error}\n")
        return 1
    except sqlite3.Error as error:
        sys.stderr.write(f"lepret.eventstore: {arguments.data} is corrupt: {error}\n")
        return 1
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m lepret.eventstore",
        description="An event store that speaks EventStoreDB's gRPC protocol, in one file.",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="made if absent")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument(
        "--anywhere",
        action="store_true",
        help="allow a --host that other machines can reach; there are no passwords",
    )
    parser.add_argument("--port", type=_port, default=2113, help="0 takes a free port")
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="start although acknowledged events are missing, as after restoring an older backup",
    )
    instead = parser.add_argument_group("instead of serving, also while a server uses the file")
    action = instead.add_mutually_exclusive_group()
    action.add_argument("--backup", type=Path, metavar="COPY", help="copy the file, and verify it")
    action.add_argument("--verify", action="store_true", help="check all of the file")
    instead.add_argument(
        "--overwrite",
        action="store_true",
        help="replace an existing COPY once the new one is whole",
    )
    return parser.parse_args(argv)


def _port(text: str) -> int:
    port = int(text)
    if port not in range(2**16):
        raise ValueError(text)
    return port


def _back_up(arguments: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    path, target = arguments.data.resolve(), arguments.backup.resolve()
    holding = back_up(path, target, overwrite=arguments.overwrite)
    sys.stdout.write(f"backed up and verified {holding} ({target})\n")


def _verify(arguments: argparse.Namespace) -> None:
    path = arguments.data.resolve()
    sys.stdout.write(f"verified {verify_file(path)} ({path})\n")


def _serve(arguments: argparse.Namespace) -> None:
    path, host = arguments.data.resolve(), arguments.host
    with (
        lock_data_file(path),
        listen(host, arguments.port, anywhere=arguments.anywhere) as listener,
    ):
        prepare_data_file(path, accept_loss=arguments.accept_loss)
        asyncio.run(_run(path, host, listener))


async def _run(path: Path, host: str, listener: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    server = Server(path, listener)
    # The modules stay: the garbage collector need not look at them again.
    gc.freeze()
    _give_memory_back()
    port = listener.getsockname()[1]
    sys.stdout.write(f"lepret.eventstore ready on {host}:{port} ({path})\n")
    sys.stdout.flush()
    await server.serve(until=stop)


def _give_memory_back() -> None:
    """Have glibc return large blocks to the system when they are freed.

    By default it learns from a burst of large pages to keep them: after a thousand subscriptions
    that read nothing, 1.2 GB stayed, of which 150 MB were in use.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


if __name__ == "__main__":
    sys.exit(main())
