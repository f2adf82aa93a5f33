"""The same program of writes and reads, on the standalone server and on the cluster, gets the same answers at every
step, rows that were written a moment ago included: identical with FLAT, with HNSW of the same recall."""

import uuid
from collections.abc import Callable

import numpy as np
import pytest
from exact import check_hits, found, scores
from harness import CONNECT_WITHIN, Deployment
from pymilvus import MilvusClient
from tables import FLAT_L2, KEY, NUMBER, count, create, ids_of, insert, random_vectors, rows_of, vector, wait_for_index

pytestmark = pytest.mark.targets("standalone", "cluster")

DIM = 16
QUERIES = random_vectors(20, DIM, seed=100)
FILTERS = ["", "n < 100", "n in [1, 2, 3] or id >= 2900"]
HNSW = {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 16, "efConstruction": 200}}


def new_rows(first: int, number: int) -> list[dict]:
    return rows_of(random_vectors(number, DIM, seed=first), first, n=lambda key: key % 1000)


def steps(client: MilvusClient, name: str) -> dict[str, Callable]:
    """What the program does, in order."""
    return {
        "first rows": lambda: insert(client, name, new_rows(0, 2000)),
        "flush": lambda: client.flush(name),
        "fresh rows": lambda: insert(client, name, new_rows(2000, 1000)),
        "delete by key, flushed and fresh": lambda: client.delete(name, ids=[*range(50), *range(2500, 2550)]),
        "delete by filter": lambda: client.delete(name, filter="n >= 950"),
        "upsert, flushed and fresh": lambda: client.upsert(name, [*new_rows(100, 50), *new_rows(2600, 50)]),
        "second flush": lambda: client.flush(name),
        "delete what was flushed": lambda: client.delete(name, ids=[*range(200, 250), 2700]),
        "deleted keys again": lambda: insert(client, name, new_rows(0, 50)),
        "release": lambda: client.release_collection(name),
        "load": lambda: client.load_collection(name),
    }


def read(client: MilvusClient, name: str) -> dict:
    """Everything that can be asked: counts, rows, and searches with ids and scores."""
    answers = {}
    for filter in FILTERS:
        hits = client.search(name, data=QUERIES.tolist(), limit=30, filter=filter)
        answers[filter] = {
            "count": count(client, name, filter),
            "rows": [dict(row) for row in client.query(name, filter=filter, limit=5000, output_fields=["*"])],
            "ids": [ids_of(of_query) for of_query in hits],
            "scores": [[hit.distance for hit in of_query] for of_query in hits],
        }
    return answers


def run_program(deployment: Deployment) -> dict[str, dict]:
    """The answers after each step at which the collection is loaded."""
    client = MilvusClient(deployment.uri, timeout=CONNECT_WITHIN)
    name = f"fresh_{uuid.uuid4().hex[:8]}"
    create(client, name, {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
    answers = {}
    for step, act in steps(client, name).items():
        act()
        if step != "release":
            answers[step] = read(client, name)
    client.drop_collection(name)
    client.close()
    return answers


def check_searches(answer: dict) -> None:
    """The searches agree with the rows that the same client reads."""
    rows = answer["rows"]
    vectors = np.array([row["vec"] for row in rows], np.float32)
    for query, ids, distances in zip(QUERIES, answer["ids"], answer["scores"]):
        expected = dict(zip(ids_of(rows), scores("L2", vectors, query)))
        ranked = sorted(expected.values())[:30]
        assert len(set(ids)) == len(ids) == len(ranked)
        np.testing.assert_allclose(distances, ranked, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose([expected[key] for key in ids], ranked, rtol=1e-5, atol=1e-5)


def test_flat_answers_are_identical(standalone, cluster):
    alone, together = run_program(standalone), run_program(cluster)
    for step, answers in alone.items():
        for filter, answer in answers.items():
            check_searches(answer)
            other = together[step][filter]
            for what in ("count", "rows", "ids"):
                assert other[what] == answer[what], f"{what} differ after {step}, filter {filter!r}"
            np.testing.assert_allclose(other["scores"], answer["scores"], rtol=1e-6, atol=1e-6)


def hnsw_recall(deployment: Deployment) -> dict[str, float]:
    """Mean recall@10 at ef=64 over 6,500 rows, the last 500 of them fresh."""
    client = MilvusClient(deployment.uri, timeout=CONNECT_WITHIN)
    name = f"fresh_hnsw_{uuid.uuid4().hex[:8]}"
    create(client, name, {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": HNSW})
    vectors = random_vectors(6500, DIM, seed=101)
    rows = rows_of(vectors, n=lambda key: key % 1000)
    insert(client, name, rows[:6000])
    client.flush(name)
    wait_for_index(client, name)
    insert(client, name, rows[6000:])
    numbers = np.arange(6500) % 1000
    recalls = {
        "": mean_recall(client, name, vectors, "", np.ones(6500, bool)),
        "n < 100": mean_recall(client, name, vectors, "n < 100", numbers < 100),
    }
    client.drop_collection(name)
    client.close()
    return recalls


def mean_recall(client: MilvusClient, name: str, vectors: np.ndarray, filter: str, matching: np.ndarray) -> float:
    queries = random_vectors(200, DIM, seed=102)
    options = {"filter": filter, "limit": 10, "search_params": {"params": {"ef": 64}}}
    answers = client.search(name, data=queries.tolist(), **options)
    return float(
        np.mean([found(ids_of(hits), scores("COSINE", vectors, q), matching, 10) for q, hits in zip(queries, answers)])
    )


def test_hnsw_recall_is_the_same(standalone, cluster):
    alone, together = hnsw_recall(standalone), hnsw_recall(cluster)
    for filter, recall in alone.items():
        assert recall >= 0.95
        assert together[filter] == pytest.approx(recall, abs=0.01)


def test_fresh_rows_are_found_at_once(cluster):
    """Through the router: each row is found by search, query and count as soon as its insert returns."""
    client = MilvusClient(cluster.uri, timeout=CONNECT_WITHIN)
    name = f"fresh_one_by_one_{uuid.uuid4().hex[:8]}"
    create(client, name, {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
    insert(client, name, new_rows(0, 500))
    client.flush(name)
    known = {row["id"]: row["vec"] for row in new_rows(0, 500)}
    for row in new_rows(1000, 30):
        client.insert(name, row)
        known[row["id"]] = row["vec"]
        expected = dict(zip(known, scores("L2", np.array(list(known.values())), np.array(row["vec"]))))
        check_hits(client.search(name, data=[row["vec"]], limit=20)[0], expected, "L2", 20)
        assert ids_of(client.get(name, ids=[row["id"]])) == [row["id"]]
        assert count(client, name) == len(known)
    client.drop_collection(name)
    client.close()
