"""A client program in 25 parts that uses the whole breadth of the protocol through pymilvus, on each target.
Expected answers come from numpy and Python, never from the server."""

import json
import re
import uuid
from collections import defaultdict
from math import atan, pi

import grpc
import numpy as np
import pytest
from exact import best, check_hits, found, scores
from filter_cases import CASES, FIELDS, SCALAR_INDEXES, make_rows
from harness import CONNECT_WITHIN
from pymilvus import AnnSearchRequest, DataType, MilvusClient, MilvusException, RRFRanker, WeightedRanker
from pymilvus.client.iterator import SearchIteratorV2
from pymilvus.client.types import LoadState, SegmentState
from pymilvus.grpc_gen import milvus_pb2
from refusals import refuses
from tables import (
    FLAT_L2,
    KEY,
    NUMBER,
    count,
    create,
    create_numbered,
    ids_of,
    index_params,
    insert,
    random_vectors,
    rows_of,
    text,
    vector,
    wait_for,
    wait_for_index,
)

INT64_MAX = 2**63 - 1
FLOAT_METRICS = ["L2", "IP", "COSINE"]

# --- 1: connect, version, health --------------------------------------------------------------------------------


def test_01_version_and_handshake(client):
    version = client.get_server_version()
    assert re.fullmatch(r"v?2\.6\.\d+.*", version)
    assert client.get_server_version(detail=True)["version"] == version
    assert client.get_server_type() == "milvus"
    assert client._get_connection()._identifier > 0


def test_01_milvus_health(client):
    answer = client._get_connection()._stub.CheckHealth(milvus_pb2.CheckHealthRequest())
    assert answer.isHealthy
    assert list(answer.reasons) == []


def test_01_grpc_health(server):
    """The standard health service on the same port; its messages are so small that their bytes serve."""
    with grpc.insecure_channel(server.uri.removeprefix("http://")) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=CONNECT_WITHIN) == b"\x08\x01"  # status = SERVING


def test_01_ops_pages(server):
    for process in server.processes.values():
        process.ops("/healthz")
        process.ops("/readyz")
        assert "# TYPE " in process.ops("/metrics")


# --- 2: the quick way to a collection ---------------------------------------------------------------------------


def test_02_quick_collection(client, name):
    client.create_collection(name, dimension=8)
    described = client.describe_collection(name)
    key, vec = described["fields"]
    assert (key["name"], key["field_id"], key["type"], key["is_primary"]) == ("id", 100, DataType.INT64, True)
    assert (vec["name"], vec["field_id"], vec["params"]["dim"]) == ("vector", 101, 8)
    assert described["enable_dynamic_field"] and not described["auto_id"]
    assert (described["num_shards"], described["num_partitions"]) == (1, 1)
    assert described["consistency_level"] == 2  # Bounded, the client's own default
    index = client.describe_index(name, "vector")
    assert (index["index_type"], index["metric_type"], index["state"]) == ("AUTOINDEX", "COSINE", "Finished")
    assert client.get_load_state(name)["state"] == LoadState.Loaded


def test_02_quick_collection_takes_dynamic_fields(client, name):
    client.create_collection(name, dimension=8)
    vectors = random_vectors(50, 8, seed=2)
    rows = [{"id": i, "vector": vectors[i].tolist(), "color": ["red", "blue"][i % 2], "n": i} for i in range(50)]
    insert(client, name, rows)
    hits = client.search(
        name,
        data=[vectors[7].tolist()],
        limit=3,
        filter='color == "blue"',
        output_fields=["color", "n"],
        consistency_level="Strong",
    )[0]
    assert hits[0].id == 7 and hits[0]["distance"] == pytest.approx(1, abs=1e-5)
    assert dict(hits[0]["entity"]) == {"color": "blue", "n": 7}
    assert all(hit["entity"]["color"] == "blue" for hit in hits)


# --- 3: a schema of all types -----------------------------------------------------------------------------------

ELEMENTS = {
    "bools": DataType.BOOL,
    "int8s": DataType.INT8,
    "int16s": DataType.INT16,
    "int32s": DataType.INT32,
    "int64s": DataType.INT64,
    "floats": DataType.FLOAT,
    "doubles": DataType.DOUBLE,
    "texts": DataType.VARCHAR,
}
PLAIN = {
    "bool": {"datatype": DataType.BOOL},
    "int8": {"datatype": DataType.INT8},
    "int16": {"datatype": DataType.INT16},
    "int32": {"datatype": DataType.INT32},
    "int64": {"datatype": DataType.INT64},
    "float": {"datatype": DataType.FLOAT},
    "double": {"datatype": DataType.DOUBLE},
    "text": text(40),
    "json": {"datatype": DataType.JSON},
}


def array(element: DataType) -> dict:
    length = {"max_length": 20} if element == DataType.VARCHAR else {}
    return {"datatype": DataType.ARRAY, "element_type": element, "max_capacity": 5} | length


DEFAULTS = {
    "bool": True,
    "int8": np.int8(-8),
    "int16": np.int16(-16),
    "int32": np.int32(-32),
    "int64": -64,
    "float": 0.25,
    "double": 0.1,
    "text": "by default",
}
ARRAYS = {name: array(element) for name, element in ELEMENTS.items()}
NULLABLE = {f"{name}_or_null": definition | {"nullable": True} for name, definition in (PLAIN | ARRAYS).items()}
DEFAULTED = {f"{name}_default": PLAIN[name] | {"default_value": value} for name, value in DEFAULTS.items()}
BOTH = {"nullable_default": NUMBER | {"nullable": True, "default_value": 5}}
ALL_TYPES = {"id": KEY} | PLAIN | ARRAYS | NULLABLE | DEFAULTED | BOTH | {"vec": vector(4)}


def test_03_schema_of_all_types(client, name):
    create(client, name, ALL_TYPES, dynamic=True)
    assert client.has_collection(name) and name in client.list_collections()
    described = {field["name"]: field for field in client.describe_collection(name)["fields"]}
    assert list(described) == list(ALL_TYPES)
    assert [field["field_id"] for field in described.values()] == list(range(100, 100 + len(ALL_TYPES)))
    for field, wanted in ALL_TYPES.items():
        check_field(described[field], wanted)


