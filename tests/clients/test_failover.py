"""A read-only node is killed under a steady load of searches: no search fails, and every answer stays complete."""

import signal
import threading
import time

import numpy as np
import pytest
from exact import check_hits, scores
from harness import CONNECT_WITHIN, READY_WITHIN, Cluster
from pymilvus import MilvusClient
from tables import FLAT_L2, KEY, NUMBER, create, insert, random_vectors, rows_of, vector

pytestmark = [pytest.mark.targets("cluster"), pytest.mark.timeout(240)]

DIM = 16
ROWS = 6000
FRESH = 200
SEARCHERS = 4
SECONDS = 4
STUCK_AFTER = 30
LIMIT = 20
BOUND = 5  # A Bounded answer may be this many seconds old.


class Load:
    """Threads that search without pause and compare each answer with the exact one."""

    options = {"retry_times": 0}  # pymilvus's own repetitions would hide a failure.

    def __init__(self, uri: str, name: str, level: str, vectors: np.ndarray) -> None:
        self.uri, self.name, self.level = uri, name, level
        self.queries = random_vectors(40, DIM, seed=300)
        self.expected = [dict(enumerate(scores("L2", vectors, query))) for query in self.queries]
        self.over = threading.Event()
        self.answered = [0] * SEARCHERS
        self.slowest = [0.0] * SEARCHERS
        self.faults: list[BaseException] = []
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(SEARCHERS)]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def work(self, number: int) -> None:
        """A fault of any kind is kept for the test, which has threads besides this one."""
        try:
            client = MilvusClient(self.uri, dedicated=True, timeout=CONNECT_WITHIN)
            while not self.over.is_set():
                self.search(client, number)
            client.close()
        except BaseException as fault:
            self.faults.append(fault)

    def search(self, client: MilvusClient, number: int) -> None:
        """One search."""
        chosen = self.answered[number] % len(self.queries)
        began = time.monotonic()
        options = {"limit": LIMIT, "consistency_level": self.level, **self.options}
        answer = client.search(self.name, data=[self.queries[chosen].tolist()], **options)
        self.slowest[number] = max(self.slowest[number], time.monotonic() - began)
        check_hits(answer[0], self.expected[chosen], "L2", LIMIT)
        self.answered[number] += 1

    def goes_on(self, what: str) -> None:
        """For some seconds every thread gets answers, and no fault occurs."""
        before = list(self.answered)
        time.sleep(SECONDS)
        deadline = time.monotonic() + STUCK_AFTER - SECONDS
        while not all(now > then for now, then in zip(self.answered, before)):
            assert not self.faults and time.monotonic() < deadline, f"{what}: a search is stuck {[str(fault) for fault in self.faults]}"
            time.sleep(0.1)
        assert not self.faults, f"{what}: {self.faults[0]!r} {self.faults[0]}"


def fill(client: MilvusClient, name: str) -> np.ndarray:
    """Six segments for the nodes to share, and fresh rows that are on the writable node only."""
    create(client, name, {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
    vectors = random_vectors(ROWS + FRESH, DIM, seed=301)
    rows = rows_of(vectors, n=lambda key: key)
    for start in range(0, ROWS, 1000):
        insert(client, name, rows[start : start + 1000])
        client.flush(name)
    insert(client, name, rows[ROWS:])
    return vectors


@pytest.mark.parametrize("level", ["Bounded", "Strong"])
def test_killing_read_only_nodes_fails_no_search(own_cluster, level):
    client = MilvusClient(own_cluster.uri, timeout=CONNECT_WITHIN)
    vectors = fill(client, "table")
    if level == "Bounded":
        time.sleep(BOUND)
    with Load(own_cluster.uri, "table", level, vectors) as load:
        load.goes_on("with all nodes")
        for node in ("ro1", "ro2"):
            own_cluster.processes[node].kill9()
            load.goes_on(f"without {node}")
            revive(own_cluster, node)
            load.goes_on(f"with {node} again")
    print(f"{sum(load.answered)} searches, the slowest took {max(load.slowest):.2f} s")
    client.close()


def revive(cluster: Cluster, node: str) -> None:
    cluster.processes[node].start()
    cluster.processes[node].wait_until_ready(time.monotonic() + READY_WITHIN)


@pytest.mark.parametrize("level", ["Bounded", "Strong"])
def test_restarting_the_writer_fails_no_search(own_cluster, level):
    """kill -9 of the writable node, with rows that are only in its log: searches wait for it, and miss nothing."""
    client = MilvusClient(own_cluster.uri, timeout=CONNECT_WITHIN)
    vectors = fill(client, "table")
    if level == "Bounded":
        time.sleep(BOUND)
    with Load(own_cluster.uri, "table", level, vectors) as load:
        load.goes_on("with the writer")
        own_cluster.processes["writer"].kill9()
        revive(own_cluster, "writer")
        load.goes_on("with the writer again")
    print(f"{sum(load.answered)} searches, the slowest took {max(load.slowest):.2f} s")
    client.close()


def test_without_the_writer_files_are_still_read(own_cluster):
    """Eventual reads go on from files while the writable node is away; it comes back and everything is there."""
    client = MilvusClient(own_cluster.uri, timeout=CONNECT_WITHIN)
    vectors = fill(client, "table")
    client.flush("table")
    exact = dict(enumerate(scores("L2", vectors, vectors[7])))
    own_cluster.processes["writer"].kill9()
    for _ in range(20):
        hits = client.search(
            "table", data=[vectors[7].tolist()], limit=LIMIT, consistency_level="Eventually", retry_times=0
        )[0]
        check_hits(hits, exact, "L2", LIMIT)
    revive(own_cluster, "writer")
    count = client.query("table", "", output_fields=["count(*)"], consistency_level="Strong")
    assert count[0]["count(*)"] == ROWS + FRESH
    client.close()


@pytest.mark.parametrize("level", ["Bounded", "Strong"])
def test_a_node_that_hangs_fails_no_search(own_cluster, level):
    """SIGSTOP: the node takes connections and answers nothing. Searches go to the other one, some by hedging, the rest
    when the router has noticed."""
    client = MilvusClient(own_cluster.uri, timeout=CONNECT_WITHIN)
    vectors = fill(client, "table")
    if level == "Bounded":
        time.sleep(BOUND)
    with Load(own_cluster.uri, "table", level, vectors) as load:
        load.goes_on("with all nodes")
        stopped = own_cluster.processes["ro1"].running
        stopped.send_signal(signal.SIGSTOP)
        load.goes_on("with ro1 stopped")
        load.goes_on("with ro1 still stopped")
        stopped.send_signal(signal.SIGCONT)
        load.goes_on("with ro1 again")
    slowest = max(load.slowest)
    assert slowest < 4, f"a search took {slowest:.2f} s"
    print(f"{sum(load.answered)} searches, the slowest took {slowest:.2f} s")
    client.close()
