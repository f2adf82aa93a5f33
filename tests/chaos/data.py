"""The real data in two collections: one that stays as it is, whose exact answers are known beforehand, and one that
writers keep changing, whose rows follow from key and version."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymilvus import DataType, MilvusClient

sys.path.append(str(Path(__file__).resolve().parent.parent / "clients"))

import dataset  # noqa: E402  (after the path is set)
from exact import scores  # noqa: E402

STATIC, CHANGING, PROBE = "packages", "changing", "probe"
LIMIT = 10
BATCH = 500
QUERIES = 24
PATIENCE = 60

# The filters that the real data is measured with: text and condition.
FILTERS = {
    'section == "games"': lambda record: record["section"] == "games",
    "installed_kb >= 10000": lambda record: record["installed_kb"] >= 10000,
}


@dataclass(frozen=True)
class Known:
    """The exact answer to one search: the score of every row, and the best scores in order."""

    vector: list[float]
    filter: str
    scores: np.ndarray
    matching: np.ndarray
    ranked: np.ndarray


class Data:
    """The records, and what must come out of searches among them."""

    def __init__(self) -> None:
        self.dataset = dataset.load()
        self.vectors = self.dataset.vectors
        self.names = [record["name"] for record in self.dataset.records]
        self.squares = (self.vectors.astype(np.float64) ** 2).sum(axis=1)
        self.plain: list[Known] = []
        self.filtered: list[Known] = []
        self.counts = {"": len(self.vectors)}
        masks = {text: np.array([of(record) for record in self.dataset.records]) for text, of in FILTERS.items()}
        everything = np.ones(len(self.vectors), bool)
        for query in self.dataset.queries[:QUERIES]:
            self.plain.append(self.known(query, "", everything))
            self.filtered += [self.known(query, text, mask) for text, mask in masks.items()]
        self.counts |= {text: int(mask.sum()) for text, mask in masks.items()}

    def known(self, query: np.ndarray, text: str, mask: np.ndarray) -> Known:
        all_scores = scores("IP", self.vectors, query)
        ranked = np.sort(all_scores[mask])[::-1][:LIMIT]
        return Known(query.tolist(), text, all_scores, mask, ranked)

    def row_of(self, key: int, version: int) -> int:
        """Which record's vector a version of a key has."""
        return (key * 31 + version * 7919) % len(self.vectors)

    def row(self, key: int, version: int) -> dict:
        at = self.row_of(key, version)
        return {"id": key, "version": version, "name": self.names[at][:60], "vec": self.vectors[at]}

    def distance(self, at: int, other: int) -> float:
        """L2 as Milvus reports it, squared, between two records."""
        product = float(self.vectors[at].astype(np.float64) @ self.vectors[other].astype(np.float64))
        return self.squares[at] + self.squares[other] - 2 * product


def make(client: MilvusClient, name: str, fields: dict[str, tuple], dim: int, index: dict) -> None:
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    for field, (kind, options) in fields.items():
        schema.add_field(field, kind, **options)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=dim)
    params = client.prepare_index_params()
    params.add_index("vec", **index)
    client.create_collection(name, schema=schema, index_params=params, consistency_level="Strong", timeout=PATIENCE)


def create_collections(client: MilvusClient, data: Data) -> None:
    dim = data.vectors.shape[1]
    text = (DataType.VARCHAR, {"max_length": 64})
    number = (DataType.INT64, {})
    flat = {"index_type": "FLAT", "metric_type": "IP"}
    graph = {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8, "efConstruction": 64}}
    make(client, STATIC, {"name": text, "section": text, "installed_kb": number}, dim, flat)
    make(client, CHANGING, {"version": number, "name": text}, dim, graph)
    make(client, PROBE, {"version": number}, 8, {"index_type": "FLAT", "metric_type": "L2"})


def fill_static(client: MilvusClient, data: Data) -> None:
    """In many segments, for all nodes to have some."""
    records = data.dataset.records
    for start in range(0, len(records), BATCH):
        part = records[start : start + BATCH]
        rows = [
            {"id": r["id"], "name": r["name"][:60], "section": r["section"], "installed_kb": r["installed_kb"]}
            | {"vec": data.vectors[r["id"]]}
            for r in part
        ]
        assert client.insert(STATIC, rows, timeout=PATIENCE)["insert_count"] == len(part)
        if start // BATCH % 2:
            client.flush(STATIC, timeout=PATIENCE)
    client.flush(STATIC, timeout=PATIENCE)


def wait_for_all_rows(client: MilvusClient, data: Data) -> None:
    """Until every level sees them all."""
    deadline = time.monotonic() + PATIENCE
    for level in ("Strong", "Session", "Bounded", "Eventually"):
        while True:
            answer = client.query(STATIC, "", output_fields=["count(*)"], consistency_level=level)
            if answer[0]["count(*)"] == data.counts[""]:
                break
            assert time.monotonic() < deadline, f"{level} reads do not see all rows after {PATIENCE} s"
            time.sleep(0.2)
