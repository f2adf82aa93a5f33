"""A copy of the metadata database, as it is made for tests or by a restore: who starts on the copy must not reach the
original's nodes, whose rows were copied along, and can become a cluster of its own."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import harness
import pytest
from harness import CONNECT_WITHIN, Cluster, MysqlCluster, Process, free_ports, toml
from pymilvus import MilvusClient, MilvusException
from tables import FLAT_L2, KEY, create, insert, random_vectors, rows_of, vector, wait_for

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "servers"))
from servers import Mariadb  # noqa: E402

pytestmark = [pytest.mark.targets("cluster"), pytest.mark.timeout(240)]

DIM = 4
VICTIM = "victim"
COPY = "restored"
TABLES = "select group_concat(table_name) from information_schema.tables where table_schema = 'mishards'"


def copy_database(database: Mariadb, name: str) -> str:
    """All tables as they are at one moment. The answer is the copy's address."""
    tables = database.sql(TABLES).split(",")
    each = [f"create table {name}.{t} like mishards.{t}; " for t in tables]
    each += ["start transaction with consistent snapshot; "]
    each += [f"insert into {name}.{t} select * from mishards.{t}; " for t in tables]
    database.sql(f"create database {name} character set utf8mb4; {''.join(each)} commit")
    return f"{database.url}/{name}"


@contextlib.contextmanager
def a_router(original: Cluster, folder: Path, **changes: dict):
    """A router that runs with the settings of one of the cluster's but for the changes: the file was copied along."""
    port, ops_port = free_ports(2)
    settings = original.settings(original.ROUTERS[0])
    settings["server"] = {"listen": f"127.0.0.1:{port}", "ops_listen": f"127.0.0.1:{ops_port}"}
    for section, values in changes.items():
        settings[section] = settings.get(section, {}) | values
    folder.mkdir()
    config = folder / "router.toml"
    config.write_text(toml(settings))
    process = Process("copy", ["router", "--config", str(config)], folder / "copy.log", ops_port)
    process.start()
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.end()


def unused(process: Process) -> dict[str, str]:
    try:
        return json.loads(process.ops("/status"))["unused"]
    except OSError:
        return {}


class Watching:
    """Collects whom a router does not use, and why: those whose heartbeats stand still are no members at all after a while."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.reasons: dict[str, str] = {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self) -> None:
        while not self.over.wait(0.05):
            self.reasons |= unused(self.process)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()


def fill(uri: str) -> MilvusClient:
    client = MilvusClient(uri, dedicated=True, timeout=CONNECT_WITHIN)
    create(client, VICTIM, {"id": KEY, "vec": vector(DIM)}, {"vec": FLAT_L2})
    insert(client, VICTIM, rows_of(random_vectors(10, DIM, 1)))
    return client


def attack(uri: str, seconds: float) -> None:
    """Writes and drops through a router, again and again: none of it may reach the original."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            client = MilvusClient(uri, dedicated=True, timeout=2)
            client.insert(VICTIM, [{"id": 777, "vec": [1.0] * DIM}], timeout=2, retry_times=1)
            client.drop_collection(VICTIM, timeout=2, retry_times=1)
        except (MilvusException, grpc.RpcError):
            pass
        time.sleep(0.1)


def is_untouched(client: MilvusClient) -> bool:
    if not client.has_collection(VICTIM):
        return False
    return len(client.query(VICTIM, filter="id >= 0", output_fields=["id"], consistency_level="Strong")) == 10


