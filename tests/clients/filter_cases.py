"""Filter expressions beside what they mean in Python: a table of random rows, and cases of (filter, predicate).
A predicate returns True, False or None for unknown; only True selects the row. `not unknown` is unknown."""

import random
import re

from pymilvus import DataType
from tables import KEY, text, vector

ROWS = 400
COLORS = ["red", "green", "blue", "rédish", "50% off", "a_b", "axb", ""]

FIELDS = {
    "id": KEY,
    "a": {"datatype": DataType.INT64},
    "b": {"datatype": DataType.INT32},
    "small": {"datatype": DataType.INT8},
    "x": {"datatype": DataType.DOUBLE},
    "f": {"datatype": DataType.FLOAT},
    "flag": {"datatype": DataType.BOOL},
    "s": text(),
    "n": {"datatype": DataType.INT64, "nullable": True},
    "ns": text() | {"nullable": True},
    "j": {"datatype": DataType.JSON},
    "ints": {"datatype": DataType.ARRAY, "element_type": DataType.INT64, "max_capacity": 8},
    "words": {"datatype": DataType.ARRAY, "element_type": DataType.VARCHAR, "max_capacity": 8, "max_length": 16},
    "vec": vector(4),
}
SCALAR_INDEXES = ["a", "b", "small", "x", "flag", "s", "n", "ns", "ints", "words"]


def make_rows(seed: int = 25) -> list[dict]:
    chance = random.Random(seed)
    return [make_row(key, chance) for key in range(ROWS)]


def make_row(key: int, chance: random.Random) -> dict:
    row = {
        "id": key,
        "a": chance.randint(-50, 50),
        "b": chance.randint(-50, 50),
        "small": chance.randint(-128, 127),
        "x": chance.uniform(-10, 10),
        "f": chance.choice([0.0, 0.5, -1.25, 3.75]),
        "flag": chance.random() < 0.5,
        "s": chance.choice(COLORS),
        "n": chance.choice([None, 1, 2, 3]),
        "ns": chance.choice([None, "", "red", "reddish"]),
        "j": make_json(chance),
        "ints": [chance.randint(0, 9) for _ in range(chance.randint(0, 5))],
        "words": [chance.choice(["x", "y", "z w"]) for _ in range(chance.randint(0, 4))],
        "vec": [chance.gauss(0, 1) for _ in range(4)],
    }
    if chance.random() < 0.7:
        row["color"] = chance.choice(["red", "green", 7])
    if chance.random() < 0.5:
        row["size"] = chance.choice([1, 2.5, 40])
    return row


def make_json(chance: random.Random) -> dict:
    """Keys that are sometimes missing, and values of several types under one key."""
    candidates = {
        "k": chance.choice([1, 2, 2.5, 3.0, "two", True, [1, 2]]),
        "t": chance.choice(["alpha", "beta", "alphabet", 5]),
        "flag": chance.choice([True, False, "true"]),
        "in": {"n": chance.randint(0, 5), "deep": {"w": chance.choice(["p", "q"])}},
        "list": chance.choice([[], [1, 2, 3], [2, 3.0, "x"], ["x", "y"], "x", 3]),
    }
    return {name: value for name, value in candidates.items() if chance.random() < 0.8}


# --- three-valued logic and values ------------------------------------------------------------------------------

NUMBERS = (int, float)


def family(value) -> type:
    """Integers and floats are one family; a bool is not a number."""
    if isinstance(value, bool):
        return bool
    return float if isinstance(value, NUMBERS) else type(value)


def ask(value, predicate):
    """Unknown when there is no value."""
    return None if value is None else predicate(value)


def ask_like(value, constant, predicate):
    """A JSON value is compared with constants of its own family only; otherwise the answer is unknown."""
    return predicate(value) if value is not None and family(value) is family(constant) else None


def no(value):
    return None if value is None else not value


def both(left, right):
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def either(left, right):
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def at(row: dict, *path):
    """A value inside a row's JSON; None when the path leads nowhere."""
    value = row["j"]
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def holds(members, wanted) -> bool:
    return any(family(member) is family(wanted) and member == wanted for member in members)


def ask_list(value, predicate):
    """json_contains and its like: unknown unless the value is an array."""
    return predicate(value) if isinstance(value, list) else None


