"""The first start on an empty directory: nothing is wrong, so that nothing in the logs says so."""

import json
import re

import pytest
from harness import CONNECT_WITHIN, Cluster, Deployment, Server
from pymilvus import MilvusClient
from tables import FLAT_L2, KEY, count, create, insert, random_vectors, rows_of, vector

DIM = 4
# A text log has the level behind the time.
LEVEL = re.compile(r"^\S+\s+(ERROR|WARN|INFO|DEBUG)\s")


def level(line: str) -> str:
    if line.startswith("{"):
        return json.loads(line)["level"]
    found = LEVEL.match(line)
    return found[1] if found else "UNKNOWN"


def alarms(deployment: Deployment) -> list[str]:
    lines = [line for process in deployment.processes.values() for line in process.log.read_text().splitlines()]
    assert len(lines) > 3
    return [line for line in lines if level(line) != "INFO"]


@pytest.mark.parametrize("make", [Server, Cluster])
def test_a_first_start_is_calm(make, tmp_path):
    deployment = make(tmp_path)
    try:
        deployment.start()
        client = MilvusClient(deployment.uri, timeout=CONNECT_WITHIN)
        create(client, "table", {"id": KEY, "vec": vector(DIM)}, {"vec": FLAT_L2})
        insert(client, "table", rows_of(random_vectors(10, DIM, seed=1)))
        client.flush("table")
        assert count(client, "table") == 10
        client.close()
        deployment.stop()
        assert alarms(deployment) == []
    finally:
        deployment.end()
