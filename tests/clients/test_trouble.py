"""What an operator meets: a log that is gone, a disk without room, requests that are too large for anybody."""

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import BINARY, CONNECT_WITHIN, Server
from pymilvus import DataType, MilvusClient, MilvusException
from tables import FLAT_L2, KEY, count, create, create_numbered, insert, vector


def connect(server: Server) -> MilvusClient:
    return MilvusClient(server.uri, dedicated=True, timeout=CONNECT_WITHIN)


def repair(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [BINARY, "repair", "--data-dir", str(folder / "data"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.targets("standalone")
def test_a_log_that_is_gone_is_said_and_given_up_by_command_only(tmp_path: Path):
    server = Server(tmp_path)
    server.start()
    client = connect(server)
    create_numbered(client, "kept", 300)
    client.flush("kept")
    client.close()
    server.stop()
    assert "nothing is missing" in repair(tmp_path).stdout
    for log in (tmp_path / "data" / "log").glob("*-*"):
        shutil.rmtree(log)
    with pytest.raises(BaseException):
        server.start()
    assert "mishards repair --accept-loss" in server.logs()
    looked = repair(tmp_path)
    assert looked.returncode == 1 and "records of the log" in looked.stdout and "nothing was changed" in looked.stderr
    given_up = repair(tmp_path, "--accept-loss")
    assert given_up.returncode == 0, given_up.stderr
    assert "300 rows" in given_up.stdout
    server.start()
    client = connect(server)
    assert count(client, "kept") == 300
    insert(client, "kept", [{"id": 1000 + i, "n": i, "vec": [0.0] * 4} for i in range(100)])
    assert count(client, "kept") == 400, "what is acknowledged is there"
    client.close()
    server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.targets("standalone")
def test_a_disk_that_fills_up_refuses_writes_and_takes_them_again(small_disk: Path):
    server = Server(small_disk)
    server.start()
    client = connect(server)
    create(client, "full", {"id": KEY, "vec": vector(256)}, {"vec": FLAT_L2})
    rows = np.random.default_rng(1).random((1000, 256), dtype=np.float32)
    taken, refused = 0, ""
    while not refused and taken < 200_000:
        batch = [{"id": taken + i, "vec": rows[i]} for i in range(1000)]
        try:
            client.insert("full", batch, timeout=10)
            taken += 1000
        except MilvusException as error:
            refused = error.message
    assert "disk limit exceeded" in refused, f"{taken} rows, then: {refused}"
    server.check_alive()
    assert count(client, "full") == taken, "reads go on"
    with (small_disk / "others").open("wb") as others, contextlib.suppress(OSError):
        while True:
            others.write(bytes(1 << 16))
            others.flush()
    time.sleep(1)
    began = time.monotonic()
    with pytest.raises(MilvusException, match="disk limit exceeded"):
        client.create_collection("another", dimension=4)
    assert time.monotonic() - began < 5, "a change of the catalog waits for room"
    assert count(client, "full") == taken, "reads go on"
    (small_disk / "others").unlink()
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)
    deadline = time.monotonic() + 20
    while True:
        try:
            client.insert("full", [{"id": 10**9, "vec": rows[0]}], timeout=5)
            break
        except MilvusException:
            assert time.monotonic() < deadline, "writes do not go on"
            time.sleep(0.5)
    assert count(client, "full") == taken + 1
    client.close()
    server.stop()


@pytest.mark.targets("standalone")
def test_more_bytes_than_an_answer_may_have_are_refused_with_the_figures(client: MilvusClient, name: str):
    create(client, name, {"id": KEY, "text": {"datatype": DataType.VARCHAR, "max_length": 65_535}, "vec": vector(4)}, {"vec": FLAT_L2})
    for first in range(0, 1800, 450):
        rows = [{"id": key, "text": "t" * 60_000, "vec": [0.0] * 4} for key in range(first, first + 450)]
        client.insert(name, rows)
    began = time.monotonic()
    with pytest.raises(MilvusException, match="maxOutputSize Limit 104857600") as refused:
        client.query(name, "id >= 0", output_fields=["text"])
    assert refused.value.code == 1100 and "of 1800 rows are 1080" in refused.value.message
    with pytest.raises(MilvusException, match="maxOutputSize Limit 104857600"):
        client.search(name, [[0.0] * 4], limit=1800, output_fields=["text"])
    assert time.monotonic() - began < 10, "a bare gRPC code would be tried again and again"
    assert len(client.query(name, "id < 1000", output_fields=["text"])) == 1000


def test_what_nobody_could_carry_is_refused_at_once_and_harms_nobody(client: MilvusClient, name: str):
    vectors = create_numbered(client, name, 20_000)
    client.flush(name)
    poison = vectors[:700].tolist()
    for _ in range(5):
        began = time.monotonic()
        with pytest.raises(MilvusException, match="maxOutputSize Limit 104857600: up to 11468800 rows"):
            client.search(name, poison, limit=16_384)
        assert time.monotonic() - began < 5
        assert len(client.search(name, [vectors[0].tolist()], limit=3)[0]) == 3


def test_a_small_search_does_not_wait_for_a_large_one(client: MilvusClient, name: str):
    vectors = create_numbered(client, name, 20_000)
    client.flush(name)
    one = [vectors[0].tolist()]
    client.search(name, one, limit=3)
    stop, large = threading.Event(), []

    def hammer() -> None:
        while not stop.is_set():
            large.append(len(client.search(name, vectors[:150].tolist(), limit=5_000)))

    thread = threading.Thread(target=hammer)
    thread.start()
    try:
        times = []
        deadline = time.monotonic() + 30
        while len(times) < 100 and time.monotonic() < deadline:
            began = time.monotonic()
            client.search(name, one, limit=3)
            times.append(time.monotonic() - began)
    finally:
        stop.set()
        thread.join()
    assert large, "the large searches were answered too"
    assert np.median(times) < 0.5, f"median {np.median(times):.3f} s of {len(times)}"
