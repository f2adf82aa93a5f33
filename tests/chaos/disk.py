"""A small file system for the shared directory, where the test may mount one, and a ballast file that fills it."""

import contextlib
import ctypes
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

SIZE = 1 << 30
SHARE, MOST = 20, 1 << 30  # The reserve of a writable node: a part of the file system, and this much at most.
AGAIN = 0.03
PIECE = 16 << 20
CLONE_NEWNS = 0x20000


class SmallDisk:
    """Memory, mounted where only this program and its children see it: it is gone when the last of them is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ballast = folder / "ballast"
        self.left = 0

    @classmethod
    def why_not(cls) -> str:
        """Why there can be none here; empty if there can. From then on mounts of this program are its own, so the first
        call must be by its first thread, before it has others."""
        if os.getuid() != 0:
            return "not root"
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
            return f"no mounts of our own: {os.strerror(ctypes.get_errno())}"
        done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False)
        return done.stderr.strip()

    def open(self) -> None:
        options = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(self.folder)]
        subprocess.run(["mount", *options], check=True)

    def close(self) -> None:
        if os.path.ismount(self.folder):
            subprocess.run(["umount", "-l", str(self.folder)], check=False)

    def used(self) -> int:
        space = os.statvfs(self.folder)
        return (space.f_blocks - space.f_bfree) * space.f_frsize

    def free(self) -> int:
        space = os.statvfs(self.folder)
        return space.f_bavail * space.f_frsize

    def reserve(self) -> int:
        space = os.statvfs(self.folder)
        return min(space.f_blocks * space.f_frsize // SHARE, MOST)

    @contextlib.contextmanager
    def full(self, left: int) -> Iterator[None]:
        """Keeps the disk full but for so many bytes, whatever others remove meanwhile. `left` may change on the way."""
        self.left = left
        over = threading.Event()

        def keep() -> None:
            while not over.wait(AGAIN):
                self.fill()

        self.fill()
        thread = threading.Thread(target=keep, daemon=True, name="ballast")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.ballast.unlink()

    def fill(self) -> None:
        """In pieces, for one that does not fit is given back as a whole."""
        piece = PIECE
        with self.ballast.open("ab") as file:
            while piece > 0 and (more := self.free() - self.left) > 0:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), min(piece, more))
                except OSError as error:  # Somebody took some of it in between.
                    if error.errno != errno.ENOSPC:
                        raise
                    piece //= 2
