"""Curves of filters."""

import json
import random

import numpy as np
from calls import Calls, column, create, field, flush, query, schema
from curves import begin, curve, measured, repeated
from samples import fill, vectors
from table import Report
from target import Target

S = schema
ROWS = 100_000
SIZES = (1_000, 5_000, 20_000)


def facts(calls: Calls, name: str, rows: int, sealed: bool = True) -> None:
    """A column of each type; every number occurs once, in another order than that of the keys."""
    fields = [field("id", S.Int64, primary=True), field("v", S.FloatVector, dim=2)]
    fields += [field("i64", S.Int64), field("i32", S.Int32), field("f32", S.Float), field("f64", S.Double)]
    fields += [field("s", S.VarChar, max_length=200), field("j", S.JSON)]
    fields += [field("a", S.Array, element=S.Int64, max_capacity=8)]
    create(calls, name, fields)

    def columns(ids: np.ndarray) -> list:
        mixed = ids * 7919 % 1_000_003
        arrays = np.stack([mixed, mixed + 1, mixed + 2], axis=1).tolist()
        texts = [json.dumps({"k": int(m), "l": [int(m), int(m) + 1], "deep": {"er": int(m)}}).encode() for m in mixed]
        return [
            column("id", S.Int64, ids),
            column("v", S.FloatVector, vectors(len(ids), 2, int(ids[0]))),
            column("i64", S.Int64, mixed),
            column("i32", S.Int32, mixed),
            column("f32", S.Float, mixed.astype(float)),
            column("f64", S.Double, mixed.astype(float)),
            column("s", S.VarChar, [f"k{m}" for m in mixed]),
            column("j", S.JSON, texts),
            column("a", S.Array, arrays),
        ]

    fill(calls, name, rows, 50_000, columns)
    if sealed:
        flush(calls, name)


def lists(target: Target, report: Report) -> None:
    begin(report, f"filters with lists, on {ROWS:,} rows")
    facts(target.calls, "facts", ROWS)
    shuffled = random.Random(7).sample(range(1_000_003), SIZES[-1])
    as_text = {"i64": str, "i32": str, "f32": lambda m: f"{m}.0", "f64": lambda m: f"{m}.5", "s": lambda m: f"'k{m}'"}

    def case(what: str, make, growth: str = "O(1)", of: str = "values (they are hashed once)", name: str = "facts") -> None:
        Report.progress(what)
        points = []
        for size in SIZES:
            request = query(name, make(shuffled[:size]), ["count(*)"])
            points.append(measured(target, f"{size:,} values", size, repeated(target, "Query", request)))
        curve(report, what, growth, of, points)

    # To read a list takes time by its length: with few rows it is all that there is.
    for name, shown in as_text.items():
        case(f"`{name} in`", lambda ms: f"{name} in [{','.join(shown(m) for m in ms)}]", "O(n)", "values")
    case("`i64 not in`", lambda ms: f"i64 not in [{','.join(map(str, ms))}]", "O(n)", "values")
    case("`j['k'] in`", lambda ms: f"j['k'] in [{','.join(map(str, ms))}]", "O(n)", "values")
    case("`id in` (keys)", lambda ms: f"id in [{','.join(map(str, ms))}]", "O(n)", "values")
    for call in ("array_contains_any", "array_contains_all"):
        case(f"`{call}(a, …)`", lambda ms: f"{call}(a, [{','.join(map(str, ms))}])", "O(n)", "values")
    for call in ("json_contains_any", "json_contains_all"):
        case(f"`{call}(j['l'], …)`", lambda ms: f"{call}(j['l'], [{','.join(map(str, ms))}])", "O(n)", "values")
    points = []
    for size in (100, 1_000, 5_000):
        request = query("facts", " or ".join(f"i64 == {m}" for m in shuffled[:size]), ["count(*)"])
        points.append(measured(target, f"{size:,} terms", size, repeated(target, "Query", request)))
    curve(report, "chain of `i64 == x or …`", "O(n)", "terms", points)
    points = []
    for size in (100, 400, 1_600):
        request = query("facts", " or ".join(f"s == 'k{m}' and i32 > 5" for m in shuffled[:size]), ["count(*)"])
        points.append(measured(target, f"{size:,} terms", size, repeated(target, "Query", request)))
    curve(report, "chain of `s == x and i32 > 5 or …`", "O(n)", "terms", points)


