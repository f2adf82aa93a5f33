"""What requests cost: how the cost grows, what bounds it, and what small requests feel of large ones beside them."""

import argparse
import signal
import sys
from pathlib import Path

import beside
import bounds_reads
import bounds_writes
import curves_filters
import curves_reads
import curves_writes
from table import Report
from target import harness, running

CURVES = {
    "lists": curves_filters.lists,
    "like": curves_filters.texts,
    "json": curves_filters.documents,
    "reads": curves_reads.look_ups,
    "fetch": curves_reads.fetches,
    "segments": curves_reads.segments,
    "iterators": curves_reads.iterators,
    "deletes": curves_writes.deletes,
    "hot": curves_writes.hot_keys,
    "collections": curves_writes.collections,
    "replay": curves_writes.replays,
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/costs/run", description=__doc__)
    option = parser.add_argument
    option("--curves", action="store_true", help="how the cost of each request grows")
    option("--bounds", action="store_true", help="the bound of each call, memory at it, the end of a cancelled one")
    option("--beside", action="store_true", help="the p99 of a small search beside each large request")
    option("--cluster", action="store_true", help="bounds of reads on a router, two read-only nodes and a writer")
    option("--only", default="", metavar="A,B", help="only these tables")
    option("--out", type=Path, metavar="FILE", help="write the tables there too")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    if not harness.BINARY.exists():
        print(f"{harness.BINARY} is missing: build it, or set MISHARDS_BIN", file=sys.stderr)
        return 2
    # A run that is told to end takes its servers with it, also where a shell has it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    report = Report(arguments.out)
    only = {name for name in arguments.only.split(",") if name}
    if arguments.bounds:
        settings = {"ingest__merge_max_rows": "0"} if arguments.cluster else {}
        with running(cluster=arguments.cluster, **settings) as target:
            bounds_reads.run(target, report, only)
            if not arguments.cluster:
                bounds_writes.run(target, report, only)
    if arguments.beside:
        with running() as target:
            beside.run(target, report, only)
    if arguments.curves:
        for name, measure in CURVES.items():
            if not only or name in only:
                settings = {"ingest__merge_max_rows": "0"} if name == "segments" else {}
                with running(**settings) as target:
                    measure(target, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
