#!/usr/bin/env python3
"""The real servers that tests run against: one class for each. They listen on 127.0.0.1 and keep nothing.

As a program it starts some of them for a test run; `servers.py --help` lists its commands.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import consul_package
import keeper
from server import ANSWER_WITHIN, Server, ServerError, fetch, talk


class Mariadb(Server):
    """A database server; root needs no password. Its defaults are upstream's: the character set is latin1."""

    name = "mariadb"
    variable = "MISHARDS_TEST_MYSQL"
    needs = {
        "mariadbd": "mariadb-server-core",
        "mariadb-install-db": "mariadb-server-core",
        "mariadb": "mariadb-client-core",
    }

    def prepare(self) -> None:
        no_password = "--auth-root-authentication-method=normal"
        any_host_name = "--force"  # Without it, the name of this host must resolve.
        self.run("mariadb-install-db", *self.storage(), no_password, any_host_name, "--skip-test-db")

    def storage(self) -> list[str]:
        options = ["--no-defaults", f"--datadir={self.folder / 'data'}", "--innodb-log-file-size=16M"]
        return [*options, "--user=root"] if os.getuid() == 0 else options

    def command(self) -> list[str]:
        network = [f"--port={self.port}", "--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=1000"]
        # A commit is handed to the kernel, not forced to the disk: it survives a killed server, and is quick.
        speed = ["--innodb-flush-log-at-trx-commit=2"]
        return ["mariadbd", *self.storage(), f"--socket={self.folder / 'socket'}", *network, *speed]

    def is_ready(self) -> bool:
        return self.sql("select 1", ANSWER_WITHIN) == "1"

    @property
    def url(self) -> str:
        return f"mysql://root@127.0.0.1:{self.port}"

    def sql(self, text: str, within: float = 10) -> str:
        """Runs statements with the client program; a row is a line, its columns are separated by tabs."""
        command = ["mariadb", "--no-defaults", "--batch", "--skip-column-names", "--user=root", *self.client_options()]
        command += ["--protocol=tcp", "--host=127.0.0.1", f"--port={self.port}", f"--execute={text}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=within, check=True, env=self.environment()
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"no answer within {within} s") from error
        except subprocess.CalledProcessError as error:
            raise OSError(error.stderr.strip()) from error
        return done.stdout.strip()

    def client_options(self) -> list[str]:
        return ["--skip-ssl"]


class MariadbTls(Mariadb):
    """A database server that refuses connections without TLS. Its certificate is for 127.0.0.1 and localhost."""

    name = "mariadb-tls"
    variable = "MISHARDS_TEST_MYSQL_TLS"
    needs = Mariadb.needs | {"openssl": "openssl"}

    CERTIFICATES = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = IP:127.0.0.1, DNS:localhost
