"""Reads the collection back in every way there is and compares it with the ledgers. All writers are paused."""

import random
from collections.abc import Mapping

import numpy as np
from ledger import Fault, Ledger, bucket_of
from pymilvus import MilvusClient
from writers import COLLECTION, vectors_of

PATIENCE = 60
FIELDS = ["id", "version", "bucket", "vec"]
EXACT = 1e-4


def compare(client: MilvusClient, ledgers: list[Ledger], chance: random.Random) -> list[Fault]:
    """All faults of one full comparison; the ledgers' doubts are settled by it."""
    found, faults = read_all(client)
    for ledger in ledgers:
        faults += ledger.settle(found)
    known = {key for ledger in ledgers for key in ledger.keys}
    faults += [Fault("wrong", f"key {key}: nobody wrote it") for key in found if key not in known]
    if faults:
        return faults
    gone = [(key, version) for ledger in ledgers for key, version in ledger.gone if found.get(key) != version]
    faults += check_count(client, found)
    faults += check_lookup(client, found, sorted(known), chance)
    faults += check_search(client, found, chance)
    faults += check_gone(client, found, gone, chance)
    return faults


def read_all(client: MilvusClient) -> tuple[dict[int, int], list[Fault]]:
    """Every row through the iterator, at the collection's own level, which is Strong."""
    found, faults = {}, []
    pages = client.query_iterator(COLLECTION, batch_size=1000, filter="", output_fields=FIELDS, timeout=PATIENCE)
    while page := pages.next():
        faults += check_rows(page)
        for row in page:
            if row["id"] in found:
                faults.append(Fault("doubled", f"key {row['id']} came twice from the iterator"))
            found[row["id"]] = row["version"]
    pages.close()
    return found, faults


def check_rows(rows: list[Mapping]) -> list[Fault]:
    """Each row belongs together: its other fields follow from key and version."""
    faults = []
    wanted = vectors_of([row["id"] for row in rows], [row["version"] for row in rows])
    for row, vector in zip(rows, wanted, strict=True):
        if row["bucket"] != bucket_of(row["id"], row["version"]):
            faults.append(Fault("wrong", f"key {row['id']}: version {row['version']} with bucket {row['bucket']}"))
        if not np.array_equal(np.array(row["vec"], np.float32), vector):
            faults.append(Fault("wrong", f"key {row['id']}: version {row['version']} with another vector"))
    return faults


def check_count(client: MilvusClient, found: Mapping[int, int]) -> list[Fault]:
    """Queries show one row for a key; the count shows whether there are more behind it."""
    answer = client.query(COLLECTION, "id >= 0", ["count(*)"], timeout=PATIENCE, consistency_level="Strong")
    count = answer[0]["count(*)"]
    if count == len(found):
        return []
    kind = "doubled" if count > len(found) else "lost"
    return [Fault(kind, f"count(*) says {count} rows, and the iterator gave {len(found)}")]


def check_lookup(
    client: MilvusClient, found: Mapping[int, int], known: list[int], chance: random.Random
) -> list[Fault]:
    """By key, present ones and absent ones."""
    keys = chance.sample(known, min(200, len(known)))
    rows = client.query(COLLECTION, f"id in {keys}", FIELDS, timeout=PATIENCE, consistency_level="Strong")
    answer = {row["id"]: row["version"] for row in rows}
    wanted = {key: found[key] for key in keys if key in found}
    wrong = [key for key in keys if answer.get(key) != wanted.get(key)]
    return [
        Fault("wrong", f"key {key}: lookup says {answer.get(key)}, the iterator said {wanted.get(key)}")
        for key in wrong
    ]


def check_search(client: MilvusClient, found: Mapping[int, int], chance: random.Random) -> list[Fault]:
    """A row's own vector finds it, at distance 0; through the index, and under a filter that few rows pass."""
    faults = []
    keys = chance.sample(sorted(found), min(20, len(found)))
    if not keys:
        return faults
    for hits, key in zip(search(client, keys, [found[key] for key in keys]), keys, strict=True):
        faults += check_hits(hits, found) + check_first(hits, key)
    for key in keys[:5]:
        narrow = f"id >= {key - 20} and id < {key + 20}"
        for hits in search(client, [key], [found[key]], narrow):
            faults += check_hits(hits, found) + check_first(hits, key)
            faults += [
                Fault("wrong", f"search with {narrow} gave key {hit['id']}")
                for hit in hits
                if not -20 <= hit["id"] - key < 20
            ]
    return faults


def check_gone(
    client: MilvusClient, found: Mapping[int, int], gone: list[tuple[int, int]], chance: random.Random
) -> list[Fault]:
    """The vector of a row that was deleted or overwritten finds other rows only."""
    faults = []
    picked = chance.sample(gone, min(20, len(gone)))
    if picked:
        for hits in search(client, [key for key, _ in picked], [version for _, version in picked]):
            faults += check_hits(hits, found)
    return faults


def search(client: MilvusClient, keys: list[int], versions: list[int], narrow: str = "") -> list[list[dict]]:
    answer = client.search(
        COLLECTION,
        data=[vector.tolist() for vector in vectors_of(keys, versions)],
        filter=narrow,
        limit=5,
        output_fields=["id", "version"],
        search_params={"metric_type": "L2", "params": {"ef": 512}},
        anns_field="vec",
        timeout=PATIENCE,
        consistency_level="Strong",
    )
    return [
        [{"id": hit["id"], "version": hit["entity"]["version"], "distance": hit["distance"]} for hit in hits]
        for hits in answer
    ]


def check_hits(hits: list[dict], found: Mapping[int, int]) -> list[Fault]:
    """Whatever a search returns is a row of the collection, each once."""
    faults = []
    for hit in hits:
        key, version = hit["id"], hit["version"]
        if key not in found:
            faults.append(Fault("revived", f"key {key}: search gave the deleted version {version}"))
        elif found[key] != version:
            faults.append(Fault("revived", f"key {key}: search gave version {version}, the row is {found[key]}"))
    if len({hit["id"] for hit in hits}) < len(hits):
        faults.append(Fault("doubled", f"search gave a key twice: {[hit['id'] for hit in hits]}"))
    return faults


def check_first(hits: list[dict], key: int) -> list[Fault]:
    if hits and hits[0]["id"] == key and abs(hits[0]["distance"]) < EXACT:
        return []
    return [Fault("lost", f"key {key}: a search for its own vector gave {hits[:1]}")]
