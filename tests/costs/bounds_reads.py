"""Bounds of reads: the largest that is answered, what is said to the next one, memory, and the end of a cancelled one."""

import samples
from calls import delete, hybrid, query, search
from cancel import stop_cell
from samples import vectors
from gauge import AnonymousPeaks
from table import Report
from target import Target

COLUMNS = ("call", "accepted", "ms", "CPU ms", "answer MiB", "peak MiB (anonymous)", "refused (and what that cost)", "says", "ms until a cancelled one stopped (at 10, 40, 70, 95 % of its time)")
MOST_ROWS = 3_276_800
MIB = 1 << 20


def try_case(target: Target, report: Report, call: str, method: str, good: tuple, bad: tuple | None, cancel: bool = True, warm: tuple = ()):
    """One row of the table. `good` and `bad` are what they are called and a function that makes the request."""
    Report.progress(f"{call}: {good[0]}")
    request = good[1]()
    data = request if isinstance(request, bytes) else request.SerializeToString()
    target.restart()
    for name in (warm or ("many",)):
        target.calls("Query", query(name, "", limit=1))
    target.rest()
    before = target.reset()
    cpu = target.cpu()
    with AnonymousPeaks(target.gauges) as anonymous:
        answer = target.calls(method, data)
    cpu = 1000 * (target.cpu() - cpu)
    grown, own = target.grown(before), anonymous.grown()
    cells = {name: f"{grown[name]:,.0f} ({own[name]:,.0f})" for name in grown if len(grown) == 1 or grown[name] > 8}
    peak = ", ".join(f"{name} {cell}" for name, cell in cells.items())
    size = answer.size / MIB
    answer.body = b""
    accepted = good[0] if answer.ok else f"{good[0]}: **{answer.said()}**"
    refused, says = "", ""
    if bad:
        request = bad[1]()
        target.rest()
        before = target.cpu()
        with AnonymousPeaks(target.gauges) as anonymous:
            no = target.calls(method, request)
        cost = f"{1000 * no.seconds:.0f} ms, CPU {1000 * (target.cpu() - before):.0f}, {sum(anonymous.grown().values()):,.0f} MiB"
        says = f"**accepted**, {no.size / MIB:,.0f} MiB" if no.ok else no.said()
        refused, no.body = f"{bad[0]} ({cost})", b""
    stopped = stop_cell(target, method, data, answer.seconds) if cancel else ""
    report.row(call, accepted, 1000 * answer.seconds, cpu, size, peak.removeprefix("standalone "), refused, says, stopped)


def searches(target: Target, report: Report) -> None:
    """On `few`: 200,000 small rows."""
    row = lambda *a, **k: try_case(target, report, *a, warm=("few",), **k)
    s = lambda nq, limit, **more: lambda: search("few", vectors(nq, 2), limit, **more)
    row("search", "Search", ("nq 200, limit 16,384", s(200, 16384)), ("nq 201", s(201, 16384)))
    t = lambda nq: lambda: search("tiny", vectors(nq, 2), 10)
    row("search of 2,000 rows", "Search", ("nq 16,384, limit 10", t(16384)), ("nq 16,385", t(16385)))
    row("search", "Search", ("limit 16,384", s(1, 16384)), ("limit 16,385", s(1, 16385)))
    row(
        "search, output `v`",
        "Search",
        ("nq 200, limit 16,384", s(200, 16384, output=["v"])),
        None,
    )
    row(
        "search, group by 1,000 groups of 10",
        "Search",
        ("nq 20, limit 1,000", s(20, 1000, group_by_field="n", group_size=10)),
        ("size 11", s(20, 1000, group_by_field="n", group_size=11)),
    )
    row(
        "search, group by key",
        "Search",
        ("nq 20, limit 16,384", s(20, 16384, group_by_field="id")),
        ("nq 201", s(201, 16384, group_by_field="id")),
    )
    row("search, range", "Search", ("nq 200, limit 16,384", s(200, 16384, radius=100)), None)
    page = dict(iterator=True, search_iter_v2=True)
    row(
        "search iterator, page",
        "Search",
        ("16,384", s(1, 16384, search_iter_batch_size=16384, **page)),
        ("16,385", s(1, 16384, search_iter_batch_size=16385, **page)),
    )


def hybrids(target: Target, report: Report) -> None:
    row = lambda *a, **k: try_case(target, report, *a, warm=("few",), **k)

    def h(parts: int, nq: int, limit: int, **more):
        return lambda: hybrid("few", [search("few", vectors(nq, 2, i), limit) for i in range(parts)], 10, **more)

    row("hybrid, 1 part", "HybridSearch", ("nq 200, limits 16,384", h(1, 200, 16384)), ("nq 201", h(1, 201, 16384)))
    row("hybrid, 2 parts", "HybridSearch", ("nq 100, limits 16,384", h(2, 100, 16384)), ("nq 101", h(2, 101, 16384)))
    row("hybrid, 4 parts", "HybridSearch", ("nq 50, limits 16,384", h(4, 50, 16384)), None, cancel=False)
    row("hybrid", "HybridSearch", ("1,024 parts of limit 10", h(1024, 1, 10)), ("1,025 parts", h(1025, 1, 10)))


