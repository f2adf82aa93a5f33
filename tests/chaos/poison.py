"""Requests that are large enough to break what answers them, again and again, beside the load. Each is answered or
refused by name; no process ends, no node is taken for dead, and small searches go on."""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from data import make
from poison_client import COLLECTION, DIM
from pymilvus import DataType, MilvusClient
from recorder import QUIET
from report import SMALL, small_p99
from stage import PATIENCE, Stage

ROWS, BATCH = 20_000, 2000
# "Not ready", "unavailable", "internal", and what nobody foresaw: these say that something broke, not what was wrong.
UNCLEAR = {-1, 1, 2, 5, 65535}
LIMIT = 5  # How many times its p99 while nothing happens a small search may have beside a large request.
ENDED_WITHIN = 300  # Each round.
LOOK_EVERY = 0.2


def poison(stage: Stage) -> None:
    cluster = stage.cluster
    client = MilvusClient(cluster.uri, dedicated=True, timeout=PATIENCE)
    make(client, COLLECTION, {"n": (DataType.INT64, {})}, DIM, {"index_type": "FLAT", "metric_type": "L2"})
    vectors = np.random.default_rng(stage.seed).random((ROWS, DIM), dtype=np.float32)
    for first in range(0, ROWS, BATCH):
        rows = [{"id": key, "n": key, "vec": vectors[key]} for key in range(first, first + BATCH)]
        client.insert(COLLECTION, rows, timeout=PATIENCE)
    client.flush(COLLECTION, timeout=PATIENCE)
    stage.wait(stage.durations.settle)
    rounds, clients = stage.durations.poison
    stage.recorder.note(f"{ROWS} rows are there; each of {clients} client(s) sends every large request {rounds} times")
    sizes = {name: cluster.processes[name].log_size() for name in cluster.ROUTERS}
    with watched(stage) as states:
        lines = send_all(stage)
    judge(stage, lines)
    beside(stage, lines)
    for name, size in sizes.items():
        for line in cluster.processes[name].logged_since(size, "node does not answer"):
            stage.recorder.trouble("process", f"{name} took a node for dead: {line}")
    stage.recorder.note(f"states of nodes, as the routers saw them: {dict(states)}")
    stage.recorder.note(f"most memory in MiB: {memory(stage)}")
    client.drop_collection(COLLECTION, timeout=PATIENCE)
    client.close()
    stage.compare()


def send_all(stage: Stage) -> list[dict]:
    program = Path(__file__).with_name("poison_client.py")
    rounds, count = stage.durations.poison
    command = ["nice", "-n", "10", sys.executable, str(program), stage.cluster.uri, str(rounds)]
    clients = [
        subprocess.Popen([*command, str(stage.seed + i)], stdout=subprocess.PIPE, text=True) for i in range(count)
    ]
    deadline = time.monotonic() + ENDED_WITHIN * rounds * count
    lines: list[dict] = []
    readers = [threading.Thread(target=collect, args=(c.stdout, lines), daemon=True) for c in clients]
    for reader in readers:
        reader.start()
    try:
        while any(client.poll() is None for client in clients):
            stage.wait(LOOK_EVERY)
            if time.monotonic() > deadline:
                stage.recorder.trouble("failed", f"a round of large requests takes longer than {ENDED_WITHIN} s")
                break
    finally:
        for client in clients:
            client.kill()
            client.wait()
    for reader in readers:
        reader.join()
    return lines


def collect(out, lines: list[dict]) -> None:
    lines.extend(json.loads(line) for line in out)


def judge(stage: Stage, lines: list[dict]) -> None:
    """What came of each kind of request."""
    kinds: dict[str, list[dict]] = defaultdict(list)
    for line in lines:
        kinds[line["name"]].append(line)
    for name, of_kind in kinds.items():
        took = [line["took"] for line in of_kind]
        codes = dict(Counter(line["code"] for line in of_kind))
        rows = sorted({line["rows"] for line in of_kind if line["code"] == 0})
        stage.recorder.note(f"{name}: codes {codes}, {min(took):.2f} to {max(took):.2f} s, rows {rows}")
        for text in sorted({line["text"][:300] for line in of_kind if line["code"]}):
            stage.recorder.note(f"{name}: {text}")
        for line in of_kind:
            if line["code"] in UNCLEAR:
                text = f"{name} after {line['took']:.2f} s: code {line['code']}: {line['text'][:300]}"
                stage.recorder.trouble("failed", text)


def beside(stage: Stage, lines: list[dict]) -> None:
    """The searches that ran while a large request of each kind was under way."""
    samples = [sample for sample in stage.recorder.samples if sample.kind in SMALL]
    quiet = small_p99(sample for sample in samples if sample.event == QUIET)
    for name in sorted({line["name"] for line in lines}):
        spans = [(line["began"], line["began"] + line["took"]) for line in lines if line["name"] == name]
        beside = [s for s in samples if any(s.began < end and s.began + s.took > began for began, end in spans)]
        p99 = small_p99(beside)
        well = "" if not p99 > LIMIT * quiet else f", more than {LIMIT}"
        text = f"{len(beside)} searches beside {name}: p99 {p99:.0f} ms, {p99 / quiet:.1f} times the quiet one{well}"
        stage.recorder.note(text)


@contextlib.contextmanager
def watched(stage: Stage):
    """Asks each router what it thinks of the nodes, and counts the answers."""
    cluster, over = stage.cluster, threading.Event()
    states: Counter[str] = Counter()

    def look() -> None:
        while not over.wait(LOOK_EVERY):
            for name in cluster.ROUTERS:
                with contextlib.suppress(OSError):
                    status = json.loads(cluster.processes[name].ops("/status"))
                    states.update(f"{node['role']} {node['state']}" for node in status["nodes"])
                    states.update(f"unused: {node}" for node in status["unused"])

    thread = threading.Thread(target=look, daemon=True, name="watch of the routers")
    thread.start()
    try:
        yield states
    finally:
        over.set()
        thread.join()


def memory(stage: Stage) -> dict[str, int]:
    """The most that each process had."""
    peaks = {}
    for name, node in stage.cluster.processes.items():
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{node.running.pid}/status").read_text()
            peaks[name] = int(status.split("VmHWM:")[1].split()[0]) >> 10
    return peaks
