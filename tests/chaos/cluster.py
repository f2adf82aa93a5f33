"""All of it as real processes: MariaDB, two writable nodes, read-only nodes, two routers, Nginx before them."""

import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "clients"), str(HERE.parent / "servers")]

import harness  # noqa: E402  (after the path is set)
from harness import READY_WITHIN, MysqlCluster, free_ports, toml  # noqa: E402  (after the path is set)
from disk import SmallDisk  # noqa: E402
from network import Forwarder, Namespace  # noqa: E402
from processes import Node, Supervisor  # noqa: E402
from servers import Mariadb, Nginx  # noqa: E402

SITE = HERE.parents[1] / "deploy" / "nginx" / "mishards.conf"
LEASE_SECONDS = 2
CUT_NODE = "ro3"
ADDED_NODE = "ro4"

# Small limits, so that sealing, index building, merging and log switching all happen within seconds.
INGEST = {
    "seal_rows": 1000,
    "seal_age_seconds": 3,
    "delta_max_deletes": 300,
    "merge_max_rows": 2000,
    "background_threads": 1,
}
ACCESS_LOG = (
    "log_format chaos '$time_iso8601 $msec $request_method $uri $status took $request_time s, "
    "routers $upstream_addr said $upstream_status after $upstream_response_time s, grpc-status $sent_http_grpc_status';"
    " access_log access.log chaos;"
)


