"""Files of segments that are gone: reads say so, and so do the log and the metrics; what is whole is answered for."""

import shutil

import pytest
from harness import CONNECT_WITHIN, Server
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException
from tables import FLAT_L2, KEY, count, create, insert, random_vectors, rows_of, vector

pytestmark = pytest.mark.targets("standalone")

DIM = 4
DAMAGED = 1009


def fill(client: MilvusClient, name: str) -> None:
    create(client, name, {"id": KEY, "vec": vector(DIM)}, {"vec": FLAT_L2})
    insert(client, name, rows_of(random_vectors(100, DIM, seed=3)))
    client.flush(name)


def metric(server: Server, name: str) -> float:
    lines = server.processes["standalone"].ops("/metrics").splitlines()
    return next(float(line.split()[1]) for line in lines if line.split()[0] == name)


def test_lost_files_are_named(tmp_path):
    server = Server(tmp_path)
    server.start()
    try:
        client = MilvusClient(server.uri, timeout=CONNECT_WITHIN)
        fill(client, "lost")
        segments = tmp_path / "data" / "segments"
        before = set(segments.rglob("*"))
        fill(client, "whole")
        client.close()
        server.stop()
        kept = tmp_path / "kept"
        for path in before:
            if path.is_file():
                target = kept / path.relative_to(segments)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, target)
        server.start()
        client = MilvusClient(server.uri, timeout=CONNECT_WITHIN)
        with pytest.raises(MilvusException) as raised:
            count(client, "lost", timeout=10)
        assert raised.value.code == DAMAGED, raised.value
        assert "is missing from the shared directory" in str(raised.value) and "restore it" in str(raised.value)
        assert count(client, "whole") == 100
        log = (tmp_path / "standalone.log").read_text()
        assert [line for line in log.splitlines() if "ERROR" in line and "lost" in line and "segments/" in line]
        assert metric(server, "mishards_node_missing_files_total") > 0
        assert metric(server, "mishards_router_lost_files_total") == 1
        # Nothing is wrong any more when the files are back, without a restart.
        shutil.copytree(kept, segments, dirs_exist_ok=True)
        assert count(client, "lost", timeout=10) == 100
        client.close()
        server.stop()
    finally:
        server.end()
