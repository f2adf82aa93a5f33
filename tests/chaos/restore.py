"""The database loses its last commits: an older copy of it is put back under the running cluster. Every party must
notice, and what had been acknowledged since the copy must be there: rows, deletes, collections, partitions, drops."""

import shutil
import time

from data import make
from pymilvus import DataType, MilvusClient, MilvusException
from reading import LEVELS
from stage import PATIENCE, Stage, Takeover
from takeovers import Probe

MADE, DROPPED, EXTENDED = "made_since", "dropped_since", "extended_since"
PARTITION = "later"
ROWS = 300
WANTED = {MADE: range(ROWS), EXTENDED: [key for key in range(2 * ROWS) if key >= ROWS or key % 3]}
NOTICED = "the catalog has lost commits"
NOTICED_WITHIN = 30
PAUSE = 0.2


def small(client: MilvusClient, name: str) -> None:
    make(client, name, {"n": (DataType.INT64, {})}, 4, {"index_type": "FLAT", "metric_type": "L2"})


def rows(first: int = 0) -> list[dict]:
    return [{"id": key, "n": key, "vec": [float(key), 0.0, 0.0, 1.0]} for key in range(first, first + ROWS)]


def restore_older_copy(stage: Stage) -> None:
    cluster, database = stage.cluster, stage.cluster.mariadb
    # Through one router, which sees its own changes at once; all are asked afterwards.
    client = MilvusClient(cluster.uris[0], dedicated=True, timeout=PATIENCE)
    for name in (DROPPED, EXTENDED):
        small(client, name)
        client.insert(name, rows(), timeout=PATIENCE)
        client.flush(name, timeout=PATIENCE)
    data, copy = database.folder / "data", database.folder / "older"
    database.stop()
    shutil.copytree(data, copy)
    database.start()
    stage.recorder.note("a copy of the database was made")
    after_outage(lambda: change(client), "the changes after the copy")
    stage.wait(stage.durations.down)
    sizes = {name: node.log_size() for name, node in cluster.processes.items()}
    writer, pair = cluster.writer(), [name for name, role in cluster.ROLES.items() if role == "writable"]
    stage.may_end |= set(pair)
    database.stop()
    shutil.rmtree(data)
    copy.rename(data)
    database.start()
    restored = time.monotonic()
    stage.recorder.note(f"the older copy was put back under {writer}")
    see_that_it_is_noticed(stage, writer, sizes, restored)
    stage.wait(stage.durations.settle)
    stage.may_end -= set(pair)
    check_changes(stage)
    client.close()
    stage.compare()


def change(client: MilvusClient) -> None:
    """Commits of every kind, of which the copy knows nothing."""
    if not client.has_collection(MADE, timeout=PATIENCE):
        small(client, MADE)
    client.upsert(MADE, rows(), timeout=PATIENCE)
    client.flush(MADE, timeout=PATIENCE)
    if not client.has_partition(EXTENDED, PARTITION, timeout=PATIENCE):
        client.create_partition(EXTENDED, PARTITION, timeout=PATIENCE)
    client.upsert(EXTENDED, rows(ROWS), partition_name=PARTITION, timeout=PATIENCE)
    client.delete(EXTENDED, ids=list(range(0, ROWS, 3)), timeout=PATIENCE)
    client.flush(EXTENDED, timeout=PATIENCE)
    if client.has_collection(DROPPED, timeout=PATIENCE):
        client.drop_collection(DROPPED, timeout=PATIENCE)


def after_outage(call, what: str) -> None:
    """Changes of the catalog are refused while the database is away; soon after it is back they work."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except MilvusException as error:
            assert time.monotonic() < deadline, f"{what}: {error}"
            time.sleep(PAUSE)


def see_that_it_is_noticed(stage: Stage, writer: str, sizes: dict[str, int], restored: float) -> None:
    """The old writer ends its term, and whoever takes over finds the lost commits in the log."""
    cluster = stage.cluster
    probe = Probe(stage)
    deadline = restored + NOTICED_WITHIN
    pair = [name for name, role in cluster.ROLES.items() if role == "writable"]

    def said(name: str, text: str) -> bool:
        return bool(cluster.processes[name].logged_since(sizes[name], text))

    while not any(said(name, f"{NOTICED}: looking for them") for name in pair):
        if time.monotonic() > deadline:
            stage.lost(f"nobody had noticed the older copy after {NOTICED_WITHIN} s")
            return
        time.sleep(0.05)
    noticed = time.monotonic()
    if not said(writer, NOTICED):
        stage.lost(f"{writer} was the writer, and did not notice the older copy")
    writes, strong = probe.measure(noticed)
    stage.recorder.note(f"noticed {noticed - restored:.2f} s after the database was back")
    stage.took_over(Takeover("older copy", "lock", writes, strong))
    for name in pair:
        cluster.supervisor.wait_up(name)
    probe.close()


def check_changes(stage: Stage) -> None:
    """At each router and each level, and not only where it was asked first."""
    for uri in stage.cluster.uris:
        client = MilvusClient(uri, dedicated=True, timeout=PATIENCE)
        names = set(client.list_collections(timeout=PATIENCE))
        expect(stage, f"{uri}: {MADE} is there", MADE in names)
        expect(stage, f"{uri}: {DROPPED} is gone", DROPPED not in names)
        expect(stage, f"{uri}: the partition is there", PARTITION in client.list_partitions(EXTENDED, timeout=PATIENCE))
        for level in LEVELS:
            for name, wanted in WANTED.items():
                answer = client.query(name, "id >= 0", output_fields=["n"], consistency_level=level, timeout=PATIENCE)
                found = [row["id"] for row in answer]
                text = f"{uri}: {name} at {level} has {len(found)} rows, {len(wanted)} were acknowledged"
                expect(stage, text, sorted(found) == list(wanted))
        client.close()


def expect(stage: Stage, what: str, well: bool) -> None:
    if not well:
        stage.lost(f"after an older copy was put back, this does not hold: {what}")