class ChaosCluster(MysqlCluster):
    """`ro3` can be cut off, `ro4` can be added."""

    ROLES = {"w1": "writable", "w2": "writable", "ro1": "readonly", "ro2": "readonly", "ro3": "readonly"}

    def __init__(self, folder: Path, supervisor: Supervisor, with_namespace: bool, with_disk: bool) -> None:
        self.supervisor = supervisor
        self.shared = folder / "shared"
        self.disk = SmallDisk(self.shared) if with_disk else None
        self.mariadb = Mariadb()
        self.namespace = Namespace() if with_namespace else None
        self.forwarders: list[Forwarder] = []
        self.host = self.namespace.host if self.namespace else "127.0.0.1"
        self.detour, self.proxy_port = free_ports(2)  # To MariaDB for the node that is cut off, and to that node.
        self.added_ports = free_ports(2)
        self.nginx: Nginx | None = None
        self.ingest: dict[str, dict] = {}  # What an event has set for a node.
        super().__init__(folder, f"{self.mariadb.url}/mishards")

    # --- settings ---------------------------------------------------------------------------------------------

    def address_of(self, name: str) -> str:
        """Where a node listens. The node in the namespace must reach those that write."""
        if name == CUT_NODE and self.namespace:
            return self.namespace.inner
        return self.host if self.ROLES.get(name) == "writable" else "127.0.0.1"

    def settings(self, name: str) -> dict[str, dict]:
        settings = super().settings(name)
        address = self.address_of(name)
        settings["cluster"]["id"] = "chaos"
        settings["server"]["listen"] = f"{address}:{self.ports[name]}"
        settings["lease"] = {"ttl_seconds": LEASE_SECONDS}
        if name in self.ROUTERS:
            settings["server"]["leave_seconds"] = 1
        else:
            settings["ingest"] = INGEST | self.ingest.get(name, {})
            settings["node"] |= {"search_threads": 2}
        settings["log"] |= {"file_bytes": 1 << 20}
        if name == CUT_NODE:
            settings["cluster"]["catalog"] = f"mysql://root@{self.host}:{self.detour}/mishards"
            if self.namespace:
                settings["server"]["ops_listen"] = f"{address}:{self.ops_ports[name]}"
            else:
                settings["node"]["advertise"] = f"127.0.0.1:{self.proxy_port}"
        return settings

    def process(self, name: str) -> Node:
        config = self.folder / f"{name}.toml"
        config.write_text(toml(self.settings(name)))
        inside = self.namespace.prefix() if self.namespace and name == CUT_NODE else []
        ops_host = self.namespace.inner if inside else "127.0.0.1"
        command = [*self.command(name), "--config", str(config)]
        return Node(name, command, self.folder / f"{name}.log", (ops_host, self.ops_ports[name]), inside)

    def site(self) -> str:
        """The configuration of `deploy/` with the addresses of this run in place of its own."""
        text = SITE.read_text().replace("listen 19530", "listen 127.0.0.1:@port@")
        for number, name in enumerate(self.ROUTERS, 1):
            assert f"router-{number}:19530" in text
            text = text.replace(f"router-{number}:19530", f"127.0.0.1:{self.ports[name]}")
        return f"events {{}}\nhttp {{\n{ACCESS_LOG}\n{text}}}\n"

    # --- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self.disk:
            self.disk.open()
        self.mariadb.start()
        self.mariadb.sql("create database mishards character set utf8mb4")
        if self.namespace:
            self.namespace.open()
        self.forward((self.host, self.detour), ("127.0.0.1", self.mariadb.port))
        if not self.namespace:
            self.forward(("127.0.0.1", self.proxy_port), ("127.0.0.1", self.ports[CUT_NODE]))
        super().start()
        self.nginx = Nginx(self.site())
        self.nginx.start()
        self.uri = f"http://127.0.0.1:{self.nginx.port}"
        for node in self.processes.values():
            self.supervisor.keep(node)
        self.supervisor.start()

    def forward(self, listen: tuple[str, int], target: tuple[str, int]) -> None:
        forwarder = Forwarder(listen, target)
        forwarder.start()
        self.forwarders.append(forwarder)

    def close(self) -> None:
        """Leaves nothing behind, whatever happened. The logs of the servers come to ours."""
        self.supervisor.close()
        self.end()
        for forwarder in self.forwarders:
            forwarder.close()
        for server, names in ((self.nginx, ("log", "access.log")), (self.mariadb, ("log",))):
            if server is None:
                continue
            for name in names:
                if (server.folder / name).exists():
                    (self.folder / f"{server.name}-{name}").write_bytes((server.folder / name).read_bytes())
            server.close()
        if self.namespace:
            self.namespace.close()
        if self.disk:
            self.disk.close()

    def logs(self) -> str:
        servers = [server.last_words() for server in (self.nginx, self.mariadb) if server]
        return "\n".join([super().logs(), *servers])

    # --- what events do ---------------------------------------------------------------------------------------

    def kill(self, name: str, is_up: bool = False) -> None:
        node = self.processes[name] if is_up else self.supervisor.wait_up(name)
        self.supervisor.let_go(name)
        node.kill9()

    def stop_node(self, name: str) -> None:
        """SIGTERM; an assertion fails unless it exits with 0."""
        node = self.supervisor.wait_up(name)
        self.supervisor.let_go(name)
        node.stop()

    def revive(self, name: str) -> None:
        node = self.processes[name]
        node.start()
        node.wait_until_ready(time.monotonic() + READY_WITHIN)
        self.supervisor.keep(node)

    def configure(self, name: str, ingest: dict, environment: dict[str, str]) -> None:
        """From its next start on."""
        self.ingest[name] = ingest
        (self.folder / f"{name}.toml").write_text(toml(self.settings(name)))
        self.processes[name].environment = environment

    def start_node(self, name: str) -> None:
        """Without waiting: it may not be ready for a while, or end, and is started again then."""
        self.processes[name].start()
        self.supervisor.keep(self.processes[name])

    def cut(self) -> None:
        for cutter in [self.namespace] if self.namespace else self.forwarders:
            cutter.cut()

    def heal(self) -> None:
        for cutter in [self.namespace] if self.namespace else self.forwarders:
            cutter.heal()

    def add_node(self) -> None:
        self.ROLES = self.ROLES | {ADDED_NODE: "readonly"}
        self.ports[ADDED_NODE], self.ops_ports[ADDED_NODE] = self.added_ports
        self.processes[ADDED_NODE] = self.process(ADDED_NODE)
        self.revive(ADDED_NODE)

    def standby(self) -> str:
        """The writable node that does not write now."""
        writer = self.writer()
        return next(name for name, role in self.ROLES.items() if role == "writable" and name != writer)

    def wait_serving(self, name: str) -> None:
        """Until a node answers searches, which it does once the routers have found it and placed segments on it."""
        node, began = self.processes[name], time.monotonic()
        before = node.metric("mishards_node_search_seconds_count") + node.metric("mishards_node_query_seconds_count")
        while True:
            now = node.metric("mishards_node_search_seconds_count") + node.metric("mishards_node_query_seconds_count")
            if now > before:
                return
            assert time.monotonic() - began < READY_WITHIN, f"{name} was not asked anything in {READY_WITHIN} s"
            time.sleep(0.1)