def check_field(described: dict, wanted: dict) -> None:
    assert described["type"] == wanted["datatype"]
    assert described.get("element_type") == wanted.get("element_type")
    assert described.get("is_primary", False) == wanted.get("is_primary", False)
    assert described.get("nullable", False) == wanted.get("nullable", False)
    for limit in ("max_length", "max_capacity", "dim"):
        assert described["params"].get(limit) == wanted.get(limit)
    default = described.get("default_value")
    assert (default is not None) == ("default_value" in wanted)
    if default is not None:
        assert getattr(default, default.WhichOneof("data")) == pytest.approx(wanted["default_value"])


def test_03_same_schema_again_is_no_error(client, name):
    create(client, name, ALL_TYPES)
    first = client.describe_collection(name)
    create(client, name, ALL_TYPES)
    assert client.describe_collection(name)["collection_id"] == first["collection_id"]


# --- 4: every type comes back as it went in ---------------------------------------------------------------------

FULL = {
    "bool": True,
    "int8": -128,
    "int16": 32767,
    "int32": -(2**31),
    "int64": -(2**63),
    "float": 3.25,
    "double": 1.7976931348623157e308,
    "text": "naïve ☃ \"quoted\" \\ 𝄞\n",
    "json": {"a": [1, 2.5, "x", None, {"b": True}], "big": 2**53, "empty": {}, "ключ": "значение"},
    "bools": [True, False],
    "int8s": [-128, 127],
    "int16s": [-32768, 32767],
    "int32s": [2**31 - 1],
    "int64s": [INT64_MAX, 0],
    "floats": [0.5, -0.25],
    "doubles": [0.1, 1e-300],
    "texts": ["", "é", "twenty bytes long ok"],
}
EMPTY = {
    "bool": False,
    "int8": 0,
    "int16": 0,
    "int32": 0,
    "int64": 0,
    "float": 0.0,
    "double": -0.0,
    "text": "",
    "json": {},
} | {name: [] for name in ARRAYS}


def or_null(row: dict) -> dict:
    return {f"{name}_or_null": value for name, value in row.items()}


def of_defaults(row: dict) -> dict:
    return {f"{name}_default": row[name] for name in DEFAULTS}


NOTHING = dict.fromkeys(FULL)
SENT = {
    1: FULL | or_null(FULL) | of_defaults(FULL) | {"nullable_default": 1, "extra": [1, {"deep": "é"}]},
    2: EMPTY | or_null(EMPTY) | of_defaults(EMPTY) | {"nullable_default": 0},
    3: FULL | or_null(NOTHING) | of_defaults(NOTHING) | {"nullable_default": None},
    4: FULL,
}
EXPECTED = {
    1: SENT[1],
    2: SENT[2],
    3: FULL | or_null(NOTHING) | of_defaults(DEFAULTS) | {"nullable_default": 5},
    4: FULL | or_null(NOTHING) | of_defaults(DEFAULTS) | {"nullable_default": 5},
}


@pytest.mark.parametrize("flushed", [False, True], ids=["growing", "flushed"])
def test_04_every_type_comes_back(client, name, flushed):
    create(client, name, ALL_TYPES, {"vec": FLAT_L2}, dynamic=True)
    vec = [0.5, -1.0, 2.0, 0.0]
    insert(client, name, [row | {"id": key, "vec": vec} for key, row in SENT.items()])
    if flushed:
        client.flush(name)
    read = list(client.query(name, filter="id > 0", output_fields=["*"]))
    assert ids_of(read) == [1, 2, 3, 4]
    got = list(client.get(name, ids=[4, 1]))
    assert ids_of(got) == [1, 4]
    hits = list(client.search(name, data=[vec], limit=4, output_fields=["*"])[0])
    assert ids_of(hits) == [1, 2, 3, 4]
    for row in read + got + [hit["entity"] for hit in hits]:
        assert dict(row) == EXPECTED[row["id"]] | {"id": row["id"], "vec": vec}


def test_04_query_gives_only_what_was_asked(client, name):
    create(client, name, ALL_TYPES, {"vec": FLAT_L2}, dynamic=True)
    insert(client, name, [SENT[1] | {"id": 1, "vec": [1, 2, 3, 4]}])
    row = dict(client.query(name, filter="id == 1", output_fields=["json", "extra"])[0])
    assert row == {"id": 1, "json": FULL["json"], "extra": SENT[1]["extra"]}
    assert client.get(name, ids=[99]) == []
    assert client.query(name, filter="id > 99", output_fields=["*"]) == []


# --- 5: exact search --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_05_exact_search(client, name, metric):
    create(client, name, {"id": KEY, "vec": vector(16)}, {"vec": {"index_type": "FLAT", "metric_type": metric}})
    vectors = np.random.default_rng(5).standard_normal((1500, 16)).astype(np.float32)
    insert(client, name, rows_of(vectors[:1000]))
    client.flush(name)
    insert(client, name, rows_of(vectors[1000:], first_id=1000))
    queries = np.random.default_rng(55).standard_normal((20, 16)).astype(np.float32)
    answers = client.search(name, data=queries.tolist(), limit=25)
    assert len(answers) == len(queries)
    for query, hits in zip(queries, answers):
        check_hits(hits, dict(enumerate(scores(metric, vectors, query))), metric, 25)


def test_05_twins_come_in_order_of_their_keys(client, name):
    create(client, name, {"id": KEY, "vec": vector(4)}, {"vec": FLAT_L2})
    insert(client, name, rows_of(np.ones((5, 4), np.float32)))
    assert ids_of(client.search(name, data=[[1, 1, 1, 1]], limit=5)[0]) == [0, 1, 2, 3, 4]


def test_05_search_in_an_empty_collection(client, name):
    create(client, name, {"id": KEY, "vec": vector(4)}, {"vec": FLAT_L2})
    assert [list(hits) for hits in client.search(name, data=[[1, 2, 3, 4], [0, 0, 0, 1]], limit=3)] == [[], []]


# --- 6: HNSW ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_06_hnsw_recall(client, name, metric):
    index = {"index_type": "HNSW", "metric_type": metric, "params": {"M": 16, "efConstruction": 200}}
    create(client, name, {"id": KEY, "n": NUMBER, "vec": vector(16)}, {"vec": index})
    vectors = random_vectors(6000, 16, seed=6)
    insert(client, name, rows_of(vectors, n=lambda key: key % 100))
    client.flush(name)
    wait_for_index(client, name)
    described = client.describe_index(name, "vec")
    assert (described["index_type"], described["metric_type"]) == ("HNSW", metric)
    assert described["indexed_rows"] == described["total_rows"] == 6000
    check_recall(client, name, metric, vectors, "", np.ones(6000, bool))
    check_recall(client, name, metric, vectors, "n < 5", np.arange(6000) % 100 < 5)


