"""What came of each request: how long it took, at which consistency level, during which event, and what was wrong."""

import re
import threading
import time
from collections import Counter
from dataclasses import dataclass

HUNG_AFTER = 60
DISK_LIMIT, RATE_LIMIT = 6, 8
NO_WRITER = "no writable node answers"
FIGURE = re.compile(r"\b\d{5,}\b")
LONG = 1.0
QUIET = "quiet"


@dataclass(frozen=True)
class Sample:
    """One read request. The outcome is "ok", "failed", "wrong", or "refused", where that is allowed."""

    began: float
    took: float
    event: str
    level: str
    kind: str
    outcome: str


@dataclass(frozen=True)
class Trouble:
    """A fault, with the moment and the event it belongs to. Kinds: failed, wrong, lost, bound, process."""

    at: float
    event: str
    kind: str
    text: str


@dataclass
class Span:
    """One event of the run."""

    name: str
    began: float
    ended: float = 0.0
    note: str = ""


class Wrong(Exception):
    """An answer that was not complete, or not right."""


def said(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(getattr(error, "message", "") or error).split())


def is_refusal(error: Exception) -> bool:
    """Whether a write was surely not made: it was refused before anything was done."""
    return getattr(error, "code", None) in (DISK_LIMIT, RATE_LIMIT)


class Recorder:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.zero = time.monotonic()
        self.spans = [Span("set-up", self.zero)]
        self.samples: list[Sample] = []
        self.troubles: list[Trouble] = []
        self.notes: list[str] = []
        self.acknowledged: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.write_errors: Counter[str] = Counter()
        self.running: dict[int, tuple[float, str, str]] = {}
        self.hung: set[int] = set()
        self.no_writer = False  # An event has taken all writable nodes away.

    # --- events -----------------------------------------------------------------------------------------------

    @property
    def event(self) -> str:
        return self.spans[-1].name

    def begin_event(self, name: str) -> Span:
        with self.lock:
            now = time.monotonic()
            self.spans[-1].ended = now
            again = sum(span.name.split(" ")[0] == name for span in self.spans)
            self.spans.append(Span(f"{name} {again + 1}" if again else name, now))
            return self.spans[-1]

    def event_of(self, began: float, took: float) -> str:
        """A quick request belongs to the event in which it ended, for it may have begun just before. One that took long
        belongs to the event that held it up."""
        if took < LONG:
            return self.event
        began_in = next((span for span in reversed(self.spans) if span.began <= began), self.spans[0])
        return self.event if began_in.name.startswith(QUIET) else began_in.name

    def note(self, text: str) -> None:
        """A line of the running report."""
        line = f"{time.monotonic() - self.zero:7.1f} s  {self.event}: {text}"
        self.notes.append(line)
        print(line, flush=True)

    # --- faults -----------------------------------------------------------------------------------------------

    def trouble(self, kind: str, text: str, event: str = "") -> None:
        trouble = Trouble(time.monotonic() - self.zero, event or self.event, kind, text)
        with self.lock:
            self.troubles.append(trouble)
        if len(self.troubles) <= 40:
            print(f"{trouble.at:7.1f} s  {trouble.event}: {kind.upper()}: {text}", flush=True)

    def count(self, *kinds: str) -> int:
        return sum(trouble.kind in kinds for trouble in self.troubles)

    # --- requests ---------------------------------------------------------------------------------------------

    def read(self, level: str, kind: str, request, check) -> bool:
        """Sends one read request and checks its answer; whether all was well."""
        began, me = time.monotonic(), threading.get_ident()
        no_writer = self.no_writer
        self.running[me] = (began, level, kind)
        outcome = "ok"
        text = ""
        try:
            answer = request()
            took = time.monotonic() - began
            check(answer)
        except Wrong as wrong:
            outcome, text = "wrong", str(wrong)
        except Exception as error:  # Whatever it is: the request was valid, so it should have been answered.
            took = time.monotonic() - began
            outcome, text = "failed", f"{type(error).__name__}: {error}"
            if (no_writer or self.no_writer) and level != "Eventually" and NO_WRITER in text:
                outcome = "refused"
        finally:
            self.running.pop(me, None)
            counted = me in self.hung
            self.hung.discard(me)
        event = self.event_of(began, took)
        if counted:  # Already reported as failed, when it took too long.
            return False
        with self.lock:
            self.samples.append(Sample(began, took, event, level, kind, outcome))
        if outcome in ("failed", "wrong"):
            self.trouble(outcome, f"{kind} at {level} after {took:.2f} s: {' '.join(text.split())}", event)
        return outcome == "ok"

    def look_for_hung(self) -> None:
        """A request that is not answered at all has failed too."""
        now = time.monotonic()
        for thread, (began, level, kind) in list(self.running.items()):
            if now - began > HUNG_AFTER and thread not in self.hung:
                self.hung.add(thread)
                event = self.event_of(began, now - began)
                with self.lock:
                    self.samples.append(Sample(began, now - began, event, level, kind, "failed"))
                self.trouble("failed", f"{kind} at {level} is not answered after {HUNG_AFTER} s", event)

    def wrote(self, error: Exception | None) -> None:
        with self.lock:
            if error is None:
                self.acknowledged[self.event] += 1
                return
            kind = self.refused if is_refusal(error) else self.unknown
            kind[self.event] += 1
            self.write_errors[f"{self.event}: {FIGURE.sub('N', said(error))[:200]}"] += 1
