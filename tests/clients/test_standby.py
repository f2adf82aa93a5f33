"""A writable node and its standby, two routers, catalog and discovery in a real MariaDB: whoever writes is killed or
stopped, the database goes away. Nothing acknowledged is lost, and nobody but this test starts anything again."""

import signal
import threading
import time

import pytest
from harness import CONNECT_WITHIN, READY_WITHIN, MysqlCluster
from pymilvus import MilvusClient, MilvusException
from tables import FLAT_L2, KEY, NUMBER, create, insert, random_vectors, rows_of, vector, wait_for

pytestmark = [pytest.mark.targets("cluster"), pytest.mark.timeout(240)]

DIM = 8
RESUMED_WITHIN = 10  # The lease of 2 s, the second that a taker adds, and time for a busy machine.


@pytest.fixture
def pair(tmp_path, database):
    cluster = MysqlCluster(tmp_path, f"{database.url}/mishards")
    cluster.start()
    yield cluster
    cluster.end()


class Writing:
    """A thread that inserts row after row through both routers in turn, and notes what was acknowledged."""

    def __init__(self, cluster: MysqlCluster, name: str) -> None:
        self.clients = [MilvusClient(uri, dedicated=True, timeout=30) for uri in cluster.uris]
        self.name = name
        self.acknowledged: set[int] = set()
        self.in_doubt: set[int] = set()
        self.last_at = time.monotonic()
        self.longest_pause = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def __enter__(self) -> "Writing":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()
        for client in self.clients:
            client.close()

    def work(self) -> None:
        key = 0
        while not self.over.is_set():
            row = {"id": key, "n": key, "vec": [float(key)] * DIM}
            try:
                self.clients[key % 2].insert(self.name, [row], retry_times=0)
                self.acknowledged.add(key)
                now = time.monotonic()
                self.longest_pause = max(self.longest_pause, now - self.last_at)
                self.last_at = now
            except MilvusException:
                self.in_doubt.add(key)
            key += 1

    def goes_on(self, what: str, within: float) -> float:
        """Waits for an acknowledgement of a write that began from now on; answers after how long it came."""
        began, count = time.monotonic(), len(self.acknowledged) + 1
        while len(self.acknowledged) <= count:
            assert time.monotonic() - began < within, f"{what}: no write was acknowledged within {within} s"
            time.sleep(0.01)
        return time.monotonic() - began


def table(cluster: MysqlCluster) -> None:
    client = MilvusClient(cluster.uris[0], timeout=CONNECT_WITHIN)
    create(client, "table", {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
    client.close()


def check(cluster: MysqlCluster, writing: Writing) -> None:
    """Every row that was acknowledged is there once, and none that was never sent."""
    for uri in cluster.uris:
        client = MilvusClient(uri, timeout=30)
        rows = client.query("table", filter="id >= 0", output_fields=["n"], consistency_level="Strong")
        found = [row["id"] for row in rows]
        lost = writing.acknowledged - set(found)
        assert not lost, f"{len(lost)} acknowledged rows are lost: {sorted(lost)[:10]}"
        assert set(found) <= writing.acknowledged | writing.in_doubt
        count = client.query("table", filter="", output_fields=["count(*)"], consistency_level="Strong")
        assert count[0]["count(*)"] == len(found), "a row is there twice"
        client.close()


def revive(cluster: MysqlCluster, node: str) -> None:
    cluster.processes[node].start()
    cluster.processes[node].wait_until_ready(time.monotonic() + READY_WITHIN)


def test_the_standby_takes_over_from_a_killed_writer(pair):
    table(pair)
    pauses = []
    with Writing(pair, "table") as writing:
        for _ in range(4):
            writing.goes_on("before", 30)
            writer = pair.writer()
            pair.processes[writer].kill9()
            pauses.append(writing.goes_on(f"after {writer} was killed", RESUMED_WITHIN))
            assert pair.writer() != writer
            revive(pair, writer)
    check(pair, writing)
    print(f"{len(writing.acknowledged)} acknowledged, writes resumed after {', '.join(f'{p:.2f}' for p in pauses)} s")


def test_a_stopped_writer_that_wakes_up_has_lost_its_term(pair):
    table(pair)
    with Writing(pair, "table") as writing:
        writing.goes_on("before", 30)
        writer = pair.writer()
        stopped = pair.processes[writer].running
        stopped.send_signal(signal.SIGSTOP)
        # The write that was under way is given up when its connection is found dead.
        pause = writing.goes_on(f"after {writer} was stopped", RESUMED_WITHIN + 8)
        stopped.send_signal(signal.SIGCONT)
        wait_for("the old writer to stand by", lambda: pair.stands_by(writer), 20)
        writing.goes_on("after it woke up", RESUMED_WITHIN)
        successor = pair.writer()
        assert successor != writer
        pair.processes[successor].kill9()
        writing.goes_on("after it took over again", RESUMED_WITHIN)
        assert pair.writer() == writer
        revive(pair, successor)
        writing.goes_on("with a standby again", RESUMED_WITHIN)
    check(pair, writing)
    print(f"{len(writing.acknowledged)} acknowledged, writes resumed after {pause:.2f} s")


def test_writes_and_reads_go_on_without_the_database(pair, database):
    table(pair)
    with Writing(pair, "table") as writing:
        wait_for("five rows", lambda: len(writing.acknowledged) >= 5)
        database.kill()
        until = time.monotonic() + 8
        client = MilvusClient(pair.uris[1], timeout=CONNECT_WITHIN)
        while time.monotonic() < until:
            writing.goes_on("without the database", 10)
            rows = client.query("table", filter="id < 5", output_fields=["n"], consistency_level="Strong", retry_times=0)
            assert len(rows) == 5
        with pytest.raises(MilvusException):
            client.create_partition("table", "later", timeout=5)
        assert not writing.in_doubt, "a write failed while only the database was away"
        database.start()
        deadline = time.monotonic() + 20
        while "later" not in client.list_partitions("table"):
            assert time.monotonic() < deadline
            try:
                client.create_partition("table", "later", timeout=5)
            except MilvusException:
                time.sleep(0.5)
        client.flush("table")
        client.close()
    check(pair, writing)


def test_routers_begin_again_without_database_and_writer(pair, database):
    table(pair)
    client = MilvusClient(pair.uris[0], timeout=CONNECT_WITHIN)
    insert(client, "table", rows_of(random_vectors(200, DIM, seed=1), n=lambda key: key))
    client.flush("table")
    client.close()
    kept = pair.folder / "router1-state" / "catalog.json"
    wait_for("the router keeps what it knows", lambda: kept.exists() and b"segments/" in kept.read_bytes())
    database.kill()
    for name in ("w1", "w2"):
        pair.processes[name].kill9()
    pair.processes["router1"].kill9()
    revive(pair, "router1")
    client = MilvusClient(pair.uris[0], timeout=CONNECT_WITHIN)
    query = random_vectors(1, DIM, seed=2)[0].tolist()
    found = client.search("table", data=[query], limit=10, consistency_level="Eventually", retry_times=0)
    assert len(found[0]) == 10
    client.close()
