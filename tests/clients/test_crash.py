"""Nothing acknowledged is lost and nothing deleted comes back when the server is killed: the short form of
tests/crash/crash.py, and tests of its ledger, for a judge that cannot find fault proves nothing."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

CRASH = Path(__file__).resolve().parents[1] / "crash"
sys.path.append(str(CRASH))

from ledger import Ledger, Write  # noqa: E402  (after the path is set)

KILLS = 6


@pytest.mark.timeout(200)
def test_acknowledged_writes_survive_kills():
    command = [sys.executable, str(CRASH / "crash.py"), "--kills", str(KILLS), "--minutes", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            output, _ = run.communicate(timeout=180)
        finally:
            run.terminate()  # It ends its server before it ends itself.
    assert run.returncode == 0, output
    last = re.search(r"^crash: (\d+) kills, (\d+) acknowledged, 0 lost, 0 revived$", output, re.MULTILINE)
    assert last, output
    assert int(last[1]) >= KILLS / 2, output


def written(changes, kind="upsert"):
    return Write(number=9, kind=kind, changes=changes)


@pytest.fixture
def ledger():
    """Keys 0 to 3 have version 1, keys 4 to 9 no row."""
    ledger = Ledger(range(10))
    ledger.begin(written({key: (None, 1) for key in range(4)}, "insert"))
    ledger.acknowledged()
    return ledger


def kinds(faults):
    return sorted(fault.kind for fault in faults)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({0: 1, 1: 1, 2: 1, 3: 1}, []),
        ({0: 1, 1: 1, 2: 1}, ["lost"]),
        ({0: 1, 1: 1, 2: 1, 3: 0}, ["lost"]),
        ({0: 1, 1: 1, 2: 1, 3: 1, 4: 1}, ["revived"]),
        ({0: 1, 1: 1, 2: 1, 3: 7}, ["wrong"]),
        ({}, ["lost"] * 4),
    ],
)
def test_what_was_acknowledged_must_be_there(ledger, found, expected):
    assert kinds(ledger.settle(found)) == expected


@pytest.mark.parametrize(
    ("found", "expected", "rows"),
    [
        ({0: 1, 1: 1, 2: 1, 3: 1}, [], {0: 1, 1: 1, 2: 1, 3: 1}),
        ({0: 1, 1: 1, 3: 5, 4: 5}, [], {0: 1, 1: 1, 3: 5, 4: 5}),
        ({0: 1, 1: 1, 2: 1, 3: 5, 4: 5}, ["torn"], None),
        ({0: 1, 1: 1, 3: 1, 4: 5}, ["torn"], None),
        ({0: 1, 1: 1, 2: 1}, ["lost"], None),
        ({0: 1, 1: 1, 2: 1, 3: 1, 5: 1}, ["revived"], None),
    ],
)
def test_a_write_in_doubt_happened_as_a_whole_or_not_at_all(ledger, found, expected, rows):
    ledger.begin(written({2: (1, None), 3: (1, 5), 4: (None, 5)}))
    assert kinds(ledger.settle(found)) == expected
    assert ledger.doubt is None
    if rows is not None:
        assert ledger.rows == rows


def test_a_delete_in_doubt_that_happened_is_not_expected_back(ledger):
    ledger.begin(written({0: (1, None), 1: (1, None)}, "delete keys"))
    assert ledger.settle({2: 1, 3: 1}) == []
    assert kinds(ledger.settle({0: 1, 2: 1, 3: 1})) == ["revived"]
