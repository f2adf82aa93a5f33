#!/usr/bin/env python3
"""Checks the servers themselves: each is started, used, paused, killed, started again and used again.

`check.py [NAME...]` prints a table and fails if anything is not as it should be; a server that is not here is a fault.
Without names it also checks that servers in the background end in time, whoever is killed.
"""

import contextlib
import http.server
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

from server import Server, ServerError, fetch
from servers import KINDS, Consul, Etcd, Haproxy, Mariadb, MariadbTls, Nginx, Prometheus, Zookeeper

PROGRAM = Path(__file__).resolve().parent / "servers.py"
IN_BACKGROUND = [name for name, kind in KINDS.items() if kind.variable]
STARTED_WITHIN = 10
GONE_WITHIN = 10

NGINX = """
events {}
http { server { listen 127.0.0.1:@port@; location / { proxy_pass http://127.0.0.1:BACKEND; } } }
"""
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
listen front
    bind 127.0.0.1:@port@
    server back 127.0.0.1:BACKEND
"""


def expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"expected {wanted!r}, found {found!r}")


def expect_refused(call: Callable[[], object]) -> None:
    try:
        call()
    except OSError:
        return
    raise AssertionError("nothing was refused")


# --- one real operation for each; `again`: what was written before the restart must still be there ------------------


def use_mariadb(server: Mariadb, again: bool) -> str:
    if not again:
        server.sql("create database d; create table d.t (a int primary key) engine=innodb; insert into d.t values (7)")
    expect(server.sql("select a from d.t"), "7")
    return "SQL, " + server.sql("select version()")


def use_mariadb_tls(server: MariadbTls, again: bool) -> str:
    version = verified_tls(server.port, str(server.ca))
    expect_refused(lambda: verified_tls(server.port, None))
    with contextlib.closing(Mariadb()) as without_tls:
        without_tls.port = server.port
        expect_refused(lambda: without_tls.sql("select 1"))
    return f"{use_mariadb(server, again)}, {version}"


def verified_tls(port: int, authority: str | None) -> str:
    """The handshake of a client that accepts the certificates of this authority only, or of the system's ones."""
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.recv(4096)
        request = struct.pack("<IIB23x", 0x8000 | 0x800 | 0x200, 1 << 24, 45)
        plain.sendall(len(request).to_bytes(3, "little") + b"\1" + request)
        context = ssl.create_default_context(cafile=authority)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            return secure.version()


def use_etcd(server: Etcd, again: bool) -> str:
    key, value = b64encode(b"key").decode(), b64encode(b"value").decode()
    if not again:
        fetch(f"{server.url}/v3/kv/put", {"key": key, "value": value})
    [row] = json.loads(fetch(f"{server.url}/v3/kv/range", {"key": key}))["kvs"]
    expect(b64decode(row["value"]), b"value")
    return "put, get, " + json.loads(fetch(f"{server.url}/version"))["etcdserver"]


def use_zookeeper(server: Zookeeper, again: bool) -> str:
    return "srvr, " + server.srvr().split("version: ")[1].split("-")[0]


def use_consul(server: Consul, again: bool) -> str:
    return "agent/self, " + json.loads(fetch(f"{server.url}/v1/agent/self"))["Config"]["Version"]


def use_proxy(server: Nginx | Haproxy, again: bool) -> str:
    expect(fetch(f"{server.url}/hello"), "hello from the back")
    return "one request through it"


def use_prometheus(server: Prometheus, again: bool) -> str:
    fetch(f"{server.url}/-/ready")
    return "ready, " + json.loads(fetch(f"{server.url}/api/v1/status/buildinfo"))["data"]["version"]


class Back(http.server.BaseHTTPRequestHandler):
    """What stands behind the load balancers."""

    def do_GET(self) -> None:  # noqa: N802, the name is Python's.
        body = b"hello from the back"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def behind_proxies() -> str:
    back = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Back)
    threading.Thread(target=back.serve_forever, daemon=True).start()
    return str(back.server_address[1])


CHECKS: dict[str, tuple[Callable[[str], Server], Callable[..., str]]] = {
    "mariadb": (lambda back: Mariadb(), use_mariadb),
    "mariadb-tls": (lambda back: MariadbTls(), use_mariadb_tls),
    "etcd": (lambda back: Etcd(), use_etcd),
    "zookeeper": (lambda back: Zookeeper(), use_zookeeper),
    "consul": (lambda back: Consul(), use_consul),
    "nginx": (lambda back: Nginx(NGINX.replace("BACKEND", back)), use_proxy),
    "haproxy": (lambda back: Haproxy(HAPROXY.replace("BACKEND", back)), use_proxy),
    "prometheus": (lambda back: Prometheus(), use_prometheus),
}


# --- one server ----------------------------------------------------------------------------------------------------


def seconds(call: Callable[[], object]) -> str:
    began = time.monotonic()
    call()
    return f"{time.monotonic() - began:.2f}"


