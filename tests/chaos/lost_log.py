"""The log is lost behind the catalog. The writable nodes refuse to start, say what is missing, and name the command
that gives it up; files are read meanwhile. In the first part the log is put back, in the second one it is cut and given
up: only rows that were in the lost part may be missing, and nothing that is acknowledged afterwards."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import harness
from pymilvus import MilvusClient, MilvusException
from recorder import said
from restore import small
from stage import PATIENCE, Stage

COLLECTION = "lost_log"
IN_FILES, IN_LOG, AFTER = 100, 20, 100
ENDS_WITHIN = 60
REPAIR = "mishards repair"
FIGURES = re.compile(r"\d+")


class Rows:
    """What was acknowledged in a collection of this event's own, and what may be missing of it."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.client = MilvusClient(stage.cluster.uri, dedicated=True, timeout=PATIENCE)
        self.there: set[int] = set()
        self.given_up: set[int] = set()
        self.last = 0
        small(self.client, COLLECTION)

    def insert(self, count: int) -> set[int]:
        """One by one, so that the log has as many records."""
        keys = set(range(self.last, self.last + count))
        self.last += count
        for key in sorted(keys):
            row = {"id": key, "n": key, "vec": [float(key), 0.0, 0.0, 1.0]}
            self.client.insert(COLLECTION, [row], retry_times=0)
        self.there |= keys
        return keys

    def flush(self) -> None:
        self.client.flush(COLLECTION, timeout=PATIENCE)

    def compare(self, when: str, level: str = "Strong") -> None:
        """At each router: all that must be there, and nothing that nobody wrote."""
        for uri in self.stage.cluster.uris:
            client = MilvusClient(uri, dedicated=True, timeout=PATIENCE)
            options = {"output_fields": ["id"], "consistency_level": level, "timeout": PATIENCE}
            found = {row["id"] for row in client.query(COLLECTION, "id >= 0", **options)}
            client.close()
            missing, more = self.there - self.given_up - found, found - self.there
            if missing or more:
                text = f"{len(missing)} rows are missing ({sorted(missing)[:5]}), {len(more)} too much"
                self.stage.lost(f"{when}, {uri} at {level}: {text}")
        text = f"{len(self.there)} rows, {len(self.given_up)} of them given up, were compared"
        self.stage.recorder.note(f"{when}: {text}")


def log_lost(stage: Stage) -> None:
    rows = Rows(stage)
    put_back(stage, rows)
    stage.wait(stage.durations.settle)
    stage.compare()
    give_up(stage, rows)
    stage.wait(stage.durations.settle)
    stage.compare()
    rows.client.close()


def put_back(stage: Stage, rows: Rows) -> None:
    cluster = stage.cluster
    log, aside = cluster.shared / "log", cluster.folder / "log-aside"
    with stage.paused(), stage.without_writer():
        before_the_loss(rows)
        stop_writers(stage)
        for file in files_of(log):
            target = aside / file.relative_to(log)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, target)
        stage.recorder.note(f"{len(files_of(aside))} log files were moved away")
        refused_starts(stage, rows)
        for file in files_of(aside):
            shutil.move(file, log / file.relative_to(aside))
        shutil.rmtree(aside)
        stage.recorder.note("the log files were put back")
        start_writers(stage)
        rows.compare("with the log put back")


def give_up(stage: Stage, rows: Rows) -> None:
    cluster = stage.cluster
    log = cluster.shared / "log"
    with stage.paused(), stage.without_writer():
        sizes = {file: file.stat().st_size for file in files_of(log)}
        lost = before_the_loss(rows)
        stop_writers(stage)
        for file in files_of(log):
            if file in sizes:
                with file.open("r+b") as end:
                    end.truncate(sizes[file])
            else:
                file.unlink()
        stage.recorder.note("the log was cut to what it was before the last writes")
        refused_starts(stage, rows)
        repaired = repair(stage, "--accept-loss")
        expect(stage, f"the repair exits with 0: {repaired.stderr}", repaired.returncode == 0)
        rows.given_up |= lost
        start_writers(stage)
        rows.compare("after the repair")
        rows.insert(AFTER)
        rows.compare("with new rows after the repair")
    stage.cluster.kill(stage.cluster.writer())
    start_writers(stage)
    rows.compare("after the takeover that followed")


def before_the_loss(rows: Rows) -> set[int]:
    """Rows in files, so that the catalog knows of them, and rows behind them that only the log has."""
    rows.insert(IN_FILES)
    rows.flush()
    return rows.insert(IN_LOG)


def files_of(log: Path) -> list[Path]:
    """Without the fences, which are no part of what was logged."""
    return [file for file in log.rglob("*") if file.is_file() and file.name != "fence"]


def writable(stage: Stage) -> list[str]:
    return [name for name, role in stage.cluster.ROLES.items() if role == "writable"]


def stop_writers(stage: Stage) -> None:
    """The standby first, or it would take over."""
    for name in (stage.cluster.standby(), stage.cluster.writer()):
        stage.cluster.kill(name)


def start_writers(stage: Stage) -> None:
    cluster = stage.cluster
    names = [name for name in writable(stage) if not cluster.processes[name].is_running()]
    for name in names:
        cluster.start_node(name)
    cluster.writer()
    for name in names:
        cluster.supervisor.wait_up(name)


def refused_starts(stage: Stage, rows: Rows) -> None:
    """Each writable node in turn, and the command that only looks; files are read all the while."""
    for name in writable(stage):
        node = stage.cluster.processes[name]
        size = node.log_size()
        node.start()
        try:
            code = node.running.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            node.end()
            stage.lost(f"{name} starts though the log is lost")
            continue
        lines = node.logged_since(size, REPAIR)
        expect(stage, f"{name} does not start, its exit code is {code}", code != 0)
        expect(stage, f"{name} names `{REPAIR}`, it said last: {node.last_line()}", bool(lines))
        expect(stage, f"{name} says how much is missing: {lines}", bool(lines and FIGURES.search(lines[-1])))
        stage.recorder.note(f"{name} is refused with exit code {code}: {node.last_line()[:600]}")
    looked = repair(stage)
    expect(stage, f"the command finds it: {looked.stdout} {looked.stderr}", looked.returncode == 1)
    stage.recorder.note(f"the command says: {' '.join((looked.stdout + looked.stderr).split())[:600]}")
    try:
        options = {"output_fields": ["count(*)"], "consistency_level": "Eventually", "timeout": PATIENCE}
        found = rows.client.query(COLLECTION, "id >= 0", **options)[0]["count(*)"]
        expect(stage, f"rows in files are read: {found} of {IN_FILES}", found >= IN_FILES)
    except MilvusException as error:
        expect(stage, f"rows in files are read: {said(error)}", False)


def repair(stage: Stage, *options: str) -> subprocess.CompletedProcess:
    config = stage.cluster.folder / f"{writable(stage)[0]}.toml"
    command = [str(harness.BINARY), "repair", "--config", str(config), *options]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENDS_WITHIN, check=False)
    text = f"repair {' '.join(options)} took {time.monotonic() - began:.1f} s, exit code {done.returncode}"
    stage.recorder.note(f"{text}: {' '.join(done.stdout.split())[:400]}" if options else text)
    return done


def expect(stage: Stage, what: str, well: bool) -> None:
    if not well:
        stage.lost(f"with a lost log, this does not hold: {what}")
