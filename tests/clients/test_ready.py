"""Why a process is not ready: `/readyz` and `mishards status` say it, reason by reason."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from harness import BINARY, CONNECT_WITHIN, READY_WITHIN, Cluster, Process, free_ports, toml
from pymilvus import MilvusClient
from tables import FLAT_L2, KEY, create, insert, random_vectors, rows_of, vector, wait_for

DIM = 4


def readyz(process: Process) -> tuple[int, list[str]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{process.ops_port}/readyz", timeout=5) as answer:
            return answer.status, answer.read().decode().splitlines()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().splitlines()


def status(process: Process, *more: str) -> str:
    command = [str(BINARY), "status", "--ops", f"127.0.0.1:{process.ops_port}", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


class LeavingCluster(Cluster):
    """Its router goes on for a while when it is asked to stop."""

    def settings(self, name: str) -> dict[str, dict]:
        settings = super().settings(name)
        if name in self.ROUTERS:
            settings["server"]["leave_seconds"] = 3
        return settings


@pytest.fixture
def cluster(tmp_path):
    cluster = LeavingCluster(tmp_path)
    yield cluster
    cluster.end()


def test_a_router_alone_names_what_it_lacks(cluster):
    router = cluster.processes["router"]
    router.start()
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            code, reasons = readyz(router)
            if any("does not answer" in reason for reason in reasons):
                break
        except OSError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert code == 503
    assert any(reason.startswith("the catalog has not been read yet") for reason in reasons), reasons
    assert "no writable node has answered since this process began" in reasons
    assert "no node: none of the 3 that discovery names can be used" in reasons
    assert f"node writer: 127.0.0.1:{cluster.ports['writer']} does not answer" in reasons
    shown = status(router)
    assert all(f"not ready: {reason}" in shown for reason in reasons if not reason.startswith("node")), shown
    assert json.loads(status(router, "--json"))["not_ready"]


def test_readiness_comes_and_goes_with_its_reasons(cluster):
    reader, router = cluster.processes["ro1"], cluster.processes["router"]
    reader.start()
    unmarked = "the shared directory has no marker file yet"

    def waits() -> bool:
        try:
            code, lines = readyz(reader)
        except OSError:
            return False
        return code == 503 and lines[0].startswith(unmarked)

    wait_for("the reader to wait for the directory's marker", waits)
    for name in ("writer", "ro2", "router"):
        cluster.processes[name].start()
    cluster.wait_until_ready()
    wait_for("nothing to look at", lambda: readyz(router) == (200, ["ready"]))
    (cluster.folder / "shared" / "cluster").rename(cluster.folder / "aside")
    wait_for("the reader to miss it", lambda: readyz(reader)[0] == 503, seconds=30)
    assert "has lost its marker file" in readyz(reader)[1][0]
    (cluster.folder / "aside").rename(cluster.folder / "shared" / "cluster")
    wait_for("the reader to be back", lambda: readyz(reader)[0] == 200, seconds=30)
    cluster.processes["writer"].kill9()
    wait_for("a word on the writer", lambda: any("no writable node answers" in line for line in readyz(router)[1]))
    assert readyz(router)[0] == 200
    router.running.send_signal(signal.SIGTERM)
    wait_for("the router to leave", lambda: readyz(router) == (503, ["asked to stop, draining"]))


def test_idle_nodes_do_not_lag_and_say_when_they_heard_the_writer(cluster):
    cluster.start()
    client = MilvusClient(cluster.uri, timeout=CONNECT_WITHIN)
    create(client, "table", {"id": KEY, "vec": vector(DIM)}, {"vec": FLAT_L2})
    insert(client, "table", rows_of(random_vectors(2000, DIM, seed=3)), batch=20)
    client.close()
    router = cluster.processes["router"]

    def nodes() -> dict[str, dict]:
        return {node["name"]: node for node in json.loads(status(router, "--json"))["nodes"]}

    def hundred_records_and_no_lag() -> bool:
        now = nodes()
        # Not a delete among them.
        assert all(node["lag"] == 0 for node in now.values()), now
        return now["writer"]["applied"] >= 100

    wait_for("the router to hear of the records", hundred_records_and_no_lag)
    for name in ("ro1", "ro2"):
        assert nodes()[name]["heard_seconds"] < 5
    assert nodes()["writer"]["heard_seconds"] is None
    shown = status(router)
    assert "heard writer" in shown and "confirmed" in shown
    cluster.stop()
