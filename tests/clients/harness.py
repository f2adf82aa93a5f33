"""Starts the program under test: one standalone server, or a cluster of four processes on this host.
A process is ended by its own pid only, and its log stays in its folder."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
BINARY = Path(os.environ.get("MISHARDS_BIN", HERE / "../../target/ci/mishards")).resolve()
READY_WITHIN = 60
STOPPED_WITHIN = 60
CONNECT_WITHIN = 10
LOG_LINES_SHOWN = 60


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on; held together, so that they differ."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Process:
    """One process of the program, with its log file and its ops port."""

    def __init__(self, name: str, arguments: list[str], log: Path, ops_port: int) -> None:
        self.name = name
        self.command = [str(BINARY), *arguments]
        self.log = log
        self.ops_port = ops_port
        self.running: subprocess.Popen | None = None
        self.log_checked = 0

    def start(self) -> None:
        with self.log.open("ab") as log:
            # Our own variables would be named in a warning.
            ours = [name for name in os.environ if name.startswith("MISHARDS_") and not name.startswith("MISHARDS__")]
            environment = {k: v for k, v in os.environ.items() if k not in ours} | {"RUST_BACKTRACE": "1"}
            self.running = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)

    def ops(self, path: str) -> str:
        """Body of an ops page; raises when the status is not 2xx."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops_port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def wait_until_ready(self, deadline: float) -> None:
        while not self.is_ready():
            self.check_alive()
            assert time.monotonic() < deadline, f"{self.name} is not ready after {READY_WITHIN} s"
            time.sleep(0.02)

    def is_ready(self) -> bool:
        try:
            self.ops("/readyz")
        except OSError:  # Nobody listens yet, or the answer is "not yet".
            return False
        return True

    def check_alive(self) -> None:
        """Neither ended nor panicked: a background task may panic while the server goes on answering."""
        code = self.running.poll()
        assert code is None, f"{self.name} ended by itself with exit code {code}"
        self.check_no_panic()

    def check_no_panic(self) -> None:
        with self.log.open("rb") as log:
            log.seek(self.log_checked)
            text = log.read()
        self.log_checked += len(text)
        panics = [line for line in text.decode(errors="replace").splitlines() if "panicked at" in line]
        assert not panics, f"{self.name} panicked: {panics}"

    def stop(self) -> None:
        """An orderly end: SIGTERM, then exit code 0."""
        self.check_alive()
        self.running.send_signal(signal.SIGTERM)
        code = self.running.wait(timeout=STOPPED_WITHIN)
        assert code == 0, f"{self.name} answered SIGTERM with exit code {code}"
        self.check_no_panic()

    def kill9(self) -> None:
        self.check_alive()
        self.running.kill()
        self.running.wait()

    def end(self) -> None:
        """Leaves nothing behind, whatever happened."""
        if self.running and self.running.poll() is None:
            self.running.kill()
            self.running.wait()

    def last_words(self) -> str:
        if not self.log.exists():
            return f"--- {self.name}: no log"
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"--- {self.name}: {self.log}", *lines])


class Deployment:
    """Processes that together answer at one address. They start in their order and stop in the reverse one."""

    def __init__(self, processes: list[Process], port: int) -> None:
        self.processes = {process.name: process for process in processes}
        self.uri = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        try:
            for process in self.processes.values():
                process.start()
            self.wait_until_ready()
        except BaseException as error:
            error.add_note(self.logs())
            self.end()
            raise

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        for process in self.processes.values():
            process.wait_until_ready(deadline)

    def stop(self) -> None:
        try:
            for process in reversed(self.processes.values()):
                process.stop()
        except BaseException as error:
            error.add_note(self.logs())
            raise
        finally:
            self.end()

    def kill9(self) -> None:
        for process in self.processes.values():
            process.kill9()

    def end(self) -> None:
        for process in self.processes.values():
            process.end()

    def check_alive(self) -> None:
        for process in self.processes.values():
            process.check_alive()

    def logs(self) -> str:
        return "\n".join(process.last_words() for process in self.processes.values())