def like(pattern: str):
    """A LIKE pattern as a predicate: % any run, _ one character, backslash escapes."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    regex = "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
    return lambda value: re.fullmatch(regex, value, re.DOTALL) is not None


def is_below(left: str, right: str) -> bool:
    """Strings compare by their bytes."""
    return left.encode() < right.encode()


# --- the cases: group -> [(filter, predicate) or (filter, predicate, template values)] --------------------------

CASES = {
    "comparison": [
        ("a == 7", lambda r: r["a"] == 7),
        ("a != 7", lambda r: r["a"] != 7),
        ("a > -5", lambda r: r["a"] > -5),
        ("10 >= a", lambda r: r["a"] <= 10),
        ("a > 2.5", lambda r: r["a"] > 2.5),
        ("a == 0x10", lambda r: r["a"] == 16),
        ("small <= -100", lambda r: r["small"] <= -100),
        ("x < 1.5e0", lambda r: r["x"] < 1.5),
        ("x >= -.5", lambda r: r["x"] >= -0.5),
        ("f == -1.25", lambda r: r["f"] == -1.25),
        ("f > 0", lambda r: r["f"] > 0),
        ("flag", lambda r: r["flag"]),
        ("flag == false", lambda r: not r["flag"]),
        ("s == 'red'", lambda r: r["s"] == "red"),
        ('s == "r\\u00e9dish"', lambda r: r["s"] == "rédish"),
        ('s != ""', lambda r: r["s"] != ""),
        ('s < "green"', lambda r: is_below(r["s"], "green")),
        ('s >= "rf"', lambda r: not is_below(r["s"], "rf")),
        ("a < b", lambda r: r["a"] < r["b"]),
        ("b >= small", lambda r: r["b"] >= r["small"]),
        ("x > f", lambda r: r["x"] > r["f"]),
        ("-5 < a <= 20", lambda r: -5 < r["a"] <= 20),
        ("3.5 > x >= -3.5", lambda r: 3.5 > r["x"] >= -3.5),
        ('"b" < s < "h"', lambda r: is_below("b", r["s"]) and is_below(r["s"], "h")),
        ("1 < 2", lambda r: True),
        ("false", lambda r: False),
    ],
    "in": [
        ("a in [1, -2, 3,]", lambda r: r["a"] in (1, -2, 3)),
        ("a not in [1, -2, 3]", lambda r: r["a"] not in (1, -2, 3)),
        ("a in []", lambda r: False),
        ("a not in []", lambda r: True),
        ("f in [0.5, 3.75]", lambda r: r["f"] in (0.5, 3.75)),
        ("s in ['red', \"blue\"]", lambda r: r["s"] in ("red", "blue")),
        ("s not in ['red']", lambda r: r["s"] != "red"),
        ("flag in [true]", lambda r: r["flag"]),
        ("id in [0, 399, 400]", lambda r: r["id"] in (0, 399)),
        ("n in [1, 2]", lambda r: ask(r["n"], lambda n: n in (1, 2))),
        ("n not in [1, 2]", lambda r: ask(r["n"], lambda n: n not in (1, 2))),
    ],
    "like": [
        ('s like "re%"', lambda r: like("re%")(r["s"])),
        ('s like "%e%"', lambda r: like("%e%")(r["s"])),
        ('s like "%ish"', lambda r: like("%ish")(r["s"])),
        ('s like "r_dish"', lambda r: like("r_dish")(r["s"])),
        ('s like "a_b"', lambda r: like("a_b")(r["s"])),
        (r's like "a\_b"', lambda r: r["s"] == "a_b"),
        (r's like "50\%%"', lambda r: r["s"] == "50% off"),
        ('s like "red"', lambda r: r["s"] == "red"),
        ('s like ""', lambda r: r["s"] == ""),
        ('not (s like "%e%")', lambda r: "e" not in r["s"]),
        ('ns like "red%"', lambda r: ask(r["ns"], like("red%"))),
        ('j["t"] like "alpha%"', lambda r: ask_like(at(r, "t"), "", like("alpha%"))),
    ],
    "logic": [
        ("a > 0 and b > 0", lambda r: r["a"] > 0 and r["b"] > 0),
        ("a > 40 or b > 40", lambda r: r["a"] > 40 or r["b"] > 40),
        ("a > 0 && flag || s == 'red'", lambda r: (r["a"] > 0 and r["flag"]) or r["s"] == "red"),
        ("s == 'red' or flag and a > 0", lambda r: r["s"] == "red" or (r["flag"] and r["a"] > 0)),
        ("(s == 'red' or flag) and a > 0", lambda r: (r["s"] == "red" or r["flag"]) and r["a"] > 0),
        ("not (a > 0)", lambda r: not r["a"] > 0),
        ("!(a > 0 or flag)", lambda r: not (r["a"] > 0 or r["flag"])),
        ("not flag", lambda r: not r["flag"]),
        ("A_IS_NO_FIELD == 1", lambda r: None),
        ("a IN [1, 2] OR s LIKE 'b%' AND NOT flag", lambda r: r["a"] in (1, 2) or (r["s"] == "blue" and not r["flag"])),
        ("n > 1 or a > 0", lambda r: either(ask(r["n"], lambda n: n > 1), r["a"] > 0)),
        ("n > 1 and a > 0", lambda r: both(ask(r["n"], lambda n: n > 1), r["a"] > 0)),
        ("not (n > 1 and a > 0)", lambda r: no(both(ask(r["n"], lambda n: n > 1), r["a"] > 0))),
    ],
    "arithmetic": [
        ("a + 5 > 10", lambda r: r["a"] + 5 > 10),
        ("a - 3 <= -20", lambda r: r["a"] - 3 <= -20),
        ("a * 2 == 14", lambda r: r["a"] * 2 == 14),
        ("a % 3 == 0", lambda r: r["a"] % 3 == 0),
        ("x / 2 > 1.5", lambda r: r["x"] / 2 > 1.5),
        ("x * 2.5 < 5", lambda r: r["x"] * 2.5 < 5),
        ("a > 2 + 3 * 4", lambda r: r["a"] > 14),
        ("a < 2 ** 4", lambda r: r["a"] < 16),
        ("n + 1 == 3", lambda r: ask(r["n"], lambda n: n + 1 == 3)),
        ('j["in"]["n"] + 1 > 4', lambda r: ask(at(r, "in", "n"), lambda n: n + 1 > 4)),
    ],
    "null": [
        ("n is null", lambda r: r["n"] is None),
        ("n is not null", lambda r: r["n"] is not None),
        ("ns IS NULL and flag", lambda r: r["ns"] is None and r["flag"]),
        ("n == 1", lambda r: ask(r["n"], lambda n: n == 1)),
        ("n != 1", lambda r: ask(r["n"], lambda n: n != 1)),
        ("not (n == 1)", lambda r: ask(r["n"], lambda n: n != 1)),
        ('ns == ""', lambda r: ask(r["ns"], lambda s: s == "")),
        ('j["k"] is null', lambda r: at(r, "k") is None),
        ('j["in"]["deep"] is not null', lambda r: at(r, "in", "deep") is not None),
    ],
    "json": [
        ('j["k"] == 2', lambda r: ask_like(at(r, "k"), 2, lambda v: v == 2)),
        ('j["k"] == 3', lambda r: ask_like(at(r, "k"), 3, lambda v: v == 3)),
        ('j["k"] != 2', lambda r: ask_like(at(r, "k"), 2, lambda v: v != 2)),
        ('not (j["k"] == 2)', lambda r: ask_like(at(r, "k"), 2, lambda v: v != 2)),
        ('j["k"] > 1.5', lambda r: ask_like(at(r, "k"), 1.5, lambda v: v > 1.5)),
        ('j["k"] == "two"', lambda r: ask_like(at(r, "k"), "", lambda v: v == "two")),
        ('j["flag"] == true', lambda r: ask_like(at(r, "flag"), True, lambda v: v)),
        ('j["t"] >= "b"', lambda r: ask_like(at(r, "t"), "", lambda v: v >= "b")),
        ('j["in"]["n"] in [1, 2]', lambda r: ask(at(r, "in", "n"), lambda n: n in (1, 2))),
        ('j["in"]["n"] not in [1, 2]', lambda r: ask(at(r, "in", "n"), lambda n: n not in (1, 2))),
        ('j["k"] in [1, "two"]', lambda r: holds([at(r, "k")], 1) or holds([at(r, "k")], "two")),
        ('j["in"]["deep"]["w"] == "p"', lambda r: ask(at(r, "in", "deep", "w"), lambda w: w == "p")),
        ('1 < j["in"]["n"] <= 4', lambda r: ask(at(r, "in", "n"), lambda n: 1 < n <= 4)),
        ('j["list"][0] == 2', lambda r: ask_like(at(r, "list", 0), 2, lambda v: v == 2)),
        ('exists j["k"]', lambda r: at(r, "k") is not None),
        ('exists j["in"]["deep"]["w"]', lambda r: at(r, "in", "deep", "w") is not None),
        ('not exists j["k"]', lambda r: at(r, "k") is None),
        ('color == "red"', lambda r: ask_like(r.get("color"), "", lambda v: v == "red")),
        ('color != "red"', lambda r: ask_like(r.get("color"), "", lambda v: v != "red")),
        ('$meta["color"] == 7', lambda r: ask_like(r.get("color"), 7, lambda v: v == 7)),
        ("size > 2", lambda r: ask(r.get("size"), lambda v: v > 2)),
        ('exists $meta["size"]', lambda r: "size" in r),
    ],
    "json_contains": [
        ('json_contains(j["list"], 3)', lambda r: ask_list(at(r, "list"), lambda v: holds(v, 3))),
        ('json_contains(j["list"], "x")', lambda r: ask_list(at(r, "list"), lambda v: holds(v, "x"))),
        ('not json_contains(j["list"], 3)', lambda r: ask_list(at(r, "list"), lambda v: not holds(v, 3))),
        (
            'json_contains_all(j["list"], [2, 3])',
            lambda r: ask_list(at(r, "list"), lambda v: holds(v, 2) and holds(v, 3)),
        ),
        (
            'json_contains_any(j["list"], [1, "y"])',
            lambda r: ask_list(at(r, "list"), lambda v: holds(v, 1) or holds(v, "y")),
        ),
        ('JSON_CONTAINS(j["list"], 2)', lambda r: ask_list(at(r, "list"), lambda v: holds(v, 2))),
        ('array_length(j["list"]) == 3', lambda r: ask_list(at(r, "list"), lambda v: len(v) == 3)),
    ],
    "array": [
        ("array_contains(ints, 5)", lambda r: 5 in r["ints"]),
        ("json_contains(ints, 5)", lambda r: 5 in r["ints"]),
        ("not array_contains(ints, 5)", lambda r: 5 not in r["ints"]),
        ("array_contains_all(ints, [1, 2])", lambda r: {1, 2} <= set(r["ints"])),
        ("array_contains_any(ints, [1, 2])", lambda r: bool({1, 2} & set(r["ints"]))),
        ('array_contains(words, "z w")', lambda r: "z w" in r["words"]),
        ('array_contains_any(words, ["x", "q"])', lambda r: "x" in r["words"]),
        ("array_length(ints) == 0", lambda r: len(r["ints"]) == 0),
        ("array_length(words) >= 3", lambda r: len(r["words"]) >= 3),
        ("ints[0] == 5", lambda r: r["ints"][:1] == [5]),
        ("ints[2] > 4", lambda r: len(r["ints"]) > 2 and r["ints"][2] > 4),
        ('words[1] == "y"', lambda r: r["words"][1:2] == ["y"]),
        ('words[0] like "z%"', lambda r: r["words"][:1] == ["z w"]),
        ("ints[0] in [1, 2]", lambda r: bool(r["ints"]) and r["ints"][0] in (1, 2)),
    ],
    "template": [
        ("a > {low}", lambda r: r["a"] > 10, {"low": 10}),
        ("{low} < a <= {high}", lambda r: -5 < r["a"] <= 5, {"low": -5, "high": 5}),
        ("x < {limit}", lambda r: r["x"] < 1.5, {"limit": 1.5}),
        ("a in {some}", lambda r: r["a"] in (1, 2, 3), {"some": [1, 2, 3]}),
        ("s not in {some}", lambda r: r["s"] not in ("red", "blue"), {"some": ["red", "blue"]}),
        ("s == {text}", lambda r: r["s"] == "50% off", {"text": "50% off"}),
        ("flag == {flag}", lambda r: r["flag"], {"flag": True}),
        ("n == {one}", lambda r: ask(r["n"], lambda n: n == 1), {"one": 1}),
        ('j["k"] == {two}', lambda r: ask_like(at(r, "k"), 2, lambda v: v == 2), {"two": 2}),
        (
            'json_contains_any(j["list"], {some})',
            lambda r: ask_list(at(r, "list"), lambda v: holds(v, "x") or holds(v, "y")),
            {"some": ["x", "y"]},
        ),
        ("array_contains_all(ints, {some})", lambda r: {1, 2} <= set(r["ints"]), {"some": [1, 2]}),
    ],
}
