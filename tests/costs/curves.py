"""Cost curves: the same request at three sizes, and whether its cost grows as it should."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from table import Report
from target import Target

SLACK = 1.6  # Over what the growth allows.
LONG_ENOUGH = 0.5  # Seconds that a size is measured for.
MOST = 400
TICKS_ENOUGH = 0.05  # CPU seconds in all, below which their ticks of 10 ms say too little.

GROWTHS: dict[str, Callable[[float, float], float]] = {
    "O(1)": lambda a, b: 1.0,
    "O(log n)": lambda a, b: math.log(b) / math.log(a),
    "O(n)": lambda a, b: b / a,
    "O(n log n)": lambda a, b: b / a * math.log(b) / math.log(a),
}


@dataclass
class Point:
    """One size, measured. `cpu` is of one call; nothing when the clock's ticks are too coarse."""

    size: str
    n: float
    seconds: float
    cpu: float | None
    note: str = ""
    least: float = 0.0  # Seconds of the quickest call.


def measured(target: Target, size: str, n: float, call: Callable[[int], None]) -> Point:
    """Calls until there is enough to tell; `call` gets the number of the call."""
    call(0)
    cpu, began, times = target.cpu(), time.monotonic(), []
    while len(times) < 3 or (len(times) < MOST and time.monotonic() - began < LONG_ENOUGH):
        at = time.monotonic()
        call(len(times) + 1)
        times.append(time.monotonic() - at)
        if time.monotonic() - began > 20:
            break
    cpu = target.cpu() - cpu
    of_one = cpu / len(times) if cpu >= TICKS_ENOUGH else None
    return Point(size, n, sorted(times)[len(times) // 2], of_one, least=min(times))


def once(target: Target, size: str, n: float, call: Callable[[], None], note: str = "") -> Point:
    """For what can be done only once."""
    cpu, began = target.cpu(), time.monotonic()
    call()
    seconds = time.monotonic() - began
    cpu = target.cpu() - cpu
    return Point(size, n, seconds, cpu if cpu >= TICKS_ENOUGH else None, note, seconds)


def curve(report: Report, what: str, growth: str, of: str, points: list[Point]) -> None:
    """One row per size. By CPU time where there is enough of it, else by the quickest call: other programs take time too."""
    for i, point in enumerate(points):
        ratio = allowed = verdict = ""
        if i:
            before = points[i - 1]
            by_cpu = before.cpu is not None and point.cpu is not None
            ratio = (point.cpu / before.cpu) if by_cpu else (point.least or point.seconds) / (before.least or before.seconds)
            allowed = GROWTHS[growth](before.n, point.n)
            verdict = "ok" if ratio <= SLACK * allowed else "**CLIFF**"
            ratio, allowed = f"{ratio:.2f}{'' if by_cpu else ' (time)'}", f"{allowed:.2f}"
        cpu = "" if point.cpu is None else f"{1000 * point.cpu:,.1f}"
        name = what if i == 0 else ""
        claim = f"{growth} in {of}" if i == 0 else ""
        report.row(name, claim, point.size, f"{1000 * point.seconds:,.1f}", cpu, ratio, allowed, verdict, point.note)


COLUMNS = ("request", "should grow", "size", "median ms", "CPU ms", "ratio", "allowed", "verdict", "")


def begin(report: Report, title: str) -> None:
    report.begin(f"Curves: {title}", *COLUMNS)


def repeated(target: Target, method: str, request) -> Callable[[int], None]:
    """The same request again and again, encoded once."""
    data = request if isinstance(request, bytes) else request.SerializeToString()
    return lambda _: target.calls.must(method, data)