def check_recall(client: MilvusClient, name: str, metric: str, vectors: np.ndarray, filter: str, matching) -> None:
    queries = random_vectors(50, vectors.shape[1], seed=66)
    options = {"search_params": {"params": {"ef": 64}}, "filter": filter, "limit": 10}
    recalls = []
    for query, hits in zip(queries, client.search(name, data=queries.tolist(), **options)):
        exact = scores(metric, vectors, query)
        assert len({hit.id for hit in hits}) == len(hits) == 10
        np.testing.assert_allclose([hit.distance for hit in hits], exact[ids_of(hits)], rtol=1e-4, atol=1e-5)
        recalls.append(found(ids_of(hits), -exact if metric == "L2" else exact, matching, 10))
    assert np.mean(recalls) >= 0.95


# --- 7: upsert --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flushed", [False, True], ids=["growing", "flushed"])
def test_07_upsert(client, name, flushed):
    vectors = create_numbered(client, name, 200)
    if flushed:
        client.flush(name)
    changed = rows_of(-vectors[150:], first_id=150, n=lambda key: -key) + rows_of(vectors[:20], 200, n=lambda key: 0)
    assert client.upsert(name, changed)["upsert_count"] == 70
    assert count(client, name) == 220
    read = {row["id"]: row["n"] for row in client.query(name, filter="id >= 0", output_fields=["n"])}
    assert read == {key: 10 * key for key in range(150)} | {row["id"]: row["n"] for row in changed}
    now = np.concatenate([vectors[:150], -vectors[150:], vectors[:20]])
    expected = dict(enumerate(scores("L2", now, now[160])))
    check_hits(client.search(name, data=[now[160].tolist()], limit=220)[0], expected, "L2", 220)


def test_07_last_of_many_upserts_wins(client, name):
    create_numbered(client, name, 3)
    for n in range(30):
        client.upsert(name, {"id": 1, "n": n, "vec": [n, 0, 0, 0]})
        assert client.get(name, ids=[1])[0]["n"] == n
    assert count(client, name) == 3


# --- 8: delete --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flushed", [False, True], ids=["growing", "flushed"])
def test_08_delete(client, name, flushed):
    vectors = create_numbered(client, name, 300)
    if flushed:
        client.flush(name)
    assert client.delete(name, ids=[1, 2, 3])["delete_count"] == 3
    assert client.delete(name, filter="n >= 2900")["delete_count"] == 10
    assert client.delete(name, filter="n in {some}", filter_params={"some": [100, 110]})["delete_count"] == 2
    assert client.delete(name, filter="n < 0")["delete_count"] == 0
    left = [key for key in range(290) if key not in (1, 2, 3, 10, 11)]
    assert ids_of(client.query(name, filter="id >= 0")) == left
    assert count(client, name) == len(left)
    expected = {key: scores("L2", vectors[[key]], vectors[2])[0] for key in left}
    check_hits(client.search(name, data=[vectors[2].tolist()], limit=300)[0], expected, "L2", 300)


def test_08_a_deleted_key_can_come_again(client, name):
    create_numbered(client, name, 10)
    for n in range(5):
        client.delete(name, ids=[4])
        assert client.get(name, ids=[4]) == []
        client.insert(name, {"id": 4, "n": n, "vec": [0, 0, 0, 0]})
        assert [row["n"] for row in client.get(name, ids=[4])] == [n]
        if n == 2:
            client.flush(name)
    assert count(client, name) == 10


# --- 9: keys ----------------------------------------------------------------------------------------------------


def test_09_automatic_int64_keys(client, name):
    create(client, name, {"id": KEY | {"auto_id": True}, "n": NUMBER, "vec": vector(4)}, {"vec": FLAT_L2})
    first = client.insert(name, [{"n": n, "vec": [n, 0, 0, 0]} for n in range(100)])["ids"]
    second = client.insert(name, [{"n": n, "vec": [n, 0, 0, 0]} for n in range(100, 200)])["ids"]
    keys = [*first, *second]
    assert len(set(keys)) == 200
    read = client.get(name, ids=keys, output_fields=["n"])
    assert {row["id"]: row["n"] for row in read} == dict(zip(keys, range(200)))


def test_09_upsert_gives_a_new_automatic_key(client, name):
    create(client, name, {"id": KEY | {"auto_id": True}, "n": NUMBER, "vec": vector(4)}, {"vec": FLAT_L2})
    (old,) = client.insert(name, {"n": 1, "vec": [1, 0, 0, 0]})["ids"]
    (new,) = client.upsert(name, {"id": old, "n": 2, "vec": [2, 0, 0, 0]})["ids"]
    assert new != old
    assert [(row["id"], row["n"]) for row in client.query(name, filter="n > 0", output_fields=["n"])] == [(new, 2)]


def test_09_automatic_varchar_keys(client, name):
    fields = {"id": text() | {"is_primary": True, "auto_id": True}, "n": NUMBER, "vec": vector(4)}
    create(client, name, fields, {"vec": FLAT_L2})
    keys = list(client.insert(name, [{"n": n, "vec": [n, 0, 0, 0]} for n in range(50)])["ids"])
    assert len(set(keys)) == 50 and all(key.isdecimal() for key in keys)
    assert client.get(name, ids=keys[7], output_fields=["n"])[0]["n"] == 7


def test_09_varchar_keys(client, name):
    create(client, name, {"id": text() | {"is_primary": True}, "vec": vector(4)}, {"vec": FLAT_L2})
    keys = ["b", "a", "ä", "a b", '"', "z" * 64]
    vectors = random_vectors(len(keys), 4, seed=9)
    insert(client, name, [{"id": key, "vec": vec.tolist()} for key, vec in zip(keys, vectors)])
    ordered = sorted(keys, key=str.encode)
    assert ids_of(client.query(name, filter='id >= ""')) == ordered
    assert client.delete(name, ids=["a b", "none"])["delete_count"] == 2
    expected = dict(zip(keys, scores("L2", vectors, vectors[3])))
    del expected["a b"]
    check_hits(client.search(name, data=[vectors[3].tolist()], limit=10)[0], expected, "L2", 10)


# --- 10: query --------------------------------------------------------------------------------------------------


