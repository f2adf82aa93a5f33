"""The real data of the recall tests: Debian packages and the embeddings of their descriptions. All of them from the
folder that MISHARDS_DATA names, or else the sample that is kept in the project."""

import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample"


@dataclass
class Dataset:
    """Row i of `vectors` (float32) belongs to records[i], whose id is i."""

    records: list[dict]
    vectors: np.ndarray
    queries: np.ndarray


def load() -> Dataset:
    folder = Path(os.environ.get("MISHARDS_DATA", SAMPLE))
    records = list(read_records(folder))
    vectors = np.load(needed(folder, "vectors_f16.npy")).astype(np.float32)
    assert [record["id"] for record in records] == list(range(len(vectors))), f"{folder}: ids and vectors do not match"
    return Dataset(records, vectors, read_queries(folder))


def needed(folder: Path, *names: str) -> Path:
    """The first of these files that is there."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"no {' or '.join(names)} in {folder} (MISHARDS_DATA names the folder, if set)")


def read_records(folder: Path) -> Iterator[dict]:
    readers: dict[str, Callable[[Path], Iterator[dict]]] = {
        "records.jsonl.zst": read_compressed,
        "records.jsonl": read_jsonl,
        "records.tsv": read_tsv,
    }
    path = needed(folder, *readers)
    return readers[path.name](path)


def read_compressed(path: Path) -> Iterator[dict]:
    import zstandard  # Only the full data needs it.

    with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as plain:
        yield from map(json.loads, io.TextIOWrapper(plain, encoding="utf-8"))


def read_jsonl(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def read_tsv(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        names = next(lines).rstrip("\n").split("\t")
        for line in lines:
            record = dict(zip(names, line.rstrip("\n").split("\t"), strict=True))
            numbers = {"id": int(record["id"]), "installed_kb": int(record["installed_kb"])}
            yield record | numbers | {"tags": record["tags"].split("|") if record["tags"] else []}


def read_queries(folder: Path) -> np.ndarray:
    path = needed(folder, "queries_public.npz", "question_vectors_f32.npy")
    loaded = np.load(path)
    return loaded["vectors"] if path.suffix == ".npz" else loaded