def check_server(name: str, back: str) -> list[str]:
    """Its row of the table."""
    make, use = CHECKS[name]
    if reason := KINDS[name].why_not():
        raise ServerError(reason)
    server = make(back)
    try:
        started = seconds(server.start)
        use(server, again=False)
        check_pause(server)
        pid = server.process.pid
        server.kill()
        expect(server.answers(), False)
        killed = seconds(server.start)
        expect(server.process.pid != pid, True)
        shown = use(server, again=name != "consul")
        stopped = seconds(server.stop)
        expect(server.process.returncode == -signal.SIGKILL, False)
        restarted = seconds(server.start)
        use(server, again=True)
    except BaseException as error:
        error.add_note(server.last_words())
        raise
    finally:
        server.close()
    expect(processes_in(server.folder), [])
    expect(server.folder.exists(), False)
    return [name, started, killed, stopped, restarted, shown]


def check_pause(server: Server) -> None:
    server.pause()
    expect(server.answers(), False)
    server.resume()
    deadline = time.monotonic() + STARTED_WITHIN
    while not server.answers():
        expect(time.monotonic() < deadline, True)


def processes_in(folder: Path) -> list[int]:
    """Those that work in the folder, as every server does in its own."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str((process / "cwd").readlink()).startswith(str(folder)):
                found.append(int(process.name))
        except OSError:  # It ended, or belongs to somebody else.
            continue
    return found


# --- servers in the background -----------------------------------------------------------------------------------


class Background:
    """`servers.py up` for a process of ours, with a folder of its own for whatever it leaves behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.watched = subprocess.Popen(["sleep", "600"])
        command = [sys.executable, str(PROGRAM), "up", "--until", str(self.watched.pid), *IN_BACKGROUND]
        environment = {key: value for key, value in os.environ.items() if key != "NEXTEST_ENV"}
        environment["TMPDIR"] = str(folder)
        self.up = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def keeper(self) -> int:
        """The background process: it has the same command line as its parent, and outlives it."""
        wanted = f"\0--until\0{self.watched.pid}\0".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (process / "cmdline").read_bytes() and int(process.name) != self.up.pid:
                    return int(process.name)
            except OSError:
                continue
        raise AssertionError("there is no background process")

    def wait_until_started(self) -> None:
        output, _ = self.up.communicate(timeout=STARTED_WITHIN)
        expect(self.up.returncode, 0)
        for name in IN_BACKGROUND:
            expect(f"{KINDS[name].variable}=" in output, True)
        expect(len(processes_in(self.folder)), len(IN_BACKGROUND))

    def wait_until_one_runs(self) -> None:
        deadline = time.monotonic() + STARTED_WITHIN
        while not processes_in(self.folder):
            expect(time.monotonic() < deadline, True)

    def wait_until_gone(self) -> None:
        deadline = time.monotonic() + GONE_WITHIN
        while processes_in(self.folder):
            expect(time.monotonic() < deadline, True)
            time.sleep(0.01)

    def wait_until_clean(self) -> None:
        self.wait_until_gone()
        deadline = time.monotonic() + GONE_WITHIN
        while list(self.folder.iterdir()):
            expect(time.monotonic() < deadline, True)
            time.sleep(0.01)

    def end(self) -> None:
        """Leaves nothing behind, whatever was found."""
        for left in processes_in(self.folder):
            os.kill(left, signal.SIGKILL)
        self.watched.kill()
        self.watched.wait()
        self.up.kill()
        self.up.wait()
        self.up.stdout.close()


def watched_ends(background: Background) -> str:
    started = seconds(background.wait_until_started)
    background.watched.kill()
    return f"{started} s to start all, {seconds(background.wait_until_clean)} s to end them"


def watched_ends_early(background: Background) -> str:
    background.wait_until_one_runs()
    background.watched.kill()
    return f"{seconds(background.wait_until_clean)} s to end them"


def up_is_interrupted(background: Background) -> str:
    background.wait_until_one_runs()
    background.up.send_signal(signal.SIGINT)
    ended = seconds(background.wait_until_clean)
    expect(background.up.wait(), 130)
    return f"{ended} s to end them"


def keeper_is_killed(background: Background) -> str:
    background.wait_until_started()
    os.kill(background.keeper(), signal.SIGKILL)
    return f"{seconds(background.wait_until_gone)} s to end them; their folders stay"


def check_background(case: Callable[[Background], str]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="mishards-check-") as folder:
        background = Background(Path(folder))
        try:
            return [case.__name__.replace("_", " "), case(background)]
        finally:
            background.end()


# --- all of them -------------------------------------------------------------------------------------------------


def main() -> int:
    names = sys.argv[1:] or list(CHECKS)
    if unknown := [name for name in names if name not in CHECKS]:
        print(f"check.py: no server {unknown[0]}; there are {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    back = behind_proxies()
    table = "{:<12} {:>8} {:>11} {:>8} {:>11}  {}"
    print(table.format("seconds to", "start", "after kill", "stop", "after stop", "what was done before and after"))
    checks = [(name, lambda name=name: table.format(*check_server(name, back))) for name in names]
    if not sys.argv[1:]:
        cases = [watched_ends, watched_ends_early, up_is_interrupted, keeper_is_killed]
        checks += [(case.__name__, lambda case=case: ": ".join(check_background(case))) for case in cases]
    failed = 0
    for name, check in checks:
        try:
            print(check(), flush=True)
        except (AssertionError, OSError, ValueError, ServerError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"{name}: FAILED: {type(error).__name__}: {error}", *getattr(error, "__notes__", []), sep="\n")
    print(f"check: {len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