def test_10_query_in_pages(client, name):
    create_numbered(client, name, 100)
    client.flush(name)
    insert(client, name, rows_of(random_vectors(50, 4, seed=10), first_id=100, n=lambda key: 10 * key))
    pages = [ids_of(client.query(name, limit=40, offset=offset)) for offset in (0, 40, 80, 120, 160)]
    assert pages == [list(range(start, min(start + 40, 150))) for start in (0, 40, 80, 120)] + [[]]
    assert ids_of(client.query(name, filter="n >= 500", limit=3, offset=2)) == [52, 53, 54]
    assert count(client, name) == 150
    assert count(client, name, "n < 1000") == 100
    assert count(client, name, "n < 0") == 0


# --- 11: query iterator -----------------------------------------------------------------------------------------


def all_pages(iterator, batch: int) -> list:
    rows = []
    while page := list(iterator.next() or []):
        assert len(page) <= batch
        rows += page
    iterator.close()
    return rows


def test_11_query_iterator(client, name):
    create_numbered(client, name, 500)
    client.flush(name)
    insert(client, name, rows_of(random_vectors(50, 4, seed=11), first_id=500, n=lambda key: 10 * key))
    whole = client.query_iterator(name, batch_size=60, output_fields=["n"])
    assert [(row["id"], row["n"]) for row in all_pages(whole, 60)] == [(key, 10 * key) for key in range(550)]
    some = client.query_iterator(name, batch_size=7, filter="n >= 5200 or n < 50", limit=30)
    assert ids_of(all_pages(some, 7)) == [*range(5), *range(520, 545)]
    none = client.query_iterator(name, batch_size=7, filter="n < 0")
    assert all_pages(none, 7) == []


def test_11_query_iterator_over_varchar_keys(client, name):
    create(client, name, {"id": text() | {"is_primary": True}, "vec": vector(4)}, {"vec": FLAT_L2})
    keys = [f"key {number:03}" for number in range(120)]
    insert(client, name, [{"id": key, "vec": [0, 0, 0, 1]} for key in keys])
    assert ids_of(all_pages(client.query_iterator(name, batch_size=50), 50)) == keys


def test_11_query_iterator_sees_one_moment(client, name):
    create_numbered(client, name, 100)
    iterator = client.query_iterator(name, batch_size=30)
    seen = ids_of(iterator.next())
    insert(client, name, rows_of(random_vectors(20, 4, seed=12), first_id=100, n=lambda key: 0))
    client.delete(name, ids=[60, 61])
    assert seen + ids_of(all_pages(iterator, 30)) == list(range(100))


# --- 12: search iterator ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_12_search_iterator(client, name, metric):
    create(client, name, {"id": KEY, "vec": vector(8)}, {"vec": {"index_type": "FLAT", "metric_type": metric}})
    vectors = random_vectors(700, 8, seed=13)
    insert(client, name, rows_of(vectors[:500]))
    client.flush(name)
    insert(client, name, rows_of(vectors[500:], first_id=500))
    expected = dict(enumerate(scores(metric, vectors, vectors[0])))
    whole = client.search_iterator(name, data=[vectors[0].tolist()], batch_size=90)
    assert isinstance(whole, SearchIteratorV2)
    check_hits(all_pages(whole, 90), expected, metric, 700)
    some = client.search_iterator(name, data=[vectors[0].tolist()], batch_size=50, filter="id >= 600", limit=70)
    check_hits(all_pages(some, 50), {key: expected[key] for key in range(600, 700)}, metric, 70)


def test_12_search_iterator_sees_one_moment(client, name):
    vectors = create_numbered(client, name, 100)
    iterator = client.search_iterator(name, data=[vectors[0].tolist()], batch_size=30)
    hits = list(iterator.next())
    seen = set(ids_of(hits))
    insert(client, name, rows_of(vectors[:20], first_id=100, n=lambda key: 0))
    client.delete(name, ids=[key for key in range(100) if key not in seen][:10])
    hits += all_pages(iterator, 30)
    check_hits(hits, dict(enumerate(scores("L2", vectors, vectors[0]))), "L2", 100)


# --- 13: partitions ---------------------------------------------------------------------------------------------


def test_13_partitions(client, name):
    vectors = create_numbered(client, name, 60)
    for partition in ("east", "west", "east"):
        client.create_partition(name, partition)
    assert sorted(client.list_partitions(name)) == ["_default", "east", "west"]
    assert client.has_partition(name, "east") and not client.has_partition(name, "north")
    client.insert(name, rows_of(vectors[:20], 100, n=lambda key: 0), partition_name="east")
    client.insert(name, rows_of(vectors[:10], 200, n=lambda key: 0), partition_name="west")
    assert client.get_load_state(name, "east")["state"] == LoadState.Loaded
    assert count(client, name) == 90
    for partition, rows in (("_default", 60), ("east", 20), ("west", 10)):
        assert count(client, name, partition_names=[partition]) == rows
    hits = client.search(name, data=[vectors[3].tolist()], limit=50, partition_names=["east", "west"])[0]
    assert [hit.id for hit in hits][:2] == [103, 203] and len(hits) == 30
    assert ids_of(client.query(name, filter="n == 0", partition_names=["west"])) == list(range(200, 210))


def test_13_delete_in_one_partition(client, name):
    vectors = create_numbered(client, name, 10)
    client.create_partition(name, "east")
    client.insert(name, rows_of(vectors, 100, n=lambda key: 10), partition_name="east")
    client.delete(name, filter="n == 10", partition_name="_default")
    assert ids_of(client.query(name, filter="n == 10")) == list(range(100, 110))


def test_13_drop_a_partition_with_its_rows(client, name):
    vectors = create_numbered(client, name, 10)
    client.create_partition(name, "east")
    client.insert(name, rows_of(vectors, 100, n=lambda key: 0), partition_name="east")
    with refuses(1100, "partition"):
        client.drop_partition(name, "east")  # it is loaded
    with refuses(1100, "partition"):
        client.drop_partition(name, "_default")
    client.release_partitions(name, ["east"])
    assert client.get_load_state(name, "east")["state"] == LoadState.NotLoad
    assert count(client, name) == 10
    client.load_partitions(name, ["east"])
    assert count(client, name) == 20
    client.release_partitions(name, ["east"])
    client.drop_partition(name, "east")
    client.drop_partition(name, "never_was")
    assert client.list_partitions(name) == ["_default"]
    assert count(client, name) == 10


