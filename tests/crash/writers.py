"""The writers: threads that insert, upsert and delete through pymilvus until the server dies under them."""

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ledger import Fault, Ledger, Write, bucket_of
from pymilvus import MilvusClient, MilvusException

COLLECTION = "crash"
DIMENSIONS = 8
KINDS = {"insert": 34, "upsert": 32, "delete keys": 22, "delete by filter": 12}

# Answers of a healthy server that is busy or not ready; pymilvus retries some of them by itself.
TRANSIENT = {1, 2, 3, 4, 8, 9, 12}


def vectors_of(keys: list[int], versions: list[int]) -> np.ndarray:
    """One vector for each (key, version): the same in every run, and no two alike. Values in [-1, 1), float32."""
    seeds = np.array(keys, np.uint64)[:, None] << np.uint64(40) | np.array(versions, np.uint64)[:, None]
    lanes = np.arange(1, DIMENSIONS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = seeds * np.uint64(0xBF58476D1CE4E5B9) + lanes
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)).astype(np.float32)


def connect(uri: str) -> MilvusClient:
    """A connection of its own. Quick to give up, for its server gets killed: without this a call that fails would
    first wait for the connection to come back."""
    backoff = {f"grpc.{name}_reconnect_backoff_ms": 50 for name in ("initial", "min", "max")}
    for attempt in itertools.count():
        try:
            return MilvusClient(uri, dedicated=True, timeout=2, grpc_options=backoff)
        except MilvusException:
            if attempt == 10:
                raise
            time.sleep(0.1)


class Writer:
    """Writes to the keys of one range. It stops at the first write without a clear answer, which stays in doubt."""

    def __init__(self, keys: range, seed: str, numbers: Callable[[], int], journal: Path) -> None:
        self.ledger = Ledger(keys)
        self.random = random.Random(seed)
        self.next_number = numbers
        self.journal = journal.open("a", encoding="utf-8")
        self.acknowledged = 0
        self.errors: Counter[str] = Counter()
        self.faults: list[Fault] = []

    def work(self, client: MilvusClient, pause: threading.Event) -> None:
        try:
            while not pause.is_set() and self.ledger.doubt is None:
                self.send(client, self.plan())
            client.close()
        except Exception as error:
            self.faults.append(Fault("refused", f"writer failed: {type(error).__name__}: {error}"))

    def send(self, client: MilvusClient, write: Write) -> None:
        self.ledger.begin(write)
        entry = {"number": write.number, "kind": write.kind, "keys": write.keys, "filter": write.filter}
        self.note(entry | {"changes": write.changes})
        try:
            done = request(client, write)
        except Exception as error:  # Whatever it is: the write may have happened or not.
            self.note({"number": write.number, "error": str(error)})
            self.errors[type(error).__name__ + " " + str(getattr(error, "code", ""))] += 1
            if is_refusal(error):
                self.faults.append(Fault("refused", f"{write.kind} number {write.number}: {error}"))
            return
        self.note({"number": write.number, "acknowledged": done})
        if done is not None and done != len(write.keys):
            self.faults.append(Fault("wrong", f"{write.kind} number {write.number}: {done} of {len(write.keys)} rows"))
        self.ledger.acknowledged()
        self.acknowledged += 1

    def note(self, entry: dict) -> None:
        self.journal.write(json.dumps(entry) + "\n")

    # --- what to write next: depends on the seed and the ledger alone -------------------------------------------

    def plan(self) -> Write:
        number = self.next_number()
        kind = self.random.choices(list(KINDS), weights=list(KINDS.values()))[0]
        if kind == "delete by filter":
            return self.plan_filter(number)
        keys = self.some_keys()
        rows = self.ledger.rows
        if kind == "insert":
            keys = [key for key in keys if key not in rows]
        after = None if kind == "delete keys" else number
        if not keys:
            keys, kind, after = self.some_keys(), "upsert", number
        changes = {key: (rows.get(key), after) for key in keys if rows.get(key) != after}
        return Write(number, kind, changes, tuple(keys))

    def some_keys(self) -> list[int]:
        size = self.random.choice((1, 1, 3, 10, 30, 100, 300))
        if self.random.random() < 0.5:
            return self.random.sample(self.ledger.keys, min(size, len(self.ledger.keys)))
        start = self.random.choice(self.ledger.keys)
        return list(range(start, min(start + size, self.ledger.keys.stop)))

    def plan_filter(self, number: int) -> Write:
        low = self.random.choice(self.ledger.keys)
        high = min(low + self.random.choice((20, 100, 400)), self.ledger.keys.stop)
        rows = {key: version for key, version in self.ledger.rows.items() if low <= key < high}
        if rows and self.random.random() < 0.4:
            newest = self.random.choice(sorted(rows.values()))
            text, hit = f"version <= {newest}", lambda key: rows[key] <= newest
        else:
            bucket = self.random.randrange(10)
            text, hit = f"bucket == {bucket}", lambda key: bucket_of(key, rows[key]) == bucket
        changes = {key: (rows[key], None) for key in rows if hit(key)}
        return Write(number, "delete by filter", changes, filter=f"id >= {low} and id < {high} and {text}")


def request(client: MilvusClient, write: Write) -> int | None:
    """Sends it once: pymilvus would repeat a write whose connection broke, and so write it twice. (A timeout would
    allow repeats until it is over, so there is none; a dead server ends the call, and the harness kills it anyway.)"""
    if write.kind in ("insert", "upsert"):
        call = client.insert if write.kind == "insert" else client.upsert
        vectors = vectors_of(list(write.keys), [write.number] * len(write.keys))
        rows = [
            {"id": key, "version": write.number, "bucket": bucket_of(key, write.number), "vec": vector}
            for key, vector in zip(write.keys, vectors, strict=True)
        ]
        return call(COLLECTION, rows, retry_times=0)[f"{write.kind}_count"]
    if write.filter:
        client.delete(COLLECTION, filter=write.filter, retry_times=0)
    else:
        client.delete(COLLECTION, ids=list(write.keys), retry_times=0)
    return None


def is_refusal(error: Exception) -> bool:
    """Whether a living server said no to a valid write. Its own error codes are numbers; a broken connection has a
    gRPC status, or pymilvus's code 2 for a failed reconnect."""
    code = getattr(error, "code", None)
    return isinstance(error, MilvusException) and isinstance(code, int) and code not in TRANSIENT
