"""A server process that tests start, kill, pause and start again: what all kinds have in common."""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

STARTED_WITHIN = 60
STOPPED_WITHIN = 10
ANSWER_WITHIN = 2
LOG_LINES_SHOWN = 30
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"  # Few users look where Debian puts servers.

# Below the ports that Linux gives to outgoing connections: one of those must not take the port of a server that is
# down for a moment.
PORTS = range(20000, 32000)

# The kernel kills a server when the thread that started it ends. This one thread starts all of them, and it lives as
# long as this process: so no server outlives it, even if it is killed.
launcher = ThreadPoolExecutor(1)
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL"]


class ServerError(Exception):
    """A server that cannot be had, or did not start; the message has the end of its log."""


given_out: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody uses, neither for TCP nor for UDP, and that were not given out before;
    random, for others pick as well."""
    wanted = (port for port in random.sample(PORTS, len(PORTS)) if port not in given_out and is_free(port))
    ports = list(islice(wanted, count))
    given_out.update(ports)
    return ports


def is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(type=kind) as probe:
            if kind == socket.SOCK_STREAM:  # Connections that are closing do not hold the port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def fetch(url: str, body: object = None) -> str:
    """What the server answers to GET, or to POST if there is a body; OSError if the status is not 2xx."""
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with without_proxy.open(request, timeout=ANSWER_WITHIN) as answer:
            return answer.read().decode()
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error


def talk(port: int, message: bytes) -> bytes:
    """What the server says to the message before it closes or falls silent; TimeoutError if it says nothing."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), ANSWER_WITHIN) as connection:
        try:
            connection.sendall(message)
            while part := connection.recv(65536):
                received += part
                connection.settimeout(0.1)
        except (ConnectionResetError, BrokenPipeError):
            pass
        except TimeoutError:
            if not received:
                raise
    return received


class Server:
    """One server process with a folder of its own. After stop or kill, start goes on with the same port and data."""

    name = ""
    needs: dict[str, str] = {}  # A program, or the path of a file: the Debian package that has it.
    variable = ""  # The environment variable that tells tests where it is; none: `up` does not start it.

    def __init__(self, ports: int = 1) -> None:
        self.port, *self.more_ports = free_ports(ports)
        self.folder = Path(tempfile.mkdtemp(prefix=f"mishards-{self.name}-"))
        self.log = self.folder / "log"
        self.process: subprocess.Popen | None = None
        self.is_prepared = False

    # --- what the classes below say ---------------------------------------------------------------------------

    def prepare(self) -> None:
        """Makes its files, once."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Asks it something that only a working server can answer; OSError and ValueError mean no."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def variables(self) -> dict[str, str]:
        return {self.variable: self.url}

    # --- can it run here? -------------------------------------------------------------------------------------

    @classmethod
    def missing(cls) -> dict[str, str]:
        needs = cls.needs | {"setpriv": "util-linux"}
        return {file: package for file, package in needs.items() if not shutil.which(file, os.F_OK, PATH)}

    @classmethod
    def why_not(cls) -> str:
        """Why it cannot run on this machine; empty if it can."""
        missing = cls.missing()
        packages = " ".join(sorted(set(missing.values())))
        return f"no {', '.join(missing)} here (Debian: {packages})" if missing else ""

    @classmethod
    def available(cls) -> bool:
        return not cls.why_not()

    # --- its life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        if reason := self.why_not():
            raise ServerError(f"{self.name}: {reason}")
        if not self.is_prepared:
            self.prepare()
            self.is_prepared = True
        if not is_free(self.port):  # Its owner would answer for this server.
            raise ServerError(f"{self.name}: port {self.port} is in use")
        self.process = launcher.submit(self.launch).result()
        self.wait_until_ready()

    def launch(self) -> subprocess.Popen:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*DIES_WITH_US, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment(),
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + STARTED_WITHIN
        while True:
            ready = self.answers()
            code = self.process.poll()
            if code is not None:
                raise ServerError(f"{self.name} ended with exit code {code}\n{self.last_words()}")
            if ready:
                return
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} does not answer after {STARTED_WITHIN} s\n{self.last_words()}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it does its work now; never raises."""
        try:
            return self.is_ready()
        except (OSError, ValueError):
            return False

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that does not end it."""
        if self.is_running():
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        if self.is_running():
            self.signal(signal.SIGKILL)
            self.process.wait()

    def pause(self) -> None:
        """It stays as it is and answers nobody; connections are still accepted, by the kernel."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Ends it and removes its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Server":
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- helpers ----------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's but PATH. Temporary files stay apart, for a MariaDB that starts removes those of
        all others that use the same directory."""
        return {"PATH": PATH, "HOME": str(self.folder), "TMPDIR": str(self.folder), "LANG": "C.UTF-8"}

    def run(self, *command: str) -> None:
        """A command that prepares its files."""
        with self.log.open("ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            done = subprocess.run(command, **streams, cwd=self.folder, env=self.environment(), check=False)
        if done.returncode:
            text = f"{self.name}: {command[0]} ended with exit code {done.returncode}"
            raise ServerError(f"{text}\n{self.last_words()}")

    def last_words(self) -> str:
        if not self.log.exists():
            return f"--- {self.name}: no log"
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([f"--- {self.name}: {self.log}", *lines])