# --- 14: partition key ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DataType.INT64, DataType.VARCHAR], ids=["int64", "varchar"])
def test_14_partition_key(client, name, kind):
    owner = (NUMBER if kind == DataType.INT64 else text()) | {"is_partition_key": True}
    fields = {"id": KEY, "owner": owner, "vec": vector(4)}
    create(client, name, fields, {"vec": FLAT_L2}, num_partitions=4)
    described = client.describe_collection(name)
    assert described["num_partitions"] == 4 and described["fields"][1]["is_partition_key"]
    assert sorted(client.list_partitions(name)) == [f"_default_{number}" for number in range(4)]
    owners = [key % 11 if kind == DataType.INT64 else f"owner {key % 11}" for key in range(220)]
    vectors = random_vectors(220, 4, seed=14)
    insert(client, name, rows_of(vectors, owner=owners.__getitem__))
    client.flush(name)
    shares = [client.get_partition_stats(name, partition)["row_count"] for partition in client.list_partitions(name)]
    assert sum(shares) == 220 and max(shares) < 220
    for wanted in owners[:11]:
        mine = [key for key in range(220) if owners[key] == wanted]
        filter = f"owner == {json.dumps(wanted)}"
        assert ids_of(client.query(name, filter=filter)) == mine
        expected = {key: scores("L2", vectors[[key]], vectors[0])[0] for key in mine}
        check_hits(client.search(name, data=[vectors[0].tolist()], limit=50, filter=filter)[0], expected, "L2", 50)


def test_14_partition_key_forbids_partitions_by_name(client, name):
    fields = {"id": KEY, "owner": NUMBER | {"is_partition_key": True}, "vec": vector(4)}
    create(client, name, fields, {"vec": FLAT_L2})
    assert len(client.list_partitions(name)) == 16
    with refuses(1100, "partition key"):
        client.create_partition(name, "mine")
    with refuses(1100, "partition key"):
        client.query(name, filter="id > 0", partition_names=["_default_0"])
    with refuses(1100, "partition key"):
        client.insert(name, {"id": 1, "owner": 1, "vec": [1, 2, 3, 4]}, partition_name="_default_0")


# --- 15: aliases ------------------------------------------------------------------------------------------------


def test_15_aliases(client, name):
    first, second, alias = f"{name}_first", f"{name}_second", f"{name}_alias"
    create_numbered(client, first, 10)
    create_numbered(client, second, 20)
    client.create_alias(first, alias)
    client.create_alias(first, alias)
    assert client.describe_alias(alias)["collection_name"] == first
    assert client.list_aliases(first)["aliases"] == [alias]
    assert client.describe_collection(alias)["collection_name"] == first
    assert client.describe_collection(first)["aliases"] == [alias]
    assert client.has_collection(alias) and alias not in client.list_collections()
    assert count(client, alias) == 10
    client.insert(alias, {"id": 10, "n": 100, "vec": [1, 0, 0, 0]})
    assert count(client, first) == 11
    client.alter_alias(second, alias)
    assert count(client, alias) == 20
    assert client.search(alias, data=[[1, 0, 0, 0]], limit=20)[0] != []
    client.drop_alias(alias)
    assert not client.has_collection(alias)


def test_15_alias_conflicts(client, name):
    first, second, alias = f"{name}_first", f"{name}_second", f"{name}_alias"
    for collection in (first, second):
        create(client, collection, {"id": KEY, "vec": vector(4)})
    client.create_alias(first, alias)
    with refuses(1602, alias):
        client.create_alias(second, alias)
    with refuses(1601, second):
        client.create_alias(first, second)
    with refuses(1601, alias):
        create(client, alias, {"id": KEY, "vec": vector(8)})
    with refuses(1600, "none"):
        client.alter_alias(second, "none")
    client.drop_alias("none")
    with refuses(1600, "none"):
        client.describe_alias("none")
    with refuses(1100, "alias"):
        client.drop_collection(first)
    with refuses(1100, "alias"):
        client.drop_collection(alias)
    assert client.describe_alias(alias)["collection_name"] == first


# --- 16: databases ----------------------------------------------------------------------------------------------


@pytest.fixture
def database(client, server):
    """A database of its own, dropped afterwards with what is in it."""
    name = f"db_{uuid.uuid4().hex[:8]}"
    client.create_database(name)
    yield name
    if name in client.list_databases():
        inside = MilvusClient(server.uri, db_name=name)
        for collection in inside.list_collections():
            inside.drop_collection(collection)
        inside.close()
        client.drop_database(name)


def test_16_databases(client, server, name, database):
    assert {"default", database} <= set(client.list_databases())
    assert client.describe_database(database)["name"] == database
    inside = MilvusClient(server.uri, db_name=database)
    create_numbered(client, name, 10)
    create_numbered(inside, name, 20)
    assert (count(client, name), count(inside, name)) == (10, 20)
    assert inside.list_collections() == [name]
    with refuses(1100, database):
        client.drop_database(database)  # it is not empty
    inside.drop_collection(name)
    assert inside.list_collections() == [] and count(client, name) == 10
    inside.use_database("default")
    assert count(inside, name) == 10
    inside.close()
    client.drop_database(database)
    assert database not in client.list_databases()


def test_16_database_refusals(client, server, database):
    with refuses(1100, database):
        client.create_database(database)
    with refuses(1100, "default"):
        client.drop_database("default")
    with refuses(800, "nowhere"):
        client.drop_database("nowhere")
    with refuses(800, "nowhere"):
        client.use_database("nowhere")
    lost = MilvusClient(server.uri, db_name="nowhere")
    with refuses(800, "nowhere"):
        lost.list_collections()
    lost.close()


# --- 17: rename -------------------------------------------------------------------------------------------------


def test_17_rename(client, name):
    old, new = f"{name}_old", f"{name}_new"
    vectors = create_numbered(client, old, 30)
    collection_id = client.describe_collection(old)["collection_id"]
    client.rename_collection(old, new)
    assert client.has_collection(new) and not client.has_collection(old)
    assert client.describe_collection(new)["collection_id"] == collection_id
    assert count(client, new) == 30
    assert client.search(new, data=[vectors[4].tolist()], limit=1)[0][0].id == 4
    with refuses(100, "collection not found"):
        client.query(old, filter="id > 0")
    create_numbered(client, old, 5)
    assert (count(client, old), count(client, new)) == (5, 30)
    with refuses(1100, new):
        client.rename_collection(old, new)


