"""A takeover that reads the log for much longer than the lease lives, while both writable nodes want to write: there is
one takeover, nobody takes the term away from whoever recovers, and nothing is lost. A disk that is slow to read the log
makes it long: a log that takes so long by itself would take hours to write."""

import shutil
import subprocess
import threading
import time
from pathlib import Path

from pymilvus import MilvusClient, MilvusException
from restore import small
from stage import PATIENCE, Stage
from takeovers import LockHolder, Probe

COLLECTION = "long_log"
# Nothing is sealed, so that all of the log is read.
NO_SEALING = {"seal_rows": 10_000_000, "seal_age_seconds": 3600, "delta_max_deletes": 10_000_000}
THREADS = 3
READS = 1.5  # So often a takeover reads all logs that are kept: for their ends, the last commit, the records.
TOOK_OVER = "took over as the writer"
CALM = 8  # Longer than a lease lives: until then a second takeover would come.
SOURCE = Path(__file__).with_name("slow_reads.c")


def two_writers(stage: Stage) -> None:
    if shutil.which("cc") is None:
        stage.recorder.note("SKIPPED: there is no C compiler here for the slow disk")
        return
    cluster = stage.cluster
    pace, library = cluster.folder / "pace", cluster.folder / "slow_reads.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    pace.write_text("0")
    slow = {"LD_PRELOAD": str(library), "CHAOS_SLOW_READS": str(pace)}
    probe = Probe(stage)
    client = MilvusClient(cluster.uri, dedicated=True, timeout=PATIENCE)
    small(client, COLLECTION)
    configure(stage, NO_SEALING, slow)
    rows = SingleRows(stage)
    for by in ("lease", "lock"):
        rows.insert(stage.durations.single_rows)
        take_over_slowly(stage, probe, pace, by)
        rows.compare(client)
        stage.compare()
    configure(stage, {}, {})
    rows.compare(client)
    client.close()
    probe.close()
    stage.compare()


def configure(stage: Stage, ingest: dict, environment: dict[str, str]) -> None:
    """Restarts the writable nodes with other settings, the standby first."""
    cluster = stage.cluster
    for name in (cluster.standby(), cluster.writer()):
        cluster.stop_node(name)
        cluster.configure(name, ingest, environment)
        cluster.revive(name)
    cluster.writer()


class SingleRows:
    """Rows that are inserted one by one, for the log to have as many records."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.keys: set[int] = set()
        self.unknown: set[int] = set()
        self.next = 0

    def insert(self, seconds: float) -> None:
        end, first = time.monotonic() + seconds, self.next
        threads = [threading.Thread(target=self.work, args=(end, first + i)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.stage.wait(0.2)
        self.next = max(self.keys | self.unknown) + THREADS
        self.stage.recorder.note(f"{len(self.keys)} single rows were acknowledged")

    def work(self, end: float, key: int) -> None:
        client = MilvusClient(self.stage.cluster.uri, dedicated=True, timeout=PATIENCE)
        while time.monotonic() < end:
            row = {"id": key, "n": key, "vec": [float(key), 0.0, 0.0, 1.0]}
            try:
                client.insert(COLLECTION, [row], retry_times=0)
                self.keys.add(key)
            except MilvusException as error:
                self.unknown.add(key)
                self.stage.recorder.wrote(error)
            key += THREADS
        client.close()

    def compare(self, client: MilvusClient) -> None:
        options = {"output_fields": ["id"], "consistency_level": "Strong", "timeout": PATIENCE}
        found = [row["id"] for row in client.query(COLLECTION, "id >= 0", **options)]
        missing, more = self.keys - set(found), set(found) - self.keys - self.unknown
        if missing or more or len(found) != len(set(found)):
            twice = len(found) - len(set(found))
            self.stage.lost(f"of single rows {len(missing)} are missing, {len(more)} too much, {twice} twice")


def take_over_slowly(stage: Stage, probe: Probe, pace: Path, by: str) -> None:
    """Kills the writer and starts it at once, so that both nodes want the lease."""
    cluster = stage.cluster
    writer, standby = cluster.writer(), cluster.standby()
    cluster.supervisor.wait_up(standby)
    kib = sum(file.stat().st_size for file in (cluster.shared / "log").rglob("*") if file.is_file()) // 1024
    pace.write_text(str(int(stage.durations.replay * 1e6 / READS / kib)))
    sizes = {name: cluster.processes[name].log_size() for name in (writer, standby)}
    epoch = cluster.processes[writer].metric("mishards_node_epoch")
    stage.recorder.note(f"the log has {kib} KiB; kill -9 and start of {writer}, the {by} decides")
    holder = LockHolder(cluster.shared) if by == "lease" else None
    with stage.without_writer():
        cluster.kill(writer)
        killed = time.monotonic()
        cluster.start_node(writer)
        try:
            writes, strong = probe.measure(killed)
        finally:
            pace.write_text("0")
            if holder:
                holder.release()
    stage.recorder.note(f"writes went on after {writes:.2f} s, Strong reads after {strong:.2f} s")
    if writes < stage.durations.replay / 2:
        stage.recorder.note("the replay was shorter than it should have been")
    stage.wait(CALM)
    now = cluster.writer()
    for name in (writer, standby):
        cluster.supervisor.wait_up(name)
    takeovers = {name: len(cluster.processes[name].logged_since(size, TOOK_OVER)) for name, size in sizes.items()}
    terms = cluster.processes[now].metric("mishards_node_epoch") - epoch
    text = f"takeovers {takeovers}, {terms:.0f} terms later {now} writes"
    stage.recorder.note(text)
    if sum(takeovers.values()) != 1 or terms != 1:
        stage.recorder.trouble("process", f"not one takeover while both nodes wanted the lease: {text}")
