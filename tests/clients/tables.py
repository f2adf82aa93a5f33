"""Makes the collections and rows that the tests need, and waits for what the server does in the background."""

import time
from collections.abc import Callable

import numpy as np
from pymilvus import DataType, MilvusClient
from pymilvus.milvus_client.index import IndexParams

KEY = {"datatype": DataType.INT64, "is_primary": True}
NUMBER = {"datatype": DataType.INT64}
FLAT_L2 = {"index_type": "FLAT", "metric_type": "L2"}


def text(max_length: int = 64) -> dict:
    return {"datatype": DataType.VARCHAR, "max_length": max_length}


def vector(dim: int) -> dict:
    return {"datatype": DataType.FLOAT_VECTOR, "dim": dim}


def index_params(indexes: dict[str, dict]) -> IndexParams:
    """`{field: options of its index}` as pymilvus wants it."""
    params = MilvusClient.prepare_index_params()
    for field, options in indexes.items():
        params.add_index(field, **options)
    return params


def schema_of(fields: dict[str, dict], dynamic: bool = False):
    schema = MilvusClient.create_schema(enable_dynamic_field=dynamic)
    for name, definition in fields.items():
        schema.add_field(name, **definition)
    return schema


def create(
    client: MilvusClient,
    name: str,
    fields: dict[str, dict],
    indexes: dict[str, dict] | None = None,
    dynamic: bool = False,
    **options,
) -> None:
    """A collection that reads Strong by default; loaded when it gets indexes."""
    options = {"consistency_level": "Strong"} | options
    params = index_params(indexes) if indexes else None
    client.create_collection(name, schema=schema_of(fields, dynamic), index_params=params, **options)


def random_vectors(rows: int, dim: int, seed: int) -> np.ndarray:
    """Shape (rows, dim), float32, each of length 1."""
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rows_of(vectors: np.ndarray, first_id: int = 0, **columns) -> list[dict]:
    """One row per vector, ids counted up from `first_id`; each further column is a function of the id."""
    return [
        {"id": key, "vec": vectors[key - first_id].tolist()} | {name: of(key) for name, of in columns.items()}
        for key in range(first_id, first_id + len(vectors))
    ]


def insert(client: MilvusClient, name: str, rows: list[dict], batch: int = 1000) -> None:
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        assert client.insert(name, part)["insert_count"] == len(part)


def create_numbered(client: MilvusClient, name: str, rows: int, dim: int = 4, seed: int = 1) -> np.ndarray:
    """A loaded FLAT/L2 collection `id, n, vec` with n = 10 * id; returns its vectors."""
    create(client, name, {"id": KEY, "n": NUMBER, "vec": vector(dim)}, {"vec": FLAT_L2})
    vectors = random_vectors(rows, dim, seed)
    insert(client, name, rows_of(vectors, n=lambda key: 10 * key))
    return vectors


def ids_of(rows) -> list:
    return [row["id"] for row in rows]


def count(client: MilvusClient, name: str, filter: str = "", **options) -> int:
    answer = client.query(name, filter=filter, output_fields=["count(*)"], **options)
    return answer[0]["count(*)"]


def wait_for(what: str, is_true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def wait_for_index(client: MilvusClient, name: str, index: str = "vec", seconds: float = 60) -> None:
    def is_built() -> bool:
        state = client.describe_index(name, index)
        assert state["state"] != "Failed", state
        return state["pending_index_rows"] == 0 and state["state"] == "Finished"

    wait_for(f"index {index} of {name}", is_built, seconds)
