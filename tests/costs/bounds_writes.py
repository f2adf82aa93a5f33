"""Bounds of writes and definitions."""

import numpy as np
import samples
from bounds_reads import COLUMNS, MOST_ROWS, try_case
from calls import add_pairs, column, create, delete, field, insert, milvus, query, schema
from samples import vectors
from table import Report
from target import Target

S = schema
MESSAGE = 64 << 20  # Largest message of a client.


def batch(rows: int, dim: int = 128, begin: int = 0, kind=milvus.InsertRequest) -> bytes:
    ids = np.arange(begin, begin + rows)
    return insert("sink", [column("id", S.Int64, ids), column("v", S.FloatVector, vectors(rows, dim))], rows, kind)


def writes(target: Target, report: Report) -> None:
    row = lambda *a, **k: try_case(target, report, *a, warm=("victims",), **k)
    create(target.calls, "sink", [field("id", S.Int64, primary=True), field("v", S.FloatVector, dim=128)])
    samples.many(target.calls, 400_000, "victims")
    fits = MESSAGE // 517
    over = MESSAGE // 512
    row("insert", "Insert", ("64 MiB less a little", lambda: batch(fits - 500)), ("64 MiB and more", lambda: batch(over)))
    row("upsert", "Upsert", ("40 MiB", lambda: batch(80_000, kind=milvus.UpsertRequest)), ("64 MiB and more", lambda: batch(over, kind=milvus.UpsertRequest)))
    keys = lambda n: lambda: delete("victims", "id in [" + ",".join(map(str, range(n))) + "]")
    row("delete by key", "Delete", ("7,000,000 keys as text", keys(7_000_000)), ("9,000,000", keys(9_000_000)))
    row("delete by filter", "Delete", ("of 200,000 rows", lambda: delete("victims", "id >= 200000")), None)


def huge_deletes(target: Target, report: Report) -> None:
    row = lambda *a, **k: try_case(target, report, *a, warm=("doomed",), **k)
    samples.many(target.calls, 3_400_000, "doomed")
    over, fit = lambda: delete("doomed", f"id <= {MOST_ROWS}"), lambda: delete("doomed", f"id < {MOST_ROWS}")
    row("delete by filter", "Delete", ("3,276,801 rows", over), None, cancel=False)
    row("delete by filter", "Delete", ("3,276,800 rows", fit), None, cancel=False)
    row("count after it", "Query", ("rows left", lambda: query("doomed", "id >= 0", ["count(*)"])), None, cancel=False)


def collection(name: str, fields: list, **more) -> milvus.CreateCollectionRequest:
    described = schema.CollectionSchema(name=name, fields=fields)
    return milvus.CreateCollectionRequest(collection_name=name, schema=described.SerializeToString(), **more)


def definitions(target: Target, report: Report) -> None:
    row = lambda *a, **k: try_case(target, report, *a, warm=("narrow",), cancel=False, **k)
    key, vector = field("id", S.Int64, primary=True), lambda dim=4, name="v": field(name, S.FloatVector, dim=dim)
    create(target.calls, "narrow", [key, vector(2)])
    make = lambda name, *fields, **more: lambda: collection(name, [key, *fields], **more)
    many = lambda n: [field(f"f{i}", S.Int64) for i in range(n)]
    case = lambda what, good, bad: row(what, "CreateCollection", good, bad)
    case("create collection, fields", ("64", make("a", vector(), *many(62))), ("65", make("b", vector(), *many(63))))
    dims = lambda n: [vector(name=f"v{i}") for i in range(n)]
    case("create collection, vector fields", ("10", make("c", *dims(10))), ("11", make("d", *dims(11))))
    case("create collection, dim", ("32,768", make("e", vector(32768))), ("32,769", make("f", vector(32769))))
    case("create collection, name", ("255", make("n" * 255, vector())), ("256", make("n" * 256, vector())))
    text = lambda n: field("t", S.VarChar, max_length=n)
    case("create collection, max_length", ("65,535", make("g", vector(), text(65535))), ("65,536", make("h", vector(), text(65536))))
    array = lambda n: field("a", S.Array, element=S.Int64, max_capacity=n)
    case("create collection, max_capacity", ("4,096", make("i", vector(), array(4096))), ("4,097", make("j", vector(), array(4097))))
    shards = lambda n: make(f"s{n}", vector(), shards_num=n)
    case("create collection, shards", ("16", shards(16)), ("17", shards(17)))
    partition = lambda n: lambda: milvus.CreatePartitionRequest(collection_name="narrow", partition_name=f"p{n}")
    for i in range(1022):
        target.calls.must("CreatePartition", partition(i)())
    row("create partition", "CreatePartition", ("the 1,024th", partition(1022)), ("the 1,025th", partition(1023)))
    row("describe", "DescribeCollection", ("64 fields", lambda: milvus.DescribeCollectionRequest(collection_name="a")), ("unknown", lambda: milvus.DescribeCollectionRequest(collection_name="zz")))
    row("flush", "Flush", ("one collection", lambda: milvus.FlushRequest(collection_names=["narrow"])), ("one that is not there", lambda: milvus.FlushRequest(collection_names=["zz"])))

    def pairs(size: int):
        request = milvus.CreateIndexRequest(collection_name="narrow", field_name="v", index_name="x")
        add_pairs(request.extra_params, {"index_type": "HNSW", "metric_type": "L2", "note": "n" * size})
        return request

    row("create index, parameters", "CreateIndex", ("one on a field that has one", lambda: pairs(10)), ("102,401 bytes", lambda: pairs(102_401)))


def run(target: Target, report: Report, parts: set[str]) -> None:
    groups = {"writes": writes, "definitions": definitions, "deletes": huge_deletes}
    for name, group in groups.items():
        if not parts or name in parts:
            report.begin(f"Bounds: {name}", *COLUMNS)
            group(target, report)
