"""The tables at the end, and the one line after them that machines read."""

import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from cluster import LEASE_SECONDS
from reading import LEVELS
from recorder import QUIET, Recorder, Sample
from stage import Stage

SHOWN = 20
SMALL = ("search", "filtered search")


def report(stage: Stage) -> bool:
    """Prints it all; whether all is well."""
    recorder = stage.recorder
    head = ["event", "seconds", *FIGURES, "small p99", "x quiet", "writes", "refused", "no answer"]
    print("\n" + table(head, event_rows(recorder)))
    print("small p99: of searches, in ms; x quiet: how many times what it was while nothing happened")
    print("\n" + table(["level", *FIGURES], level_rows(recorder)))
    if stage.takeovers:
        head = ["takeover after", "by", "how many", "what", "least s", "median s", "most s"]
        print("\n" + table(head, takeover_rows(stage)))
        print(f"bound of each: {stage.durations.resumed_within} s; the lease is {LEASE_SECONDS} s")
    print()
    for text, count in recorder.write_errors.most_common(SHOWN):
        print(f"writes that were refused or not answered: {count} x {text}")
    for exit in stage.exits:
        when = f"at {exit.at - recorder.zero:.1f} s"
        print(f"ended by itself {when}: {exit.name}, exit code {exit.code}: {exit.said[:200]}")
    print_troubles(recorder)
    write_samples(recorder, stage.cluster.folder / "samples.csv")
    print(f"seed {stage.seed}, logs in {stage.cluster.folder}")
    outcomes = Counter(sample.outcome for sample in recorder.samples)
    wrong = outcomes["wrong"] + recorder_wrong_rows(recorder)
    print(
        f"chaos: {len(recorder.samples)} searches, {outcomes['failed']} failed, {wrong} wrong;"
        f" {len(stage.takeovers)} takeovers, {len(stage.broken)} lost",
        flush=True,
    )
    return not recorder.troubles and not stage.broken and bool(recorder.samples)


def recorder_wrong_rows(recorder: Recorder) -> int:
    """Rows that a comparison found wrong, beside the answers of searches."""
    answers = sum(sample.outcome == "wrong" for sample in recorder.samples)
    return max(0, recorder.count("wrong") - answers)


FIGURES = ["searches", "failed", "wrong", "p50 ms", "p99 ms", "slowest ms"]


def figures(samples: Iterable[Sample]) -> list[str]:
    samples = list(samples)
    outcomes = Counter(sample.outcome for sample in samples)
    took = np.array([sample.took for sample in samples]) * 1000
    times = [f"{value:.0f}" for value in (*np.percentile(took, [50, 99]), took.max())] if samples else ["-"] * 3
    return [str(len(samples)), str(outcomes["failed"]), str(outcomes["wrong"]), *times]


def event_rows(recorder: Recorder) -> list[list[str]]:
    """One row for each event."""
    rows = []
    quiet = small_p99(s for s in recorder.samples if s.event == QUIET)
    for span in recorder.spans:
        samples = [sample for sample in recorder.samples if sample.event == span.name]
        if not samples:
            continue
        small = small_p99(samples)
        beside = [f"{small:.0f}", f"{small / quiet:.1f}"]
        counts = [counter[span.name] for counter in (recorder.acknowledged, recorder.refused, recorder.unknown)]
        times = f"{span.ended - span.began:.0f}"
        rows.append([span.name, times, *figures(samples), *beside, *map(str, counts)])
    return rows


def small_p99(samples: Iterable[Sample]) -> float:
    """Milliseconds; not a number if there are none. Probes and other large reads are not among them."""
    took = [sample.took * 1000 for sample in samples if sample.kind in SMALL]
    return float(np.percentile(took, 99)) if took else float("nan")


def level_rows(recorder: Recorder) -> list[list[str]]:
    """Of the whole run, and of the times in which a writer was killed."""
    rows = [[level, *figures(s for s in recorder.samples if s.level == level)] for level in LEVELS]
    killed = [sample for sample in recorder.samples if sample.event.startswith("kill-writer")]
    if killed:
        rows += [[f"{level}, kill-writer", *figures(s for s in killed if s.level == level)] for level in LEVELS]
    return rows


def takeover_rows(stage: Stage) -> list[list[str]]:
    rows = []
    for cause, by in dict.fromkeys((takeover.cause, takeover.by) for takeover in stage.takeovers):
        chosen = [takeover for takeover in stage.takeovers if (takeover.cause, takeover.by) == (cause, by)]
        for what, times in (("writes", [t.writes for t in chosen]), ("Strong reads", [t.strong for t in chosen])):
            spread = [f"{value:.2f}" for value in (min(times), statistics.median(times), max(times))]
            rows.append([cause, by, str(len(chosen)), what, *spread])
    return rows


def print_troubles(recorder: Recorder) -> None:
    for trouble in recorder.troubles[:SHOWN]:
        print(f"{trouble.kind}: at {trouble.at:.1f} s, during {trouble.event}: {trouble.text}")
    if len(recorder.troubles) > SHOWN:
        kinds = Counter((trouble.kind, trouble.event) for trouble in recorder.troubles)
        counts = ", ".join(f"{count} x {kind} in {event}" for (kind, event), count in kinds.most_common())
        print(f"... {len(recorder.troubles)} in all: {counts}")


def write_samples(recorder: Recorder, file: Path) -> None:
    """Every read, for what the tables do not tell."""
    with file.open("w") as out:
        out.write("began,took,event,level,kind,outcome\n")
        for s in recorder.samples:
            out.write(f"{s.began - recorder.zero:.3f},{s.took:.4f},{s.event},{s.level},{s.kind},{s.outcome}\n")


def table(head: list[str], rows: list[list[str]]) -> str:
    """The first column to the left, figures to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