# --- 18: load and release ---------------------------------------------------------------------------------------


def test_18_load_and_release(client, name):
    vectors = create_numbered(client, name, 30)
    client.load_collection(name)
    client.release_collection(name)
    client.release_collection(name)
    assert client.get_load_state(name)["state"] == LoadState.NotLoad
    with refuses(101, "collection not loaded"):
        client.query(name, filter="id > 0")
    with refuses(101, "collection not loaded"):
        client.search(name, data=[vectors[0].tolist()], limit=1)
    insert(client, name, rows_of(vectors, first_id=30, n=lambda key: 0))
    client.load_collection(name)
    assert client.get_load_state(name)["state"] == LoadState.Loaded
    assert count(client, name) == 60
    assert client.search(name, data=[vectors[7].tolist()], limit=1)[0][0].id == 7
    client.refresh_load(name)
    assert client.get_load_state(f"{name}_none")["state"] == LoadState.NotExist


# --- 19: flush and statistics -----------------------------------------------------------------------------------


def test_19_flush_and_statistics(client, name):
    create_numbered(client, name, 120)
    client.create_partition(name, "east")
    client.insert(name, rows_of(random_vectors(30, 4, seed=19), 200, n=lambda key: 0), partition_name="east")
    for _ in range(2):
        client.flush(name)
        assert client.get_collection_stats(name)["row_count"] == 150
    assert client.get_partition_stats(name, "_default")["row_count"] == 120
    assert client.get_partition_stats(name, "east")["row_count"] == 30
    persistent = client.list_persistent_segments(name)
    assert sum(segment.num_rows for segment in persistent) == 150
    assert all(segment.state == SegmentState.Flushed for segment in persistent)
    assert sum(segment.num_rows for segment in client.list_loaded_segments(name)) == 150
    insert(client, name, rows_of(random_vectors(5, 4, seed=20), first_id=300, n=lambda key: 0))
    client.flush_all()
    assert client.get_collection_stats(name)["row_count"] == 155
    assert count(client, name) == 155


# --- 20: indexes ------------------------------------------------------------------------------------------------


def test_20_vector_index_life(client, name):
    create(client, name, {"id": KEY, "vec": vector(4)})
    assert client.list_indexes(name) == [] and client.describe_index(name, "vec") is None
    client.create_index(name, index_params({"vec": {"metric_type": "IP"}}))
    described = client.describe_index(name, "vec")
    assert (described["field_name"], described["index_name"]) == ("vec", "vec")
    assert (described["index_type"], described["metric_type"]) == ("AUTOINDEX", "IP")
    assert (described["state"], described["total_rows"], described["pending_index_rows"]) == ("Finished", 0, 0)
    client.drop_index(name, "vec")
    client.drop_index(name, "vec")
    named = {"index_name": "mine", "index_type": "HNSW", "metric_type": "l2", "params": {"M": 8, "efConstruction": 64}}
    for _ in range(2):
        client.create_index(name, index_params({"vec": named}))
    assert client.list_indexes(name) == ["mine"] == client.list_indexes(name, field_name="vec")
    described = client.describe_index(name, "mine")
    assert (described["index_type"], described["metric_type"]) == ("HNSW", "L2")
    assert (int(described["M"]), int(described["efConstruction"])) == (8, 64)
    client.load_collection(name)
    with refuses(1100, "vector index cannot be dropped on loaded collection"):
        client.drop_index(name, "mine")
    client.release_collection(name)
    client.drop_index(name, "mine")
    assert client.list_indexes(name) == []


def test_20_index_refusals(client, name):
    create(client, name, {"id": KEY, "vec": vector(4)}, {"vec": FLAT_L2 | {"index_name": "mine"}})
    other = {"index_name": "mine", "index_type": "HNSW", "metric_type": "L2"}
    with refuses(1100, "at most one distinct index is allowed per field"):
        client.create_index(name, index_params({"vec": other}))
    with refuses(1100, "creating multiple indexes on same field is not supported"):
        client.create_index(name, index_params({"vec": FLAT_L2 | {"index_name": "other"}}))
    assert client.list_indexes(name) == ["mine"]


@pytest.mark.parametrize("index_type", ["INVERTED", "AUTOINDEX", ""])
def test_20_scalar_index_and_its_progress(client, name, index_type):
    fields = {"id": KEY, "n": NUMBER, "s": text(), "vec": vector(4)}
    create(client, name, fields, {"vec": FLAT_L2})
    vectors = random_vectors(5000, 4, seed=21)
    rows = rows_of(vectors, n=lambda key: key % 50, s=lambda key: f"word {key % 30}")
    insert(client, name, rows[:4000])
    client.flush(name)
    filters = ["n == 7", "n > 45", 's in ["word 1", "word 29"]', 's like "word 2%"', "n < 3 and s != 'word 1'"]
    before = [ids_of(client.query(name, filter=filter)) for filter in filters]
    client.create_index(name, index_params({"n": {"index_type": index_type}, "s": {"index_type": index_type}}))
    wait_for_index(client, name, "n")
    described = client.describe_index(name, "n")
    assert described["index_type"] == (index_type or "AUTOINDEX")
    assert (described["indexed_rows"], described["total_rows"], described["pending_index_rows"]) == (4000, 4000, 0)
    assert [ids_of(client.query(name, filter=filter)) for filter in filters] == before
    insert(client, name, rows[4000:])
    client.flush(name)
    wait_for_index(client, name, "n")
    assert client.describe_index(name, "n")["total_rows"] == 5000
    assert ids_of(client.query(name, filter="n == 7")) == list(range(7, 5000, 50))
    client.drop_index(name, "n")
    assert sorted(client.list_indexes(name)) == ["s", "vec"]
    assert ids_of(client.query(name, filter="n == 7")) == list(range(7, 5000, 50))


