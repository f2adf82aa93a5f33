"""The tables at the end, and the one line after them that machines read."""

import statistics
from collections import Counter
from collections.abc import Iterable

import numpy as np
from cluster import LEASE_SECONDS
from reading import LEVELS
from recorder import Recorder, Sample
from stage import Stage

SHOWN = 20


def report(stage: Stage) -> bool:
    """Prints it all; whether all is well."""
    recorder = stage.recorder
    print("\n" + table(["event", "seconds", *FIGURES, "writes", "no answer"], event_rows(recorder)))
    print("\n" + table(["level", *FIGURES], level_rows(recorder)))
    if stage.takeovers:
        head = ["takeover after", "by", "how many", "what", "least s", "median s", "most s"]
        print("\n" + table(head, takeover_rows(stage)))
        print(f"bound of each: {stage.durations.resumed_within} s; the lease is {LEASE_SECONDS} s")
    print()
    for text, count in recorder.write_errors.most_common(SHOWN):
        print(f"writes without an answer: {count} x {text}")
    for exit in stage.exits:
        when = f"at {exit.at - recorder.zero:.1f} s"
        print(f"ended by itself {when}: {exit.name}, exit code {exit.code}: {exit.said[:200]}")
    print_troubles(recorder)
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
    for span in recorder.spans:
        samples = [sample for sample in recorder.samples if sample.event == span.name]
        if not samples:
            continue
        writes = [str(recorder.acknowledged[span.name]), str(recorder.unknown[span.name])]
        rows.append([span.name, f"{span.ended - span.began:.0f}", *figures(samples), *writes])
    return rows


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


def table(head: list[str], rows: list[list[str]]) -> str:
    """The first column to the left, figures to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
