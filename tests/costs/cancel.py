"""How long a request that its client gave up goes on using the servers' cores."""

import time

from gauge import time_to_rest
from target import Target

MOMENTS = (0.1, 0.4, 0.7, 0.95)
GOAL = 0.1
SHORT = 0.1  # What takes less is over before it can be cancelled.


def stops(target: Target, method: str, data: bytes, seconds: float) -> list[tuple[float, float]]:
    """From the client's cancel to rest, and CPU of the servers after it, both in milliseconds, at several moments of a
    request that takes so many seconds."""
    found = []
    for moment in MOMENTS:
        target.rest()
        call = target.calls.start(method, data)
        time.sleep(moment * seconds)
        call.cancel()
        before = sum(gauge.work() for gauge in target.all)
        rest = time_to_rest(target.all)
        found.append((1000 * rest, 1000 * (sum(gauge.work() for gauge in target.all) - before)))
    return found


def stop_cell(target: Target, method: str, request, seconds: float) -> str:
    """The worst one and the moments, for a table."""
    if seconds < SHORT:
        return f"(takes {1000 * seconds:.0f} ms)"
    data = request if isinstance(request, bytes) else request.SerializeToString()
    found = stops(target, method, data, seconds)
    most, cpu = max(ms for ms, _ in found), max(cpu for _, cpu in found)
    verdict = "" if most <= 1000 * GOAL else " SLOW"
    return f"{most:.0f}{verdict}, CPU {cpu:.0f} ({' '.join(f'{ms:.0f}' for ms, _ in found)})"