def test_a_copy_of_the_database_reaches_nobody_of_the_original(tmp_path, database):
    cluster = MysqlCluster(tmp_path, f"{database.url}/mishards")
    cluster.start()
    try:
        client = fill(cluster.uris[0])
        address = copy_database(database, COPY)
        with a_router(cluster, tmp_path / "copy", cluster={"catalog": address}) as (router, uri):
            # At once, while the copied heartbeats are as fresh as can be, and past their time to live.
            watching = Watching(router)
            with watching:
                attack(uri, 8)
            assert is_untouched(client)
            reasons = watching.reasons
            assert set(reasons) == set(cluster.ROLES), reasons
            assert all("belongs to another catalog than ours" in why for why in reasons.values()), reasons

        # A router of the original's own starts as before.
        with a_router(cluster, tmp_path / "fresh") as (router, uri):
            router.wait_until_ready(time.monotonic() + CONNECT_WITHIN)
            own = MilvusClient(uri, dedicated=True, timeout=CONNECT_WITHIN)
            own.insert(VICTIM, [{"id": 10, "vec": [1.0] * DIM}])
            assert len(client.query(VICTIM, filter="id >= 0", output_fields=["id"], consistency_level="Strong")) == 11
            assert unused(router) == {}
            own.close()
        client.close()
    finally:
        cluster.end()


def test_a_copied_file_of_sqlite_reaches_no_writer_that_settings_name(tmp_path):
    cluster = Cluster(tmp_path)
    cluster.start()
    try:
        client = fill(cluster.uri)
        copied = tmp_path / "copied.db"
        with sqlite3.connect(tmp_path / "catalog.db") as original, sqlite3.connect(copied) as copy:
            original.backup(copy)
        with a_router(cluster, tmp_path / "copy", cluster={"catalog": f"sqlite:{copied}"}) as (router, uri):
            attack(uri, 5)
            assert is_untouched(client)
            reasons = unused(router)
            assert "it holds the lease of term 1" in reasons["writer"], reasons
        client.close()
    finally:
        cluster.end()


def test_a_copy_becomes_a_cluster_of_its_own_by_another_name(tmp_path, database):
    cluster = MysqlCluster(tmp_path, f"{database.url}/mishards")
    cluster.start()
    try:
        client = fill(cluster.uris[0])
        client.flush(VICTIM)
        address = copy_database(database, COPY)
        shared = tmp_path / "copied"
        subprocess.run(["cp", "-a", tmp_path / "shared", shared], check=True)
        settings = cluster.settings("w1")
        config = tmp_path / "copy.toml"

        def rename(**changes: str) -> subprocess.CompletedProcess:
            settings["cluster"] |= changes
            settings["node"]["cache_dir"] = str(tmp_path / "copy-cache")
            config.write_text(toml(settings))
            command = [harness.BINARY, "rename", "staging", "--config", config]
            return subprocess.run(command, capture_output=True, text=True, timeout=60)

        # With the settings of the original: its lease is being renewed, and nothing is changed.
        refused = rename(shared_dir=str(shared))
        assert refused.returncode == 1 and "is being renewed" in refused.stderr, refused
        done = rename(catalog=address)
        assert done.returncode == 0 and 'set cluster.id = "staging"' in done.stdout, done

        class Staging(MysqlCluster):
            ROLES = {"s1": "writable", "s2": "readonly"}
            ROUTERS = ("router1",)

            def settings(self, name: str) -> dict[str, dict]:
                found = super().settings(name)
                found["cluster"] |= {"id": "staging", "shared_dir": str(shared)}
                return found

        (tmp_path / "staging").mkdir()
        staging = Staging(tmp_path / "staging", address)
        try:
            staging.start()
            theirs = MilvusClient(staging.uris[0], dedicated=True, timeout=CONNECT_WITHIN)
            assert is_untouched(theirs), "the copy has what the original had"
            theirs.drop_collection(VICTIM)
            wait_for("the copy's drop", lambda: not theirs.has_collection(VICTIM))
            theirs.close()
        finally:
            staging.end()
        assert is_untouched(client)
        # Neither's routers take the other's directory or nodes for theirs.
        with a_router(cluster, tmp_path / "other", cluster={"catalog": address}) as (_, uri):
            attack(uri, 3)
        assert is_untouched(client)
        client.close()
    finally:
        cluster.end()
