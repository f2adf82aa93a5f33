"""Shared directory and database are both put back to an older copy, while routers and read-only nodes live on. What was
written since is gone on purpose: nobody may show it any more, everything of the copy is there, and new writes work."""

import shutil
import time

from pymilvus import MilvusClient, MilvusException
from reading import LEVELS
from recorder import said
from restore import after_outage, rows, small
from stage import PATIENCE, Stage
from takeovers import Probe

KEPT, DROPPED, DISCARDED = "of_the_copy", "dropped_later", "made_later"
ROWS, FEW = 300, 50
READERS = ("ro1", "ro2", "ro3")
KNOWN_WITHIN = 10  # After there is a writer again, routers and nodes must know.
AGAIN = 0.5


def restore_both(stage: Stage) -> None:
    cluster, database = stage.cluster, stage.cluster.mariadb
    client = MilvusClient(cluster.uris[0], dedicated=True, timeout=PATIENCE)
    for name in (KEPT, DROPPED):
        small(client, name)
        client.insert(name, rows(), timeout=PATIENCE)
        client.flush(name, timeout=PATIENCE)
    data, copy, files = database.folder / "data", database.folder / "copy", cluster.folder / "shared-copy"
    with stage.paused():
        history = stage.history.copy()
        database.stop()
        shutil.copytree(data, copy)
        # After the database: so it has whatever that names.
        shutil.copytree(cluster.shared, files, ignore=shutil.ignore_patterns("ballast"))
        database.start()
        stage.recorder.note("a copy of the directory and of the database was made")
    after_outage(lambda: change(client), "the changes after the copy")
    stage.wait(stage.durations.down)
    pair = [name for name, role in cluster.ROLES.items() if role == "writable"]
    with stage.paused(), stage.readers_paused():
        for name in pair:
            cluster.kill(name)
        database.stop()
        shutil.rmtree(data)
        copy.rename(data)
        for path in cluster.shared.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(files, cluster.shared, dirs_exist_ok=True)
        shutil.rmtree(files)
        stage.history.go_back(history)
        database.start()
        for name in pair:
            cluster.start_node(name)
        cluster.writer()
        began = time.monotonic()
        stage.recorder.note("the older copy was put back under routers and read-only nodes")
        faults = until_known(stage, began)
        for fault in faults:
            stage.lost(f"{KNOWN_WITHIN} s after directory and database were put back: {fault}")
        for name in pair:
            cluster.supervisor.wait_up(name)
        if faults:
            say_who_it_is(stage)
    probe = Probe(stage)
    writes, strong = probe.measure(time.monotonic())
    stage.recorder.note(f"new writes after {writes:.2f} s, Strong reads of them after {strong:.2f} s")
    stage.wait(stage.durations.down)
    for fault in faults_of(stage):
        stage.lost(f"at the end: {fault}")
    probe.close()
    client.close()
    stage.compare()


def change(client: MilvusClient) -> None:
    """All of this is discarded."""
    if not client.has_collection(DISCARDED, timeout=PATIENCE):
        small(client, DISCARDED)
    client.upsert(DISCARDED, rows(), timeout=PATIENCE)
    client.flush(DISCARDED, timeout=PATIENCE)
    # So few that the deletes are in no file: read-only nodes have them in memory.
    client.upsert(KEPT, rows(ROWS)[:FEW], timeout=PATIENCE)
    client.delete(KEPT, ids=list(range(0, ROWS, 3)), timeout=PATIENCE)
    client.flush(KEPT, timeout=PATIENCE)
    if client.has_collection(DROPPED, timeout=PATIENCE):
        client.drop_collection(DROPPED, timeout=PATIENCE)


def say_who_it_is(stage: Stage) -> None:
    """Which processes remember what was discarded."""
    for what, names in (("read-only nodes", READERS), ("routers", stage.cluster.ROUTERS)):
        for name in names:
            stage.cluster.kill(name)
            stage.cluster.revive(name)
        time.sleep(AGAIN)
        left = faults_of(stage)
        stage.recorder.note(f"with {what} started anew, {len(left)} faults are left: {left[:3]}")


def until_known(stage: Stage, began: float) -> list[str]:
    """Faults that are left when the time is over."""
    while True:
        faults = faults_of(stage)
        if not faults:
            stage.recorder.note(f"all routers show the copy {time.monotonic() - began:.2f} s after there was a writer")
            return []
        if time.monotonic() - began > KNOWN_WITHIN:
            return faults
        time.sleep(AGAIN)


def faults_of(stage: Stage) -> list[str]:
    """Of each router, at each level."""
    faults = []
    for number, uri in enumerate(stage.cluster.uris, 1):
        client = MilvusClient(uri, dedicated=True, timeout=PATIENCE)
        names = set(client.list_collections(timeout=PATIENCE))
        faults += [f"router {number} lists {DISCARDED}"] if DISCARDED in names else []
        faults += [f"router {number} does not list {name}" for name in (KEPT, DROPPED) if name not in names]
        for level in LEVELS:
            for name in (KEPT, DROPPED):
                what = f"router {number}, {name} at {level}"
                options = {"output_fields": ["id"], "consistency_level": level, "timeout": KNOWN_WITHIN}
                try:
                    found = sorted(row["id"] for row in client.query(name, "id >= 0", **options))
                except MilvusException as error:
                    faults.append(f"{what} says code {error.code}: {said(error)[:200]}")
                    continue
                if found != list(range(ROWS)):
                    more, missing = set(found) - set(range(ROWS)), set(range(ROWS)) - set(found)
                    faults.append(f"{what} shows {len(more)} discarded rows and lacks {len(missing)}")
        client.close()
    return faults
