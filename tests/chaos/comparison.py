"""Reads the changing collection back, while all writers are paused, and compares it with what was acknowledged."""

import time

import numpy as np
from cluster import ChaosCluster
from data import CHANGING, Data
from history import Fault, History
from pymilvus import MilvusClient

PATIENCE = 60


def compare(
    cluster: ChaosCluster, history: History, data: Data, with_vectors: bool
) -> tuple[list[Fault], int, float]:
    """Faults, rows read, seconds taken."""
    began = time.monotonic()
    client = MilvusClient(cluster.uri, timeout=PATIENCE)
    found, faults = read_all(client, data, with_vectors)
    client.close()
    faults += history.compare(found, time.monotonic())
    for uri in cluster.uris:
        faults += check_count(uri, len(found))
    return faults, len(found), time.monotonic() - began


def read_all(client: MilvusClient, data: Data, with_vectors: bool) -> tuple[dict[int, int], list[Fault]]:
    """Every row through the iterator, at the collection's own level, which is Strong."""
    found: dict[int, int] = {}
    faults: list[Fault] = []
    fields = ["id", "version", "name", *(["vec"] if with_vectors else [])]
    options = {"batch_size": 1000, "filter": "", "output_fields": fields, "timeout": PATIENCE}
    pages = client.query_iterator(CHANGING, **options)
    while page := pages.next():
        for row in page:
            if row["id"] in found:
                faults.append(Fault("doubled", f"key {row['id']} came twice from the iterator"))
            found[row["id"]] = row["version"]
            faults += check_row(row, data)
    pages.close()
    return found, faults


def check_row(row: dict, data: Data) -> list[Fault]:
    """A row belongs together: its other fields follow from key and version."""
    wanted = data.row(row["id"], row["version"])
    well = row["name"] == wanted["name"]
    if well and "vec" in row:
        well = np.array_equal(np.array(row["vec"], np.float32), wanted["vec"])
    return [] if well else [Fault("wrong", f"key {row['id']}: version {row['version']} with other fields")]


def check_count(uri: str, rows: int) -> list[Fault]:
    """Queries show one row for a key; the count of each router shows whether there are more behind it."""
    client = MilvusClient(uri, dedicated=True, timeout=PATIENCE)
    answer = client.query(CHANGING, "", output_fields=["count(*)"], timeout=PATIENCE, consistency_level="Strong")
    client.close()
    count = answer[0]["count(*)"]
    if count == rows:
        return []
    kind = "doubled" if count > rows else "lost"
    return [Fault(kind, f"count(*) of {uri} says {count} rows, and the iterator gave {rows}")]
