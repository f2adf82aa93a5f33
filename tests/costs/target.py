"""The server under test, started by the harness of the client tests, with its connection and gauges."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "clients"))

import harness
from calls import Answer, Calls
from gauge import Gauge, wait_for_rest


class Target:
    """Servers that answer at one address."""

    def __init__(self, deployment: harness.Deployment, folder: Path) -> None:
        self.deployment = deployment
        self.folder = folder
        self.start()

    def start(self) -> float:
        """Starts it; says how long it took until it was ready."""
        began = time.monotonic()
        self.deployment.start()
        seconds = time.monotonic() - began
        self.calls = Calls(self.deployment.uri)
        self.gauges = {name: Gauge(process.running.pid) for name, process in self.deployment.processes.items()}
        return seconds

    @property
    def all(self) -> list[Gauge]:
        return list(self.gauges.values())

    def cpu(self) -> float:
        return sum(gauge.cpu() for gauge in self.all)

    def resident(self) -> float:
        return sum(gauge.resident() for gauge in self.all)

    def rest(self) -> None:
        wait_for_rest(self.all)

    def reset(self) -> dict[str, float]:
        """Begins to look for peaks of memory; what is resident now, by process."""
        for gauge in self.all:
            gauge.reset()
        return {name: gauge.resident() for name, gauge in self.gauges.items()}

    def grown(self, before: dict[str, float]) -> dict[str, float]:
        """MiB that each process took at its peak more than `before`."""
        return {name: gauge.peak() - before[name] for name, gauge in self.gauges.items()}

    def timed(self, method: str, request, times: int = 3) -> tuple[Answer, float, float]:
        """The last answer, the median of seconds, and CPU seconds of the servers for one call."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        before = self.cpu()
        answers = [self.calls(method, data) for _ in range(times)]
        seconds = sorted(answer.seconds for answer in answers)
        return answers[-1], seconds[len(seconds) // 2], (self.cpu() - before) / times

    def restart(self) -> None:
        """So that no memory of earlier requests is left."""
        self.calls.close()
        self.deployment.stop()
        self.start()

    def kill(self) -> None:
        self.calls.close()
        self.deployment.kill9()

    def end(self) -> None:
        self.calls.close()
        self.deployment.end()


@contextmanager
def running(cluster: bool = False, **settings: str) -> Iterator[Target]:
    """A standalone server or a cluster; `settings` are `section__key`."""
    folder = Path(tempfile.mkdtemp(prefix="mishards-costs-"))
    names = {f"MISHARDS__{key.upper()}": value for key, value in settings.items()}
    os.environ.update(names)
    target = None
    try:
        target = Target(harness.Cluster(folder) if cluster else harness.Server(folder), folder)
        yield target
        target.deployment.check_alive()
    finally:
        for name in names:
            os.environ.pop(name)
        if target:
            target.end()
        shutil.rmtree(folder, ignore_errors=True)
