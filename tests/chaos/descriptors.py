"""A process runs out of file descriptors: idle connections take all that its limit allows, for a while. It does not
end, others answer for it, and it goes on by itself when the connections are gone."""

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from processes import Node
from stage import Stage
from takeovers import Probe

SPARE = 40  # Above what a process has open when its limit comes down.
LEAST = 256
TOP_UP_EVERY = 0.1
EXHAUSTED_WITHIN = 10
RESUMED_WITHIN = 5


def descriptors(stage: Stage) -> None:
    cluster, probe = stage.cluster, Probe(stage)
    for name in (cluster.ROUTERS[0], "ro1", cluster.standby(), cluster.writer()):
        before = processor_seconds(cluster.processes[name])
        stage.wait(stage.durations.settle)
        share = (processor_seconds(cluster.processes[name]) - before) / stage.durations.settle
        stage.recorder.note(f"{name} needs {share:.2f} processors by itself")
        with exhausted(stage, name) as idle:
            stage.recorder.note(f"{name} has no descriptor left, of {idle.limit}")
            hold(stage, name, idle)
        since = time.monotonic()
        for what, took in zip(("writes", "Strong reads"), probe.measure(since)):
            text = f"{what} went on {took:.2f} s after {name} had descriptors again"
            stage.recorder.note(text)
            if took > RESUMED_WITHIN:
                stage.recorder.trouble("bound", f"{text}; the bound is {RESUMED_WITHIN} s")
        cluster.supervisor.wait_up(name)
        if cluster.ROLES.get(name) == "readonly":
            cluster.wait_serving(name)
    probe.close()
    stage.compare()


class Idle:
    """Connections that say nothing."""

    def __init__(self, address: tuple[str, int], pid: int, limit: int) -> None:
        self.address, self.pid, self.limit = address, pid, limit
        self.sockets: list[socket.socket] = []

    def left(self) -> int:
        """Descriptors that the process may still open; none when it has ended."""
        with contextlib.suppress(OSError):
            return self.limit - len(os.listdir(f"/proc/{self.pid}/fd"))
        return 0

    def top_up(self) -> None:
        """Those that were not accepted yet may be more than there is room for, and stand in line."""
        for _ in range(self.left()):
            with contextlib.suppress(OSError):
                self.sockets.append(socket.create_connection(self.address, 1))

    def close(self) -> None:
        for one in self.sockets:
            one.close()


@contextmanager
def exhausted(stage: Stage, name: str) -> Iterator[Idle]:
    node = stage.cluster.supervisor.wait_up(name)
    pid = node.running.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    limit = max(LEAST, len(os.listdir(f"/proc/{pid}/fd")) + SPARE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))
    idle = Idle((stage.cluster.address_of(name), stage.cluster.ports[name]), pid, limit)
    began = time.monotonic()
    try:
        idle.top_up()
        while idle.left() > 0 and node.is_running():
            assert time.monotonic() - began < EXHAUSTED_WITHIN, f"{name} has {idle.left()} descriptors left"
            stage.wait(TOP_UP_EVERY)
            idle.top_up()
        yield idle
    finally:
        idle.close()
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def hold(stage: Stage, name: str, idle: Idle) -> None:
    """Takes what the process gives back, and says what that costs it."""
    node = stage.cluster.processes[name]
    cpu, end = processor_seconds(node), time.monotonic() + stage.durations.stopped
    while time.monotonic() < end and node.is_running():
        stage.wait(TOP_UP_EVERY)
        idle.top_up()
    share = (processor_seconds(node) - cpu) / stage.durations.stopped
    stage.recorder.note(f"{name} needed {share:.2f} processors without descriptors")


def processor_seconds(node: Node) -> float:
    with contextlib.suppress(OSError), open(f"/proc/{node.running.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
