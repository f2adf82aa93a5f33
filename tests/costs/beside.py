"""What a small search feels of a large request beside it: its p99, against the p99 of a quiet server."""

import multiprocessing
import time

import numpy as np
import samples
from calls import Calls, column, create, create_index, delete, field, flush, hybrid, insert, milvus, query, schema, search
from samples import vectors
from table import Report
from target import Target

GOAL = 5
PAUSE = 0.01
LONGEST = 8.0  # Seconds beside each large request.
FEWEST = 100  # Small searches for a figure.
S = schema


def repeat(uri: str, method: str, requests: list[bytes], again: bool, said, over) -> None:
    """In a process of its own: sends the requests one after the other, and says when the first has begun and how long each took."""
    calls = Calls(uri)
    times = []
    said.put("begins")
    while not over.is_set():
        for data in requests:
            answer = calls(method, data)
            times.append(answer.seconds if answer.ok else answer.said())
            if over.wait(0.2 if answer.seconds < 0.05 else 0):
                break
        if not again:
            break
    said.put(times)


def small_searches(calls: Calls, data: bytes, until) -> list[float]:
    """Milliseconds of each."""
    found = []
    while not until(found):
        answer = calls("Search", data)
        assert answer.ok, answer.said()
        found.append(1000 * answer.seconds)
        time.sleep(PAUSE)
    return found


def p(values: list[float], share: float) -> float:
    return float(np.percentile(values, share))


def run(target: Target, report: Report, only: set[str]) -> None:
    calls = target.calls
    fields = [field("id", S.Int64, primary=True), field("v", S.FloatVector, dim=64)]
    create(calls, "small", fields, index="HNSW")
    samples.fill(calls, "small", 20_000, 20_000, lambda ids: [column("id", S.Int64, ids), column("v", S.FloatVector, vectors(len(ids), 64))])
    flush(calls, "small")
    small = search("small", vectors(1, 64, 1), 10).SerializeToString()
    context = multiprocessing.get_context("spawn")
    report.begin(
        "Beside: a small search while a large request runs",
        "large request", "runs", "of ms each", "quiet p50 / p99 ms", "beside p50 / p99 ms", "ratio of p99", "verdict",
    )
    for name, (method, make, again) in large_requests().items():
        if only and name.split()[0] not in only:
            continue
        Report.progress(f"beside {name}")
        made = make(calls)
        target.rest()
        small_searches(calls, small, lambda found: len(found) >= 20)
        quiet = small_searches(calls, small, lambda found: len(found) >= 2 * FEWEST)
        said, over = context.Queue(), context.Event()
        process = context.Process(target=repeat, args=(target.deployment.uri, method, made, again, said, over))
        process.start()
        said.get()
        time.sleep(0.1)
        began = time.monotonic()
        ends = lambda found: time.monotonic() - began > LONGEST and len(found) >= FEWEST or (found and not process.is_alive())
        beside = small_searches(calls, small, lambda found: ends(found) or not said.empty())
        over.set()
        times = said.get()
        process.join()
        seconds = [t for t in times if isinstance(t, float)]
        wrong = {t for t in times if isinstance(t, str)}
        ratio = p(beside, 99) / p(quiet, 99)
        report.row(
            name, len(times), 1000 * p(seconds, 50) if seconds else "; ".join(wrong),
            f"{p(quiet, 50):.1f} / {p(quiet, 99):.1f}", f"{p(beside, 50):.1f} / {p(beside, 99):.1f}",
            ratio, "ok" if ratio <= GOAL else "STARVED",
        )


def large_requests() -> dict:
    """Name to method, what makes the requests (after what they need), and whether they are sent again and again."""
    made = set()

    def once(key: str, make) -> None:
        if key not in made:
            made.add(key)
            make()

    def few(calls: Calls) -> None:
        once("few", lambda: samples.many(calls, 200_000, "few"))

    def many(calls: Calls) -> None:
        once("many", lambda: samples.many(calls, 3_300_000, "many"))

    def wide(calls: Calls) -> None:
        once("wide", lambda: samples.wide(calls, 60_000, 4000))

    def bytes_of(*requests) -> list[bytes]:
        return [r if isinstance(r, bytes) else r.SerializeToString() for r in requests]

    def after(prepare, make):
        return lambda calls: (prepare(calls), bytes_of(*make()))[1]

    def batches(calls: Calls) -> list[bytes]:
        create(calls, "sink", [field("id", S.Int64, primary=True), field("v", S.FloatVector, dim=128)])
        rows = 115_000  # 60 MB.
        return [
            insert("sink", [column("id", S.Int64, np.arange(i * rows, (i + 1) * rows)), column("v", S.FloatVector, vectors(rows, 128))], rows)
            for i in range(4)
        ]

    def to_index(calls: Calls) -> list[bytes]:
        calls.must("ReleaseCollection", milvus.ReleaseCollectionRequest(collection_name="sink"))
        calls.must("DropIndex", milvus.DropIndexRequest(collection_name="sink", field_name="v"))
        flush(calls, "sink")
        create_index(calls, "sink", "v", index_type="HNSW", metric_type="L2")
        # The build goes on behind; what is sent meanwhile costs nothing.
        describe = milvus.DescribeIndexRequest(collection_name="sink")
        return bytes_of(describe)

    s = lambda nq, limit, **more: lambda: [search("few", vectors(nq, 2), limit, **more)]
    numbers = lambda: [query("few", "id in [" + ",".join(map(str, range(1_500_000))) + "]", ["count(*)"])]
    parts = lambda: [hybrid("few", [search("few", vectors(100, 2, i), 16384) for i in range(2)], 10)]
    return {
        "search nq 200, limit 16,384": ("Search", after(few, s(200, 16384)), True),
        "search-1500 nq 1,500, limit 2,184": ("Search", after(few, s(1500, 2184)), True),
        "group nq 20, limit 16,384 by key": ("Search", after(few, s(20, 16384, group_by_field="id")), True),
        "hybrid 2 parts, nq 100, limits 16,384": ("HybridSearch", after(few, parts), True),
        "in-list of 1.5 million integers as text": ("Query", after(few, numbers), True),
        "fetch of 100 MiB of texts": ("Query", after(wide, lambda: [query("wide", "id < 26000", ["text"])]), True),
        "like over 240 MB of texts": ("Query", after(wide, lambda: [query("wide", 'text like "%abac%"', ["count(*)"])]), True),
        "insert of 60 MB batches": ("Insert", batches, True),
        "index, an HNSW build of those rows": ("DescribeIndex", to_index, True),
        "query of 3,276,800 rows": ("Query", after(many, lambda: [query("many", "id < 3276800", ["id", "v"])]), True),
        "delete by filter of 1 million rows": ("Delete", after(many, lambda: [delete("many", f"n >= {i} and n < {i + 300}") for i in (0, 300)]), False),
    }
