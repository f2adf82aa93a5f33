"""Says how long the async workers of a server let others wait. A process of its own asks the ops port every few
milliseconds, so that the work of a test's client does not count; nor does the time that either waited for a processor."""

import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

EVERY = 0.003
RECORD = struct.Struct("<ddd")
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: ops\r\n\r\n"
ANSWER = b"alive\n"


class Probe(NamedTuple):
    """One question, in seconds."""

    began: float
    took: float
    stall: float  # How much of it the server was to blame for: it computed, or waited for a lock or a file.


class Threads:
    """The runtime's threads of a process, by the kernel's account of them. The one that runs the tasks may change: whoever
    is about to block hands this over. So any of them may be the one that a question waited for."""

    def __init__(self, pid: int) -> None:
        self.folder = f"/proc/{pid}/task"
        self.accounts: dict[str, int] = {}
        self.others: set[str] = set()

    def look(self) -> None:
        """Notes those that have begun since."""
        for tid in set(os.listdir(self.folder)) - self.accounts.keys() - self.others:
            try:
                name = Path(self.folder, tid, "comm").read_text()
                if name.startswith("tokio-rt"):
                    self.accounts[tid] = os.open(f"{self.folder}/{tid}/schedstat", os.O_RDONLY)
                else:
                    self.others.add(tid)
            except FileNotFoundError:
                pass

    def waits(self) -> dict[str, float]:
        """How long each was ready to run and had no processor."""
        waits = {}
        for tid, account in list(self.accounts.items()):
            try:
                waits[tid] = waited(account)
            except ProcessLookupError:
                os.close(self.accounts.pop(tid))
        return waits


def waited(account: int) -> float:
    return int(os.pread(account, 100, 0).split()[1]) / 1e9


def probe(pid: int, port: int, records: str) -> None:
    """Asks until it is killed."""
    threads, own = Threads(pid), os.open("/proc/self/schedstat", os.O_RDONLY)
    with open(records, "ab", buffering=0) as out, socket.create_connection(("127.0.0.1", port)) as connection:
        while True:
            threads.look()
            before, own_before = threads.waits(), waited(own)
            began = time.monotonic()
            connection.sendall(REQUEST)
            answer = b""
            while not answer.endswith(ANSWER):
                part = connection.recv(4096)
                if not part:
                    return
                answer += part
            took = time.monotonic() - began
            stall = took
            if took > EVERY:
                threads.look()
                most = max(wait - before.get(tid, 0.0) for tid, wait in threads.waits().items())
                stall = max(took - most - (waited(own) - own_before), 0.0)
            out.write(RECORD.pack(began, took, stall))
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
            assert self.prober.poll() is None, f"{self.records.name}: the server broke off"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.002)

    def worst(self, mark: int, until: float) -> Probe:
        """The longest stall from a mark to the first probe that begins after a moment."""
        self.wait_for_probe_after(until)
        return max(self.since(mark), key=lambda probe: probe.stall)


if __name__ == "__main__":
    probe(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
