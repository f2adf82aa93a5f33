"""Says how long a server's async worker let others wait. A process of its own asks the ops port every few milliseconds, so
that the work of a test's client does not count; nor does the time that either of the two waited for a processor."""

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

EVERY = 0.003
RECORD = struct.Struct("<dddd")
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: ops\r\n\r\n"
ANSWER = b"alive\n"


class Probe(NamedTuple):
    """One question, in seconds."""

    began: float
    took: float
    stall: float  # How much of it neither waited for a processor: the worker computed, or waited for a lock or a file.
    computed: float


class Thread:
    """A thread of some process, by the kernel's account of it."""

    def __init__(self, pid: int, tid: int) -> None:
        self.account = os.open(f"/proc/{pid}/task/{tid}/schedstat", os.O_RDONLY)

    def times(self) -> tuple[float, float]:
        """Seconds that it ran, and that it was ready to run and had no processor."""
        ran, waited, _ = os.pread(self.account, 100, 0).split()
        return int(ran) / 1e9, int(waited) / 1e9


def worker_of(pid: int) -> int:
    """The thread that runs the tasks, when there is only one: it is older than all that may block and have the same name."""
    tids = sorted(int(tid) for tid in os.listdir(f"/proc/{pid}/task"))
    names = {tid: Path(f"/proc/{pid}/task/{tid}/comm").read_text().strip() for tid in tids}
    return next(tid for tid in tids if names[tid].startswith("tokio-rt"))


def probe(pid: int, port: int, records: str) -> None:
    """Asks until it is killed."""
    worker, own = Thread(pid, worker_of(pid)), Thread(os.getpid(), os.getpid())
    with open(records, "ab", buffering=0) as out, socket.create_connection(("127.0.0.1", port)) as connection:
        while True:
            (ran, waited), (_, own_wait) = worker.times(), own.times()
            began = time.monotonic()
            connection.sendall(REQUEST)
            answer = b""
            while not answer.endswith(ANSWER):
                part = connection.recv(4096)
                if not part:
                    return
                answer += part
            took = time.monotonic() - began
            (ran_then, waited_then), (_, own_then) = worker.times(), own.times()
            idle = waited_then - waited + own_then - own_wait
            out.write(RECORD.pack(began, took, max(took - idle, 0), ran_then - ran))
            time.sleep(EVERY)


class Watch:
    """A prober of one process."""

    def __init__(self, pid: int, ops_port: int, records: Path) -> None:
        self.records = records
        self.records.touch()
        self.prober = subprocess.Popen([sys.executable, __file__, str(pid), str(ops_port), str(records)])
        self.wait_for_probe_after(time.monotonic())

    def close(self) -> None:
        self.prober.kill()
        self.prober.wait()

    def mark(self) -> int:
        """Where the records go on."""
        return self.records.stat().st_size // RECORD.size * RECORD.size

    def since(self, mark: int) -> list[Probe]:
        with self.records.open("rb") as file:
            file.seek(mark)
            data = file.read()
        return [Probe(*record) for record in RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size])]

    def wait_for_probe_after(self, moment: float) -> None:
        deadline = time.monotonic() + 60
        while True:
            last = self.since(max(0, self.mark() - RECORD.size))
            if last and last[-1].began > moment:
                return
            assert self.prober.poll() is None, "the server broke off"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.002)

    def worst(self, mark: int, until: float) -> Probe:
        """The longest stall from a mark to the first probe that begins after a moment."""
        self.wait_for_probe_after(until)
        return max(self.since(mark), key=lambda probe: probe.stall)


if __name__ == "__main__":
    probe(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
