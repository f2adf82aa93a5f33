"""A sync of the log that fails ends a term and not the process: reads go on, and so do writes, in a new log, when syncs work."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import CONNECT_WITHIN, Cluster, Deployment, Server
from pymilvus import MilvusClient, MilvusException
from tables import count, create_numbered, insert

SOURCE = Path(__file__).with_name("failing_syncs.c")
GOES_ON_WITHIN = 20


@pytest.fixture
def fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Syncs of log files fail while this file is there."""
    library = tmp_path / "failing_syncs.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAILING_SYNCS", str(tmp_path / "fault"))
    return tmp_path / "fault"


def row(key: int) -> dict:
    return {"id": key, "n": key, "vec": [0.0] * 4}


def insert_when_it_goes_on(client: MilvusClient, key: int) -> None:
    deadline = time.monotonic() + GOES_ON_WITHIN
    while True:
        try:
            client.insert("kept", [row(key)], timeout=5)
            return
        except MilvusException as error:
            assert time.monotonic() < deadline, f"writes do not go on: {error.message}"
            time.sleep(0.1)


def check_a_failed_sync(deployment: Deployment, fault: Path) -> None:
    deployment.start()
    client = MilvusClient(deployment.uri, dedicated=True, timeout=CONNECT_WITHIN)
    vectors = create_numbered(client, "kept", 300)
    client.delete("kept", ids=list(range(100)))
    insert(client, "kept", [row(1000)])
    for again in range(2):
        fault.touch()
        with pytest.raises(MilvusException):
            client.insert("kept", [row(2000 + again)], timeout=5)
        began = time.monotonic()
        while time.monotonic() < began + 3:
            # What was refused may be there or not, for its outcome is unknown; what was acknowledged is.
            found = client.query("kept", "id < 2000", output_fields=["id"], consistency_level="Strong")
            assert len(found) == 201 + again
            nearest = client.search("kept", [vectors[200].tolist()], limit=1, consistency_level="Strong")
            assert nearest[0][0]["id"] == 200
            time.sleep(0.05)
        deployment.check_alive()
        fault.unlink()
        insert_when_it_goes_on(client, 1001 + again)
        assert count(client, "kept", "id < 2000") == 202 + again
        # Deletes go on too, of rows from before and from after the end of the term.
        client.delete("kept", ids=[1001 + again])
        assert count(client, "kept", "id < 2000") == 201 + again
        insert(client, "kept", [row(1001 + again)])
    client.flush("kept")
    client.close()
    deployment.stop()
    deployment.start()
    client = MilvusClient(deployment.uri, dedicated=True, timeout=CONNECT_WITHIN)
    assert count(client, "kept", "id < 2000") == 203
    client.close()
    deployment.stop()


@pytest.mark.targets("standalone")
@pytest.mark.parametrize("deployment", [Server, Cluster], ids=["standalone", "cluster"])
def test_reads_go_on_after_a_failed_sync_and_writes_when_syncs_work(
    deployment: Callable[[Path], Deployment], tmp_path: Path, fault: Path
):
    check_a_failed_sync(deployment(tmp_path), fault)
