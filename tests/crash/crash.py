"""Crash test: kill -9 a busy server again and again; after each recovery everything acknowledged must be there.

Writers insert, upsert and delete through pymilvus. At random moments the server is killed and started again, some of
the time it is killed once more while it recovers; then, with the writers paused, the whole collection is compared with
what was acknowledged. A write in flight at the kill may have happened or not, but as a whole. The seed fixes what is
chosen; when threads and the server take their turns, it cannot fix.
"""

import argparse
import itertools
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from compare import compare
from ledger import Fault
from pymilvus import DataType, MilvusClient
from writers import COLLECTION, DIMENSIONS, Writer, connect

sys.path.append(str(Path(__file__).resolve().parents[1] / "clients"))

from harness import BINARY, READY_WITHIN, Server  # noqa: E402  (after the path is set)

# Small limits, so that sealing, index building, merging and log switching all happen within seconds.
SETTINGS = {
    "MISHARDS__INGEST__SEAL_ROWS": "500",
    "MISHARDS__INGEST__SEAL_AGE_SECONDS": "2",
    "MISHARDS__INGEST__DELTA_MAX_DELETES": "200",
    "MISHARDS__INGEST__MERGE_MAX_ROWS": "5000",
    "MISHARDS__LOG__FILE_BYTES": "262144",
}
WRITERS = 4
KEYS_EACH = 1500
KILL_DURING_RECOVERY = 0.3
LONGEST_CALL = 60
LONGEST_SILENCE = 5
SHOWN = 20


class Run:
    """One server, its writers, and what came of them."""

    def __init__(self, server: Server, folder: Path, seed: int) -> None:
        self.uri = server.uri
        (self.process,) = server.processes.values()
        self.random = random.Random(seed)
        numbers = itertools.count(1)
        self.writers = [
            Writer(
                range(i * KEYS_EACH, (i + 1) * KEYS_EACH),
                f"{seed}-{i}",
                numbers.__next__,
                folder / f"writes-{i}.jsonl",
            )
            for i in range(WRITERS)
        ]
        self.kills = 0
        self.faults: list[Fault] = []

    @property
    def acknowledged(self) -> int:
        return sum(writer.acknowledged for writer in self.writers)

    def set_up(self) -> None:
        self.start()
        client = connect(self.uri)
        create_collection(client)
        client.close()

    def round(self, kills_left: int) -> None:
        """Writes, a kill or more, recovery, comparison."""
        pause = threading.Event()
        threads = [
            threading.Thread(target=writer.work, args=(connect(self.uri), pause), daemon=True)
            for writer in self.writers
        ]
        before = self.acknowledged
        for thread in threads:
            thread.start()
        try:
            wait = self.time_to_kill()
            self.write_for(wait, threads)
            self.kill()
            if wait > LONGEST_SILENCE and self.acknowledged == before:
                self.faults.append(Fault("refused", f"no write was acknowledged in {wait:.1f} s"))
        finally:
            pause.set()
        extra = 0
        while extra + 1 < kills_left and self.random.random() < KILL_DURING_RECOVERY:
            self.process.start()
            time.sleep(self.random.uniform(0, 0.3))
            self.kill()
            extra += 1
        ready = self.start()
        self.join(threads)
        doubts = [(writer.ledger, writer.ledger.doubt) for writer in self.writers if writer.ledger.doubt]
        rows, took = self.compare()
        happened = sum(ledger.holds(write) for ledger, write in doubts)
        print(
            f"kill {self.kills}: after {wait:.2f} s"
            + (f", {extra} more while recovering" if extra else "")
            + f"; {self.acknowledged - before} writes acknowledged, {len(doubts)} in doubt ({happened} happened);"
            f" ready in {ready:.2f} s; {rows} rows compared in {took:.2f} s",
            flush=True,
        )

    def time_to_kill(self) -> float:
        low, high = self.random.choices(((0.02, 0.5), (0.5, 3), (3, 6)), weights=(4, 4, 2))[0]
        return self.random.uniform(low, high)

    def write_for(self, seconds: float, threads: list[threading.Thread]) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(thread.is_alive() for thread in threads):
            time.sleep(min(0.05, max(0, end - time.monotonic())))

    def kill(self) -> None:
        self.process.kill9()
        self.kills += 1

    def start(self) -> float:
        """Returns how long it took until it was ready."""
        began = time.monotonic()
        self.process.start()
        self.process.wait_until_ready(began + READY_WITHIN)
        return time.monotonic() - began

    def join(self, threads: list[threading.Thread]) -> None:
        end = time.monotonic() + LONGEST_CALL
        for thread in threads:
            thread.join(max(0, end - time.monotonic()))
            assert not thread.is_alive(), f"a write did not end within {LONGEST_CALL} s"

    def compare(self) -> tuple[int, float]:
        began = time.monotonic()
        client = connect(self.uri)
        try:
            self.faults += compare(client, [writer.ledger for writer in self.writers], self.random)
        except Exception as error:
            self.faults.append(Fault("refused", f"could not read everything back: {type(error).__name__}: {error}"))
        client.close()
        for writer in self.writers:
            self.faults += writer.faults
            writer.faults = []
        self.process.check_alive()
        return sum(len(writer.ledger.rows) for writer in self.writers), time.monotonic() - began

    def finish(self) -> None:
        """Once more after background work had its time, and once more after an orderly stop."""
        time.sleep(3)
        self.compare()
        if self.faults:
            return
        self.process.stop()
        self.start()
        rows, _ = self.compare()
        print(f"end: {rows} rows compared at rest and after an orderly restart", flush=True)


