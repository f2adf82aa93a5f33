"""Seeing inside: traces by OTLP, the coverage of an answer, slow reads in the log, and the operator's commands."""

import json
import subprocess
import time
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest
from harness import BINARY, CONNECT_WITHIN, READY_WITHIN, Cluster
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from pymilvus import MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc
from tables import FLAT_L2, KEY, NUMBER, create, insert, random_vectors, rows_of, vector, wait_for

pytestmark = [pytest.mark.targets("cluster"), pytest.mark.timeout(180)]

DIM = 8
ROUNDS = 6
TRACE = "0af7651916cd43dd8448eb211c80319c"
CLIENT_SPAN = "b7ad6b7169203331"
CALLS_ON_NODES = {"search_ro1", "search_ro2", "search_writer"}


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes spans by OTLP over gRPC, as Jaeger does, and keeps them."""

    def __init__(self) -> None:
        self.spans: list[dict] = []
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def Export(self, request, context):  # noqa: N802  (the name is the protocol's)
        for resource in request.resource_spans:
            service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
            for scope in resource.scope_spans:
                self.spans += [self.read(span, service) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()

    @staticmethod
    def read(span, service: str) -> dict:
        values = {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}
        return {
            "name": span.name,
            "service": service,
            "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "trace": span.trace_id.hex(),
            "values": values,
        }

    def of_trace(self, trace: str, wanted: set[str]) -> list[dict]:
        """The spans of a trace, once all names wanted are there, and what each node that was asked has sent itself."""
        deadline = time.monotonic() + 20
        while True:
            found = [span for span in self.spans if span["trace"] == trace]
            names = [span["name"] for span in found]
            asked = [name for name in names if name in CALLS_ON_NODES]
            if wanted <= set(names) and asked and len(asked) == names.count("node_search"):
                return found
            assert time.monotonic() < deadline, f"only {sorted(names)} arrived"
            time.sleep(0.05)


class TracedCluster(Cluster):
    """A cluster whose spans go to a collector, and that finds every read slow."""

    def __init__(self, folder: Path, collector: Collector) -> None:
        self.collector = collector
        super().__init__(folder)

    def settings(self, name: str) -> dict[str, dict]:
        settings = super().settings(name)
        settings["ingest"] = {"merge_max_rows": 0}  # The segments stay as they are.
        settings["trace"] = {"endpoint": f"http://127.0.0.1:{self.collector.port}"}
        if name in self.ROUTERS:
            # Only what comes with a trace is traced.
            settings["trace"]["sample_ratio"] = "0"
            settings["log"]["slow_query_ms"] = 1
        return settings


@pytest.fixture(scope="module")
def collector():
    collector = Collector()
    yield collector
    collector.server.stop(grace=None)


@pytest.fixture(scope="module")
def traced(tmp_path_factory, collector):
    cluster = TracedCluster(tmp_path_factory.mktemp("traced"), collector)
    cluster.start()
    client = MilvusClient(cluster.uri, timeout=CONNECT_WITHIN)
    create(client, "table", {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
    rows = rows_of(random_vectors(ROUNDS * 100 + 10, DIM, seed=5), n=lambda key: key)
    for start in range(0, ROUNDS * 100, 100):
        insert(client, "table", rows[start : start + 100])
        client.flush("table")
    insert(client, "table", rows[ROUNDS * 100 :])
    client.close()
    yield cluster
    cluster.end()


def search(
    cluster: Cluster, *metadata: tuple[str, str], filter: str = "", nq: int = 1
) -> tuple[milvus_pb2.SearchResults, dict[str, str]]:
    """A strong search over plain gRPC, with the trailers of its answer."""
    placeholder = common_pb2.PlaceholderGroup(
        placeholders=[
            common_pb2.PlaceholderValue(
                tag="$0",
                type=common_pb2.PlaceholderType.FloatVector,
                values=[np.zeros(DIM, dtype=np.float32).tobytes()] * nq,
            )
        ]
    )
    pairs = {"anns_field": "vec", "topk": "10", "params": "{}"}
    request = milvus_pb2.SearchRequest(
        collection_name="table",
        dsl=filter,
        placeholder_group=placeholder.SerializeToString(),
        search_params=[common_pb2.KeyValuePair(key=key, value=value) for key, value in pairs.items()],
        nq=nq,
        consistency_level=common_pb2.ConsistencyLevel.Strong,
    )
    with grpc.insecure_channel(cluster.uri.removeprefix("http://")) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        answer, call = stub.Search.with_call(request, metadata=metadata, timeout=CONNECT_WITHIN)
        return answer, dict(call.trailing_metadata())


def test_one_tree_from_the_client_through_router_and_nodes(traced, collector):
    answer, _ = search(traced, ("traceparent", f"00-{TRACE}-{CLIENT_SPAN}-01"))
    assert answer.status.code == 0, answer.status
    spans = collector.of_trace(TRACE, {"search", "get_routing", "do_search", "do_merge", "node_search"})
    by_id = {span["id"]: span for span in spans}
    parents = {
        "search": "",
        "get_routing": "search",
        "do_search": "search",
        "do_merge": "search",
        "node_search": "search_",
        "open_segments": "node_search",
        "search_segments": "node_search",
    }
    for span in spans:
        name = span["name"]
        if name == "search":
            assert span["parent"] == CLIENT_SPAN
            assert span["values"] == {"collection": "table", "nq": 1, "topk": 10}
            continue
        expected = "do_search" if name.startswith("search_") and name != "search_segments" else parents[name]
        parent = by_id[span["parent"]]
        assert parent["name"].startswith(expected), f"{name} is below {parent['name']}"
    calls = [span for span in spans if span["name"] in CALLS_ON_NODES]
    assert sum(span["values"]["segments"] for span in calls) == ROUNDS
    at_nodes = [span for span in spans if span["name"] == "node_search"]
    assert len(at_nodes) == len(calls) and {span["service"] for span in at_nodes} == {"mishards-node"}
    (merge,) = [span for span in spans if span["name"] == "do_merge"]
    assert merge["values"]["candidates"] >= 10
    assert {span["service"] for span in spans if span not in at_nodes} >= {"mishards-router"}


def test_what_is_not_sampled_leaves_no_trace(traced, collector):
    search(traced)
    search(traced, ("traceparent", f"00-{'ab' * 16}-{CLIENT_SPAN}-00"))
    search(traced, ("traceparent", f"00-{'cd' * 16}-{CLIENT_SPAN}-01"))
    collector.of_trace("cd" * 16, {"search", "node_search"})
    assert {span["trace"] for span in collector.spans} <= {TRACE, "cd" * 16}


def test_an_answer_says_in_its_trailers_what_it_covers(traced):
    def covered() -> dict[str, str]:
        _, trailers = search(traced)
        return dict(part.split("=") for part in trailers["mishards-coverage"].split("; "))

    parts = covered()
    assert parts["segments"] == f"{ROUNDS}/{ROUNDS}" and parts["growing"] == "yes"
    assert parts["version"]
    # One that a busy machine keeps from answering for a moment is passed over.
    wait_for("all nodes to take part", lambda: set(covered()["nodes"].split(",")) == {"ro1", "ro2", "writer"})


def test_slow_reads_are_logged_with_what_they_did(traced):
    nq = 4000  # So many cannot be answered within a millisecond.
    search(traced, filter="n >= 0 and n < 12345", nq=nq)
    log = traced.processes["router"].log
    deadline = time.monotonic() + 10
    while True:
        lines = [json.loads(line) for line in log.read_text().split("\n")[:-1] if '"slow read"' in line]
        lines = [line for line in lines if line["filter"] == "n >= 0 and n < 12345"]
        if lines:
            break
        assert time.monotonic() < deadline, "no slow read was logged"
        time.sleep(0.05)
    line = lines[-1]
    assert (line["collection"], line["nq"], line["topk"], line["operation"]) == ("table", nq, 10, "search")
    assert line["took_ms"] >= 1 and "segments=6/6" in line["coverage"]
    assert "search on ro1" in line["subqueries"] or "search on ro2" in line["subqueries"]


def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess:
    command = [str(BINARY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, input=stdin)


def test_status_shows_the_cluster(traced):
    ops = f"127.0.0.1:{traced.ops_ports['router']}"
    shown = run("status", "--ops", ops)
    assert shown.returncode == 0, shown.stderr
    for word in ["writer", "ro1", "ro2", "readonly", "writable", "serving", "table", "ready"]:
        assert word in shown.stdout, shown.stdout
    def status_now() -> dict:
        return json.loads(run("status", "--json", "--ops", ops).stdout)

    def growing_rows() -> int:
        return next(node["growing_rows"] for node in status_now()["nodes"] if node["name"] == "writer")

    wait_for("the router to hear of the growing rows", lambda: growing_rows() == 10)
    status = status_now()
    nodes = {node["name"]: node for node in status["nodes"]}
    assert sum(node["segments"] for node in nodes.values()) == ROUNDS
    assert nodes["writer"]["growing_rows"] == 10 and nodes["writer"]["epoch"] == status["epoch"] == 1
    assert abs(sum(node["share"] for node in nodes.values()) - 1) < 1e-6
    (collection,) = status["collections"]
    assert (collection["rows"], collection["segments"], collection["loaded"]) == (ROUNDS * 100, ROUNDS, True)


def test_explain_shows_how_a_read_was_answered(traced):
    ops = f"127.0.0.1:{traced.ops_ports['router']}"
    vector_text = json.dumps([0.0] * DIM)
    shown = run("explain", "table", "--vector", "-", "--limit", "3", "--ops", ops, stdin=vector_text)
    assert shown.returncode == 0, shown.stderr
    assert f"{ROUNDS} of {ROUNDS} segments, with rows that are not in files" in shown.stdout
    search = ("explain", "table", "--vector", vector_text, "--limit", "3", "--json", "--ops", ops)

    def read_by(explained: dict) -> set[str]:
        return {segment["read_by"] for segment in explained["segments"]}

    wait_for("both nodes to take part", lambda: read_by(json.loads(run(*search).stdout)) == {"ro1", "ro2"})
    explained = json.loads(run(*search).stdout)
    assert len(explained["keys"]) == len(explained["scores"]) == 3
    assert read_by(explained) == {"ro1", "ro2"}
    for segment in explained["segments"]:
        assert segment["candidates"][0] == segment["read_by"] and segment["candidates"][-1] == "writer"
    counted = json.loads(run("explain", "table", "--filter", "n < 50", "--json", "--ops", ops).stdout)
    assert counted["count"] == 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "nothing"], "collection not found"),
        (["explain", "table", "--vector", "[1, 2"], "--vector must be a JSON list of numbers"),
        (["explain", "table", "--vector", "[1, 2]", "--limit", "3"], "the read failed"),
        (["explain", "table", "--filter", "n <"], "the read failed"),
        (["explain", "table", "--param", "ef"], "write NAME=VALUE"),
        (["explain", "table", "--consistency", "sometimes"], "strong, session, bounded, eventually"),
    ],
)
def test_what_cannot_be_explained_is_named(traced, arguments, said):
    done = run(*arguments, "--ops", f"127.0.0.1:{traced.ops_ports['router']}")
    assert done.returncode != 0 and said in done.stderr, done.stderr


def test_commands_say_when_they_ask_the_wrong_process(traced):
    at_node = run("status", "--ops", f"127.0.0.1:{traced.ops_ports['ro1']}")
    assert at_node.returncode != 0 and "is no router" in at_node.stderr
    nobody = run("status", "--ops", "127.0.0.1:1")
    assert nobody.returncode != 0 and "no router answers at 127.0.0.1:1" in nobody.stderr


def test_a_dead_collector_is_no_trouble(tmp_path):
    """Spans go nowhere; requests do not wait for them, and the end of the process neither."""
    collector = Collector()
    cluster = TracedCluster(tmp_path, collector)
    collector.server.stop(grace=None).wait()
    cluster.start()
    try:
        client = MilvusClient(cluster.uri, timeout=CONNECT_WITHIN)
        create(client, "table", {"id": KEY, "n": NUMBER, "vec": vector(DIM)}, {"vec": FLAT_L2})
        insert(client, "table", rows_of(random_vectors(20, DIM, seed=5), n=lambda key: key))
        answer, _ = search(cluster, ("traceparent", f"00-{TRACE}-{CLIENT_SPAN}-01"))
        assert answer.status.code == 0 and len(answer.results.scores) == 10
        client.close()
        cluster.stop()
    finally:
        cluster.end()


def test_a_node_with_another_directory_is_refused(traced, tmp_path):
    """One that belongs to another cluster ends at once; one that has no marker is not used, and status says why."""
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    server = subprocess.Popen(
        [str(BINARY), "standalone", "--data-dir", str(stranger), "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"],
        env={"MISHARDS__CLUSTER__ID": "stranger"},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + READY_WITHIN
    while not (stranger / "cluster").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server.kill()
    server.wait()
    config = traced.folder / "ro1.toml"
    text = config.read_text()
    shared = json.dumps(str(traced.folder / "shared"))
    assert shared in text
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(text.replace(shared, json.dumps(str(stranger))))
    done = run("node", "--role", "readonly", "--config", str(wrong))
    # The port of ro1 is taken; what is looked at first does not matter, that it is refused with its name does.
    assert done.returncode != 0
    ro1 = traced.processes["ro1"]
    ro1.stop()
    done = run("node", "--role", "readonly", "--config", str(wrong))
    assert done.returncode != 0 and 'belongs to cluster "stranger"' in done.stderr, done.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    wrong.write_text(text.replace(shared, json.dumps(str(empty))))
    lost = subprocess.Popen([str(BINARY), "node", "--role", "readonly", "--config", str(wrong)], stderr=subprocess.DEVNULL)
    try:
        ops = f"127.0.0.1:{traced.ops_ports['router']}"
        deadline = time.monotonic() + READY_WITHIN
        while True:
            unused = json.loads(run("status", "--json", "--ops", ops).stdout)["unused"]
            if "without a marker file" in unused.get("ro1", ""):
                break
            assert time.monotonic() < deadline, unused
            time.sleep(0.1)
        answer, trailers = search(traced)
        assert len(answer.results.scores) == 10 and "ro1" not in trailers["mishards-coverage"]
    finally:
        lost.kill()
        lost.wait()
        ro1.start()
        ro1.wait_until_ready(time.monotonic() + READY_WITHIN)
