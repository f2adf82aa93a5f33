"""Chaos test: a whole cluster of real processes under a steady load of searches and writes, to which things happen.

MariaDB, a writable node and its standby, three read-only nodes, two routers and Nginx before them; real data. No search
may fail, no answer may be wrong or incomplete, and nothing that was acknowledged may be lost. The seed fixes what is
chosen; when threads and processes take their turns, it cannot fix.
"""

import argparse
import dataclasses
import logging
import random
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from cluster import ChaosCluster, harness
from data import Data
from disk import SmallDisk
from events import EVENTS, FORMS, SMALL_DISK
from network import Namespace
from recorder import Recorder
from report import report
from servers import Mariadb, Nginx
from stage import DURATIONS, Stage

EPILOG = "events:\n" + "\n".join(f"  {name:<18}{text}" for name, (_, text) in EVENTS.items())
EPILOG += """

The last line is `chaos: S searches, F failed, W wrong; K takeovers, L lost`. The exit code is 0 if F, W and L are 0,
every takeover was within its bound, and no process panicked or ended that should not have; 1 otherwise; 2 if the test
cannot run here.

environment
  MISHARDS_BIN   the program under test (default: target/ci/mishards)
  MISHARDS_DATA  folder with the full data (default: the sample in tests/data)
"""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/chaos/run",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    form = parser.add_mutually_exclusive_group()
    choose = {"action": "store_const", "dest": "form"}
    form.add_argument("--short", const="short", help="every event, but shorter: about 12 minutes", **choose)
    form.add_argument("--smoke", const="smoke", help="a few events, within 100 seconds", **choose)
    option = parser.add_argument
    option("--seed", type=int, metavar="N", help="of all choices (default: a new one, which is printed)")
    option("--takeovers", type=int, metavar="N", help="how often the writer is killed (long 50, short 6, smoke 2)")
    option("--events", metavar="A,B,C", help="only these, in this order (default: those of the form)")
    option("--keep", type=Path, metavar="DIR", help="keep all logs there (a failed run keeps them anyway)")
    option("--proxies", action="store_true", help="cut off by proxies even where a network namespace can be had")
    arguments = parser.parse_args()
    arguments.form = arguments.form or "long"
    arguments.events = arguments.events.split(",") if arguments.events else FORMS[arguments.form]
    if unknown := [name for name in arguments.events if name not in EVENTS]:
        parser.error(f"there is no event {', '.join(unknown)}; the events are {', '.join(EVENTS)}")
    return arguments


def why_not() -> str:
    if not harness.BINARY.is_file():
        how = "build it (cargo build --profile ci --bin mishards), or set MISHARDS_BIN"
        return f"no program at {harness.BINARY}: {how}"
    missing = [f"{kind.name}: {kind.why_not()}" for kind in (Mariadb, Nginx) if not kind.available()]
    return "; ".join(missing)


def run_events(stage: Stage, names: list[str]) -> None:
    stage.cluster.start()
    stage.fill()
    stage.recorder.note("the cluster is whole, the load begins")
    for name in names:
        stage.recorder.begin_event(name)
        stage.start_load()
        stage.recorder.note(EVENTS[name][1])
        EVENTS[name][0](stage)
    stage.recorder.begin_event("end")
    stage.wait(2)
    stage.stop_load()
    stage.compare(with_vectors=True)
    for name in stage.cluster.processes:
        if name in stage.cluster.supervisor.kept:
            stage.cluster.supervisor.wait_up(name)


def may_have_disk(names: list[str]) -> bool:
    """Before there are other threads, for those that there are would keep the mounts of everybody."""
    if not SMALL_DISK.intersection(names):
        return False
    if reason := SmallDisk.why_not():
        print(f"no small disk ({reason}): without one the disk is not filled")
    return not reason


def run(arguments: argparse.Namespace, folder: Path, seed: int) -> bool:
    with_disk = may_have_disk(arguments.events)
    recorder = Recorder()
    # A copy, for a build may put another program there while the run goes on.
    harness.BINARY = Path(shutil.copy2(harness.BINARY, folder / "mishards"))
    durations = DURATIONS[arguments.form]
    if arguments.takeovers is not None:
        durations = dataclasses.replace(durations, takeovers=arguments.takeovers)
    no_namespace = "not wanted" if arguments.proxies else Namespace.why_not()
    if no_namespace:
        print(f"no network namespace ({no_namespace}): a proxy cuts the node off")
    supervisor, stages = Stage.supervisor(recorder)
    cluster = ChaosCluster(folder, supervisor, not no_namespace, with_disk)
    stage = Stage(cluster, Data(), recorder, durations, seed)
    stages.append(stage)
    try:
        run_events(stage, arguments.events)
    except Exception as error:  # The harness says of a process that misbehaves, or the run itself is at fault.
        recorder.trouble("process", f"{type(error).__name__}: {error}")
        traceback.print_exc()
    except (SystemExit, KeyboardInterrupt):
        recorder.trouble("process", "the run was interrupted, and shows nothing")
        raise
    finally:
        if stage.readers:
            stage.stop_load()
        recorder.begin_event("over")
        if recorder.troubles:
            print(cluster.logs())
        cluster.close()
        harness.BINARY.unlink()
        well = report(stage)
    return well


def main() -> int:
    arguments = parse_arguments()
    if reason := why_not():
        print(f"the chaos test cannot run here: {reason}", file=sys.stderr)
        return 2
    seed = random.randrange(2**32) if arguments.seed is None else arguments.seed
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # It logs each broken call; breaking them is our trade.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="mishards-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {seed}, folder {folder}, events {','.join(arguments.events)}", flush=True)
    well = False
    try:
        well = run(arguments, folder.resolve(), seed)
    finally:
        if well and not arguments.keep:
            shutil.rmtree(folder)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
