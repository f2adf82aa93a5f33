"""The shared directory's disk is full for a while: first but for less than the reserve of the writable node, then to
the last byte. Reads go on, writes are refused by name, and go on by themselves once there is room."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from data import STATIC
from pymilvus import MilvusClient, MilvusException
from recorder import DISK_LIMIT, said
from restore import small
from stage import PATIENCE, Stage
from takeovers import Probe

REFUSED_WITHIN = 3
RESUMED_WITHIN = 5
TRY_EVERY = 0.25
STARTED = "ro1"
DROPPED = "dropped_on_full_disk"


def disk_full(stage: Stage) -> None:
    disk = stage.cluster.disk
    if disk is None:
        stage.recorder.note("SKIPPED: no small disk can be mounted here")
        return
    probe = Probe(stage)
    note = stage.recorder.note
    used = disk.used()
    note(f"{used >> 20} MiB are in use of {(used + disk.free()) >> 20} MiB, the reserve is {disk.reserve() >> 20} MiB")
    client = MilvusClient(stage.cluster.uri, dedicated=True, timeout=PATIENCE)
    small(client, DROPPED)
    with filled(stage, probe, disk.reserve() // 2, "half of the reserve is left"):
        see_refusal(stage, client)
        restart(stage, STARTED)
        restart(stage, stage.cluster.standby())
        a_drop_works(stage, client)
        stage.wait(stage.durations.full)
        note("the rest of the reserve goes too: not a byte is left")
        disk.left = 0
        stage.wait(stage.durations.full)
        restart(stage, STARTED)
    client.close()
    stage.compare()
    with filled(stage, probe, 0, "not a byte is left, all at once"):
        stage.wait(stage.durations.full)
    stage.compare()
    with filled(stage, probe, 0, "not a byte is left, and all nodes that may write are killed"):
        pair = [name for name, role in stage.cluster.ROLES.items() if role == "writable"]
        for name in pair:
            stage.cluster.kill(name)
        for name in pair:
            stage.cluster.start_node(name)
        restart(stage, STARTED)
        stage.wait(stage.durations.down)
    stage.compare()
    probe.close()


@contextmanager
def filled(stage: Stage, probe: Probe, left: int, what: str) -> Iterator[None]:
    """Fills the disk, makes room again, and measures how long writes and Strong reads take to go on."""
    stage.recorder.note(f"the disk is full: {what}")
    with stage.cluster.disk.full(left):
        stage.wait(1)
        yield
    since = time.monotonic()
    stage.recorder.note("there is room again")
    for what, took in zip(("writes", "Strong reads"), probe.measure(since)):
        text = f"{what} went on {took:.2f} s after there was room"
        stage.recorder.note(text)
        if took > RESUMED_WITHIN:
            stage.recorder.trouble("bound", f"{text}; the bound is {RESUMED_WITHIN} s")
    for name in stage.cluster.processes:
        if name in stage.cluster.supervisor.kept:
            stage.cluster.supervisor.wait_up(name)


def see_refusal(stage: Stage, client: MilvusClient) -> None:
    """By code and by name, before anything is written."""
    began = time.monotonic()
    while time.monotonic() - began < REFUSED_WITHIN:
        try:
            client.delete(STATIC, ids=[-1], retry_times=0)
        except MilvusException as error:
            if error.code == DISK_LIMIT:
                stage.recorder.note(f"refused with code {error.code}: {said(error)}")
                return
            stage.recorder.trouble("failed", f"a write on a full disk says code {error.code}: {said(error)}")
        time.sleep(TRY_EVERY)
    stage.recorder.trouble("failed", f"a write on a full disk is not refused within {REFUSED_WITHIN} s")


def a_drop_works(stage: Stage, client: MilvusClient) -> None:
    """It is what makes room."""
    try:
        client.drop_collection(DROPPED, timeout=PATIENCE)
    except MilvusException as error:
        stage.recorder.trouble("failed", f"a drop on a full disk says code {error.code}: {said(error)}")


def restart(stage: Stage, name: str) -> None:
    stage.recorder.note(f"kill -9 and start of {name}")
    stage.cluster.kill(name)
    stage.cluster.revive(name)
    if stage.cluster.ROLES[name] == "readonly":
        stage.cluster.wait_serving(name)