extendedKeyUsage = serverAuth
"""

    @property
    def ca(self) -> Path:
        """The certificate that clients verify the server with."""
        return self.folder / "authority.pem"

    def prepare(self) -> None:
        (self.folder / "openssl.cnf").write_text(self.CERTIFICATES)
        self.certificate("authority", "Mishards test authority")
        self.certificate("server", "127.0.0.1", "-CA", "authority.pem", "-CAkey", "authority.key")
        super().prepare()

    def certificate(self, name: str, subject: str, *signed_by: str) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]
        what = ["-x509", "-config", "openssl.cnf", "-extensions", name, "-subj", f"/CN={subject}", "-days", "30"]
        self.run("openssl", "req", *what, *key, *signed_by, "-out", f"{name}.pem")

    def command(self) -> list[str]:
        files = [f"--ssl-{kind}={self.folder / file}" for kind, file in (("cert", "server.pem"), ("key", "server.key"))]
        return [*super().command(), "--require-secure-transport", f"--ssl-ca={self.ca}", *files]

    def client_options(self) -> list[str]:
        return [f"--ssl-ca={self.ca}", "--ssl-verify-server-cert"]

    def variables(self) -> dict[str, str]:
        return super().variables() | {"MISHARDS_TEST_MYSQL_CA": str(self.ca)}


class Etcd(Server):
    """One member, which is its own leader. Its short election makes restarts quick and allows leases from 1 s on."""

    name = "etcd"
    variable = "MISHARDS_TEST_ETCD"
    needs = {"etcd": "etcd-server"}

    def __init__(self) -> None:
        super().__init__(ports=2)

    def command(self) -> list[str]:
        peer = f"http://127.0.0.1:{self.more_ports[0]}"
        clients = ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        peers = ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}"]
        election = ["--heartbeat-interval", "20", "--election-timeout", "200"]
        return ["etcd", "--name", "one", "--data-dir", str(self.folder / "data"), *clients, *peers, *election]

    def is_ready(self) -> bool:
        return json.loads(fetch(f"{self.url}/health"))["health"] == "true"


class Zookeeper(Server):
    """One server without a quorum. Its short ticks allow session timeouts from 0.4 s on."""

    name = "zookeeper"
    variable = "MISHARDS_TEST_ZOOKEEPER"
    JARS = ["/usr/share/java/zookeeper.jar", "/usr/share/java/slf4j-simple.jar"]
    needs = {"java": "default-jre-headless"} | dict.fromkeys(JARS, "libzookeeper-java")

    def prepare(self) -> None:
        settings = {
            "dataDir": self.folder / "data",
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "tickTime": 200,
            "maxSessionTimeout": 40000,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
        }
        (self.folder / "zoo.cfg").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    def command(self) -> list[str]:
        quick = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        return ["java", *quick, "-cp", ":".join(self.JARS), main, str(self.folder / "zoo.cfg")]

    def is_ready(self) -> bool:
        return "Mode: standalone" in self.srvr()

    def srvr(self) -> str:
        return talk(self.port, b"srvr").decode()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"


class Consul(Server):
    """An agent in development mode, which keeps its state in memory: after a restart it has forgotten everything."""

    name = "consul"
    variable = "MISHARDS_TEST_CONSUL"

    def __init__(self) -> None:
        super().__init__(ports=3)

    @classmethod
    def why_not(cls) -> str:
        return super().why_not() or consul_package.why_not()

    def command(self) -> list[str]:
        server, serf = map(str, self.more_ports)
        ports = ["-http-port", str(self.port), "-server-port", server, "-serf-lan-port", serf]
        ports += ["-serf-wan-port", "-1", "-dns-port", "-1", "-grpc-port", "-1"]
        where = ["-client", "127.0.0.1", "-bind", "127.0.0.1", "-hcl", "disable_update_check = true"]
        return [str(consul_package.PROGRAM), "agent", "-dev", *where, *ports]

    def is_ready(self) -> bool:
        """It has a leader, which knows about the agent: from then on services can be registered and found."""
        return bool(json.loads(fetch(f"{self.url}/v1/health/service/consul?passing")))


class Proxy(Server):
    """A load balancer; `config` is the text of its configuration, or the path of a file with it.

    In the text, `@port@` stands for a free port; without it, `port` must say where the balancer listens.
    """

    # How an HTTP/2 client begins, and its empty settings. Whatever protocol the port speaks, it says something to
    # this or closes, and no request reaches the servers behind.
    GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"

    def __init__(self, config: str | Path, port: int | None = None) -> None:
        super().__init__()
        self.port = port or self.port
        text = config.read_text() if isinstance(config, Path) else config
        self.config = text.replace("@port@", str(self.port))
        self.config_file = self.folder / f"{self.name}.conf"

    def prepare(self) -> None:
        self.config_file.write_text(self.config)

    def is_ready(self) -> bool:
        talk(self.port, self.GREETING)
        return True


class Nginx(Proxy):
    name = "nginx"
    needs = {"nginx": "nginx-light"}

    def prepare(self) -> None:
        """Sends what nginx would write below /var to its own folder, which an ordinary user needs."""
        paths = [f"{kind}_temp_path" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
        ours = "".join(f"{key} {self.folder / key};" for key in [*paths, "access_log"] if not self.says(key))
        self.config_file.write_text(re.sub(r"\bhttp\s*{", rf"\g<0> {ours}", self.config, count=1))

    def says(self, key: str) -> bool:
        return re.search(rf"(?m)(^|[;{{])\s*{key}\s", self.config) is not None

    def command(self) -> list[str]:
        # One process: with a worker of its own, the worker would outlive a killed master.
        ours = {"daemon": "off", "master_process": "off", "pid": self.folder / "pid"}
        settings = " ".join(f"{key} {value};" for key, value in ours.items() if not self.says(key))
        return ["nginx", "-p", str(self.folder), "-c", str(self.config_file), "-e", "stderr", "-g", settings]


class Haproxy(Proxy):
    name = "haproxy"
    needs = {"haproxy": "haproxy"}

    def command(self) -> list[str]:
        return ["haproxy", "-db", "-f", str(self.config_file)]


class Prometheus(Server):
    """`config` is the text of its configuration; without one it scrapes nothing."""

    name = "prometheus"
    needs = {"prometheus": "prometheus"}

    def __init__(self, config: str | Path = "") -> None:
        super().__init__()
        self.config = config.read_text() if isinstance(config, Path) else config

    def prepare(self) -> None:
        (self.folder / "prometheus.yml").write_text(self.config)

    def command(self) -> list[str]:
        files = [f"--config.file={self.folder / 'prometheus.yml'}", f"--storage.tsdb.path={self.folder / 'data'}"]
        return ["prometheus", *files, f"--web.listen-address=127.0.0.1:{self.port}"]

    def is_ready(self) -> bool:
        return bool(fetch(f"{self.url}/-/ready"))


KINDS = {kind.name: kind for kind in (Mariadb, MariadbTls, Etcd, Zookeeper, Consul, Nginx, Haproxy, Prometheus)}


# --- the program --------------------------------------------------------------------------------------------------


def up(names: list[str], pid: int) -> None:
    """Starts servers in the background and says where they are; what is not on this machine is left out."""
    kinds = [KINDS[name] for name in dict.fromkeys(names)]
    for kind in kinds:
        if reason := kind.why_not():
            print(f"servers.py: {kind.name} is left out: {reason}", file=sys.stderr)
    lines = [f"{name}={value}\n" for name, value in keeper.up([k for k in kinds if k.available()], pid).items()]
    if file := os.environ.get("NEXTEST_ENV"):
        with Path(file).open("a", encoding="utf-8") as variables:
            variables.writelines(lines)
    else:
        sys.stdout.writelines(lines)


def packages() -> list[str]:
    return sorted({package for kind in KINDS.values() for package in kind.missing().values()})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Starts the real servers that tests run against.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("up", help="start servers in the background and print where they are")
    start.add_argument("--until", type=int, required=True, metavar="PID", help="end them when this process is gone")
    start.add_argument("names", nargs="+", choices=[name for name, kind in KINDS.items() if kind.variable])
    commands.add_parser("packages", help="print the Debian packages that are missing on this machine")
    commands.add_parser("fetch", help="get Consul, which is not in this Debian")
    commands.add_parser("missing", help="print which servers cannot run on this machine, and why")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    try:
        match arguments.command:
            case "up":
                up(arguments.names, arguments.until)
            case "packages":
                print(*packages())
            case "fetch":
                consul_package.fetch()
            case "missing":
                for name, kind in KINDS.items():
                    if reason := kind.why_not():
                        print(f"{name}: {reason}")
    except ServerError as error:
        print(f"servers.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
