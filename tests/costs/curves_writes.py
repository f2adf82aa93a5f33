"""Curves of writes: deletes by filter, hot keys, many collections, and the replay of the log."""

import time
from collections.abc import Iterable
from itertools import count, islice

import numpy as np
from calls import Calls, column, create, create_index, delete, drop, field, flush, insert, milvus, query, schema, search
from curves import Point, begin, curve, measured, once, repeated
from samples import fill, many, vectors
from table import Report
from target import Target, running

S = schema
PLAIN = [field("id", S.Int64, primary=True), field("v", S.FloatVector, dim=4)]


def plain(ids: np.ndarray, dim: int = 4) -> list:
    return [column("id", S.Int64, ids), column("v", S.FloatVector, vectors(len(ids), dim, int(ids[0])))]


def deletes(target: Target, report: Report) -> None:
    begin(report, "delete by filter, of 800,000 rows")
    calls = target.calls
    for kind in ("sealed", "growing"):
        many(calls, 800_000, f"del{kind}", kind == "sealed")
        points, first = [], 0
        for n in (10_000, 40_000, 160_000):
            expr = f"id >= {first} and id < {first + n}"
            points.append(once(target, f"{n:,} rows", n, lambda: calls.must("Delete", delete(f"del{kind}", expr))))
            first += n
        curve(report, f"delete by filter, {kind}", "O(n)", "rows matched", points)
        points = [measured(target, f"{n:,} deleted", n, repeated(target, "Query", query(f"del{kind}", "n >= 0", ["count(*)"]))) for n in (210_000,)]
        curve(report, f"count afterwards, {kind}", "O(1)", "deleted rows", points)


def hot_keys(target: Target, report: Report) -> None:
    begin(report, "one key upserted again and again, beside 20,000 other rows")
    calls = target.calls
    counts = (1_000, 4_000, 16_000)
    kinds: dict[str, list] = {}
    for n in counts:
        name = f"hot{n}"
        create(calls, name, PLAIN)
        fill(calls, name, 20_000, 20_000, plain)
        data = insert(name, plain(np.array([7])), 1, milvus.UpsertRequest)
        before = target.resident()

        def upserts() -> None:
            waiting = []
            for _ in range(n):
                waiting.append(calls.start("Upsert", data))
                if len(waiting) == 32:
                    [call.result() for call in waiting]
                    waiting.clear()
            [call.result() for call in waiting]

        size = f"{n:,} times"
        point = once(target, size, n, upserts, "")
        point.note = f"{target.resident() - before:+,.0f} MiB"
        kinds.setdefault("upsert", []).append(point)
        for what, (method, request) in {
            "search": ("Search", search(name, vectors(1, 4), 10)),
            "get of that key": ("Query", query(name, "id == 7", ["id"])),
            "count": ("Query", query(name, "id >= 0", ["count(*)"])),
        }.items():
            kinds.setdefault(f"{what} before flush", []).append(measured(target, size, n, repeated(target, method, request)))
        kinds.setdefault("flush", []).append(once(target, size, n, lambda: flush(calls, name)))
        for what, (method, request) in {
            "search": ("Search", search(name, vectors(1, 4), 10)),
            "get of that key": ("Query", query(name, "id == 7", ["id"])),
        }.items():
            kinds.setdefault(f"{what} after flush", []).append(measured(target, size, n, repeated(target, method, request)))
    for what, points in kinds.items():
        curve(report, what, "O(n)" if what in ("upsert", "flush") else "O(1)", "upserts of the key", points)