class Server(Deployment):
    """One standalone server on a data directory of its own; after stop or kill9, start goes on with the same one."""

    def __init__(self, folder: Path) -> None:
        port, ops_port = free_ports(2)
        arguments = ["standalone", "--data-dir", str(folder / "data")]
        arguments += ["--listen", f"127.0.0.1:{port}", "--ops-listen", f"127.0.0.1:{ops_port}"]
        super().__init__([Process("standalone", arguments, folder / "standalone.log", ops_port)], port)


class Cluster(Deployment):
    """One writable and two read-only nodes and a router, with static discovery and a shared directory."""

    ROLES = {"writer": "writable", "ro1": "readonly", "ro2": "readonly"}
    ROUTERS = ("router",)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = [*self.ROLES, *self.ROUTERS]
        ports = free_ports(2 * len(names))
        self.ports = dict(zip(names, ports[: len(names)]))
        self.ops_ports = dict(zip(names, ports[len(names) :]))
        (folder / "shared").mkdir()
        super().__init__([self.process(name) for name in names], self.ports[self.ROUTERS[0]])

    def process(self, name: str) -> Process:
        config = self.folder / f"{name}.toml"
        config.write_text(toml(self.settings(name)))
        command = [*self.command(name), "--config", str(config)]
        return Process(name, command, self.folder / f"{name}.log", self.ops_ports[name])

    def command(self, name: str) -> list[str]:
        return ["node", "--role", self.ROLES[name]] if name in self.ROLES else ["router"]

    def settings(self, name: str) -> dict[str, dict]:
        settings = {
            "cluster": {
                "id": "client-tests",
                "shared_dir": str(self.folder / "shared"),
                "catalog": f"sqlite:{self.folder / 'catalog.db'}",
            },
            "server": {
                "listen": f"127.0.0.1:{self.ports[name]}",
                "ops_listen": f"127.0.0.1:{self.ops_ports[name]}",
            },
            "discovery": {
                "plugin": "static",
                "static_nodes": [f"{node}={role}@127.0.0.1:{self.ports[node]}" for node, role in self.ROLES.items()],
            },
            "log": {"format": "json"},
        }
        if name in self.ROLES:
            settings["node"] = {"name": name, "cache_dir": str(self.folder / f"{name}-cache")}
        return settings


class MysqlCluster(Cluster):
    """Two nodes that may write, two that only read and two routers; catalog and discovery are in MariaDB."""

    ROLES = {"w1": "writable", "w2": "writable", "ro1": "readonly", "ro2": "readonly"}
    ROUTERS = ("router1", "router2")

    def __init__(self, folder: Path, database: str) -> None:
        self.database = database
        super().__init__(folder)
        self.uris = [f"http://127.0.0.1:{self.ports[name]}" for name in self.ROUTERS]

    def command(self, name: str) -> list[str]:
        return super().command(name) if name in self.ROLES else ["router"]

    def settings(self, name: str) -> dict[str, dict]:
        settings = super().settings(name)
        settings["cluster"]["catalog"] = self.database
        settings["discovery"] = {"plugin": "catalog", "ttl_seconds": 3}
        settings["lease"] = {"ttl_seconds": 2}
        if name in self.ROUTERS:
            settings["server"]["state_dir"] = str(self.folder / f"{name}-state")
        return settings

    def writer(self) -> str:
        """The node that writes now; an assertion fails when none does within a while."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            for name, role in self.ROLES.items():
                if role == "writable" and self.writes(name):
                    return name
            time.sleep(0.05)
        raise AssertionError("no node writes")

    def writes(self, name: str) -> bool:
        return self.says(name, "mishards_node_is_writer 1")

    def stands_by(self, name: str) -> bool:
        return self.says(name, "mishards_node_is_standby 1") and not self.writes(name)

    def says(self, name: str, metric: str) -> bool:
        process = self.processes[name]
        if process.running is None or process.running.poll() is not None:
            return False
        try:
            metrics = process.ops("/metrics")
        except OSError:
            return False
        return metric in metrics.splitlines()


def toml(sections: dict[str, dict]) -> str:
    """Strings and lists of strings are written the same way in TOML as in JSON."""
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
