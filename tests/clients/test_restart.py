"""What a standalone server acknowledged survives its end, orderly or not: rows flushed and not flushed, deletes,
schema, indexes, aliases, partitions and databases; the answers are identical afterwards."""

from collections.abc import Callable

import numpy as np
import pytest
from harness import CONNECT_WITHIN, Server
from pymilvus import DataType, MilvusClient
from tables import (
    FLAT_L2,
    KEY,
    NUMBER,
    count,
    create,
    ids_of,
    index_params,
    insert,
    random_vectors,
    rows_of,
    text,
    vector,
    wait_for_index,
)

pytestmark = pytest.mark.targets("standalone")

DIM = 8
QUERIES = random_vectors(10, DIM, seed=200).tolist()
RICH = {
    "id": text() | {"is_primary": True},
    "owner": NUMBER | {"is_partition_key": True},
    "maybe": text() | {"nullable": True},
    "default": {"datatype": DataType.DOUBLE, "default_value": 0.5},
    "tree": {"datatype": DataType.JSON},
    "words": {"datatype": DataType.ARRAY, "element_type": DataType.VARCHAR, "max_capacity": 4, "max_length": 9},
    "vec": vector(DIM),
}
ENDINGS = {"SIGTERM": Server.stop, "kill -9": Server.kill9}


def connect(server: Server, **options) -> MilvusClient:
    return MilvusClient(server.uri, dedicated=True, timeout=CONNECT_WITHIN, **options)


def restart(server: Server, end: Callable[[Server], None]) -> None:
    end(server)
    server.start()


