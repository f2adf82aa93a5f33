"""What every event has at hand: the cluster, the load on it, the record of what came of it, and how long it lasts."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from cluster import LEASE_SECONDS, ChaosCluster
from comparison import compare
from data import Data, create_collections, fill_static, wait_for_all_rows
from history import History
from processes import Exit, Supervisor
from pymilvus import MilvusClient
from reading import LEVELS, ChangingReader, StaticReader
from recorder import Recorder
from writing import Writer

WRITERS = 3
PATIENCE = 60


@dataclass(frozen=True)
class Durations:
    """In seconds."""

    quiet: float
    down: float  # A killed process stays away for this time.
    settle: float  # After it is back.
    database: float
    stopped: float  # A node that SIGSTOP stops.
    cut: float
    full: float  # A disk that is full, twice.
    poison: tuple[int, int]  # How often each large request is sent, by how many clients at once.
    single_rows: float  # Are written for so long, before each of two takeovers that take `replay`.
    replay: float
    takeovers: int
    router_kills: int  # Of each.
    resumed_within: float = LEASE_SECONDS + 2  # Writes and Strong reads after the end of a writer.


BRIEF = {"full": 5, "poison": (1, 1), "single_rows": 3, "replay": 6}
SHORT = {"full": 10, "poison": (1, 1), "single_rows": 6, "replay": 8}
LONG = {"full": 60, "poison": (10, 2), "single_rows": 20, "replay": 20}
DURATIONS = {
    # It is part of the tests, which run on busy machines: a lease that counts twice is still found.
    "smoke": Durations(6, 3, 2, 6, 5, 5, **BRIEF, takeovers=2, router_kills=1, resumed_within=8),
    "short": Durations(15, 5, 4, 15, 10, 10, **SHORT, takeovers=6, router_kills=4),
    "long": Durations(30, 10, 5, 60, 20, 20, **LONG, takeovers=50, router_kills=10),
}


@dataclass(frozen=True)
class Takeover:
    """How long after the end of a writer writes and Strong reads went on. `by` says what the successor waited for."""

    cause: str
    by: str
    writes: float
    strong: float


@dataclass
class Stage:
    cluster: ChaosCluster
    data: Data
    recorder: Recorder
    durations: Durations
    seed: int
    history: History = field(default_factory=History)
    takeovers: list[Takeover] = field(default_factory=list)
    exits: list[Exit] = field(default_factory=list)
    may_end: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)  # Lost, revived, doubled and torn rows, each counted once.

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.writers: list[Writer] = []
        self.readers: list = []

    @classmethod
    def supervisor(cls, recorder: Recorder) -> tuple[Supervisor, list]:
        """It is needed before the stage is: what it sees goes to whoever stands in the list."""
        stages: list[Stage] = []
        exited = lambda exit: [stage.exited(exit) for stage in stages]  # noqa: E731
        return Supervisor(exited, lambda text: recorder.trouble("process", text)), stages

    # --- the load ---------------------------------------------------------------------------------------------

    def fill(self) -> None:
        client = MilvusClient(self.cluster.uris[0], timeout=PATIENCE)
        create_collections(client, self.data)
        fill_static(client, self.data)
        uri = self.cluster.uri
        self.writers = [Writer(i, uri, self.data, self.history, self.recorder, str(self.seed)) for i in range(WRITERS)]
        for writer in self.writers:
            writer.fill(client)
        wait_for_all_rows(client, self.data)
        time.sleep(5)  # From here on a Bounded answer may not be of a time before the rows.
        client.close()

    def start_load(self) -> None:
        if self.readers:
            return
        for level in LEVELS:
            rest = (self.cluster.uri, level, self.data, self.recorder)
            self.readers.append(StaticReader(*rest, f"{self.seed}-static-{level}"))
            changing = {"history": self.history, "writers": self.writers}
            self.readers.append(ChangingReader(*rest, f"{self.seed}-changing-{level}", **changing))
        for worker in [*self.readers, *self.writers]:
            worker.thread.start()

    def stop_load(self) -> None:
        for worker in [*self.readers, *self.writers]:
            worker.over.set()
        deadline = time.monotonic() + PATIENCE
        for worker in [*self.readers, *self.writers]:
            if worker.thread.ident is None:
                continue
            worker.thread.join(max(0, deadline - time.monotonic()))
            if worker.thread.is_alive():
                self.recorder.trouble("failed", f"{worker.thread.name} did not end within {PATIENCE} s")

    # --- while an event goes on -------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Lets the load run, and looks after it."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
            self.recorder.look_for_hung()
            for worker in [*self.readers, *self.writers]:
                assert worker.thread.is_alive(), f"{worker.thread.name} has died"

    def exited(self, exit: Exit) -> None:
        self.exits.append(exit)
        text = f"{exit.name} ended by itself with exit code {exit.code}; it said last: {exit.said}"
        if exit.name in self.may_end and exit.code != 0:
            self.recorder.note(text)
        else:
            self.recorder.trouble("process", text)

    def took_over(self, takeover: Takeover) -> None:
        self.takeovers.append(takeover)
        resumed = f"writes after {takeover.writes:.2f} s, Strong reads after {takeover.strong:.2f} s"
        self.recorder.note(f"takeover {len(self.takeovers)} ({takeover.cause}, by {takeover.by}): {resumed}")
        for what, took in (("writes", takeover.writes), ("Strong reads", takeover.strong)):
            if took > self.durations.resumed_within:
                text = f"{what} went on {took:.2f} s after {takeover.cause} (by {takeover.by})"
                self.recorder.trouble("bound", f"{text}; the bound is {self.durations.resumed_within} s")

    def lost(self, text: str) -> None:
        if text not in self.broken:
            self.broken.add(text)
            self.recorder.trouble("lost", text)

    def paused(self) -> AbstractContextManager[None]:
        """No writer of the load has a write under way."""
        return self.idle(self.writers)

    def readers_paused(self) -> AbstractContextManager[None]:
        """No reader of the load has a read under way."""
        return self.idle(self.readers)

    @contextmanager
    def idle(self, workers: list) -> Iterator[None]:
        alive = [worker for worker in workers if worker.thread.is_alive()]
        for worker in alive:
            worker.idle.clear()
            worker.paused.set()
        try:
            for worker in alive:
                assert worker.idle.wait(PATIENCE), f"{worker.thread.name} has been in one request for {PATIENCE} s"
            yield
        finally:
            for worker in alive:
                worker.paused.clear()

    @contextmanager
    def without_writer(self) -> Iterator[None]:
        """No node writes, nor stands by: reads that need one may be refused by name, those of files may not."""
        self.recorder.no_writer, began = True, time.monotonic()
        try:
            yield
        finally:
            self.recorder.no_writer = False
            refused = [s.level for s in self.recorder.samples if s.outcome == "refused" and s.began + s.took > began]
            if refused:
                self.recorder.note(f"reads that were refused while there was no writer: {dict(Counter(refused))}")

    def compare(self, with_vectors: bool = False) -> None:
        """Pauses the writers and compares all rows with what was acknowledged."""
        with self.paused():
            faults, rows, took = compare(self.cluster, self.history, self.data, with_vectors)
        for fault in faults:
            if fault.kind in ("lost", "revived", "doubled", "torn"):
                self.lost(f"{fault.kind}: {fault.text}")
            else:
                self.recorder.trouble("wrong", f"{fault.kind}: {fault.text}")
        self.recorder.note(f"{rows} rows compared in {took:.1f} s, {len(faults)} faults")


