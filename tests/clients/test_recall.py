"""Real data through pymilvus: recall and speed of HNSW, with and without filters, and again after a restart.
Exact answers are computed here with numpy."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import dataset
import numpy as np
import pytest
from exact import TIE
from harness import CONNECT_WITHIN, Server
from pymilvus import DataType, MilvusClient
from tables import KEY, NUMBER, count, create, ids_of, insert, text, vector, wait_for_index

pytestmark = [pytest.mark.targets("standalone"), pytest.mark.timeout(1800)]

NAME = "packages"
K = 10
EF = 64
FIRST_ANSWER_WITHIN = 2.0
SETTLED_FOR = 3
SETTLED_WITHIN = 900
FIELDS = {
    "id": KEY,
    "name": text(128),
    "section": text(64),
    "priority": text(32),
    "installed_kb": NUMBER,
    "tags": {"datatype": DataType.ARRAY, "element_type": DataType.VARCHAR, "max_capacity": 100, "max_length": 64},
}
HNSW = {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 16, "efConstruction": 200}}
FILTERS = {
    "": lambda record: True,
    'section == "games"': lambda record: record["section"] == "games",
    "installed_kb >= 10000": lambda record: record["installed_kb"] >= 10000,
    'priority != "optional"': lambda record: record["priority"] != "optional",
    'name like "lib%"': lambda record: record["name"].startswith("lib"),
    # The sample has no name with lib; these two are like it there, one in its kind and one in the share it matches.
    'name like "g%"': lambda record: record["name"].startswith("g"),
    "installed_kb < 200": lambda record: record["installed_kb"] < 200,
}


@dataclass
class Loaded:
    server: Server
    data: dataset.Dataset
    exact: np.ndarray  # [query, id]: cosine similarity

    def connect(self) -> MilvusClient:
        return MilvusClient(self.server.uri, dedicated=True, timeout=CONNECT_WITHIN)

    def search(self, client: MilvusClient, query: int, filter: str = ""):
        options = {"limit": K, "filter": filter, "search_params": {"params": {"ef": EF}}}
        return client.search(NAME, data=[self.data.queries[query].tolist()], **options)[0]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> Iterator[Loaded]:
    """A server with the whole data, flushed and indexed, whose background work is done."""
    data = dataset.load()
    loaded = Loaded(Server(tmp_path_factory.mktemp("recall")), data, similarities(data))
    loaded.server.start()
    try:
        client = loaded.connect()
        fill(client, data)
        client.close()
        yield loaded
        loaded.server.stop()
    finally:
        loaded.server.end()


def similarities(data: dataset.Dataset) -> np.ndarray:
    """In float64, a block of queries at a time, for the memory's sake."""
    units = data.vectors / np.linalg.norm(data.vectors.astype(np.float64), axis=1, keepdims=True)
    queries = data.queries / np.linalg.norm(data.queries.astype(np.float64), axis=1, keepdims=True)
    blocks = np.array_split(queries, max(1, len(queries) // 100))
    return np.concatenate([(block @ units.T).astype(np.float32) for block in blocks])


def fill(client: MilvusClient, data: dataset.Dataset) -> None:
    create(client, NAME, FIELDS | {"vec": vector(data.vectors.shape[1])}, {"vec": HNSW})
    for start in range(0, len(data.records), 1000):
        part = zip(data.records[start : start + 1000], data.vectors[start : start + 1000])
        insert(client, NAME, [{name: record[name] for name in FIELDS} | {"vec": vec.tolist()} for record, vec in part])
    client.flush(NAME)
    assert count(client, NAME) == len(data.records)
    settle(client)


def settle(client: MilvusClient) -> None:
    """Until the index is built and the segments stay the same for a while: a merge makes another graph, and so
    other approximate answers."""
    deadline = time.monotonic() + SETTLED_WITHIN
    segments, since = None, time.monotonic()
    while time.monotonic() - since < SETTLED_FOR:
        assert time.monotonic() < deadline, f"segments still change after {SETTLED_WITHIN} s"
        wait_for_index(client, NAME, seconds=SETTLED_WITHIN)
        now = {segment.segment_id for segment in client.list_persistent_segments(NAME)}
        if now != segments:
            segments, since = now, time.monotonic()
        time.sleep(0.2)


@dataclass
class Measured:
    rows: int  # that the filter matches
    recall: float  # mean recall@10
    speed: float  # queries per second of one client that asks one query at a time


def measure(loaded: Loaded, client: MilvusClient, filter: str) -> Measured:
    matching = np.array([FILTERS[filter](record) for record in loaded.data.records])
    queries = range(len(loaded.data.queries))
    began = time.monotonic()
    answers = [loaded.search(client, query, filter) for query in queries]
    seconds = time.monotonic() - began
    recalls = [recall_of(hits, loaded.exact[query], matching) for query, hits in zip(queries, answers)]
    return Measured(int(matching.sum()), float(np.mean(recalls)), len(answers) / seconds)


def recall_of(hits, exact: np.ndarray, matching: np.ndarray) -> float:
    """Share of the hits that are as good as the exact ones. Checked on the way: there are as many hits as there can
    be, all different, all through the filter, in order, with their true scores."""
    ids = ids_of(hits)
    possible = min(K, int(matching.sum()))
    assert len(ids) == len(set(ids)) == possible
    if not possible:
        return 1.0
    assert matching[ids].all()
    reported = np.array([hit.distance for hit in hits])
    assert (np.diff(reported) <= 0).all()
    np.testing.assert_allclose(reported, exact[ids], atol=1e-4)
    worst = np.sort(exact[matching])[-possible]
    return float((exact[ids] >= worst - TIE).mean())


def table_of(measured: dict[str, Measured], title: str) -> str:
    head = f"{'filter':<24} {'rows':>7} {'recall@10':>10} {'queries/s':>10}"
    lines = [
        f"{filter or '(none)':<24} {of.rows:>7} {of.recall:>10.4f} {of.speed:>10.0f}" for filter, of in measured.items()
    ]
    return "\n".join(["", title, head, *lines])


def test_recall(loaded, capsys):
    client = loaded.connect()
    measured = {filter: measure(loaded, client, filter) for filter in FILTERS}
    client.close()
    size = f"{len(loaded.data.records)} rows, {len(loaded.data.queries)} queries, ef={EF}"
    with capsys.disabled():
        print(table_of(measured, size))
    assert not {filter: of.recall for filter, of in measured.items() if of.recall < 0.95}


def answers(loaded: Loaded) -> dict[str, list]:
    client = loaded.connect()
    queries = range(min(100, len(loaded.data.queries)))
    found = {
        filter: [[(hit.id, hit.distance) for hit in loaded.search(client, query, filter)] for query in queries]
        for filter in FILTERS
    }
    client.close()
    return found


@pytest.mark.parametrize("ending", ["SIGTERM", "kill -9"])
def test_restart_gives_the_same_answers_soon(loaded, capsys, ending):
    before = answers(loaded)
    loaded.server.stop() if ending == "SIGTERM" else loaded.server.kill9()
    began = time.monotonic()
    loaded.server.start()
    client = loaded.connect()
    hits = loaded.search(client, 0)
    seconds = time.monotonic() - began
    client.close()
    with capsys.disabled():
        print(f"\nfirst answer {seconds:.2f} s after the start that followed {ending}")
    assert [(hit.id, hit.distance) for hit in hits] == before[""][0]
    assert seconds < FIRST_ANSWER_WITHIN
    assert answers(loaded) == before
