"""No call holds the others up, however large it is: what computes in proportion to its input does so beside the async
workers. The servers here have one worker, and a prober asks them all the time while a large call runs."""

import functools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import large_requests as large
import pytest
from google.protobuf.message import Message
from harness import BINARY, Cluster, Deployment, Server
from pymilvus import DataType, MilvusClient
from pymilvus.client.types import LoadState
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from stalls import Probe, Watch
from tables import FLAT_L2, KEY, NUMBER, create, index_params, text, vector

# Seconds that a process may keep a probe waiting. A quiet one takes 0.0005.
MOST = 0.05
# A call that took longer is made again, for the machine has other things to do as well.
TRIES = 3
# Less than the largest that is taken, so that the tests are quick. What a worker computes shows at these sizes.
NUMBERS = 500_000
LISTED = "[" + ",".join(map(str, range(10**6, 10**6 + NUMBERS))) + "]"


class Watched:
    """A deployment whose processes have one worker each, and are watched."""

    def __init__(self, deployment: Deployment, folder: Path) -> None:
        self.deployment = deployment
        self.too_long: list[str] = []
        self.watches = {
            name: Watch(process.running.pid, process.ops_port, folder / f"{name}.probes")
            for name, process in deployment.processes.items()
            if name in WATCHED
        }
        size = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(deployment.uri.removeprefix("http://"), options=size)
        self.client = MilvusClient(deployment.uri, dedicated=True, timeout=60)

    def close(self) -> None:
        for watch in self.watches.values():
            watch.close()
        self.client.close()
        self.channel.close()

    def send(self, method: str, request: bytes) -> bytes:
        """The answer; nothing when the transport refuses the request."""
        try:
            return self.channel.unary_unary(f"/{large.SERVICE.full_name}/{method}")(request, timeout=60)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, f"{method}: {error}"
            return b""

    def stalls(self, call: Callable[[], object]) -> dict[str, Probe]:
        """The longest that each process kept its prober waiting."""
        marks = {name: watch.mark() for name, watch in self.watches.items()}
        call()
        now = time.monotonic()
        return {name: watch.worst(marks[name], now) for name, watch in self.watches.items()}

    def least(self, call: Callable[[], object]) -> dict[str, Probe]:
        """The least of some tries, or the first that is fine."""
        least: dict[str, Probe] = {}
        for _ in range(TRIES):
            for name, probe in self.stalls(call).items():
                least[name] = min(probe, least.get(name, probe), key=lambda each: each.stall)
            if all(probe.stall <= MOST for probe in least.values()):
                break
        return least

    def check(self, what: str, call: Callable[[], object]) -> None:
        """Makes a call, and remembers when somebody had to wait for it too long."""
        least = self.least(call)
        print(f"{what}: {in_words(least)}")
        if any(probe.stall > MOST for probe in least.values()):
            self.too_long.append(f"{what}: {in_words(least)}")

    def check_request(self, method: str, request: Message) -> bytes:
        """The same with a request; returns the answer."""
        encoded, answer = request.SerializeToString(), b""

        def call() -> None:
            nonlocal answer
            answer = self.send(method, encoded)

        self.check(f"{method} of {len(encoded) / 1e6:.1f} MB", call)
        return answer

    def settle(self) -> None:
        """Fails when a call that was checked took too long."""
        too_long, self.too_long = self.too_long, []
        assert not too_long, f"others waited longer than {1000 * MOST:.0f} ms:\n" + "\n".join(too_long)


def in_words(probes: dict[str, Probe]) -> str:
    return ", ".join(
        f"{name} {1000 * probe.stall:.0f} ms (as seen {1000 * probe.took:.0f})" for name, probe in probes.items()
    )


# A second read-only node does what the first one does.
WATCHED = ("standalone", "router", "writer", "ro1")


def watch(deployment: Deployment, folder: Path) -> Iterator[Watched]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKIO_WORKER_THREADS", "1")
        deployment.start()
    try:
        watched = Watched(deployment, folder)
        try:
            fill(watched)
            yield watched
        finally:
            watched.close()
        deployment.check_alive()
    finally:
        deployment.end()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("alone")
    yield from watch(Server(folder), folder)


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("spread")
    yield from watch(Cluster(folder), folder)


def ok(answer: bytes, kind: type = milvus_pb2.MutationResult) -> Message:
    read = kind.FromString(answer)
    status = read.status if hasattr(read, "status") else read
    assert status.code == 0, status
    return read


def insert(watched: Watched, name: str, count: int, *columns: Message) -> None:
    ok(watched.send("Insert", large.rows(name, count, columns).SerializeToString()))


FEW = 190
BULKY = 300
MANY = 20_000


