"""Runs servers in the background for as long as another process lives, a test run for instance."""

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from server import Server, ServerError


def up(kinds: Sequence[type[Server]], pid: int) -> dict[str, str]:
    """Starts one server of each kind; returns the environment variables that say where they are.

    A process of its own keeps them. It ends them when process `pid` is gone, or this one before it has the answer.
    """
    try:
        watched = os.pidfd_open(pid)
    except OSError as error:
        raise ServerError(f"there is no process {pid} to wait for: {error}") from error
    if not kinds:
        return {}
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        keep(kinds, watched, writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    answer = json.loads(answer or '{"error": "the process that keeps the servers was ended"}')
    if error := answer.get("error"):
        raise ServerError(error)
    return answer["variables"]


def keep(kinds: Sequence[type[Server]], watched: int, writer: int) -> None:
    """The life of the background process; does not return."""
    servers: list[Server] = []
    try:
        leave_terminal()
        servers += [kind() for kind in kinds]
        answer = start_all(servers)
        with os.fdopen(writer, "w") as pipe:
            json.dump(answer, pipe)
        if "error" not in answer:
            wait_until_gone(watched)
    finally:
        with contextlib.suppress(BaseException):
            for server in servers:
                server.close()
        os._exit(0)


def leave_terminal() -> None:
    """No signal of the terminal reaches it, and nobody waits for its output to end."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())


def start_all(servers: Sequence[Server]) -> dict:
    """Starts them side by side."""
    with ThreadPoolExecutor(len(servers)) as threads:
        starts = [threads.submit(server.start) for server in servers]
    errors = [str(start.exception()) for start in starts if start.exception()]
    if errors:
        return {"error": "\n".join(errors)}
    return {"variables": {name: value for server in servers for name, value in server.variables().items()}}


def wait_until_gone(watched: int) -> None:
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    poll.poll()