def queries(target: Target, report: Report) -> None:
    row = lambda *a, **k: try_case(target, report, *a, **k)
    q = lambda expr, *output, **more: lambda: query("many", expr, output, **more)
    fit, over = f"id < {MOST_ROWS}", f"id <= {MOST_ROWS}"
    row("query without limit", "Query", ("3,276,800 rows", q(fit, "id")), ("3,276,801", q(over, "id")))
    row("query without limit, all fields", "Query", ("3,276,800 rows", q(fit, "id", "v", "n")), None, cancel=False)
    row("query", "Query", ("limit 16,384", q("id >= 0", "id", "v", limit=16384)), ("16,385", q("id >= 0", "id", limit=16385)))
    row("count", "Query", ("3,400,000 rows", q("n >= 0", "count(*)")), None)
    row(
        "query iterator, page",
        "Query",
        ("limit 3,276,800", q("id >= 0", "id", iterator=True, limit=MOST_ROWS)),
        ("limit 3,276,801", q("id >= 0", "id", iterator=True, limit=MOST_ROWS + 1)),
    )
    ids = list(range(0, 2_000_000))
    row("get", "Query", ("2,000,000 keys in a template", q("id in {ids}", "id", values={"ids": ids})), None)
    text = "id in [" + ",".join(map(str, range(1_500_000))) + "]"
    row("query, in-list as text", "Query", ("1,500,000 numbers", q(text, "count(*)")), None)
    terms = lambda n: " or ".join(f"n == {i}" for i in range(n))
    row("query, OR chain", "Query", ("5,000 terms", q(terms(5000), "count(*)")), None)
    deep = lambda n: "(" * n + "id > 0" + ")" * n
    row("query, brackets", "Query", ("100 deep", q(deep(100), "count(*)")), ("10,000 deep", q(deep(10_000), "count(*)")))


def large_rows(target: Target, report: Report) -> None:
    """On `wide` and `keyed`: answers whose bytes are the bound."""
    row = lambda *a, **k: try_case(target, report, *a, warm=("wide", "keyed"), **k)
    w = lambda expr, *output: lambda: query("wide", expr, output)
    fits = 104_857_600 // 4000
    row("fetch of texts of 4,000 bytes", "Query", (f"{fits - 100:,} rows", w(f"id < {fits - 100}", "text")), (f"{fits + 100:,}", w(f"id < {fits + 100}", "text")))
    row("fetch of vectors of 512 bytes", "Query", ("50,000 rows", w("id < 50000", "v")), ("all", w("id >= 0", "v", "text")))
    k = lambda n: lambda: query("keyed", f'id < "{n:08d}"', ["id"])
    row("query, keys of 1,000 bytes", "Query", ("100,000 rows", k(100_000)), ("300,000 rows", k(300_000)), cancel=False)
    s = lambda nq: lambda: search("keyed", vectors(nq, 2), 16384)
    row("search, keys of 1,000 bytes", "Search", ("nq 6, limit 16,384", s(6)), ("nq 20", s(20)))
    h = lambda parts, nq: lambda: hybrid("keyed", [search("keyed", vectors(nq, 2, i), 16384) for i in range(parts)], 10)
    row("hybrid, 2 parts, keys of 1,000 bytes", "HybridSearch", ("nq 6, limit 16,384", h(2, 6)), ("nq 20", h(2, 20)))
    row("delete by filter, keys of 1,000 bytes", "Delete", ("50,000 rows", lambda: delete("keyed", 'id >= "00250000"')), ("200,000", lambda: delete("keyed", 'id >= "00100000"')), cancel=False)


def spread(target: Target, report: Report) -> None:
    """What a cluster does with the largest: the memory of the router and of each node."""
    row = lambda *a, **k: try_case(target, report, *a, warm=("few", "many", "wide", "keyed"), **k)
    s = lambda nq, name="few", **more: lambda: search(name, vectors(nq, 2), 16384, **more)
    row("search", "Search", ("nq 200, limit 16,384", s(200)), None)
    row("search, output `v`", "Search", ("nq 200, limit 16,384", s(200, output=["v"])), None, cancel=False)
    parts = lambda n: lambda: hybrid("few", [search("few", vectors(100, 2, i), 16384) for i in range(n)], 10)
    row("hybrid", "HybridSearch", ("2 parts, nq 100, limits 16,384", parts(2)), None)
    row("query without limit", "Query", (f"{MOST_ROWS:,} rows", lambda: query("many", f"id < {MOST_ROWS}", ["id"])), None)
    w = lambda n: lambda: query("wide", f"id < {n}", ["text"])
    row("fetch of texts of 4,000 bytes", "Query", ("26,000 rows", w(26_000)), ("60,000 rows", w(60_000)))
    row("search, keys of 1,000 bytes", "Search", ("nq 6, limit 16,384", s(6, "keyed")), ("nq 20", s(20, "keyed")), cancel=False)
    row("query, keys of 1,000 bytes", "Query", ("100,000 rows", lambda: query("keyed", 'id < "00100000"', ["id"])), ("300,000 rows", lambda: query("keyed", 'id > ""', ["id"])), cancel=False)
    row("delete by filter, keys of 1,000 bytes", "Delete", ("150,000 rows", lambda: delete("keyed", 'id >= "00150000"')), ("all", lambda: delete("keyed", 'id > ""')), cancel=False)


def run(target: Target, report: Report, parts: set[str]) -> None:
    groups = {"search": searches, "hybrid": hybrids, "query": queries, "large": large_rows}
    if len(target.all) > 1:
        groups = {"cluster": spread}
    several = len(target.all) > 1
    chosen = {name: group for name, group in groups.items() if not parts or name in parts}
    if chosen.keys() & {"search", "hybrid", "cluster"}:
        samples.many(target.calls, 200_000, "few", several=several)
        samples.many(target.calls, 2_000, "tiny")
    if chosen.keys() & {"query", "cluster"}:
        samples.many(target.calls, 3_400_000, several=several)
    if chosen.keys() & {"large", "cluster"}:
        samples.wide(target.calls, 60_000, 4000, several=several)
        samples.keyed(target.calls, 300_000, 1000, several=several)
    for name, group in chosen.items():
        report.begin(f"Bounds: {name}, {len(target.all)} process(es)", *COLUMNS)
        group(target, report)
