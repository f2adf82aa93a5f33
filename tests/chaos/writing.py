"""The writers: threads that insert, upsert and delete through pymilvus, each in a range of keys of its own."""

import itertools
import random
import threading
import time
from collections.abc import Callable

from data import CHANGING, Data
from history import History
from pymilvus import MilvusClient
from recorder import Recorder, is_refusal

KINDS = {"insert": 30, "upsert": 40, "delete keys": 20, "delete by filter": 10}
SIZES = (1, 1, 3, 8, 20)
POOL = 500  # Keys that are written to now.
RANGE = 100_000  # A parked key is followed by the next one of the range.
FEWEST = 200
INTERVAL = 0.1
CONNECT_WITHIN = 30


class Writer:
    """Sends each write once: a repetition could store rows twice. Keys whose write got no answer are parked."""

    def __init__(self, number: int, uri: str, data: Data, history: History, recorder: Recorder, seed: str) -> None:
        self.uri, self.data, self.history, self.recorder = uri, data, history, recorder
        self.random = random.Random(f"{seed}-writer-{number}")
        self.keys = iter(range(number * RANGE, (number + 1) * RANGE))
        self.pool = list(itertools.islice(self.keys, POOL))
        self.parked: list[int] = []
        self.versions = itertools.count(1)
        self.over, self.paused, self.idle = threading.Event(), threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True, name=f"writer {number}")

    def fill(self, client: MilvusClient) -> None:
        """The first rows, before anything is disturbed."""
        for start in range(0, POOL, 100):
            self.send(client, "insert", self.pool[start : start + 100])

    def work(self) -> None:
        client = MilvusClient(self.uri, dedicated=True, timeout=CONNECT_WITHIN)
        while not self.over.is_set():
            if self.paused.is_set():
                self.idle.set()
                time.sleep(0.02)
                continue
            self.idle.clear()
            began = time.monotonic()
            self.send(client, *self.plan())
            self.over.wait(max(0.01, INTERVAL * self.random.uniform(0.6, 1.4) - (time.monotonic() - began)))
        self.idle.set()
        client.close()

    def plan(self) -> tuple[str, list[int]]:
        kind = self.random.choices(list(KINDS), weights=list(KINDS.values()))[0]
        keys = self.random.sample(self.pool, self.random.choice(SIZES))
        present = [key for key in keys if self.history.version(key) is not None]
        if kind == "insert" and len(present) < len(keys):
            return kind, [key for key in keys if key not in present]
        if kind.startswith("delete") and present and self.present() - len(present) >= FEWEST:
            return kind, present
        return "upsert", keys

    def present(self) -> int:
        return sum(self.history.version(key) is not None for key in self.pool)

    def send(self, client: MilvusClient, kind: str, keys: list[int]) -> None:
        version = next(self.versions)
        after = None if kind.startswith("delete") else version
        write = self.history.begin(kind, dict.fromkeys(keys, after), time.monotonic())
        try:
            self.request(client, kind, keys, version)()
        except Exception as error:
            self.recorder.wrote(error)
            if is_refusal(error):
                self.history.refuse(write)
            else:  # Whatever it is: the write may have happened or not.
                self.history.leave_open(write)
                self.park(keys)
            return
        self.history.acknowledge(write, time.monotonic())
        self.recorder.wrote(None)

    def request(self, client: MilvusClient, kind: str, keys: list[int], version: int) -> Callable[[], object]:
        if kind == "delete keys":
            return lambda: client.delete(CHANGING, ids=keys, retry_times=0)
        if kind == "delete by filter":  # No mere list of keys, so that the rows are looked up first.
            return lambda: client.delete(CHANGING, filter=f"id in {keys} and version > 0", retry_times=0)
        rows = [self.data.row(key, version) for key in keys]
        call = client.insert if kind == "insert" else client.upsert
        return lambda: call(CHANGING, rows, retry_times=0)

    def park(self, keys: list[int]) -> None:
        self.parked += keys
        self.pool = [key for key in self.pool if key not in set(keys)] + list(itertools.islice(self.keys, len(keys)))

    # --- for readers ------------------------------------------------------------------------------------------

    def sample(self, chance: random.Random, size: int) -> list[int]:
        """Keys to read, some of them parked."""
        keys = chance.sample(self.pool, size)
        parked = self.parked[-50:]
        return keys[:-1] + [chance.choice(parked)] if parked and size > 1 else keys

    def first_of(self, chance: random.Random, size: int) -> int:
        pool = self.pool
        return chance.randrange(min(pool), max(pool) - size)

    def some_row(self, chance: random.Random) -> tuple[int, int] | None:
        """None when no key has a row, as it is after many writes without an answer."""
        for key in chance.sample(self.pool, len(self.pool)):
            version = self.history.version(key)
            if version is not None:
                return key, version
        return None