def texts(target: Target, report: Report) -> None:
    begin(report, "like, by the length of texts; 2,000 rows")
    rows = 2_000
    for length in (2_000, 8_000, 32_000):
        name = f"texts{length}"
        create(target.calls, name, [field("id", S.Int64, primary=True), field("t", S.VarChar, max_length=65535), field("v", S.FloatVector, dim=2)])

        def columns(ids: np.ndarray) -> list:
            body = "a" * (length - 8)
            return [column("id", S.Int64, ids), column("t", S.VarChar, [f"{i:08d}{body}" for i in ids]), column("v", S.FloatVector, vectors(len(ids), 2))]

        fill(target.calls, name, rows, 500, columns)
        flush(target.calls, name)
    patterns = {
        "prefix": ("0000%", "O(1)"),
        "suffix": ("%aaab", "O(1)"),
        "infix, found nowhere": ("%" + "a" * 200 + "b%", "O(n)"),
        "infix of 1,000": ("%" + "a" * 999 + "b%", "O(n)"),
        "`%a…b` of 500": ("%" + "a" * 499 + "b", "O(n)"),
        "`%a%a%a%b`": ("%a%a%a%a%a%a%b", "O(n)"),
        "`_a%a_b`": ("%a_a_a_a_a_a_b%", "O(n)"),
    }
    for what, (pattern, growth) in patterns.items():
        points = []
        for length in (2_000, 8_000, 32_000):
            request = query(f"texts{length}", f't like "{pattern}"', ["count(*)"])
            points.append(measured(target, f"{length:,} bytes", length, repeated(target, "Query", request)))
        # Pages of the texts are looked at: what the first few bytes decide still takes them into the cache.
        curve(report, f"like, {what}", growth, "length of a text", points)
    points = []
    for length in (50, 200, 800):
        request = query("texts8000", 't like "%' + "a" * length + 'b%"', ["count(*)"])
        points.append(measured(target, f"{length:,} bytes", length, repeated(target, "Query", request)))
    curve(report, "like, infix, by its own length", "O(1)", "length of the pattern", points)


def documents(target: Target, report: Report) -> None:
    begin(report, "JSON paths")
    calls = target.calls
    made = []
    for keys in (50, 200, 800):
        name = f"docs{keys}"
        create(calls, name, [field("id", S.Int64, primary=True), field("j", S.JSON), field("v", S.FloatVector, dim=2)])
        document = {f"key{i}": i for i in range(keys)}

        def columns(ids: np.ndarray) -> list:
            texts = [json.dumps(document | {"last": int(i)}).encode() for i in ids]
            return [column("id", S.Int64, ids), column("j", S.JSON, texts), column("v", S.FloatVector, vectors(len(ids), 2))]

        fill(calls, name, 4_000, 1_000, columns)
        flush(calls, name)
        made.append((name, keys))
    for what, expr in {"last key": "j['last'] > 5", "first key": "j['key0'] == 3", "missing key": "j['none'] == 3", "exists": "exists j['none']"}.items():
        points = [measured(target, f"{keys} keys", keys, repeated(target, "Query", query(name, expr, ["count(*)"]))) for name, keys in made]
        curve(report, f"`{expr}` ({what}), 4,000 rows", "O(n)", "size of a document", points)
    sizes = (12_500, 50_000, 200_000)
    for rows in sizes:
        facts(calls, f"facts{rows}", rows)
    for expr in ("j['k'] > 5", "j['deep']['er'] == 7", "i64 > 5", "s == 'k7'", "json_contains(j['l'], 7)"):
        points = [
            measured(target, f"{rows:,} rows", rows, repeated(target, "Query", query(f"facts{rows}", expr, ["count(*)"])))
            for rows in sizes
        ]
        curve(report, f"`{expr}`", "O(n)", "rows", points)