def write_plain(client: MilvusClient) -> None:
    """Rows, upserts and deletes, before and after flushes."""
    create(client, "plain", {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
    vectors = random_vectors(900, DIM, seed=201)
    rows = rows_of(vectors, n=lambda key: key % 50)
    insert(client, "plain", rows[:400])
    client.flush("plain")
    client.delete("plain", ids=list(range(20)))
    insert(client, "plain", rows[400:700])
    client.flush("plain")
    client.create_partition("plain", "east")
    client.insert("plain", rows[700:], partition_name="east")
    client.upsert("plain", [row | {"n": 1000} for row in rows[100:120] + rows[600:620]])
    client.delete("plain", filter="n == 49")
    client.delete("plain", ids=[390, 690, 890])


def write_rich(client: MilvusClient) -> None:
    """Every kind of field, an HNSW and scalar indexes, an alias that was moved."""
    hnsw = {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 8, "efConstruction": 100}}
    inverted = {"index_type": "INVERTED", "index_name": "by_owner"}
    create(client, "rich", RICH, {"vec": hnsw, "owner": inverted}, dynamic=True, num_partitions=3)
    client.create_alias("plain", "nickname")
    client.alter_alias("rich", "nickname")
    vectors = random_vectors(600, DIM, seed=202)
    insert(client, "nickname", [rich_row(key, vectors[key].tolist()) for key in range(300)])
    client.flush("rich")
    for index in ("vec", "by_owner"):
        wait_for_index(client, "rich", index)
    insert(client, "nickname", [rich_row(key, vectors[key].tolist()) for key in range(300, 600)])


def rich_row(key: int, vec: list[float]) -> dict:
    row = {"id": f"key {key:03}", "owner": key % 7, "tree": {"k": key, "deep": [key, {"x": str(key)}]}, "vec": vec}
    row |= {"words": ["a", "b", "c"][: key % 4], "maybe": None if key % 3 else f"text {key}", "extra": key % 5}
    return row if key % 2 else row | {"default": float(key)}


def write_elsewhere(client: MilvusClient, server: Server) -> None:
    """Another database, a collection that is released, one that was renamed, and one that was dropped."""
    client.create_database("elsewhere")
    inside = connect(server, db_name="elsewhere")
    create(inside, "plain", {"id": KEY, "vec": vector(DIM)}, {"vec": FLAT_L2})
    insert(inside, "plain", rows_of(random_vectors(30, DIM, seed=203)))
    inside.close()
    for name in ("released", "old_name", "dropped"):
        create(client, name, {"id": KEY, "vec": vector(DIM)}, {"vec": FLAT_L2})
        insert(client, name, rows_of(random_vectors(10, DIM, seed=204)))
    client.release_collection("released")
    client.rename_collection("old_name", "new_name")
    client.drop_collection("dropped")


def everything(server: Server) -> dict:
    """All that clients can see, database by database and collection by collection."""
    client = connect(server)
    databases = sorted(client.list_databases())
    client.close()
    seen = {}
    for database in databases:
        inside = connect(server, db_name=database)
        seen[database] = {name: seen_of(inside, name) for name in sorted(inside.list_collections())}
        inside.close()
    return seen


def seen_of(client: MilvusClient, name: str) -> dict:
    state = client.get_load_state(name)
    seen = {
        "description": client.describe_collection(name),
        "partitions": sorted(client.list_partitions(name)),
        "indexes": {index: settings_of(client, name, index) for index in sorted(client.list_indexes(name))},
        "load state": state,
    }
    return seen | answers_of(client, name) if state["state"].name == "Loaded" else seen


def settings_of(client: MilvusClient, name: str, index: str) -> dict:
    """Without the progress: what was not flushed before may be flushed by a stop."""
    progress = {"state", "total_rows", "indexed_rows", "pending_index_rows"}
    return {key: value for key, value in client.describe_index(name, index).items() if key not in progress}


def answers_of(client: MilvusClient, name: str) -> dict:
    searched = client.search(name, data=QUERIES, limit=50, output_fields=["*"])
    return {
        "count": count(client, name),
        "rows": [dict(row) for row in client.query(name, limit=2000, output_fields=["*"])],
        "ids": [ids_of(hits) for hits in searched],
        "scores": [[hit.distance for hit in hits] for hits in searched],
        "entities": [[dict(hit["entity"]) for hit in hits] for hits in searched],
    }


def check_same(after: dict, before: dict) -> None:
    """One thing at a time, for a message of readable length."""
    assert {database: list(names) for database, names in after.items()} == {
        database: list(names) for database, names in before.items()
    }
    for database, collections in before.items():
        for name, seen in collections.items():
            for what, value in seen.items():
                now = after[database][name][what]
                if what == "scores":
                    np.testing.assert_allclose(now, value, rtol=1e-6, atol=1e-6)
                else:
                    assert now == value, f"{what} of {database}.{name} changed"


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_everything_survives(own_server, ending):
    client = connect(own_server)
    write_plain(client)
    write_rich(client)
    write_elsewhere(client, own_server)
    client.close()
    before = everything(own_server)
    for _ in range(2):
        restart(own_server, ENDINGS[ending])
        check_same(everything(own_server), before)
    own_server.stop()


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_a_restarted_server_goes_on(own_server, ending):
    """Writes, automatic keys and definitions go on where they were."""
    fields = {"id": KEY | {"auto_id": True}, "n": NUMBER, "vec": vector(DIM)}
    keys = set()
    for round_ in range(3):
        client = connect(own_server)
        create(client, "table", fields, {"vec": FLAT_L2})
        new = client.insert("table", [{"n": round_, "vec": QUERIES[n]} for n in range(10)])["ids"]
        assert keys.isdisjoint(new)
        keys |= set(new)
        if round_ == 1:
            client.flush("table")
        assert count(client, "table") == len(keys)
        assert count(client, "table", f"n == {round_}") == 10
        create(client, f"made_{round_}", fields)
        client.close()
        restart(own_server, ENDINGS[ending])
    client = connect(own_server)
    assert sorted(row["id"] for row in client.query("table", limit=100)) == sorted(keys)
    ids = [client.describe_collection(name)["collection_id"] for name in client.list_collections()]
    assert len(set(ids)) == 4
    client.close()
    own_server.stop()


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_what_was_taken_away_stays_away(own_server, ending):
    client = connect(own_server)
    create(client, "table", {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
    insert(client, "table", rows_of(random_vectors(200, DIM, seed=205), n=lambda key: key))
    client.flush("table")
    client.create_index("table", index_params({"n": {"index_type": "INVERTED"}}))
    client.create_alias("table", "nickname")
    client.create_partition("table", "east")
    client.insert("table", rows_of(random_vectors(20, DIM, seed=206), 500, n=lambda key: 0), partition_name="east")
    client.create_database("elsewhere")

    client.delete("table", filter="n >= 150")
    client.drop_index("table", "n")
    client.drop_alias("nickname")
    client.release_partitions("table", ["east"])
    client.drop_partition("table", "east")
    client.drop_database("elsewhere")
    client.close()
    restart(own_server, ENDINGS[ending])

    client = connect(own_server)
    assert ids_of(client.query("table", limit=1000)) == list(range(150))
    assert client.list_indexes("table") == ["vec"]
    assert client.list_aliases("table")["aliases"] == [] and not client.has_collection("nickname")
    assert client.list_partitions("table") == ["_default"]
    assert client.list_databases() == ["default"]
    client.close()
    own_server.stop()