def create_collection(client: MilvusClient) -> None:
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("version", DataType.INT64)
    schema.add_field("bucket", DataType.INT64)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=DIMENSIONS)
    index = client.prepare_index_params()
    index.add_index("vec", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 64})
    client.create_collection(COLLECTION, schema=schema, index_params=index, consistency_level="Strong", timeout=60)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="how often to kill the server (default 100)")
    parser.add_argument("--seed", type=int, default=None, help="of all choices (default: a new one, which is printed)")
    parser.add_argument("--minutes", type=float, default=0, help="stop killing after this time (default: no limit)")
    parser.add_argument(
        "--keep", action="store_true", help="keep data, log and journal (a failed run keeps them anyway)"
    )
    return parser.parse_args()


def report(run: Run) -> bool:
    """Prints what came of it; the last line is for machines. True if all is well."""
    kinds = Counter(fault.kind for fault in run.faults)
    for fault in run.faults[:SHOWN]:
        print(f"{fault.kind}: {fault.text}")
    if len(run.faults) > SHOWN:
        print(f"... and {len(run.faults) - SHOWN} more: {dict(kinds)}")
    errors = sum((writer.errors for writer in run.writers), Counter())
    print("calls without an answer:", ", ".join(f"{count} x {text}" for text, count in errors.most_common()) or "none")
    enough = run.acknowledged > run.kills > 0
    if not enough:
        print("too little was acknowledged, or nothing killed: this run shows nothing")
    print(
        f"crash: {run.kills} kills, {run.acknowledged} acknowledged, {kinds['lost']} lost, {kinds['revived']} revived"
    )
    return enough and not run.faults


def main() -> int:
    arguments = parse_arguments()
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    if not BINARY.is_file():
        print(f"no program at {BINARY}: build it (cargo build --profile ci --bin mishards), or set MISHARDS_BIN")
        return 2
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # It logs each broken call; breaking them is our trade.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="mishards-crash-"))
    print(f"seed {seed}, folder {folder}", flush=True)
    os.environ.update(SETTINGS)
    server = Server(folder)
    run = Run(server, folder, seed)
    deadline = time.monotonic() + arguments.minutes * 60 if arguments.minutes else float("inf")
    well = False
    try:
        run.set_up()
        while run.kills < arguments.kills and time.monotonic() < deadline and not run.faults:
            run.round(arguments.kills - run.kills)
        if not run.faults:
            run.finish()
    except (AssertionError, subprocess.TimeoutExpired) as fault:  # What the harness says of a server that misbehaves.
        run.faults.append(Fault("died", f"{fault}\n{server.logs()}"))
    finally:
        server.end()
        for writer in run.writers:
            writer.journal.close()
        well = report(run)
        if well and not arguments.keep:
            shutil.rmtree(folder)
        else:
            print(f"kept: {folder}", file=sys.stderr)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
