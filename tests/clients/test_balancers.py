"""Two routers behind a real Nginx and a real HAProxy, with the configurations of `deploy/`: one address for clients, which
works on while routers are killed and restarted one after the other."""

import sys
import time
from pathlib import Path

import pytest
from harness import CONNECT_WITHIN, READY_WITHIN, MysqlCluster
from pymilvus import MilvusClient
from tables import FLAT_L2, KEY, NUMBER, create, insert, random_vectors, rows_of, vector
from test_failover import Load

HERE = Path(__file__).resolve().parent
DEPLOY = HERE.parent.parent / "deploy"
sys.path.insert(0, str(HERE.parent / "servers"))
from servers import Haproxy, Mariadb, Nginx  # noqa: E402

pytestmark = [pytest.mark.targets("cluster"), pytest.mark.timeout(240)]

DIM = 16
ROWS = 3000


def with_routers(text: str, cluster: MysqlCluster) -> str:
    """A configuration of `deploy/` with the addresses of this test in place of its own."""
    for number, name in enumerate(cluster.ROUTERS, 1):
        assert f"router-{number}:19530" in text
        text = text.replace(f"router-{number}:19530 port 9091", f"127.0.0.1:{cluster.ports[name]} port {cluster.ops_ports[name]}")
        text = text.replace(f"router-{number}:19530", f"127.0.0.1:{cluster.ports[name]}")
    return text


def nginx(cluster: MysqlCluster) -> Nginx:
    site = (DEPLOY / "nginx" / "mishards.conf").read_text().replace("listen 19530", "listen 127.0.0.1:@port@")
    return Nginx("events {}\nhttp {\n" + with_routers(site, cluster) + "}\n")


def haproxy(cluster: MysqlCluster) -> Haproxy:
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text().replace("bind :19530", "bind 127.0.0.1:@port@")
    return Haproxy(with_routers(text, cluster))


@pytest.fixture(params=[nginx, haproxy], ids=["nginx", "haproxy"])
def balanced(request, tmp_path):
    """The cluster, and the address of the load balancer before it."""
    database = Mariadb()
    database.start()
    database.sql("create database mishards character set utf8mb4")
    cluster = MysqlCluster(tmp_path, f"{database.url}/mishards")
    cluster.start()
    balancer = request.param(cluster)
    balancer.start()
    yield cluster, f"http://127.0.0.1:{balancer.port}"
    balancer.close()
    cluster.end()
    database.close()


def test_routers_come_and_go_behind_it(balanced):
    cluster, uri = balanced
    client = MilvusClient(uri, timeout=CONNECT_WITHIN)
    create(client, "table", {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
    vectors = random_vectors(ROWS, DIM, seed=301)
    insert(client, "table", rows_of(vectors, n=lambda key: key))
    client.flush("table")
    with Retrying(uri, "table", "Strong", vectors) as load:
        load.goes_on("with both routers")
        for name in cluster.ROUTERS:
            cluster.processes[name].kill9()
            load.goes_on(f"without {name}")
            revive(cluster, name)
            load.goes_on(f"with {name} again")
        for name in cluster.ROUTERS:
            cluster.processes[name].stop()
            revive(cluster, name)
            time.sleep(3)  # Nginx tries it again by then.
        load.goes_on("after a rolling restart")
    print(f"{sum(load.answered)} searches, the slowest took {max(load.slowest):.2f} s")
    client.close()


def test_a_strong_read_by_one_router_sees_a_write_by_another(balanced):
    cluster, uri = balanced
    one, two = (MilvusClient(address, timeout=CONNECT_WITHIN) for address in cluster.uris)
    behind = MilvusClient(uri, timeout=CONNECT_WITHIN)
    create(behind, "table", {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
    for key in range(100):
        writer, reader = (one, two) if key % 2 else (two, one)
        writer.insert("table", [{"id": key, "n": key, "vec": [float(key)] * DIM}])
        for client in (reader, behind):
            rows = client.query("table", filter=f"id == {key}", output_fields=["n"], consistency_level="Strong")
            assert [row["n"] for row in rows] == [key]
    for client in (one, two, behind):
        client.close()


class Retrying(Load):
    """The same load as a client has it: with pymilvus's own repetitions."""

    options: dict = {}


def revive(cluster: MysqlCluster, name: str) -> None:
    cluster.processes[name].start()
    cluster.processes[name].wait_until_ready(time.monotonic() + READY_WITHIN)
