"""The readers: threads that search and query without pause, one for each consistency level and collection, so that a
Strong read that waits for a takeover keeps no other from being measured."""

import itertools
import random
import threading
import time

import numpy as np
from data import CHANGING, LIMIT, STATIC, Data
from history import History, judge
from pymilvus import MilvusClient
from recorder import Recorder, Wrong
from writing import Writer

LEVELS = ("Strong", "Session", "Bounded", "Eventually")
# How old an answer may be. Session sees what its client wrote, and all writers are in this process. Eventually knows
# no bound: it may read the files alone while nobody writes.
STALENESS = {"Strong": 0.0, "Session": 0.0, "Bounded": 5.0, "Eventually": float("inf")}
INTERVAL = 0.05
CONNECT_WITHIN = 30
EXACT = 1e-4
ONCE = {"retry_times": 0}  # pymilvus's own repetitions would hide a failure; and a timeout would allow them.
MANY_KEYS = 15
KEYS_COUNTED = 150


class Reader:
    """One thread with a connection of its own."""

    def __init__(self, uri: str, level: str, data: Data, recorder: Recorder, seed: str) -> None:
        self.uri, self.level, self.data, self.recorder = uri, level, data, recorder
        self.random = random.Random(seed)
        self.over, self.paused, self.idle = threading.Event(), threading.Event(), threading.Event()
        self.options = {"consistency_level": level, **ONCE}
        self.thread = threading.Thread(target=self.work, daemon=True, name=f"{type(self).__name__} {level}")

    def requests(self) -> list:
        """What is asked in turn."""
        raise NotImplementedError

    def work(self) -> None:
        self.client = MilvusClient(self.uri, dedicated=True, timeout=CONNECT_WITHIN)
        for request in itertools.cycle(self.requests()):
            while self.paused.is_set() and not self.over.is_set():
                self.idle.set()
                time.sleep(0.02)
            self.idle.clear()
            if self.over.is_set():
                break
            began = time.monotonic()
            request()
            self.over.wait(max(0.01, INTERVAL * self.random.uniform(0.7, 1.3) - (time.monotonic() - began)))
        self.idle.set()
        self.client.close()

    def ask(self, kind: str, request, check) -> None:
        self.recorder.read(self.level, kind, request, check)

    def must(self, well: bool, what: str) -> None:
        if not well:
            raise Wrong(what)


class StaticReader(Reader):
    """Reads what nobody changes: there is one right answer at every level."""

    def requests(self) -> list:
        return [self.search, self.search_filtered, self.search, self.count, self.search, self.lookup]

    def search(self) -> None:
        self.compare_search("search", self.random.choice(self.data.plain))

    def search_filtered(self) -> None:
        self.compare_search("filtered search", self.random.choice(self.data.filtered))

    def compare_search(self, kind: str, known) -> None:
        def check(answer) -> None:
            ids, distances = [hit["id"] for hit in answer[0]], [hit["distance"] for hit in answer[0]]
            self.must(len(ids) == len(known.ranked), f"{len(ids)} hits, not {len(known.ranked)}")
            self.must(len(set(ids)) == len(ids), f"a hit twice: {ids}")
            self.must(bool(known.matching[ids].all()), f"a hit that the filter does not let through: {ids}")
            well = np.allclose(distances, known.ranked, rtol=EXACT, atol=EXACT)
            well = well and np.allclose(known.scores[ids], known.ranked, rtol=EXACT, atol=EXACT)
            self.must(well, f"hits {list(zip(ids, distances))}, the best scores are {known.ranked.tolist()}")

        options = {"filter": known.filter, "limit": LIMIT, **self.options}
        self.ask(kind, lambda: self.client.search(STATIC, data=[known.vector], **options), check)

    def count(self) -> None:
        text, wanted = self.random.choice(list(self.data.counts.items()))

        def check(answer) -> None:
            self.must(answer[0]["count(*)"] == wanted, f"count(*) {answer[0]['count(*)']}, not {wanted} ({text})")

        self.ask("count", lambda: self.client.query(STATIC, text, output_fields=["count(*)"], **self.options), check)

    def lookup(self) -> None:
        keys = self.random.sample(range(len(self.data.names)), MANY_KEYS)

        def check(answer) -> None:
            found = {row["id"]: row["name"] for row in answer}
            wrong = [key for key in keys if found.get(key) != self.data.names[key][:60]]
            self.must(not wrong and len(answer) == len(keys), f"{len(answer)} of {len(keys)} rows, wrong: {wrong}")

        options = {"output_fields": ["name"], **self.options}
        self.ask("lookup", lambda: self.client.query(STATIC, f"id in {keys}", **options), check)


