"""Sends large requests, one after the other, and prints a line of JSON for what came of each. A program of its own, for
its work with large answers would otherwise hold up the readers that are measured."""

import json
import logging
import sys
import time

import numpy as np
from pymilvus import MilvusClient, MilvusException

CONNECT_WITHIN = 60
DIM = 4
KEYS = 1_500_000
COLLECTION = "poison"


def requests(client: MilvusClient, seed: int) -> dict:
    """By name; most may be answered, the first must be refused."""
    vectors = np.random.default_rng(seed).random((1500, DIM), dtype=np.float32).tolist()
    keys = f"n in {list(range(KEYS))}"
    once = {"retry_times": 0}  # With a timeout pymilvus would send a request again until that has passed.

    def search(nq: int, limit: int, **options):
        return lambda: client.search(COLLECTION, data=vectors[:nq], limit=limit, **options, **once)

    def query(text: str, **options):
        return lambda: client.query(COLLECTION, text, **options, **once)

    return {
        "nq 700, limit 16384": search(700, 16384),
        "nq 1500, limit 10": search(1500, 10),
        "nq 1500, limit 2000": search(1500, 2000),
        "nq 200, limit 16384": search(200, 16384),
        "nq 50, limit 16384, all fields": search(50, 16384, output_fields=["*"]),
        "nq 700, limit 100, 1.5 M keys": search(700, 100, filter=keys),
        "query, 1.5 M keys": query(keys, output_fields=["n"]),
        "query without limit": query("id >= 0", output_fields=["*"]),
        "count, 1.5 M keys": query(keys, output_fields=["count(*)"]),
        "nq 1, limit 16384, all fields": search(1, 16384, output_fields=["*"]),
    }


def main() -> None:
    uri, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    client = MilvusClient(uri, dedicated=True, timeout=CONNECT_WITHIN)
    names = list(requests(client, seed).items())
    order = np.random.default_rng(seed)
    for _ in range(rounds):
        order.shuffle(names)
        for name, send in names:
            send_one(name, send)
    client.close()


def send_one(name: str, send) -> None:
    began = time.monotonic()
    line = {"name": name, "began": began, "rows": 0, "code": 0, "text": ""}
    try:
        answer = send()
        line["took"] = time.monotonic() - began
        line["rows"] = sum(map(len, answer)) if name.startswith("nq") else len(answer)
    except MilvusException as error:
        line |= {"code": error.code, "text": " ".join(error.message.split())}
    except Exception as error:  # Of the transport: nobody has said anything clear.
        line |= {"code": -1, "text": f"{type(error).__name__}: {error}"}
    line.setdefault("took", time.monotonic() - began)
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
