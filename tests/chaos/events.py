"""The events, one function each, under a load that goes on. An event returns when the cluster is whole again."""

import signal
import time

from cluster import ADDED_NODE, CUT_NODE
from descriptors import descriptors
from full_disk import disk_full
from long_replay import two_writers
from lost_log import log_lost
from partitions import stale_partitions
from poison import poison
from pymilvus import MilvusClient
from restore import after_outage, restore_older_copy
from restore_both import restore_both
from data import STATIC
from stage import PATIENCE, Stage
from takeovers import stop_writer, takeovers

READERS = ("ro1", "ro2", "ro3")
HELD = 0.1
BETWEEN = 3  # Nginx tries a router again that was away after a second.


def quiet(stage: Stage) -> None:
    stage.wait(stage.durations.quiet)


def kill_readers(stage: Stage) -> None:
    for name in READERS:
        kill_reader(stage, name)


def kill_one_reader(stage: Stage) -> None:
    kill_reader(stage, stage.random.choice(READERS))


def kill_reader(stage: Stage, name: str) -> None:
    stage.recorder.note(f"kill -9 {name}")
    stage.cluster.kill(name)
    stage.wait(stage.durations.down)
    stage.cluster.revive(name)
    stage.cluster.wait_serving(name)
    stage.wait(stage.durations.settle)


def kill_routers(stage: Stage) -> None:
    for _ in range(stage.durations.router_kills):
        for name in stage.cluster.ROUTERS:
            kill_router(stage, name)


def kill_one_router(stage: Stage) -> None:
    kill_router(stage, stage.random.choice(stage.cluster.ROUTERS))


def kill_router(stage: Stage, name: str) -> None:
    """Few requests are in a router at any one moment, and these are what matters: it is held for as long as it takes to
    have some, and dies with them."""
    stage.recorder.note(f"kill -9 {name}")
    stage.cluster.supervisor.wait_up(name).send(signal.SIGSTOP)
    time.sleep(HELD)
    stage.cluster.kill(name, is_up=True)
    stage.wait(BETWEEN)
    stage.cluster.revive(name)
    stage.wait(BETWEEN)


def rolling_restart(stage: Stage) -> None:
    """Each process gets SIGTERM, exits with 0, starts, is ready; then the next. The writer is the last."""
    cluster = stage.cluster

    def restart(name: str) -> None:
        cluster.revive(name)
        if cluster.ROLES.get(name) == "readonly":
            cluster.wait_serving(name)
        stage.wait(BETWEEN)

    for name in (*READERS, *cluster.ROUTERS, cluster.standby()):
        stage.recorder.note(f"restart of {name}")
        cluster.stop_node(name)
        restart(name)
    stop_writer(stage, restart)


def stop_database(stage: Stage) -> None:
    cluster = stage.cluster
    stage.recorder.note(f"MariaDB is stopped for {stage.durations.database:.0f} s")
    cluster.mariadb.stop()
    stage.wait(stage.durations.database)
    cluster.mariadb.start()
    back = time.monotonic()
    client = MilvusClient(cluster.uri, timeout=PATIENCE)
    name = f"after_outage_{int(back)}"
    after_outage(lambda: client.create_partition(STATIC, name, timeout=PATIENCE), "a partition after the outage")
    stage.recorder.note(f"a change of the catalog was made {time.monotonic() - back:.2f} s after MariaDB was back")
    client.close()
    stage.wait(stage.durations.settle)
    stage.compare()


def pause_reader(stage: Stage) -> None:
    """SIGSTOP: connections are accepted, by the kernel, and nobody answers."""
    name = stage.random.choice(READERS[:2])
    stage.recorder.note(f"SIGSTOP of {name}")
    node = stage.cluster.supervisor.wait_up(name)
    node.send(signal.SIGSTOP)
    try:
        stage.wait(stage.durations.stopped)
    finally:
        node.send(signal.SIGCONT)
    stage.cluster.wait_serving(name)
    stage.wait(stage.durations.settle)


def cut_off(stage: Stage) -> None:
    how = "by its network namespace" if stage.cluster.namespace else "by proxies"
    stage.recorder.note(f"{CUT_NODE} is cut off {how}")
    stage.cluster.supervisor.wait_up(CUT_NODE)
    stage.cluster.cut()
    try:
        stage.wait(stage.durations.cut)
    finally:
        stage.cluster.heal()
    stage.cluster.wait_serving(CUT_NODE)
    stage.wait(stage.durations.settle)


def add_node(stage: Stage) -> None:
    began = time.monotonic()
    stage.cluster.add_node()
    stage.cluster.wait_serving(ADDED_NODE)
    stage.recorder.note(f"{ADDED_NODE} answered its first request after {time.monotonic() - began:.2f} s")
    stage.wait(stage.durations.down)


def remove_node(stage: Stage) -> None:
    """The one that was added, or else one of the first: an orderly stop, and it does not come back for a while."""
    cluster = stage.cluster
    added = cluster.processes.get(ADDED_NODE)
    name = ADDED_NODE if added is not None and added.is_running() else READERS[0]
    stage.recorder.note(f"{name} leaves")
    cluster.stop_node(name)
    stage.wait(stage.durations.down)
    if name != ADDED_NODE:
        cluster.revive(name)
        cluster.wait_serving(name)


EVENTS = {
    "quiet": (quiet, "nothing happens: what the others are compared with"),
    "kill-readers": (kill_readers, "kill -9 each read-only node"),
    "kill-reader": (kill_one_reader, "kill -9 one of them"),
    "kill-routers": (kill_routers, "kill -9 each router; Nginx sends its requests to the other one"),
    "kill-router": (kill_one_router, "kill -9 one of them"),
    "rolling-restart": (rolling_restart, "SIGTERM and start of every process, one after the other"),
    "stop-database": (stop_database, "MariaDB is away (60 s; shorter forms: less)"),
    "pause-reader": (pause_reader, "SIGSTOP of a read-only node"),
    "cut-off": (cut_off, "a read-only node is cut off from everybody"),
    "add-node": (add_node, "a fourth read-only node comes"),
    "remove-node": (remove_node, "and goes"),
    "kill-writer": (takeovers, "kill -9 the writer, again and again; the standby takes over"),
    "disk-full": (disk_full, "the shared directory's disk is full (60 s, twice; shorter forms: less)"),
    "poison": (poison, "requests that are large enough to break what answers them"),
    "descriptors": (descriptors, "idle connections take all descriptors of a router and of nodes, one after the other"),
    "log-lost": (log_lost, "the log is lost behind the catalog: put back the first time, given up the second"),
    "two-writers": (two_writers, "takeovers that read the log for 20 s (shorter forms: less), two writers at hand"),
    "stale-partitions": (stale_partitions, "a partition is dropped and remade by one router, the other inserts into it"),
    "restore-database": (restore_older_copy, "an older copy of the database is put back under the running cluster"),
    "restore-both": (restore_both, "database and directory are put back; routers and read-only nodes live on"),
}
WHOLE = [name for name in EVENTS if name not in ("kill-reader", "kill-router")]
SMALL_DISK = {"disk-full"}  # The shared directory is on a small disk when one of these is to come.
FORMS = {
    "long": WHOLE,
    "short": WHOLE,
    "smoke": ["quiet", "kill-reader", "kill-router", "pause-reader", "kill-writer"],
}
