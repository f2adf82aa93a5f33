"""Cutting one node off: a network namespace of its own where the test may make one, a forwarder that falls silent
otherwise. Either way connections stay open and nothing comes through, as with a pulled cable."""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

PREFIX = "mishards-chaos-"
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


class Forwarder:
    """Hands TCP connections on to another address. While it is cut, it takes connections and bytes and keeps both."""

    def __init__(self, listen: tuple[str, int], target: tuple[str, int]) -> None:
        self.listen, self.target = listen, target
        self.loop = asyncio.new_event_loop()
        self.open = asyncio.Event()
        self.open.set()
        self.is_listening = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True, name=f"forwarder to port {target[1]}")

    def start(self) -> None:
        self.thread.start()
        assert self.is_listening.wait(10), f"nobody listens on {self.listen}"

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(asyncio.start_server(self.serve, *self.listen))
        self.is_listening.set()
        self.loop.run_forever()

    def cut(self) -> None:
        self.loop.call_soon_threadsafe(self.open.clear)

    def heal(self) -> None:
        self.loop.call_soon_threadsafe(self.open.set)

    def close(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(5)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.open.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.pump(reader, far_writer), self.pump(far_reader, writer))

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        await self.open.wait()
        writer.close()


class Namespace:
    """A network namespace and a cable from it to a switch of this host, which has the address `host`. The node's end
    has `inner`. Pulled is the cable at the switch: both sides keep their addresses and routes, and hear nothing."""

    def __init__(self) -> None:
        pid = os.getpid()
        self.name = f"{PREFIX}{pid}"
        self.switch, self.host_end, self.inner_end = f"mc{pid}s", f"mc{pid}h", f"mc{pid}n"
        net = f"10.213.{pid % 250}"
        self.host, self.inner = f"{net}.1", f"{net}.2"

    @classmethod
    def why_not(cls) -> str:
        """Why there can be none here; empty if there can."""
        if os.getuid() != 0:
            return "not root"
        if not shutil.which("ip", path=PATH):
            return "no `ip` here (Debian: iproute2)"
        remove_stale()
        probe = f"{PREFIX}probe-{os.getpid()}"
        made = run("ip", "netns", "add", probe, check=False)
        run("ip", "netns", "delete", probe, check=False)
        return "" if made.returncode == 0 else f"`ip netns add` says: {made.stderr.strip()}"

    def open(self) -> None:
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.host_end, "type", "veth", "peer", "name", self.inner_end, "netns", self.name)
        run("ip", "link", "add", self.switch, "type", "bridge")
        run("ip", "link", "set", self.host_end, "master", self.switch)
        run("ip", "address", "add", f"{self.host}/30", "dev", self.switch)
        run("ip", "link", "set", self.switch, "up")
        self.inside("ip", "address", "add", f"{self.inner}/30", "dev", self.inner_end)
        self.inside("ip", "link", "set", self.inner_end, "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.heal()

    def inside(self, *command: str) -> None:
        run(*self.prefix(), *command)

    def prefix(self) -> list[str]:
        """What to put before a command that is to run inside."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        run("ip", "link", "set", self.host_end, "down")

    def heal(self) -> None:
        run("ip", "link", "set", self.host_end, "up")

    def close(self) -> None:
        for link in (self.host_end, self.switch):
            run("ip", "link", "delete", link, check=False)
        run("ip", "netns", "delete", self.name, check=False)


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": PATH})
    if check and done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done


def remove_stale() -> None:
    """What a run left behind that was killed. A namespace takes its end of the cable along, and so the other one."""
    for name in run("ip", "netns", "list", check=False).stdout.split():
        match = re.fullmatch(rf"{PREFIX}(?:probe-)?(\d+)", name)
        if match and not Path(f"/proc/{match[1]}").exists():
            run("ip", "netns", "delete", name, check=False)
            run("ip", "link", "delete", f"mc{match[1]}s", check=False)
