"""The program's processes as a service manager keeps them: one that ends by itself is started again, and what it said
is noted. Whoever kills or stops one on purpose takes it out of this care first."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "clients"), str(HERE.parent / "servers")]

from harness import READY_WITHIN, Process  # noqa: E402  (after the path is set)
from server import DIES_WITH_US, launcher  # noqa: E402

RESTART_AFTER = 0.7
CHECK_EVERY = 0.1


class Node(Process):
    """A process on an address that need not be this host's, perhaps in a network namespace."""

    def __init__(self, name: str, command: list[str], log: Path, ops: tuple[str, int], inside: list[str]) -> None:
        super().__init__(name, command, log, ops[1])
        self.ops_host = ops[0]
        self.command = [*DIES_WITH_US, *inside, *self.command]
        self.environment: dict[str, str] = {}

    def start(self) -> None:
        """By the thread that lives as long as this program, for the kernel kills it when that thread ends."""
        self.running = launcher.submit(self.launch).result()

    def launch(self) -> subprocess.Popen:
        with self.log.open("ab") as log:
            environment = os.environ | {"RUST_BACKTRACE": "1"} | self.environment
            return subprocess.Popen(self.command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def ops(self, path: str) -> str:
        without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with without_proxy.open(f"http://{self.ops_host}:{self.ops_port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels; 0 when it has none yet or the process does not answer."""
        try:
            lines = self.ops("/metrics").splitlines()
        except OSError:
            return 0.0
        return sum(float(line.split()[-1]) for line in lines if line.startswith((name + " ", name + "{")))

    def is_running(self) -> bool:
        return self.running is not None and self.running.poll() is None

    def send(self, number: signal.Signals) -> None:
        self.running.send_signal(number)

    def log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def logged_since(self, size: int, text: str) -> list[str]:
        """Lines of the log after that many bytes that contain a text."""
        with self.log.open("rb") as log:
            log.seek(size)
            return [line for line in log.read().decode(errors="replace").splitlines() if text in line]

    def last_line(self) -> str:
        """What it logged last, in plain words where that is JSON."""
        lines = self.log.read_text(errors="replace").splitlines()[-1:] or ["nothing"]
        try:
            entry = json.loads(lines[0])
            return str(entry.get("fields", entry))
        except (ValueError, AttributeError):
            return lines[0]


@dataclass(frozen=True)
class Exit:
    """A process that ended by itself."""

    at: float
    name: str
    code: int
    said: str


class Supervisor:
    """Starts what ends by itself again, a little later, and looks for panics."""

    def __init__(self, on_exit: Callable[[Exit], None], on_panic: Callable[[str], None]) -> None:
        self.on_exit, self.on_panic = on_exit, on_panic
        self.kept: dict[str, Node] = {}
        self.lock = threading.RLock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True, name="supervisor")

    def keep(self, node: Node) -> None:
        with self.lock:
            self.kept[node.name] = node

    def let_go(self, name: str) -> None:
        """From now on its end is on purpose."""
        with self.lock:
            self.kept.pop(name, None)

    def start(self) -> None:
        self.thread.start()

    def close(self) -> None:
        self.over.set()
        if self.thread.is_alive():
            self.thread.join()

    def work(self) -> None:
        due: dict[str, float] = {}
        while not self.over.wait(CHECK_EVERY):
            with self.lock:
                for node in self.kept.values():
                    self.look_after(node, due)

    def look_after(self, node: Node, due: dict[str, float]) -> None:
        try:
            node.check_no_panic()
        except AssertionError as panic:
            self.on_panic(str(panic))
        if node.is_running():
            due.pop(node.name, None)
        elif node.name not in due:
            due[node.name] = time.monotonic() + RESTART_AFTER
            self.on_exit(Exit(time.monotonic(), node.name, node.running.returncode, node.last_line()))
        elif time.monotonic() > due[node.name]:
            due.pop(node.name)
            node.start()

    def wait_up(self, name: str) -> Node:
        """The process, once it runs and is ready; the supervisor may be starting it just now."""
        node = self.kept[name]
        deadline = time.monotonic() + READY_WITHIN
        while not (node.is_running() and node.is_ready()):
            assert time.monotonic() < deadline, f"{name} is not ready after {READY_WITHIN} s"
            time.sleep(0.05)
        return node
