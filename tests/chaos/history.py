"""What was written to each key, and when; from it, what a read of some moment may see. Pure, so that it can be tested
alone.

A key has one writer, who sends one write at a time, so the writes of a key are in order. A write is entered before it
is sent, and dated when it is acknowledged. One without an answer stays undated: it may happen at any time after it was
sent, and its keys are not written again (they are *parked*).
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Entry:
    """One write of one key; version None says that the row was deleted."""

    version: int | None
    began: float
    acknowledged: float | None = None


@dataclass(frozen=True)
class Write:
    """One request: all of its keys, or none. `before` are the versions that it replaces."""

    kind: str
    entries: Mapping[int, Entry]
    before: Mapping[int, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """One way in which the cluster broke its word. Kinds: lost, revived, doubled, torn, wrong."""

    kind: str
    text: str


class History:
    def __init__(self) -> None:
        self.keys: dict[int, list[Entry]] = defaultdict(list)
        self.unknown: list[Write] = []
        self.lock = threading.Lock()

    # --- writing ----------------------------------------------------------------------------------------------

    def begin(self, kind: str, changes: Mapping[int, int | None], now: float) -> Write:
        with self.lock:
            entries = {key: Entry(version, now) for key, version in changes.items()}
            before = {key: self._last(key) for key in changes}
            for key, entry in entries.items():
                self.keys[key].append(entry)
        return Write(kind, entries, before)

    def acknowledge(self, write: Write, now: float) -> None:
        with self.lock:
            for entry in write.entries.values():
                entry.acknowledged = now

    def refuse(self, write: Write) -> None:
        """It was not made, and never will be."""
        with self.lock:
            for key, entry in write.entries.items():
                self.keys[key].remove(entry)

    def leave_open(self, write: Write) -> None:
        with self.lock:
            self.unknown.append(write)

    def copy(self) -> "History":
        """While no writer has a write under way."""
        copied = History()
        with self.lock:
            copied.keys.update({key: list(entries) for key, entries in self.keys.items()})
            copied.unknown = list(self.unknown)
        return copied

    def go_back(self, copy: "History") -> None:
        """What was written since the copy has never happened."""
        with self.lock:
            self.keys, self.unknown = copy.keys, copy.unknown

    # --- reading ----------------------------------------------------------------------------------------------

    def version(self, key: int) -> int | None:
        """Where the key stands, for its writer."""
        with self.lock:
            return self._last(key)

    def _last(self, key: int) -> int | None:
        entries = self.keys.get(key)
        return entries[-1].version if entries else None

    def possible(self, key: int, since: float, until: float) -> set[int | None]:
        """What a read may say of a key that was at least as fresh as `since` and ended at `until`: the last version
        that was acknowledged by then, and whatever was begun after it."""
        with self.lock:
            entries = self.keys.get(key, ())
            base = -1
            for at in range(len(entries) - 1, -1, -1):
                acknowledged = entries[at].acknowledged
                if acknowledged is not None and acknowledged <= since:
                    base = at
                    break
            first = {entries[base].version if base >= 0 else None}
            return first | {entry.version for entry in entries[base + 1 :] if entry.began <= until}

    def known(self) -> list[int]:
        with self.lock:
            return sorted(self.keys)

    # --- the comparison ---------------------------------------------------------------------------------------

    def compare(self, found: Mapping[int, int], now: float) -> list[Fault]:
        """All writers are paused, and `found` was read since: every acknowledged write is there, and no deleted row."""
        faults = [Fault("wrong", f"key {key}: nobody wrote it") for key in found if key not in self.keys]
        for key in self.known():
            fault = judge(key, self.possible(key, now, now), found.get(key))
            if fault:
                faults.append(fault)
        return faults + self.torn(found)

    def torn(self, found: Mapping[int, int]) -> list[Fault]:
        """A write whose outcome is unknown has happened as a whole, or not at all."""
        faults = []
        for write in self.unknown:
            moved = {key: entry.version for key, entry in write.entries.items() if entry.version != write.before[key]}
            happened = [key for key, version in moved.items() if found.get(key) == version]
            if happened and len(happened) < len(moved):
                missing = sorted(moved.keys() - set(happened))
                faults.append(Fault("torn", f"{write.kind}: applied to keys {happened[:5]}, not to {missing[:5]}"))
        return faults


def judge(key: int, possible: Iterable[int | None], found: int | None) -> Fault | None:
    """Versions of a key grow, so an older one than expected is a loss."""
    possible = set(possible)
    if found in possible:
        return None
    newest = max((version for version in possible if version is not None), default=None)
    if found is None:
        return Fault("lost", f"key {key}: version {newest} was acknowledged, and there is no row")
    if newest is None:
        return Fault("revived", f"key {key}: deleted, and version {found} is there")
    kind = "lost" if found < newest else "wrong"
    return Fault(kind, f"key {key}: one of {sorted(map(str, possible))} was expected, and {found} is there")
