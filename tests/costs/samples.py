"""Collections that the measurements are taken on."""

import numpy as np
from calls import Calls, column, create, field, flush, insert, schema

S = schema
SEED = 7


def vectors(rows: int, dim: int, seed: int = SEED) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)


def fill(calls: Calls, name: str, rows: int, batch: int, columns, begin: int = 0, method: str = "Insert", several: bool = False) -> None:
    """Inserts rows `begin` to `rows` in batches; `columns` makes them from an array of numbers. `several` segments are left."""
    for first in range(begin, rows, batch):
        numbers = np.arange(first, min(rows, first + batch))
        calls.must(method, insert(name, columns(numbers), len(numbers)))
        if several and first + batch <= rows * 2 // 3:
            flush(calls, name)


def many(calls: Calls, rows: int, name: str = "many", sealed: bool = True, several: bool = False) -> None:
    """Small rows."""
    fields = [field("id", S.Int64, primary=True), field("n", S.Int32), field("v", S.FloatVector, dim=2)]
    create(calls, name, fields)
    fill(calls, name, rows, min(500_000, max(1, rows // 4)), many_columns, several=several)
    if sealed:
        flush(calls, name)


def many_columns(ids: np.ndarray) -> list:
    found = [column("id", S.Int64, ids), column("n", S.Int32, ids % 1000)]
    return [*found, column("v", S.FloatVector, vectors(len(ids), 2, int(ids[0])))]


def wide(calls: Calls, rows: int, text: int, name: str = "wide", sealed: bool = True, several: bool = False) -> None:
    """Rows with a long text and a vector of 128 numbers."""
    fields = [
        field("id", S.Int64, primary=True),
        field("text", S.VarChar, max_length=65535),
        field("v", S.FloatVector, dim=128),
    ]
    create(calls, name, fields)

    def columns(ids: np.ndarray) -> list:
        texts = [(f"{i:08d}" + "ab" * (text // 2))[:text] for i in ids]
        found = [column("id", S.Int64, ids), column("text", S.VarChar, texts)]
        return [*found, column("v", S.FloatVector, vectors(len(ids), 128, int(ids[0])))]

    fill(calls, name, rows, max(1, min(20_000, (30 << 20) // (text + 512))), columns, several=several)
    if sealed:
        flush(calls, name)


def keyed(calls: Calls, rows: int, key: int, name: str = "keyed", sealed: bool = True, several: bool = False) -> None:
    """Rows whose keys are long texts."""
    fields = [field("id", S.VarChar, primary=True, max_length=65535), field("v", S.FloatVector, dim=2)]
    create(calls, name, fields)

    def columns(ids: np.ndarray) -> list:
        keys = [f"{i:08d}".ljust(key, "k") for i in ids]
        return [column("id", S.VarChar, keys), column("v", S.FloatVector, vectors(len(ids), 2, int(ids[0])))]

    fill(calls, name, rows, max(1, (50 << 20) // (key + 16)), columns, several=several)
    if sealed:
        flush(calls, name)
