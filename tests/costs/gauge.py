"""What a process uses: CPU seconds, memory, and when it has come to rest. Read from /proc."""

import os
import threading
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
SAMPLE = 0.005
REST = 0.15  # So long without work means that nothing more comes.
BUSY_SHARE = 0.25  # Of a core: less is the housekeeping of an idle server.


class Gauge:
    """One process of the program under test."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.folder = Path(f"/proc/{pid}")

    def cpu(self) -> float:
        """CPU seconds since its start, in ticks of 10 ms."""
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def _memory(self, key: str) -> float:
        for line in (self.folder / "status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) / 1024
        raise KeyError(key)

    def peak(self) -> float:
        """MiB, since `reset`."""
        return self._memory("VmHWM")

    def resident(self) -> float:
        return self._memory("VmRSS")

    def anonymous(self) -> float:
        """Without pages of mapped files."""
        return self._memory("RssAnon")

    def reset(self) -> None:
        (self.folder / "clear_refs").write_text("5")

    def work(self) -> float:
        """CPU seconds of its threads, to the nanosecond; without those that have ended, and those of low priority."""
        total = 0
        for task in (self.folder / "task").iterdir():
            try:
                name = (task / "comm").read_text()
                if not name.startswith("background"):
                    total += int((task / "schedstat").read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue
        return total / 1e9


class AnonymousPeaks:
    """The most anonymous memory of some processes, sampled while the block runs."""

    def __init__(self, gauges: dict[str, Gauge]) -> None:
        self.gauges = gauges
        self.before = {name: gauge.anonymous() for name, gauge in gauges.items()}
        self.most = dict(self.before)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self.over.wait(SAMPLE):
            for name, gauge in self.gauges.items():
                self.most[name] = max(self.most[name], gauge.anonymous())

    def __enter__(self) -> "AnonymousPeaks":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()

    def grown(self) -> dict[str, float]:
        return {name: self.most[name] - self.before[name] for name in self.most}


def time_to_rest(gauges: list[Gauge], patience: float = 60) -> float:
    """Seconds from now to the last sample in which any of the processes worked."""
    began = time.monotonic()
    last_busy = 0.0
    before, at = sum(g.work() for g in gauges), began
    while (now := time.monotonic()) - began - last_busy < REST and now - began < patience:
        time.sleep(SAMPLE)
        work, now = sum(g.work() for g in gauges), time.monotonic()
        if work - before > BUSY_SHARE * (now - at):
            last_busy = now - began
        before, at = work, now
    return last_busy


def wait_for_rest(gauges: list[Gauge], patience: float = 30) -> None:
    """Until half a second goes by in which the processes do next to nothing, background threads included."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        before = sum(g.cpu() for g in gauges)
        time.sleep(0.5)
        if sum(g.cpu() for g in gauges) - before < 0.05:
            return
