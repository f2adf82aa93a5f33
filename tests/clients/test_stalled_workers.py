"""No call holds the others up, however large it is: what computes in proportion to its input does so beside the async
workers. The servers here have one worker, and a prober asks them all the time while a large call runs."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import large_requests as large
import pytest
from google.protobuf.message import Message
from harness import Cluster, Deployment, Server
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from stalls import Probe, Watch
from tables import FLAT_L2, KEY, NUMBER, create, index_params, text, vector

# Seconds that a worker may keep a probe waiting. A quiet server has 0.0005.
MOST = 0.05
TRIES = 3
# What reading the request and writing the answer take on the worker is proportional to them, and bounded by the limit of a
# message. The first is measured with a request that is refused as soon as it is read. For the second, the client reads and
# writes the answer as well, and the worker may take so many times as long.
WRITING = 1.5
NOBODY = "nobody_has_it"
# Less than the largest that is taken, so that the tests are quick; what is computed on the worker shows at these sizes.
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

    def least(self, call: Callable[[], object], most: Callable[[], float]) -> dict[str, Probe]:
        """The least of some tries, or the first that is fine."""
        least: dict[str, Probe] = {}
        for _ in range(TRIES):
            for name, probe in self.stalls(call).items():
                least[name] = min(probe, least.get(name, probe), key=lambda each: each.stall)
            if all(probe.stall <= most() for probe in least.values()):
                break
        return least

    def reading(self, method: str, request: Message) -> float:
        """What it takes the one who gets a request to read it: it is refused before anything else is done with it."""
        other = type(request)()
        other.CopyFrom(request)
        other.collection_name = NOBODY
        encoded = other.SerializeToString()
        first = next(iter(reversed(self.watches)))
        return min(self.stalls(lambda: self.send(method, encoded))[first].stall for _ in range(2))

    def check(self, method: str, request: Message) -> bytes:
        """Sends it, and remembers when somebody had to wait for it too long. Returns the answer."""
        encoded, answer, writing = request.SerializeToString(), b"", 0.0
        kind = getattr(milvus_pb2, large.SERVICE.methods_by_name[method].output_type.name, None)

        def call() -> None:
            nonlocal answer, writing
            answer = self.send(method, encoded)
            if kind:
                began = time.thread_time()
                kind.FromString(answer).SerializeToString()
                writing = time.thread_time() - began

        reading = self.reading(method, request) if hasattr(request, "collection_name") and len(encoded) > 10**6 else 0.0
        least = self.least(call, lambda: MOST + reading + WRITING * writing)
        most = MOST + reading + WRITING * writing
        said = (
            f"{method} of {len(encoded) / 1e6:.1f} MB, answer {len(answer) / 1e6:.1f} MB,"
            f" reading {1000 * reading:.0f} ms, writing {1000 * writing:.0f} ms"
        )
        print(said, in_words(least))
        too_long = {name: probe for name, probe in least.items() if probe.stall > most}
        if too_long:
            self.too_long.append(f"{said}: may take {1000 * most:.0f} ms, took {in_words(too_long)}")
        return answer

    def settle(self) -> None:
        """Fails when a call that was checked took too long."""
        too_long, self.too_long = self.too_long, []
        assert not too_long, "\n".join(too_long)


def in_words(probes: dict[str, Probe]) -> str:
    return ", ".join(
        f"{name} {1000 * probe.stall:.0f} ms (computing {1000 * probe.computed:.0f})" for name, probe in probes.items()
    )


DEPLOYMENTS = {"standalone": Server, "cluster": Cluster}
WATCHED = ("standalone", "ro1", "writer", "router")


@pytest.fixture(scope="module", params=[pytest.param(each, marks=pytest.mark.targets(each)) for each in DEPLOYMENTS])
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp(f"stalls_{request.param}")
    deployment = DEPLOYMENTS[request.param](folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKIO_WORKER_THREADS", "1")
        deployment.start()
    try:
        watched = Watched(deployment, folder)
        fill(watched)
        yield watched
        watched.close()
        deployment.stop()
    finally:
        deployment.end()


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
    """Collections that are read: few rows, many rows of which half are in files, large vectors, large documents, arrays."""
    client = watched.client
    create(client, "few", {"id": KEY, "n": NUMBER, "s": text(), "vec": vector(4)}, {"vec": FLAT_L2}, dynamic=True)
    create(client, "many", {"id": KEY, "n": NUMBER, "s": text(), "vec": vector(4)}, {"vec": FLAT_L2})
    create(client, "wide", {"id": KEY, "vec": vector(900)}, {"vec": FLAT_L2})
    create(client, "bulky", {"id": KEY, "a": ARRAY, "vec": vector(4)}, {"vec": FLAT_L2}, dynamic=True)

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
    "search, 3 M hits": lambda: ("Search", large.search("few", QUERIES, FEW)),
    "search, 1.5 M hits with numbers": lambda: ("Search", large.search("few", QUERIES[:8192], FEW, output=["id", "n"])),
    "search, 1.5 M hits with texts": lambda: ("Search", large.search("few", QUERIES[:8192], FEW, output=["s"])),
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
    "hybrid search, 1.5 M hits": lambda: (
        "HybridSearch",
        large.hybrid("few", [large.search("few", QUERIES[:8192], FEW)] * 2, FEW, ["n"]),
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


@pytest.mark.parametrize("what", READS)
def test_a_large_read_holds_nobody_up(watched: Watched, what: str):
    method, request = READS[what]()
    watched.check(method, request)
    watched.settle()


def test_the_one_worker_is_the_one_that_is_looked_at(watched: Watched):
    """Else the tests here would say nothing."""
    for watch in watched.watches.values():
        mark = watch.mark()
        time.sleep(0.3)
        probes = watch.since(mark)
        busy = [probe for probe in probes if probe.computed > 0]
        assert len(probes) > 20 and len(busy) > 0.9 * len(probes)


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
    "texts": (BULK, 500, bulk(500, 60_000, 1, b"{}")),
    "arrays": (BULK, 1000, bulk(1000, 1, 4096, b"{}")),
    "documents": (BULK, 500, bulk(500, 1, 1, DOCUMENT)),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_large_write_holds_nobody_up(watched: Watched, what: str):
    fields, count, columns = WRITES[what]
    name = "written_" + what.replace(" ", "_")
    create(watched.client, name, fields, {"vec": FLAT_L2}, dynamic=fields is BULK)
    try:
        given = columns()
        ok(watched.check("Insert", large.rows(name, count, given)))
        ok(watched.check("Upsert", large.rows(name, count, given, milvus_pb2.UpsertRequest)))
        if what == "rows":
            ok(watched.check("Delete", large.delete(name, f"id in {list(range(count // 2))}")))
            ok(watched.check("Delete", in_values(large.delete(name, "id in {v}"), range(count))))
            ok(watched.check("Delete", large.delete(name, f"id not in {LISTED}")))
        flushed = watched.stalls(lambda: watched.client.flush(name))
        # And what goes on in the background once a second.
        later = watched.stalls(lambda: time.sleep(1.2))
        for when, stalls in {"flush": flushed, "later": later}.items():
            if any(probe.stall > MOST for probe in stalls.values()):
                watched.too_long.append(f"{when}: {in_words(stalls)}")
        watched.settle()
    finally:
        watched.client.drop_collection(name)


COLLECTIONS = 300


def test_many_collections_and_partitions_hold_nobody_up(watched: Watched):
    names = [f"one_of_many_{i}" for i in range(COLLECTIONS)]

    def all_of(requests: list[tuple[str, Message]], kind: type = common_pb2.Status) -> Callable[[], None]:
        def send(one: tuple[str, Message]) -> None:
            method, request = one
            ok(watched.send(method, request.SerializeToString()), kind)

        def call() -> None:
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(send, requests))

        return call

    partitions = [f"p{i}" for i in range(1000)]
    steps = {
        "create": all_of([("CreateCollection", large.new_collection(name, fields=8)) for name in names]),
        "create, many fields": all_of([("CreateCollection", large.new_collection(names[-1] + "_wide", fields=62))]),
        "list": lambda: watched.client.list_collections(),
        "list, by name": all_of(
            [("ShowCollections", milvus_pb2.ShowCollectionsRequest(collection_names=texts(100_000)))],
            milvus_pb2.ShowCollectionsResponse,
        ),
        "describe": lambda: [watched.client.describe_collection(name) for name in names[:10]],
        "flush": lambda: watched.send(
            "Flush", milvus_pb2.FlushRequest(collection_names=names).SerializeToString()
        ),
        "partitions": all_of(
            [
                ("CreatePartition", milvus_pb2.CreatePartitionRequest(collection_name=names[0], partition_name=each))
                for each in partitions
            ]
        ),
        "index": lambda: watched.client.create_index(names[0], index_params({"vec": FLAT_L2})),
        "load": lambda: watched.client.load_collection(names[0]),
        "load partitions": lambda: watched.client.load_partitions(names[0], partitions),
        "list partitions": lambda: watched.client.list_partitions(names[0]),
        "search": lambda: watched.client.search(names[0], [[0.0] * 4], limit=3),
        "drop": all_of(
            [
                ("DropCollection", milvus_pb2.DropCollectionRequest(collection_name=name))
                for name in [*names, names[-1] + "_wide"]
            ]
        ),
    }
    too_long = {}
    for step, call in steps.items():
        stalls = watched.stalls(call)
        if any(probe.stall > MOST for probe in stalls.values()):
            too_long[step] = in_words(stalls)
    assert not too_long, too_long


# Bytes of each field of each request. What takes more than its bytes are worth shows at a small size.
FILLED = 2_000_000
SLOWER = 3


def served(watched: Watched) -> list[str]:
    """The calls that this version serves. An empty request tells, and changes nothing."""
    refusal = b"is not supported by this version"
    unary = [each.name for each in large.SERVICE.methods if not each.server_streaming and not each.client_streaming]
    return [name for name in unary if name not in WITHOUT_STATUS and refusal not in watched.send(name, b"")]


# They have no place to say that they are not served.
WITHOUT_STATUS = ["Dummy", "GetReplicateInfo"]


@pytest.mark.targets("standalone")
def test_no_field_of_a_request_holds_others_up_when_it_is_large(watched: Watched):
    plain = large.piece(2, b"") * (FILLED // 2)
    reading = watched.least(lambda: watched.send("DescribeDatabase", plain), lambda: 0.0)["standalone"].stall
    most = MOST + SLOWER * reading
    methods = served(watched)
    assert len(methods) > 40, methods
    too_long = {}
    for method in methods:
        name = f"filled_{method}"
        create(watched.client, name, {"id": KEY, "vec": vector(4)}, {"vec": FLAT_L2}, dynamic=True)
        for what, request in large.filled(method, name, FILLED):
            least = watched.least(lambda: watched.send(method, request), lambda: most)
            print(what, in_words(least))
            if least["standalone"].stall > most:
                too_long[what] = in_words(least)
        if watched.client.has_collection(name):
            watched.client.drop_collection(name)
    assert not too_long, f"longer than {1000 * most:.0f} ms: {too_long}"