class ChangingReader(Reader):
    """Reads what writers change meanwhile: an answer must be one that the history allows for the time of the read."""

    def __init__(self, *arguments, history: History, writers: list[Writer]) -> None:
        super().__init__(*arguments)
        self.history, self.writers = history, writers

    def requests(self) -> list:
        return [self.lookup, self.search, self.search_keys, self.get, self.count]

    def possible(self, key: int, began: float) -> set[int | None]:
        """Without the writer, an Eventual read may lack a row whose newest version is not in a file yet."""
        allowed = self.history.possible(key, began - STALENESS[self.level], time.monotonic())
        return allowed | {None} if self.level == "Eventually" else allowed

    def some_keys(self) -> list[int]:
        return self.random.choice(self.writers).sample(self.random, MANY_KEYS)

    def compare_rows(self, keys: list[int], rows, began: float) -> None:
        found: dict[int, int] = {}
        for row in rows:
            self.must(row["id"] not in found, f"key {row['id']} twice")
            found[row["id"]] = row["version"]
        self.must(found.keys() <= set(keys), f"keys that were not asked for: {sorted(found.keys() - set(keys))}")
        faults = [judge(key, self.possible(key, began), found.get(key)) for key in keys]
        faults = [f"{fault.kind}: {fault.text}" for fault in faults if fault]
        self.must(not faults, f"{len(faults)} of {len(keys)} keys: {'; '.join(faults[:3])}")

    def lookup(self) -> None:
        keys, began = self.some_keys(), time.monotonic()
        options = {"output_fields": ["version"], **self.options}
        request = lambda: self.client.query(CHANGING, f"id in {keys}", **options)  # noqa: E731
        self.ask("lookup", request, lambda answer: self.compare_rows(keys, answer, began))

    def get(self) -> None:
        keys, began = self.some_keys()[:1], time.monotonic()
        options = {"output_fields": ["version"], **self.options}
        request = lambda: self.client.get(CHANGING, ids=keys, **options)  # noqa: E731
        self.ask("get", request, lambda answer: self.compare_rows(keys, answer, began))

    def count(self) -> None:
        """Of a range of keys: at least those that are surely there, at most those that may be."""
        low = self.random.choice(self.writers).first_of(self.random, KEYS_COUNTED)
        keys, began = range(low, low + KEYS_COUNTED), time.monotonic()

        def check(answer) -> None:
            states = [self.possible(key, began) for key in keys]
            least = sum(None not in state for state in states)
            most = sum(state != {None} for state in states)
            count = answer[0]["count(*)"]
            text = f"count(*) {count} of keys {low} to {low + KEYS_COUNTED}, not {least} to {most}"
            self.must(least <= count <= most, text)

        text = f"id >= {low} and id < {low + KEYS_COUNTED}"
        options = {"output_fields": ["count(*)"], **self.options}
        self.ask("count", lambda: self.client.query(CHANGING, text, **options), check)

    def search(self) -> None:
        """The vector of a row finds it, and nothing that was deleted or overwritten."""
        row, began = self.random.choice(self.writers).some_row(self.random), time.monotonic()
        if row is None:
            return
        key, version = row
        at = self.data.row_of(key, version)

        def check(answer) -> None:
            self.compare_hits(answer[0], at, began)
            self.must(len(answer[0]) == LIMIT, f"{len(answer[0])} hits, not {LIMIT}")
            if self.possible(key, began) == {version}:
                ids = {hit["id"] for hit in answer[0]}
                self.must(key in ids, f"key {key}, version {version} is not among its own hits")

        options = {"limit": LIMIT, "output_fields": ["version"], "search_params": {"params": {"ef": 256}}}
        vector = [self.data.vectors[at].tolist()]
        self.ask("search", lambda: self.client.search(CHANGING, data=vector, **options, **self.options), check)

    def search_keys(self) -> None:
        """A filter that lists keys: every one of them that is there is a hit."""
        keys, at, began = self.some_keys(), self.random.randrange(len(self.data.vectors)), time.monotonic()

        def check(answer) -> None:
            self.compare_hits(answer[0], at, began)
            rows = [{"id": hit["id"], "version": hit["entity"]["version"]} for hit in answer[0]]
            self.compare_rows(keys, rows, began)

        options = {"filter": f"id in {keys}", "limit": len(keys), "output_fields": ["version"]}
        vector = [self.data.vectors[at].tolist()]
        self.ask("filtered search", lambda: self.client.search(CHANGING, data=vector, **options, **self.options), check)

    def compare_hits(self, hits, at: int, began: float) -> None:
        """Each hit is a row that may be there, has its distance, and comes in its order."""
        distances = [hit["distance"] for hit in hits]
        self.must(all(a <= b + EXACT for a, b in itertools.pairwise(distances)), f"not in order: {distances}")
        self.must(len({hit["id"] for hit in hits}) == len(hits), "a hit twice")
        for hit in hits:
            key, version = hit["id"], hit["entity"]["version"]
            fault = judge(key, self.possible(key, began), version)
            self.must(fault is None, f"{fault.kind}: {fault.text}" if fault else "")
            exact = self.data.distance(at, self.data.row_of(key, version))
            self.must(abs(exact - hit["distance"]) < 1e-3, f"key {key}: distance {hit['distance']}, exactly {exact}")
