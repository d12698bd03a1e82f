"""``python -m lepret.eventstore``: run the embedded event store until SIGTERM or SIGINT."""

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

from lepret.eventstore.server import Server
from lepret.eventstore.storage.datafile import DataFileError, lock_data_file, prepare_data_file
from lepret.eventstore.wire.listening import PortError, listen

_M_MMAP_THRESHOLD = -3
_LARGE_BLOCK = 256 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server with these arguments, by default those of the command line.

    Returns the exit status: 1 when the file or the port cannot be used.
    """
    arguments = _arguments(argv)
    logging.basicConfig(format="lepret.eventstore: %(levelname)s: %(message)s")
    try:
        _serve(arguments)
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
    return parser.parse_args(argv)


def _port(text: str) -> int:
    port = int(text)
    if port not in range(2**16):
        raise ValueError(text)
    return port


def _serve(arguments: argparse.Namespace) -> None:
    path, host = arguments.data.resolve(), arguments.host
    with (
        lock_data_file(path),
        listen(host, arguments.port, anywhere=arguments.anywhere) as listener,
    ):
        prepare_data_file(path)
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
