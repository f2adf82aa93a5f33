"""A partition is dropped and made again through one router, again and again, while rows go into it by its name through
the other one. A row belongs to the partition that there was when it was acknowledged: it goes with that one, and with
no other."""

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass

from pymilvus import MilvusClient, MilvusException
from recorder import said
from restore import small
from stage import PATIENCE, Stage

COLLECTION, PARTITION = "remade", "p"
THREADS = 3
LONGEST = 1.5
PARTITION_CODES = {200, 201}  # Not found, and not loaded: what an insert may meet in between.
PAUSE = 0.01


@dataclass
class Insert:
    """One row. The code is 0 when it was acknowledged, -1 when nobody knows."""

    key: int
    began: float
    ended: float = 0.0
    code: int = -1


class Inserts:
    """Threads that insert a row at a time through one router."""

    def __init__(self, stage: Stage, uri: str) -> None:
        self.stage, self.uri = stage, uri
        self.keys = itertools.count(1)
        self.done: list[Insert] = []
        self.texts: Counter[str] = Counter()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.work, daemon=True, name=f"insert {i}") for i in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def work(self) -> None:
        client = MilvusClient(self.uri, dedicated=True, timeout=PATIENCE)
        while not self.over.wait(PAUSE):
            insert = Insert(next(self.keys), time.monotonic())
            row = {"id": insert.key, "n": insert.key, "vec": [float(insert.key), 0.0, 0.0, 1.0]}
            try:
                client.insert(COLLECTION, [row], partition_name=PARTITION, retry_times=0)
                insert.code = 0
            except MilvusException as error:
                if error.code in PARTITION_CODES:
                    insert.code = error.code
                else:
                    self.stage.recorder.trouble("failed", f"an insert says code {error.code}: {said(error)}")
                self.texts[f"code {error.code}: {said(error)[:200]}"] += 1
            insert.ended = time.monotonic()
            self.done.append(insert)
        client.close()

    def close(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


def stale_partitions(stage: Stage) -> None:
    first, second = stage.cluster.uris
    client = MilvusClient(first, dedicated=True, timeout=PATIENCE)
    small(client, COLLECTION)
    make(client)
    inserts = Inserts(stage, second)
    made = dropped = 0.0
    end, rounds, rows = time.monotonic() + stage.durations.cut, 0, 0
    try:
        while time.monotonic() < end:
            made = time.monotonic()
            stage.wait(stage.random.uniform(0.05, LONGEST))
            rows += check(stage, inserts, made, dropped, f"round {rounds}")
            dropped = time.monotonic()
            drop(client)
            make(client)
            rounds += 1
        made = time.monotonic()
        stage.wait(LONGEST)
    finally:
        inserts.close()
    last = check(stage, inserts, made, dropped, "at the end")
    stage.wait(stage.durations.settle)
    check(stage, inserts, made, dropped, "after a while")
    restart_writer(stage)
    check(stage, inserts, made, dropped, "after a takeover")
    codes = dict(Counter(insert.code for insert in inserts.done))
    seen = f"{rows} rows were seen before drops, {last} at the end"
    stage.recorder.note(f"{rounds} times made again; inserts by code: {codes}; {seen}")
    for text, count in inserts.texts.most_common(5):
        stage.recorder.note(f"{count} x {text}")
    if not codes.get(0) or not rows or not last:
        stage.recorder.trouble("failed", f"nothing was shown: {codes}")
    client.drop_collection(COLLECTION, timeout=PATIENCE)
    client.close()
    stage.compare()


def make(client: MilvusClient) -> None:
    client.create_partition(COLLECTION, PARTITION, timeout=PATIENCE)
    client.load_partitions(COLLECTION, [PARTITION], timeout=PATIENCE)


def drop(client: MilvusClient) -> None:
    client.release_partitions(COLLECTION, [PARTITION], timeout=PATIENCE)
    client.drop_partition(COLLECTION, PARTITION, timeout=PATIENCE)


def check(stage: Stage, inserts: Inserts, made: float, dropped: float, when: str) -> int:
    """What was acknowledged since the partition was made is there, what was acknowledged before the last drop began is
    not, and what was refused is not. How many rows there are."""
    now = time.monotonic()
    done = list(inserts.done)
    acknowledged = [insert for insert in done if insert.code == 0]
    must = {insert.key for insert in acknowledged if insert.began >= made and insert.ended <= now}
    gone = {insert.key for insert in acknowledged if insert.ended <= dropped}
    refused = {insert.key for insert in done if insert.code > 0}
    count = 0
    for uri in stage.cluster.uris:
        client = MilvusClient(uri, dedicated=True, timeout=PATIENCE)
        options = {"output_fields": ["id"], "consistency_level": "Strong", "timeout": PATIENCE}
        for of, names in (("the partition", [PARTITION]), ("the collection", None)):
            found = [row["id"] for row in client.query(COLLECTION, "id >= 0", partition_names=names, **options)]
            count = len(found)
            faults = {
                "are missing": must - set(found),
                "are back from a dropped one": gone & set(found),
                "were refused, and are there": refused & set(found),
                "are there twice": {key for key, times in Counter(found).items() if times > 1},
            }
            for what, keys in faults.items():
                if keys:
                    some = [insert for insert in done if insert.key in sorted(keys)[:3]]
                    text = f"{when}, {uri}, {of}: {len(keys)} rows {what}"
                    stage.lost(f"{text}; made {made:.3f}, dropped {dropped:.3f}, such as {some}")
        client.close()
    return count


def restart_writer(stage: Stage) -> None:
    """What the log says of the partitions is replayed."""
    writer = stage.cluster.writer()
    stage.cluster.supervisor.wait_up(stage.cluster.standby())
    stage.cluster.kill(writer)
    stage.cluster.start_node(writer)
    stage.cluster.writer()
    stage.cluster.supervisor.wait_up(writer)
