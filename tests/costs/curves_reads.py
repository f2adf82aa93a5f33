"""Curves of reads: look-ups, groups, growing rows, hybrid search, iterators."""

import numpy as np
from calls import Calls, column, create, field, flush, hybrid, query, schema, search
from curves import begin, curve, measured, once, repeated
from samples import fill, vectors
from table import Report
from target import Target

S = schema
ROWS = (30_000, 100_000, 300_000)
DIM = 16


def grouped(calls: Calls, name: str, rows: int, sealed: bool) -> None:
    """Rows with a key in few groups and one in many."""
    fields = [field("id", S.Int64, primary=True), field("few", S.Int64), field("many", S.VarChar, max_length=40)]
    create(calls, name, [*fields, field("v", S.FloatVector, dim=DIM)])

    def columns(ids: np.ndarray) -> list:
        made = [column("id", S.Int64, ids), column("few", S.Int64, ids % 10)]
        made.append(column("many", S.VarChar, [f"group {i}" for i in ids * 7919 % (rows // 3)]))
        return [*made, column("v", S.FloatVector, vectors(len(ids), DIM, int(ids[0])))]

    fill(calls, name, rows, 50_000, columns)
    if sealed:
        flush(calls, name)


def look_ups(target: Target, report: Report) -> None:
    begin(report, "reads by the number of rows")
    calls = target.calls
    for rows in ROWS:
        for sealed in (True, False):
            grouped(calls, f"{'sealed' if sealed else 'growing'}{rows}", rows, sealed)

    def case(what: str, kind: str, growth: str, make, of: str = "rows", method: str = "Query") -> None:
        Report.progress(what)
        points = [measured(target, f"{n:,} rows", n, repeated(target, method, make(f"{kind}{n}", n))) for n in ROWS]
        curve(report, what, growth, of, points)

    one = lambda name, n: query(name, f"id == {n // 2}", ["id"])
    hundred = lambda name, n: query(name, f"id in [{','.join(str(i * n // 100) for i in range(100))}]", ["id", "v"])
    for kind in ("sealed", "growing"):
        case(f"get of one key, {kind}", kind, "O(log n)", one)
        case(f"get of 100 keys with vectors, {kind}", kind, "O(log n)", hundred)
        case(f"query, limit 10, {kind}", kind, "O(1)", lambda name, n: query(name, "id >= 5", ["id"], limit=10))
        case(f"count by filter, {kind}", kind, "O(n)", lambda name, n: query(name, "few == 3", ["count(*)"]))
    s = lambda nq=1, limit=10, **more: lambda name, n: search(name, vectors(nq, DIM, 1), limit, **more)
    for kind in ("sealed", "growing"):
        case(f"search, exact, {kind}", kind, "O(n)", s(), method="Search")
        case(f"search by 10 groups, {kind}", kind, "O(n)", s(group_by_field="few"), method="Search")
        case(f"search by n / 3 groups, {kind}", kind, "O(n)", s(group_by_field="many"), method="Search")
    case("search by n / 3 groups, 5 rows of each, sealed", "sealed", "O(n)", s(group_by_field="many", group_size=5), method="Search")
    case("search by 10 groups, 10 rows of each, nq 10, sealed", "sealed", "O(n)", s(10, group_by_field="few", group_size=10), method="Search")
    name = f"sealed{ROWS[1]}"
    for what, make, growth in (
        ("parts of a hybrid search", lambda n: ("HybridSearch", hybrid(name, [search(name, vectors(1, DIM, i), 100) for i in range(n)], 10)), "O(n)"),
        ("queries of a search", lambda n: ("Search", search(name, vectors(n, DIM), 10)), "O(n)"),
    ):
        points = [measured(target, str(n), n, repeated(target, *make(n))) for n in (1, 2, 4)]
        curve(report, f"{what}, {ROWS[1]:,} rows", growth, what.split()[0], points)
    points = [measured(target, f"limit {n:,}", n, repeated(target, "Search", search(name, vectors(1, DIM), n))) for n in (1_000, 4_000, 16_000)]
    curve(report, f"limit of a search, {ROWS[1]:,} rows", "O(n)", "limit", points)


def in_list(name: str) -> str:
    return f"{name} in [{','.join(str(3 * i) for i in range(20_000))}]"


def numbered(calls: Calls, name: str, rows: int, batch: int, several: bool = False) -> None:
    create(calls, name, [field("id", S.Int64, primary=True), field("n", S.Int64), field("v", S.FloatVector, dim=DIM)])

    def columns(ids: np.ndarray) -> list:
        made = [column("id", S.Int64, ids), column("n", S.Int64, ids)]
        return [*made, column("v", S.FloatVector, vectors(len(ids), DIM, int(ids[0])))]

    fill(calls, name, rows, batch, columns, several=several)


def segments(target: Target, report: Report) -> None:
    """The server must not merge them."""
    begin(report, "reads by the number of segments, 150,000 rows, 50,000 of them in one")
    calls, counts = target.calls, (5, 20, 80)
    for n in counts:
        numbered(calls, f"parts{n}", 150_000, 100_000 // n, several=True)
        flush(calls, f"parts{n}")
    for what, growth, make in (
        ("query of all with vectors", "O(1)", lambda name: ("Query", query(name, "id >= 0", ["id", "v"]))),
        ("count by filter", "O(1)", lambda name: ("Query", query(name, "n >= 5", ["count(*)"]))),
        ("get of one key", "O(n)", lambda name: ("Query", query(name, "id == 777", ["id"]))),
        ("in-list of 20,000 keys", "O(1)", lambda name: ("Query", query(name, in_list("id"), ["count(*)"]))),
        ("in-list of 20,000 values", "O(1)", lambda name: ("Query", query(name, in_list("n"), ["count(*)"]))),
        ("search", "O(1)", lambda name: ("Search", search(name, vectors(1, DIM), 10))),
        ("search, nq 10, limit 10,000", "O(n)", lambda name: ("Search", search(name, vectors(10, DIM), 10_000))),
        ("search by n groups", "O(1)", lambda name: ("Search", search(name, vectors(1, DIM), 10, group_by_field="n"))),
    ):
        points = [measured(target, f"{n} segments", n, repeated(target, *make(f"parts{n}"))) for n in counts]
        curve(report, what, growth, "segments", points)


def fetches(target: Target, report: Report) -> None:
    begin(report, "rows with their fields")
    calls = target.calls
    for kind in ("sealed", "growing"):
        grouped(calls, f"fetch{kind}", 200_000, kind == "sealed")
        points = []
        for n in (10_000, 40_000, 160_000):
            request = query(f"fetch{kind}", f"id < {n}", ["id", "many", "v"])
            points.append(measured(target, f"{n:,} rows", n, repeated(target, "Query", request)))
        curve(report, f"query of rows with vectors, {kind}", "O(n)", "rows", points)
    # Each write is a chunk of its own until chunks are put together.
    for chunks in (250, 1_000, 4_000):
        name = f"chunks{chunks}"
        numbered(calls, name, 20_000, 20_000 // chunks)
    for what, make in {
        "query of all": lambda name: ("Query", query(name, "id >= 0", ["id", "v"])),
        "get of one key": lambda name: ("Query", query(name, "id == 777", ["id", "v"])),
        "search": lambda name: ("Search", search(name, vectors(1, DIM), 10, output=["v"])),
        "search, limit 10,000 with vectors": lambda name: ("Search", search(name, vectors(1, DIM), 10_000, output=["v"])),
    }.items():
        points = [measured(target, f"{n:,} writes", n, repeated(target, *make(f"chunks{n}"))) for n in (250, 1_000, 4_000)]
        curve(report, f"{what}, 20,000 growing rows", "O(1)", "writes that made them", points)


def iterators(target: Target, report: Report) -> None:
    begin(report, "iterators, 50,000 rows, all pages")
    grouped(target.calls, "pages", 50_000, True)

    def by_search(batch: int) -> int:
        seen, token, bound = 0, "", None
        while True:
            more = {"search_iter_id": token, "search_iter_last_bound": bound} if token else {}
            request = search("pages", vectors(1, DIM), batch, iterator=True, search_iter_v2=True, search_iter_batch_size=batch, **more)
            results = target.calls.must("Search", request).message().results
            found = len(results.ids.int_id.data)
            token, bound = results.search_iterator_v2_results.token, results.search_iterator_v2_results.last_bound
            seen += found
            if found == 0 or seen >= 50_000:
                return seen

    def by_query(batch: int) -> int:
        last, seen = -1, 0
        while True:
            request = query("pages", f"id > {last}", ["id"], iterator=True, limit=batch)
            message = target.calls.must("Query", request).message()
            data = next(f for f in message.fields_data if f.field_name == "id").scalars.long_data.data
            if not data:
                return seen
            last, seen = data[-1], seen + len(data)

    for what, go in (("search", by_search), ("query", by_query)):
        points = []
        for pages in (10, 40, 160):
            batch = 50_000 // pages
            points.append(once(target, f"{pages} pages", pages, lambda: go(batch)))
        curve(report, f"{what} iterator", "O(n)", "pages (each reads all rows again)", points)
