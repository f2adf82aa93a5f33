"""Loads the sample data into a fresh server on this machine and asks it the sample questions, as any client would.
MISHARDS_BIN names the program."""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pymilvus import DataType, MilvusClient

TESTS = Path(__file__).resolve().parent
sys.path.append(str(TESTS / "clients"))

from harness import Server  # noqa: E402  (after the path is set)

SAMPLE = TESTS / "data" / "sample"
PACKAGES = "packages"
BATCH = 1000


def read_records() -> list[dict]:
    vectors = np.load(SAMPLE / "vectors_f16.npy").astype(np.float32)
    with (SAMPLE / "records.tsv").open(encoding="utf-8") as lines:
        names = next(lines).rstrip("\n").split("\t")
        records = [dict(zip(names, line.rstrip("\n").split("\t"), strict=True)) for line in lines]
    for record, vector in zip(records, vectors, strict=True):
        record["id"], record["installed_kb"] = int(record["id"]), int(record["installed_kb"])
        record["tags"] = record["tags"].split("|")
        record["embedding"] = vector
    return records


def create(client: MilvusClient) -> None:
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    for name in ("name", "section", "priority"):
        schema.add_field(name, DataType.VARCHAR, max_length=64)
    schema.add_field("installed_kb", DataType.INT64)
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=64, max_length=64)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=384)
    index = client.prepare_index_params()
    index.add_index("embedding", index_type="HNSW", metric_type="COSINE")
    client.create_collection(PACKAGES, schema=schema, index_params=index, consistency_level="Strong")


def ask(client: MilvusClient, questions: list[str], vectors: np.ndarray, condition: str = "") -> None:
    began = time.monotonic()
    fields = ["name", "section"]
    answers = client.search(PACKAGES, data=list(vectors), filter=condition, limit=3, output_fields=fields)
    took = time.monotonic() - began
    print(f"\n{len(questions)} questions in {1000 * took:.0f} ms" + (f", only where {condition}" if condition else ""))
    for question, hits in zip(questions, answers, strict=True):
        found = ", ".join(f"{hit['entity']['name']} ({hit['distance']:.2f})" for hit in hits)
        print(f"  {question}\n      {found}")


def main() -> None:
    records = read_records()
    questions = (SAMPLE / "questions.txt").read_text(encoding="utf-8").splitlines()
    vectors = np.load(SAMPLE / "question_vectors_f32.npy")
    with tempfile.TemporaryDirectory(prefix="mishards-demo-") as folder:
        server = Server(Path(folder))
        try:
            began = time.monotonic()
            server.start()
            print(f"server ready on {server.uri} in {time.monotonic() - began:.1f} s")
            client = MilvusClient(server.uri)
            create(client)
            began = time.monotonic()
            for start in range(0, len(records), BATCH):
                client.insert(PACKAGES, records[start : start + BATCH])
            print(f"{len(records)} records inserted in {time.monotonic() - began:.1f} s")
            ask(client, questions, vectors)
            ask(client, questions[:1], vectors[:1], 'section == "games" and installed_kb > 10000')
            client.close()
            server.stop()
        finally:
            server.end()


if __name__ == "__main__":
    main()