# --- 21: range search -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", FLOAT_METRICS)
def test_21_range_search(client, name, metric):
    create(client, name, {"id": KEY, "vec": vector(8)}, {"vec": {"index_type": "FLAT", "metric_type": metric}})
    vectors = random_vectors(600, 8, seed=22)
    insert(client, name, rows_of(vectors[:400]))
    client.flush(name)
    insert(client, name, rows_of(vectors[400:], first_id=400))
    exact = scores(metric, vectors, vectors[1])
    worse, better = np.sort(exact)[[150, 80]] if metric == "L2" else np.sort(exact)[[-150, -80]]
    worse, better = float(worse) + 1e-4, float(better) + 1e-4  # Off the values themselves, which are rounded.
    inside = exact < worse if metric == "L2" else exact > worse
    window = inside & (exact >= better if metric == "L2" else exact <= better)
    for params, matching in ({"radius": worse}, inside), ({"radius": worse, "range_filter": better}, window):
        hits = client.search(name, data=[vectors[1].tolist()], limit=600, search_params={"params": params})[0]
        check_hits(hits, {key: exact[key] for key in np.flatnonzero(matching)}, metric, 600)
    few = client.search(name, data=[vectors[1].tolist()], limit=5, search_params={"params": {"radius": worse}})[0]
    check_hits(few, dict(enumerate(exact)), metric, 5)


# --- 22: pages and output fields of a search --------------------------------------------------------------------


def test_22_search_in_pages(client, name):
    vectors = create_numbered(client, name, 100)
    query = [vectors[0].tolist(), vectors[50].tolist()]
    whole = client.search(name, data=query, limit=100)
    for offset in (0, 30, 90, 100):
        pages = client.search(name, data=query, limit=30, offset=offset)
        assert [ids_of(page) for page in pages] == [ids_of(hits)[offset : offset + 30] for hits in whole]


def test_22_search_output_fields(client, name):
    vectors = create_numbered(client, name, 20)
    query = {"data": [vectors[3].tolist()], "limit": 2}
    entities = {
        wanted: dict(client.search(name, output_fields=list(wanted), **query)[0][0]["entity"])
        for wanted in [(), ("n",), ("id",), ("n", "vec"), ("*",)]
    }
    vec = vectors[3].tolist()
    assert entities == {
        (): {},
        ("n",): {"n": 30},
        ("id",): {"id": 3},
        ("n", "vec"): {"n": 30, "vec": vec},
        ("*",): {"id": 3, "n": 30, "vec": vec},
    }


def test_22_rounded_scores(client, name):
    vectors = create_numbered(client, name, 20)
    raw = client.search(name, data=[vectors[3].tolist()], limit=5)[0]
    rounded = client.search(name, data=[vectors[3].tolist()], limit=5, round_decimal=2)[0]
    assert [hit.distance for hit in rounded] == pytest.approx([round(hit.distance, 2) for hit in raw], abs=1e-6)


# --- 23: groups -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["n", "s", "flag"])
def test_23_group_by(client, name, field):
    vectors, rows = create_grouped(client, name)
    query = random_vectors(1, 8, seed=24)[0]
    groups = grouped(rows, scores("L2", vectors, query), field)
    hits = client.search(name, data=[query.tolist()], limit=8, group_by_field=field, output_fields=[field])[0]
    bests = {members[0]: score for members, score in groups.values()}
    check_hits(hits, bests, "L2", 8)
    assert [hit["entity"][field] for hit in hits] == [rows[hit.id][field] for hit in hits]


def test_23_several_of_each_group(client, name):
    vectors, rows = create_grouped(client, name)
    query = random_vectors(1, 8, seed=25)[0]
    groups = grouped(rows, scores("L2", vectors, query), "n")
    options = {"group_by_field": "n", "group_size": 3, "strict_group_size": True, "output_fields": ["n"]}
    hits = client.search(name, data=[query.tolist()], limit=5, **options)[0]
    chosen = sorted(groups, key=lambda value: groups[value][1])[:5]
    got = defaultdict(list)
    for hit in hits:
        got[hit["entity"]["n"]].append(hit.id)
    assert dict(got) == {value: groups[value][0][:3] for value in chosen}


def create_grouped(client: MilvusClient, name: str) -> tuple[np.ndarray, list[dict]]:
    """500 rows, the first 300 flushed, with 20 different n, 12 different s and 2 different flags."""
    fields = {"id": KEY, "n": NUMBER, "s": text(), "flag": {"datatype": DataType.BOOL}, "vec": vector(8)}
    create(client, name, fields, {"vec": FLAT_L2})
    vectors = random_vectors(500, 8, seed=23)
    rows = rows_of(vectors, n=lambda key: key % 20, s=lambda key: f"s{key % 12}", flag=lambda key: key % 2 == 0)
    insert(client, name, rows[:300])
    client.flush(name)
    insert(client, name, rows[300:])
    return vectors, rows


def grouped(rows: list[dict], distances: np.ndarray, field: str) -> dict:
    """Value of the field -> (its ids, nearest first; the distance of the nearest)."""
    groups = defaultdict(list)
    for key in best("L2", distances, len(rows)):
        groups[rows[key][field]].append(int(key))
    return {value: (ids, distances[ids[0]]) for value, ids in groups.items()}


# --- 24: hybrid search ------------------------------------------------------------------------------------------

HYBRID = {"near": "L2", "inner": "IP", "angle": "COSINE"}
HYBRID_ROWS = 300


@pytest.fixture
def hybrid(client, name):
    """A collection with three vector fields; returns, for one query, each field's exact scores and its request."""
    fields = {"id": KEY, "n": NUMBER} | {field: vector(8) for field in HYBRID}
    indexes = {field: {"index_type": "FLAT", "metric_type": metric} for field, metric in HYBRID.items()}
    create(client, name, fields, indexes)
    chance = np.random.default_rng(26)
    vectors = {field: chance.standard_normal((HYBRID_ROWS, 8)).astype(np.float32) for field in HYBRID}
    rows = [{"id": i, "n": i % 3} | {field: vectors[field][i].tolist() for field in HYBRID} for i in range(HYBRID_ROWS)]
    insert(client, name, rows[:200])
    client.flush(name)
    insert(client, name, rows[200:])
    queries = {field: chance.standard_normal(8).astype(np.float32) for field in HYBRID}
    exact = {field: scores(metric, vectors[field], queries[field]) for field, metric in HYBRID.items()}
    return exact, lambda field, limit, **more: AnnSearchRequest([queries[field].tolist()], field, {}, limit, **more)


def fused(lists: list[dict[int, float]]) -> dict[int, float]:
    """Sum of what each list says of a row."""
    total = defaultdict(float)
    for scored in lists:
        for key, score in scored.items():
            total[key] += score
    return dict(total)


