"""What the collection must hold, by the acknowledgements of the writers; pure, so that it can be tested alone.

Each writer has a ledger of its own, for a range of keys that no other writer touches. A write is entered before it is
sent (`begin`) and applied when it is acknowledged. A write without an answer stays in doubt until the collection is
read (`settle`): then all of it must have happened, or nothing.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

BUCKETS = 10
REMEMBERED = 2000


@dataclass(frozen=True)
class Fault:
    """One way in which the server broke its word. Kinds: lost, revived, doubled, torn, wrong, refused, died."""

    kind: str
    text: str


@dataclass(frozen=True)
class Write:
    """One request. `changes` maps a key to its version before and after; None means that there is no row."""

    number: int
    kind: str
    changes: Mapping[int, tuple[int | None, int | None]]
    keys: tuple[int, ...] = ()
    filter: str = ""


def bucket_of(key: int, version: int) -> int:
    """A field to filter by that changes when the row does."""
    return (key + version) % BUCKETS


class Ledger:
    def __init__(self, keys: range) -> None:
        self.keys = keys
        self.rows: dict[int, int] = {}
        self.doubt: Write | None = None
        self.gone: deque[tuple[int, int]] = deque(maxlen=REMEMBERED)

    def begin(self, write: Write) -> None:
        assert self.doubt is None, "a write is still in doubt"
        assert all(self.rows.get(key) == before for key, (before, _) in write.changes.items())
        self.doubt = write

    def acknowledged(self) -> None:
        assert self.doubt is not None
        self._apply(self.doubt)
        self.doubt = None

    def _apply(self, write: Write) -> None:
        for key, (before, after) in write.changes.items():
            if before is not None:
                self.gone.append((key, before))
            if after is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = after

    def holds(self, write: Write) -> bool:
        """Whether a write that changed something was applied."""
        return any(self.rows.get(key) == after for key, (_, after) in write.changes.items())

    def settle(self, found: Mapping[int, int]) -> list[Fault]:
        """Compares with what was read (key -> version) and ends the doubt. No fault: the ledger equals `found`."""
        faults = self._settle_doubt(found) if self.doubt else []
        unsettled = self.doubt.changes if self.doubt else {}
        self.doubt = None
        for key in self.keys:
            if key not in unsettled:
                fault = compare_key(key, self.rows.get(key), found.get(key))
                if fault:
                    faults.append(fault)
        return faults

    def _settle_doubt(self, found: Mapping[int, int]) -> list[Fault]:
        write, faults, happened, missing = self.doubt, [], [], []
        for key, (before, after) in write.changes.items():
            if found.get(key) == after:
                happened.append(key)
            elif found.get(key) == before:
                missing.append(key)
            else:
                faults.append(compare_key(key, before, found.get(key)))
        if happened and missing:
            faults.append(Fault("torn", f"{name(write)}: applied to keys {sample(happened)}, not to {sample(missing)}"))
        if happened and not missing and not faults:
            self._apply(write)
        return faults


def compare_key(key: int, expected: int | None, found: int | None) -> Fault | None:
    if expected == found:
        return None
    if found is None:
        return Fault("lost", f"key {key}: version {expected} was acknowledged, and there is no row")
    if expected is None:
        return Fault("revived", f"key {key}: deleted, and version {found} is there")
    if found < expected:
        return Fault("lost", f"key {key}: version {expected} was acknowledged, and the older {found} is there")
    return Fault("wrong", f"key {key}: version {expected} was acknowledged, and {found} is there")


def name(write: Write) -> str:
    return f"{write.kind} number {write.number}"


def sample(keys: list[int]) -> str:
    shown = ", ".join(map(str, keys[:5]))
    return shown if len(keys) <= 5 else f"{shown} and {len(keys) - 5} more"