def fill(watched: Watched) -> None:
    """Collections that are read: few rows; many rows, half of them in files; large vectors; large documents and arrays."""
    client = watched.client
    both = {"id": KEY, "n": NUMBER, "s": text(), "vec": vector(4)}
    kinds = {
        "few": (both, True),
        "many": (both, False),
        "wide": ({"id": KEY, "vec": vector(900)}, False),
        "bulky": ({"id": KEY, "a": ARRAY, "vec": vector(4)}, True),
    }
    # Together, for the client waits a while for each.
    with ThreadPoolExecutor(len(kinds)) as threads:
        made = [
            threads.submit(create, client, name, fields, {"vec": FLAT_L2}, dynamic)
            for name, (fields, dynamic) in kinds.items()
        ]
        for each in made:
            each.result()

    def usual(first: int, count: int) -> list[Message]:
        keys = range(first, first + count)
        texts = [f"row {key}" for key in keys]
        numbers = [key % 100 for key in keys]
        vectors = large.floats("vec", large.vectors(count, 4))
        return [large.longs("id", keys), large.longs("n", numbers), large.strings("s", texts), vectors]

    insert(watched, "few", FEW, *usual(0, FEW), large.documents([b"{}"] * FEW))
    insert(watched, "many", MANY // 2, *usual(0, MANY // 2))
    client.flush("many")
    insert(watched, "many", MANY // 2, *usual(MANY // 2, MANY // 2))
    insert(watched, "wide", WIDE, large.longs("id", range(WIDE)), large.floats("vec", large.vectors(WIDE, 900)))
    document = json.dumps({f"k{i}": i for i in range(4500)}).encode()
    columns = [large.longs("id", range(BULKY)), large.floats("vec", large.vectors(BULKY, 4))]
    columns += [large.arrays("a", [range(10**6, 10**6 + 4096)] * BULKY), large.documents([document] * BULKY)]
    insert(watched, "bulky", BULKY, *columns)


ARRAY = {"datatype": DataType.ARRAY, "element_type": DataType.INT64, "max_capacity": 4096}
WIDE = 8192

QUERIES = large.vectors(16_384, 4)
ONE = QUERIES[:1]
NESTED = "(" * 199 + f"n in {LISTED}" + ")" * 199


def in_values(request: Message, values=range(10**6, 10**6 + 4 * NUMBERS)) -> Message:
    return large.with_values(request, "v", list(values))


def texts(count: int) -> list[str]:
    return [f"text {i}" for i in range(count)]


# What is sent, by what is large about it.
READS: dict[str, Callable[[], tuple[str, Message]]] = {
    "search, many hits": lambda: ("Search", large.search("few", QUERIES, FEW)),
    "search, many hits with numbers": lambda: ("Search", large.search("few", QUERIES[:6000], FEW, output=["id", "n"])),
    "search, many hits with texts": lambda: ("Search", large.search("few", QUERIES[:6000], FEW, output=["s"])),
    "search, long lists": lambda: ("Search", large.search("many", QUERIES[:20], 16_384, output=["id", "n"])),
    "search, vectors": lambda: ("Search", large.search("wide", large.vectors(1, 900), WIDE, output=["vec"])),
    "search, wrong dimension": lambda: ("Search", large.search("wide", large.vectors(16_000, 899), 1)),
    "search, too many queries": lambda: ("Search", large.search("wide", large.vectors(16_500, 900), 1)),
    "search, list": lambda: ("Search", large.search("few", ONE, 10, f"n in {LISTED}")),
    "search, nested list": lambda: ("Search", large.search("few", ONE, 10, NESTED)),
    "search, list of values": lambda: ("Search", in_values(large.search("few", ONE, 10, "n in {v}"))),
    "search, groups": lambda: (
        "Search",
        large.search("few", QUERIES[:2000], 100, group_by_field="n", group_size=1),
    ),
    "search, groups of several": lambda: (
        "Search",
        large.search("few", QUERIES[:100], 100, group_by_field="n", group_size=10),
    ),
    "search, part of large documents": lambda: ("Search", large.search("bulky", ONE, BULKY, output=["k1", "k2"])),
    "search, page of an iterator": lambda: (
        "Search",
        large.search(
            "many", ONE, 16_384, output=["*"], iterator="True", search_iter_v2="True", search_iter_batch_size=16_384
        ),
    ),
    "query, all": lambda: ("Query", large.query("many", "id >= 0", ["*"])),
    "query, page of an iterator": lambda: ("Query", large.query("many", "", ["*"], limit=MANY, iterator="True")),
    "query, by key": lambda: ("Query", large.query("many", f"id in {list(range(16_384))}", ["*"])),
    "query, vectors": lambda: ("Query", large.query("wide", "id >= 0", ["vec"])),
    "query, arrays": lambda: ("Query", large.query("bulky", "id >= 0", ["a"])),
    "query, documents": lambda: ("Query", large.query("bulky", "id >= 0", ["$meta"])),
    "query, part of large documents": lambda: ("Query", large.query("bulky", "id >= 0", ["k1", "k2"])),
    "query, list": lambda: ("Query", large.query("few", f"n in {LISTED}", ["id"])),
    "query, nested list": lambda: ("Query", large.query("few", NESTED, ["id"])),
    "query, list of values": lambda: ("Query", in_values(large.query("few", "n in {v}", ["id"]))),
    "query, list of texts": lambda: ("Query", in_values(large.query("few", "s in {v}", ["id"]), texts(NUMBERS))),
    "count, list": lambda: ("Query", large.query("few", f"n in {LISTED}", ["count(*)"])),
    "has collection, long name": lambda: (
        "HasCollection",
        milvus_pb2.HasCollectionRequest(collection_name="x" * 30_000_000),
    ),
    "create collection, many properties": lambda: (
        "CreateCollection",
        large.new_collection("with_properties", properties={each: each for each in texts(100_000)}),
    ),
    "hybrid search, many hits": lambda: (
        "HybridSearch",
        large.hybrid("few", [large.search("few", QUERIES[:6000], FEW)] * 2, FEW, ["n"]),
    ),
    "hybrid search, list": lambda: (
        "HybridSearch",
        large.hybrid("few", [large.search("few", ONE, 10, f"n in {LISTED}")] * 2, 10),
    ),
    "hybrid search, list of values": lambda: (
        "HybridSearch",
        large.hybrid("few", [in_values(large.search("few", ONE, 10, "n in {v}"))] * 2, 10),
    ),
}


# In a cluster the same is done in two places, and rows and columns travel between them.
SPREAD_READS = [
    "search, many hits",
    "search, many hits with texts",
    "search, vectors",
    "search, list",
    "search, list of values",
    "query, part of large documents",
    "hybrid search, many hits",
]


@pytest.mark.targets("standalone")
@pytest.mark.parametrize("what", READS)
def test_a_large_read_holds_nobody_up(alone: Watched, what: str):
    alone.check_request(*READS[what]())
    alone.settle()


@pytest.mark.targets("cluster")
@pytest.mark.parametrize("what", SPREAD_READS)
def test_a_large_read_holds_nobody_up_in_a_cluster(spread: Watched, what: str):
    spread.check_request(*READS[what]())
    spread.settle()


def test_the_number_of_workers_is_as_the_environment_says():
    """Else the tests here would say little: the runtime refuses to have none."""
    done = subprocess.run([BINARY, "config"], env={"TOKIO_WORKER_THREADS": "0"}, capture_output=True, text=True)
    assert done.returncode != 0 and "TOKIO_WORKER_THREADS" in done.stderr


ROWS = 500_000
KEYED = {"id": {"is_primary": True} | text(), "p": {"is_partition_key": True} | NUMBER, "vec": vector(4)}
BULK = {"id": KEY, "s": text(65_535), "a": ARRAY, "vec": vector(4)}


def numbered(count: int) -> list[Message]:
    return [large.longs("id", range(count)), large.floats("vec", large.vectors(count, 4))]


def keyed(count: int) -> list[Message]:
    columns = [large.strings("id", texts(count)), large.longs("p", range(count))]
    return [*columns, large.floats("vec", large.vectors(count, 4))]


def bulk(count: int, length: int, items: int, document: bytes) -> Callable[[], list[Message]]:
    """Rows of which one part is large."""

    def columns() -> list[Message]:
        parts = [large.longs("id", range(count)), large.strings("s", ["x" * length] * count)]
        parts += [large.arrays("a", [range(10**6, 10**6 + items)] * count), large.documents([document] * count)]
        return [*parts, large.floats("vec", large.vectors(count, 4))]

    return columns


DOCUMENT = json.dumps({f"k{i}": i for i in range(4500)}).encode()
# Fields, rows, and their columns.
WRITES: dict[str, tuple[dict, int, Callable[[], list[Message]]]] = {
    "rows": ({"id": KEY, "vec": vector(4)}, ROWS, lambda: numbered(ROWS)),
    "text keys": (KEYED, ROWS // 2, lambda: keyed(ROWS // 2)),
    "texts": (BULK, 400, bulk(400, 60_000, 1, b"{}")),
    "arrays": (BULK, 1000, bulk(1000, 1, 4096, b"{}")),
    "documents": (BULK, 400, bulk(400, 1, 1, DOCUMENT)),
}


def write(watched: Watched, what: str) -> None:
    fields, count, columns = WRITES[what]
    name = "written_" + what.replace(" ", "_")
    create(watched.client, name, fields, {"vec": FLAT_L2}, dynamic=fields is BULK)
    given = columns()
    ok(watched.check_request("Insert", large.rows(name, count, given)))
    if what in ("rows", "text keys"):
        ok(watched.check_request("Upsert", large.rows(name, count, given, milvus_pb2.UpsertRequest)))
    if what == "rows":
        ok(watched.check_request("Delete", in_values(large.delete(name, "id in {v}"), range(count))))
        # All rows, by what they match.
        ok(watched.check_request("Insert", large.rows(name, count, given)))
        ok(watched.check_request("Delete", large.delete(name, "id >= 0")))
    watched.check("flush", lambda: watched.client.flush(name))
    if what == "rows":
        watched.check("what is done in the background once a second", lambda: time.sleep(1.2))
    watched.client.drop_collection(name)
    watched.settle()


@pytest.mark.targets("standalone")
@pytest.mark.parametrize("what", WRITES)
def test_a_large_write_holds_nobody_up(alone: Watched, what: str):
    write(alone, what)


@pytest.mark.targets("cluster")
@pytest.mark.parametrize("what", ["rows", "text keys"])
def test_a_large_write_holds_nobody_up_in_a_cluster(spread: Watched, what: str):
    write(spread, what)


COLLECTIONS = 300


@pytest.mark.targets("standalone")
def test_many_collections_and_partitions_hold_nobody_up(alone: Watched):
    names = [f"one_of_many_{i}" for i in range(COLLECTIONS)]

    def all_of(requests: list[tuple[str, Message]], kind: type = common_pb2.Status) -> Callable[[], None]:
        def send(one: tuple[str, Message]) -> None:
            method, request = one
            ok(alone.send(method, request.SerializeToString()), kind)

        def call() -> None:
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(send, requests))

        return call

    partitions = [f"p{i}" for i in range(1000)]
    steps = {
        "create": all_of([("CreateCollection", large.new_collection(name, fields=8)) for name in names]),
        "create, many fields": all_of([("CreateCollection", large.new_collection(names[-1] + "_wide", fields=62))]),
        "list": lambda: alone.client.list_collections(),
        "list, by name": all_of(
            [("ShowCollections", milvus_pb2.ShowCollectionsRequest(collection_names=texts(100_000)))],
            milvus_pb2.ShowCollectionsResponse,
        ),
        "describe": lambda: [alone.client.describe_collection(name) for name in names[:10]],
        "flush": lambda: alone.send(
            "Flush", milvus_pb2.FlushRequest(collection_names=names).SerializeToString()
        ),
        "partitions": all_of(
            [
                ("CreatePartition", milvus_pb2.CreatePartitionRequest(collection_name=names[0], partition_name=each))
                for each in partitions
            ]
        ),
        "index": lambda: alone.client.create_index(names[0], index_params({"vec": FLAT_L2})),
        "load": lambda: alone.client.load_collection(names[0]),
        "load partitions": lambda: alone.client.load_partitions(names[0], partitions),
        "list partitions": lambda: alone.client.list_partitions(names[0]),
        "search": lambda: alone.client.search(names[0], [[0.0] * 4], limit=3),
        "drop": all_of(
            [
                ("DropCollection", milvus_pb2.DropCollectionRequest(collection_name=name))
                for name in [*names, names[-1] + "_wide"]
            ]
        ),
    }
    for step, call in steps.items():
        stalls = alone.stalls(call)
        if any(probe.stall > MOST for probe in stalls.values()):
            alone.too_long.append(f"{step}: {in_words(stalls)}")
    alone.settle()


# Bytes of each field of each request. Small messages that are many take so long to read that it shows.
FILLED = 2_000_000


def served(watched: Watched) -> list[str]:
    """The calls that this version serves. An empty request tells, and changes nothing."""
    refusal = b"is not supported by this version"
    unary = [each.name for each in large.SERVICE.methods if not each.server_streaming and not each.client_streaming]
    return [name for name in unary if name not in WITHOUT_STATUS and refusal not in watched.send(name, b"")]


# They have no place to say that they are not served.
WITHOUT_STATUS = ["Dummy", "GetReplicateInfo"]


@pytest.mark.targets("standalone")
def test_no_field_of_a_request_holds_others_up_when_it_is_large(alone: Watched):
    methods = served(alone)
    assert len(methods) > 40, methods
    for method in methods:
        loaded_again(alone.client, "filled")
        for what, request in large.filled(method, "filled", FILLED):
            alone.check(what, functools.partial(alone.send, method, request))
    alone.settle()


def loaded_again(client: MilvusClient, name: str) -> None:
    """A collection with an index, whatever became of it."""
    if client.has_collection(name):
        if client.get_load_state(name)["state"] == LoadState.Loaded:
            return
        client.drop_collection(name)
    create(client, name, {"id": KEY, "vec": vector(4)}, {"vec": FLAT_L2}, dynamic=True)