def ranks(metric: str, exact: np.ndarray, limit: int, k: int) -> dict[int, float]:
    return {int(key): 1 / (k + rank) for rank, key in enumerate(best(metric, exact, limit), start=1)}


def normalised(metric: str, score: float) -> float:
    if metric == "COSINE":
        return (1 + score) / 2
    return 0.5 + atan(score) / pi if metric == "IP" else 1 - 2 * atan(score) / pi


@pytest.mark.parametrize("k", [60, 1])
def test_24_reciprocal_ranks(client, name, hybrid, k):
    exact, request = hybrid
    lists = [ranks(metric, exact[field], 40, k) for field, metric in HYBRID.items()]
    requests = [request(field, 40) for field in HYBRID]
    hits = client.hybrid_search(name, requests, RRFRanker(k), limit=30, output_fields=["n"])[0]
    check_hits(hits, fused(lists), "IP", 30)
    assert [hit["entity"]["n"] for hit in hits] == [hit.id % 3 for hit in hits]
    page = client.hybrid_search(name, requests, RRFRanker(k), limit=10, offset=10)[0]
    assert ids_of(page) == ids_of(hits)[10:20]


def test_24_weights_of_normalised_scores(client, name, hybrid):
    exact, request = hybrid
    weights = {"near": 0.5, "inner": 1.0, "angle": 0.25}
    lists = []
    for field, metric in HYBRID.items():
        top = best(metric, exact[field], 50)
        lists.append({int(key): weights[field] * normalised(metric, exact[field][key]) for key in top})
    requests = [request(field, 50) for field in HYBRID]
    hits = client.hybrid_search(name, requests, WeightedRanker(*weights.values()), limit=40)[0]
    check_hits(hits, fused(lists), "IP", 40)


def test_24_weights_of_raw_scores(client, name, hybrid):
    exact, request = hybrid
    lists = []
    for field, weight in ("inner", 0.75), ("angle", 0.5):
        top = best(HYBRID[field], exact[field], 50)
        lists.append({int(key): weight * exact[field][key] for key in top})
    ranker = WeightedRanker(0.75, 0.5, norm_score=False)
    hits = client.hybrid_search(name, [request("inner", 50), request("angle", 50)], ranker, limit=40)[0]
    check_hits(hits, fused(lists), "IP", 40)


def test_24_filters_of_the_single_requests(client, name, hybrid):
    exact, request = hybrid
    ones = np.arange(HYBRID_ROWS) % 3 == 1
    lists = [
        ranks("L2", np.where(ones, exact["near"], np.inf), 20, 60),
        ranks("COSINE", exact["angle"], 20, 60),
    ]
    requests = [request("near", 20, filter="n == {one}", expr_params={"one": 1}), request("angle", 20)]
    hits = client.hybrid_search(name, requests, RRFRanker(), limit=40)[0]
    check_hits(hits, fused(lists), "IP", 40)


# --- 25: filters ------------------------------------------------------------------------------------------------

LAYOUTS = {"growing": (0, []), "flushed": (1.0, []), "half flushed, indexed": (0.5, SCALAR_INDEXES)}


@pytest.fixture(scope="module", params=list(LAYOUTS))
def filtered(request, server):
    """The rows of filter_cases in one layout: (client, collection, rows)."""
    share, indexed = LAYOUTS[request.param]
    client = MilvusClient(server.uri, timeout=CONNECT_WITHIN)
    name = f"filters_{uuid.uuid4().hex[:8]}"
    indexes = {"vec": FLAT_L2} | {field: {"index_type": "INVERTED"} for field in indexed}
    create(client, name, FIELDS, indexes, dynamic=True)
    rows = make_rows()
    flushed = int(share * len(rows))
    insert(client, name, rows[:flushed])
    client.flush(name)
    for index in indexes:
        wait_for_index(client, name, index)
    insert(client, name, rows[flushed:])
    yield client, name, rows
    client.drop_collection(name)
    client.close()


@pytest.mark.parametrize("group", list(CASES))
def test_25_filters(filtered, group):
    client, name, rows = filtered
    wrong = [told for case in CASES[group] if (told := compare_filter(client, name, rows, *case))]
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


def compare_filter(client: MilvusClient, name: str, rows: list[dict], filter: str, predicate, values=None) -> str:
    """What is wrong with the answers of query and search under this filter; empty when nothing is."""
    expected = [row["id"] for row in rows if predicate(row) is True]
    options = {"filter": filter, "filter_params": values or {}}
    try:
        queried = ids_of(client.query(name, **options))
        searched = sorted(ids_of(client.search(name, data=[[0, 0, 0, 0]], limit=len(rows), **options)[0]))
    except MilvusException as error:
        return f"{filter}: {error}"
    answers = {"query": queried, "search": searched}
    return "\n".join(f"{filter}: {how} {difference(expected, got)}" for how, got in answers.items() if got != expected)


def difference(expected: list[int], got: list[int]) -> str:
    missing, wrong = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    return f"lacks {len(missing)} rows {missing[:5]}, has {len(wrong)} wrong ones {wrong[:5]}"


# --- consistency levels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["Strong", "Session"])
def test_own_writes_are_seen_at_once(client, name, level):
    create(client, name, {"id": KEY, "vec": vector(4)}, {"vec": FLAT_L2}, consistency_level="Bounded")
    for key in range(40):
        client.insert(name, {"id": key, "vec": [key, 0, 0, 0]})
        assert count(client, name, consistency_level=level) == key + 1
        assert client.search(name, data=[[key, 0, 0, 0]], limit=1, consistency_level=level)[0][0].id == key
    for key in range(40):
        client.delete(name, ids=[key])
        assert client.query(name, filter=f"id == {key}", consistency_level=level) == []


def test_strong_sees_the_writes_of_others_at_once(client, server, name):
    create(client, name, {"id": KEY, "vec": vector(4)}, {"vec": FLAT_L2}, consistency_level="Bounded")
    other = MilvusClient(server.uri, dedicated=True, timeout=CONNECT_WITHIN)
    for key in range(20):
        client.insert(name, {"id": key, "vec": [key, 0, 0, 0]})
        assert count(other, name, consistency_level="Strong") == key + 1
    other.close()


@pytest.mark.parametrize("level", ["Bounded", "Eventually"])
def test_looser_levels_see_writes_in_the_end(client, name, level):
    create_numbered(client, name, 10)
    wait_for(f"10 rows at level {level}", lambda: count(client, name, consistency_level=level) == 10)