def collections(target: Target, report: Report) -> None:
    begin(report, "many collections")
    kinds: dict[str, list] = {}
    for n in (50, 200, 800):
        with running() as fresh:
            calls, size = fresh.calls, f"{n:,} collections"
            described = schema.CollectionSchema(fields=PLAIN)

            def each(go, count: int = n) -> None:
                for i in range(count):
                    go(i)

            def make(i: int) -> None:
                described.name = f"c{i}"
                calls.must("CreateCollection", milvus.CreateCollectionRequest(collection_name=f"c{i}", schema=described.SerializeToString()))
                create_index(calls, f"c{i}", "v", index_type="FLAT", metric_type="L2")

            load = lambda i: calls.must("LoadCollection", milvus.LoadCollectionRequest(collection_name=f"c{i}"))
            row = lambda i: calls.must("Insert", insert(f"c{i}", plain(np.array([1])), 1))
            last = n - 1
            steps = {
                "create and index, all of them": ("O(n)", lambda: each(make)),
                "load, all of them": ("O(n)", lambda: each(load)),
                "insert of a row into each": ("O(n)", lambda: each(row)),
                "list them": ("O(n)", lambda: calls.must("ShowCollections", milvus.ShowCollectionsRequest())),
                "flush all": ("O(n)", lambda: calls.must("FlushAll", milvus.FlushAllRequest())),
                "restart": ("O(n)", fresh.restart),
                "create 20 more": ("O(1)", lambda: [make(n + i) for i in range(20)]),
                "drop 20": ("O(1)", lambda: [drop(fresh.calls, f"c{last - i}") for i in range(20)]),
            }
            for what, (growth, go) in steps.items():
                Report.progress(f"{n} collections: {what}")
                if what == "create 20 more":
                    calls = fresh.calls
                try:
                    point = once(fresh, size, n, go) if what != "restart" else restarted(fresh, size, n)
                except AssertionError as error:
                    report.line(f"\n{what} with {n} collections failed: {str(error)[:300]}\n")
                    continue
                if what == "flush all":
                    for name, (method, request) in {
                        "describe one": ("DescribeCollection", milvus.DescribeCollectionRequest(collection_name="c7")),
                        "search one": ("Search", search("c7", vectors(1, 4), 1)),
                    }.items():
                        kinds.setdefault(name, []).append(("O(1)", measured(fresh, size, n, repeated(fresh, method, request))))
                if what == "restart":
                    point.note = f"{fresh.resident():,.0f} MiB resident"
                kinds.setdefault(what, []).append((growth, point))
    for what, found in kinds.items():
        curve(report, what, found[0][0], "collections", [point for _, point in found])


def restarted(target: Target, size: str, n: float):
    began = time.monotonic()
    target.restart()
    return Point(size, n, time.monotonic() - began, target.cpu())


def replays(target: Target, report: Report) -> None:
    """Restart after kill -9, by the size of the log."""
    begin(report, "restart after kill -9")
    for what, dim, batch, sizes in (
        ("single rows of dim 4", 4, 1, (2, 4, 8)),
        ("single rows of dim 128", 128, 1, (8, 16, 32)),
        ("batches of 1,000 rows of dim 128", 128, 1_000, (64, 128, 256)),
    ):
        points = []
        for mib in sizes:
            Report.progress(f"{what}: {mib} MiB")
            with running() as fresh:
                create(fresh.calls, "log", [field("id", S.Int64, primary=True), field("v", S.FloatVector, dim=dim)])
                written, log = 0, lambda: sum(f.stat().st_size for f in fresh.folder.glob("data/log/*/0*"))
                numbers = count(0, batch)
                while written < mib << 20:
                    some = islice(numbers, 1_000 if batch == 1 else 20)
                    send(fresh.calls, (insert("log", plain(np.arange(n, n + batch), dim), batch) for n in some))
                    written = log()
                fresh.kill()
                seconds = fresh.start()
                # Without the fixed time of a start.
                cpu, note = fresh.cpu(), ""
                if points:
                    more = (written - points[-1].n) / 1e9
                    note = f"{(seconds - points[-1].seconds) / more:.1f} s, CPU {(cpu - points[-1].cpu) / more:.1f} s a GB more"
                points.append(Point(f"{written / (1 << 20):.1f} MiB", written, seconds, cpu, note))
                fresh.calls.must("Query", query("log", "id >= 0", ["count(*)"]))
        curve(report, what, "O(n)", "bytes of the log", points)


def send(calls: Calls, inserts: Iterable[bytes], at_once: int = 512) -> None:
    """All inserts, some at once."""
    waiting: list = []
    for data in inserts:
        waiting.append(calls.start("Insert", data))
        if len(waiting) >= at_once:
            waiting.pop(0).result()
    [call.result() for call in waiting]
