"""The end of a writer, and how long it takes until writes and Strong reads go on."""

import fcntl
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

from data import PROBE
from pymilvus import MilvusClient
from recorder import Wrong
from stage import Stage, Takeover

CONNECT_WITHIN = 30
GIVE_UP_AFTER = 60
PAUSE = 0.02


class Probe:
    """Writes and reads by itself, quickly and again and again, from the end of a writer on."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.numbers = itertools.count(1)
        self.written: set[int] = set()
        self.writing, self.reading = (
            MilvusClient(stage.cluster.uri, dedicated=True, timeout=CONNECT_WITHIN) for _ in range(2)
        )

    def measure(self, since: float) -> tuple[float, float]:
        """Seconds from `since` until the first acknowledgement and Strong answer to calls that began later."""
        took: dict[str, float] = {}
        tries = {"writes": self.write, "strong": self.read}
        threads = [threading.Thread(target=self.until, args=(since, took, *item)) for item in tries.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return took["writes"], took["strong"]

    def until(self, since: float, took: dict[str, float], name: str, attempt: Callable[[], bool]) -> None:
        while not attempt() and time.monotonic() - since < GIVE_UP_AFTER:
            time.sleep(PAUSE)
        took[name] = time.monotonic() - since

    def write(self) -> bool:
        """A key of its own each time, for a write without an answer may have happened."""
        key = next(self.numbers)
        try:
            self.writing.insert(PROBE, [{"id": key, "version": key, "vec": [float(key)] * 8}], retry_times=0)
        except Exception as error:
            self.stage.recorder.wrote(error)
            return False
        self.written.add(key)
        self.stage.recorder.wrote(None)
        return True

    def read(self) -> bool:
        """What was acknowledged before must be there."""
        wanted = sorted(self.written)[-50:] or [0]
        options = {"output_fields": ["version"], "consistency_level": "Strong", "retry_times": 0}
        request = lambda: self.reading.query(PROBE, f"id in {wanted}", **options)  # noqa: E731

        def check(answer) -> None:
            missing = set(wanted) - {0} - {row["id"] for row in answer}
            if missing:
                raise Wrong(f"acknowledged keys are missing: {sorted(missing)}")

        return self.stage.recorder.read("Strong", "probe", request, check)

    def close(self) -> None:
        for client in (self.writing, self.reading):
            client.close()


class LockHolder:
    """Takes the lock on the shared directory the moment that the writer is dead. On one host that lock tells the
    standby at once; without it the standby has only the lease to go by, as it has between hosts."""

    def __init__(self, shared: Path) -> None:
        self.file = (shared / "LOCK").open("r+")
        self.thread = threading.Thread(target=fcntl.flock, args=(self.file, fcntl.LOCK_EX), daemon=True)
        self.thread.start()
        time.sleep(0.1)  # It stands in line by now.

    def release(self) -> None:
        """Gives it to the writable node, which asks for it again and again."""
        self.thread.join(10)
        fcntl.flock(self.file, fcntl.LOCK_UN)
        deadline = time.monotonic() + 10
        while self.is_free() and time.monotonic() < deadline:
            time.sleep(0.3)
        self.file.close()

    def is_free(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self.file, fcntl.LOCK_UN)
        return True


def kill_writer(stage: Stage, probe: Probe, by: str) -> None:
    """kill -9; the standby takes over; the killed one comes back as the standby."""
    cluster = stage.cluster
    writer = cluster.writer()
    cluster.supervisor.wait_up(cluster.standby())
    holder = LockHolder(cluster.folder / "shared") if by == "lease" else None
    cluster.kill(writer)
    killed = time.monotonic()
    try:
        writes, strong = probe.measure(killed)
    finally:
        if holder:
            holder.release()
    stage.took_over(Takeover("kill -9", by, writes, strong))
    now = cluster.writer()
    assert now != writer, f"{writer} was killed, and is said to write"
    stage.wait(stage.random.uniform(0.2, 1.5))
    cluster.revive(writer)


def takeovers(stage: Stage) -> None:
    """By the lock and by the lease in turn; at random moments; a comparison after each ten."""
    probe = Probe(stage)
    for number in range(stage.durations.takeovers):
        kill_writer(stage, probe, "lock" if number % 2 else "lease")
        stage.wait(stage.random.uniform(1.5, 4))
        if number % 10 == 9:
            stage.compare()
    probe.close()
    stage.compare()


def stop_writer(stage: Stage, restart: Callable[[str], None]) -> None:
    """An orderly stop of the writer, as a rolling restart has it."""
    probe = Probe(stage)
    writer = stage.cluster.writer()
    stage.cluster.supervisor.wait_up(stage.cluster.standby())
    stage.cluster.stop_node(writer)
    stage.took_over(Takeover("SIGTERM", "lock", *probe.measure(time.monotonic())))
    restart(writer)
    probe.close()
