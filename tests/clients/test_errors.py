"""Bad input: each is refused with the code of Milvus and a message that names what is wrong, and changes nothing.
What pymilvus would refuse by itself is sent around its own checks, so that the server has to."""

import copy
import json
import re
import uuid
from contextlib import contextmanager

import grpc
import pytest
from harness import CONNECT_WITHIN
from pymilvus import AnnSearchRequest, DataType, MilvusClient, MilvusException, RRFRanker
from pymilvus.client.prepare import Prepare
from pymilvus.client.utils import check_status
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from refusals import refuses, unchanged
from tables import FLAT_L2, KEY, NUMBER, create, index_params, insert, schema_of, text, vector, wait_for_index

DIM = 4
FIELDS = {
    "id": KEY,
    "number": NUMBER,
    "tiny": {"datatype": DataType.INT8},
    "wide": {"datatype": DataType.DOUBLE},
    "thin": {"datatype": DataType.FLOAT},
    "word": text(5),
    "tree": {"datatype": DataType.JSON},
    "few": {"datatype": DataType.ARRAY, "element_type": DataType.INT64, "max_capacity": 2},
    "vec": vector(DIM),
}
VEC = [1.0, 2.0, 3.0, 4.0]
ROW = {
    "id": 1000,
    "number": 1,
    "tiny": 1,
    "wide": 1.0,
    "thin": 1.0,
    "word": "five.",
    "tree": {},
    "few": [1],
    "vec": VEC,
}
NAN, INFINITY = float("nan"), float("inf")

# pymilvus repeats a call that failed with any other gRPC code, which bad input must not cause.
NEVER_REPEATED = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}

pytestmark = pytest.mark.usefixtures("table")


@pytest.fixture(scope="module")
def spare(server) -> list[str]:
    """The collection that waits for the next test; it ends with its server."""
    return []


@pytest.fixture
def table(client, spare):
    """A loaded collection, which the test must not change. The tests share one; who changes it gets it all alone."""
    name = spare.pop() if spare else make_table(client)
    with unchanged(client, name):
        yield name
    spare.append(name)


def make_table(client: MilvusClient) -> str:
    name = f"errors_{uuid.uuid4().hex[:8]}"
    create(client, name, FIELDS, {"vec": FLAT_L2, "number": {"index_type": "INVERTED"}})
    rows = [ROW | {"id": key, "number": key} for key in range(20)]
    insert(client, name, rows[:10])
    client.flush(name)
    for index in ("vec", "number"):
        wait_for_index(client, name, index)
    insert(client, name, rows[10:])
    client.create_partition(name, "east")
    client.create_alias(name, f"{name}_alias")
    return name


def stub_of(client: MilvusClient):
    return client._get_connection()._stub


def insert_request(client: MilvusClient, table: str, *rows: dict) -> milvus_pb2.InsertRequest:
    """What pymilvus would send, but a field may be missing or unknown, and a string of any length."""
    described = client.describe_collection(table)
    fields = [copy.deepcopy(field) for field in described["fields"] if field["name"] in rows[0]]
    for field in fields:
        field["params"].pop("max_length", None)
        field["nullable"] = any(row[field["name"]] is None for row in rows)
    for extra in rows[0].keys() - FIELDS.keys():
        fields.append({"name": extra, "type": DataType.INT64, "params": {}})
    return Prepare.row_insert_param(table, list(rows), "", fields)


def insert_raw(client: MilvusClient, request: milvus_pb2.InsertRequest) -> None:
    check_status(stub_of(client).Insert(request).status)


# --- rows -------------------------------------------------------------------------------------------------------

# What is changed in a good row, and what the message must name.
BAD_ROWS = {
    "wrong dimension": ({"vec": [1, 2, 3]}, "of float data should divide the dim(4) of field vec"),
    "NaN in a vector": ({"vec": [1, NAN, 3, 4]}, "vec"),
    "infinity in a vector": ({"vec": [1, 2, -INFINITY, 4]}, "vec"),
    "NaN in a double": ({"wide": NAN}, "wide"),
    "infinity in a float": ({"thin": INFINITY}, "thin"),
    "string of too many bytes": ({"word": "é€€"}, "word"),
    "long string": ({"word": "x" * 100_000}, "length of varchar field word exceeds max length"),
    "too many elements": ({"few": [1, 2, 3]}, "max_capacity"),
    "int8 out of range": ({"tiny": 200}, "tiny"),
    "null in a field that is not nullable": ({"number": None}, "number"),
    "JSON too large": ({"tree": {"k": "x" * 70_000}}, "tree"),
    "unknown field": ({"unknown": 1}, "unknown"),
}


@pytest.mark.parametrize("what", list(BAD_ROWS))
def test_bad_row(client, table, what):
    changes, words = BAD_ROWS[what]
    with refuses({1100, 1102} if "JSON" in what else 1100, words):
        insert_raw(client, insert_request(client, table, ROW | changes))


@pytest.mark.parametrize("what", ["wrong dimension", "NaN in a vector", "too many elements"])
def test_one_bad_row_spoils_the_batch(client, table, what):
    changes, words = BAD_ROWS[what]
    with refuses(1100, words):
        insert_raw(client, insert_request(client, table, ROW, ROW | changes, ROW))


@pytest.mark.parametrize("field", ["number", "tree", "vec"])
def test_missing_field(client, table, field):
    with refuses(1100, field):
        insert_raw(client, insert_request(client, table, {name: ROW[name] for name in ROW if name != field}))


def test_malformed_json(client, table):
    request = insert_request(client, table, ROW)
    column = next(column for column in request.fields_data if column.field_name == "tree")
    column.scalars.json_data.data[0] = b'{"a": '
    with refuses(1100, "tree"):
        insert_raw(client, request)


def test_columns_of_unequal_length(client, table):
    request = insert_request(client, table, ROW, ROW | {"id": 1001})
    column = next(column for column in request.fields_data if column.field_name == "number")
    del column.scalars.long_data.data[1]
    with refuses(1100, "number"):
        insert_raw(client, request)


def test_wrong_number_of_rows(client, table):
    request = insert_request(client, table, ROW)
    request.num_rows = 0
    with refuses(1100):
        insert_raw(client, request)


def test_column_of_another_type(client, table):
    request = insert_request(client, table, ROW)
    column = next(column for column in request.fields_data if column.field_name == "number")
    column.type = DataType.DOUBLE
    column.scalars.double_data.data.append(1.5)
    with refuses(1100, "number"):
        insert_raw(client, request)


def test_old_schema(client, table):
    """pymilvus sends the schema's timestamp along; an old one makes it read the schema anew."""
    request = insert_request(client, table, ROW)
    request.schema_timestamp = client.describe_collection(table)["update_timestamp"] - 1
    status = stub_of(client).Insert(request).status
    assert (status.code, status.error_code) == (109, common_pb2.SchemaMismatch)


def test_same_key_twice_in_an_upsert(client, table):
    with refuses(1100, "duplicate"):
        client.upsert(table, [ROW | {"id": 5}, ROW | {"id": 5}])


def test_given_value_for_an_automatic_key(client, name):
    fields = {"id": KEY | {"auto_id": True}, "vec": vector(DIM)}
    create(client, name, fields, {"vec": FLAT_L2})
    with refuses(1100, "more fieldData has pass in", "id"):
        client.insert(name, {"id": 1, "vec": VEC})


# --- names that nobody has --------------------------------------------------------------------------------------

ON_A_COLLECTION = {
    "query": lambda client, name: client.query(name, filter="id > 0"),
    "search": lambda client, name: client.search(name, data=[VEC]),
    "insert": lambda client, name: client.insert(name, ROW),
    "upsert": lambda client, name: client.upsert(name, ROW),
    "delete": lambda client, name: client.delete(name, filter="id == 1"),
    "flush": lambda client, name: client.flush(name),
    "load": lambda client, name: client.load_collection(name),
    "release": lambda client, name: client.release_collection(name),
    "describe": lambda client, name: client.describe_collection(name),
    "statistics": lambda client, name: client.get_collection_stats(name),
    "list partitions": lambda client, name: client.list_partitions(name),
    "create partition": lambda client, name: client.create_partition(name, "p"),
    "create index": lambda client, name: client.create_index(name, index_params({"vec": FLAT_L2})),
    "create alias": lambda client, name: client.create_alias(name, "nobody_s_alias"),
    "rename": lambda client, name: client.rename_collection(name, "nobody_s_new"),
}


@pytest.mark.parametrize("call", list(ON_A_COLLECTION))
def test_unknown_collection(client, call):
    with refuses(100, "[database=default][collection=nobody]") as told:
        ON_A_COLLECTION[call](client, "nobody")
    # pymilvus describes a collection before it inserts into it, and Milvus describes an unknown one in other words.
    said_by_describe = call in ("describe", "insert", "upsert")
    words = "can't find collection" if said_by_describe else "collection not found"
    assert words in told.value.message


BAD_COLLECTION = "12 s"
CHECKS_COLLECTION_NAME = {
    "query",
    "insert",
    "upsert",
    "delete",
    "load",
    "release",
    "describe",
    "list partitions",
    "create partition",
    "create alias",
}


@pytest.mark.parametrize("call", list(ON_A_COLLECTION))
def test_ill_formed_collection_name(client, call):
    """Some calls of Milvus look at the form of a name, the others just do not find it."""
    code, words = 100, f"collection not found[database=default][collection={BAD_COLLECTION}]"
    if call in CHECKS_COLLECTION_NAME:
        code, words = 1100, f"Invalid collection name: {BAD_COLLECTION}. the first character of a collection name"
    with refuses(code, words):
        ON_A_COLLECTION[call](client, BAD_COLLECTION)


def test_ill_formed_collection_name_elsewhere(client):
    with refuses(1100, f"Invalid collection name: {BAD_COLLECTION}."):
        client.drop_collection(BAD_COLLECTION)
    with refuses(1100, f"Invalid collection name: {BAD_COLLECTION}."):
        client.has_partition(BAD_COLLECTION, "p")
    with refuses(100, f"collection not found[database=default][collection={BAD_COLLECTION}]"):
        client.hybrid_search(
            BAD_COLLECTION, [AnnSearchRequest([VEC], "vec", {}, limit=1)], RRFRanker(), limit=1, timeout=60
        )


def test_unknown_collection_where_it_is_no_error(client):
    assert not client.has_collection("nobody")
    client.drop_collection("nobody")
    client.drop_alias("nobody")


ON_A_PARTITION = {
    "insert": lambda client, table, name: client.insert(table, ROW, partition_name=name),
    "query": lambda client, table, name: client.query(table, filter="id > 0", partition_names=[name]),
    "search": lambda client, table, name: client.search(table, data=[VEC], partition_names=[name]),
    "delete": lambda client, table, name: client.delete(table, filter="id == 1", partition_name=name),
    "load": lambda client, table, name: client.load_partitions(table, [name]),
    "release": lambda client, table, name: client.release_partitions(table, [name]),
    "statistics": lambda client, table, name: client.get_partition_stats(table, name),
}


@pytest.mark.parametrize("call", list(ON_A_PARTITION))
def test_unknown_partition(client, table, call):
    with refuses(200, "partition name nobody not found", "partition not found[partition=nobody]"):
        ON_A_PARTITION[call](client, table, "nobody")


CHECKS_PARTITION_NAME = {
    "insert": ON_A_PARTITION["insert"],
    "upsert": lambda client, table, name: client.upsert(table, ROW, partition_name=name),
    "delete": ON_A_PARTITION["delete"],
    "create": lambda client, table, name: client.create_partition(table, name),
    "drop": lambda client, table, name: client.drop_partition(table, name),
    "has": lambda client, table, name: client.has_partition(table, name),
}


@pytest.mark.parametrize("call", list(CHECKS_PARTITION_NAME))
@pytest.mark.parametrize(
    "bad, words",
    {
        "12 s": "Invalid partition name: 12 s. Partition name can only contain",
        "(mn)": "Invalid partition name: (mn). The first character of a partition name",
        " ": "Invalid partition name: . Partition name should not be empty.",
        "x" * 256: "The length of a partition name must be less than 255",
    }.items(),
    ids=["space inside", "bracket", "blank", "long"],
)
def test_ill_formed_partition_name(client, table, call, bad, words):
    with refuses(1100, words):
        CHECKS_PARTITION_NAME[call](client, table, bad)


def test_rename_to_an_alias(client, table, name):
    create(client, name, PLAIN)
    with refuses(1601, f"alias and collection name conflict[database=default][alias={table}_alias]"):
        client.rename_collection(name, f"{table}_alias")


def test_negative_window(client, table):
    for key in ("limit", "offset"):
        with refuses(1100, f"invalid max query result window, {key} [-1] is invalid, should be gte than 0"):
            client.query(table, filter="id > 0", **({"limit": 1} | {key: -1}))


def test_unknown_output_field(client, table):
    with refuses(1100, "field nobody not exist"):
        client.query(table, filter="id > 0", output_fields=["nobody"])
    with refuses(1100, "field nobody not exist"):
        client.search(table, data=[VEC], output_fields=["nobody"])


def test_unknown_field_elsewhere(client, table):
    for text in ("nobody == 1", "nobody", "not nobody", "id > 0 and nobody"):
        with refuses(1100, "field nobody not exist"):
            client.query(table, filter=text)
        with refuses(1100, "field nobody not exist"):
            client.search(table, data=[VEC], filter=text)
        with refuses(1100, "field nobody not exist"):
            client.delete(table, filter=text)
    with refuses(1100, "nobody"):
        client.search(table, data=[VEC], anns_field="nobody")
    with refuses(1100, "nobody"):
        client.search(table, data=[VEC], group_by_field="nobody")
    with refuses({1100, 1700}, "nobody"):
        client.create_index(table, index_params({"nobody": FLAT_L2}))


def test_unknown_database(client, server):
    lost = MilvusClient(server.uri, db_name="nobody", timeout=CONNECT_WITHIN)
    with refuses(800, "database not found", "nobody"):
        lost.list_collections()
    with refuses(800, "database not found", "nobody"):
        create(lost, "nothing", {"id": KEY, "vec": vector(DIM)})
    lost.close()


# --- filters ----------------------------------------------------------------------------------------------------

# The mark ^ stands before the first character that cannot be; it is not sent.
MALFORMED = [
    "number ==^",
    "number > ^> 5",
    "number == 1 and^",
    "(number == 1^",
    "number in [1, 2^",
    "number ^@ 5",
    "number == 1 ^number == 2",
]


@pytest.mark.parametrize("marked", MALFORMED)
def test_malformed_filter_names_its_column(client, table, marked):
    filter, position = marked.replace("^", ""), marked.index("^")
    with refuses(1100, "failed to create query plan: cannot parse expression", filter) as told:
        client.query(table, filter=filter)
    check_column(told.value.message, position)
    with refuses(1100, "failed to create query plan: cannot parse expression", filter):
        client.search(table, data=[VEC], filter=filter)
    with refuses(1100, "failed to create delete plan: cannot parse expression", filter):
        client.delete(table, filter=filter)


def check_column(message: str, position: int) -> None:
    """Counted from 0 or from 1."""
    column = re.search(r"\b(?:column |col |line 1:)(\d+)", message)
    assert column, f"no column in: {message}"
    assert int(column[1]) - position in (0, 1), f"column {column[1]}, the fault is at {position}: {message}"


NONSENSE = {
    "word > 5": "comparisons between VarChar and Int64 are not supported",
    "word == 'open": "word == 'open",
    "number in ['x']": "number",
    "number + 1": "number + 1",
    "word": "word",
    "vec == 1": "vec",
    "number like 'x%'": "like",
    "number % 0 == 1": "zero",
    "exists number": "exists",
    "number == {missing}": "missing",
    "array_length(number) == 1": "array_length",
    "no_such_function(number)": "no_such_function",
}


@pytest.mark.parametrize("filter, words", NONSENSE.items())
def test_filter_that_makes_no_sense(client, table, filter, words):
    with refuses(1100, "failed to create query plan", words):
        client.query(table, filter=filter)


def test_filters_that_select_too_much(client, table):
    with refuses(1100):
        client.query(table, filter="")  # without a limit
    for filter in ("", "true", "1 < 2"):
        with refuses(1100):
            check_status(stub_of(client).Delete(milvus_pb2.DeleteRequest(collection_name=table, expr=filter)).status)


def test_deep_filter_is_answered(client, table):
    """An answer or a refusal, but no crash."""
    deep = "(" * 20_000 + "number == 1" + ")" * 20_000
    try:
        assert [row["id"] for row in client.query(table, filter=deep)] == [1]
    except MilvusException as error:
        assert error.code == 1100


# --- searches ---------------------------------------------------------------------------------------------------

BAD_SEARCHES = {
    "top-k over the limit": ({"limit": 16385}, "16384"),
    "offset and top-k over the limit": ({"limit": 16000, "offset": 385}, "16384"),
    "wrong dimension": ({"data": [[1, 2, 3]]}, "dim"),
    "NaN": ({"data": [[1, 2, 3, NAN]]}, "nan"),
    "infinity": ({"data": [[1, 2, 3, INFINITY]]}, "inf"),
    "text for a vector": ({"data": ["words"]}, "vec"),
    "other metric": ({"search_params": {"metric_type": "COSINE"}}, "metric type not match"),
    "unknown metric": ({"search_params": {"metric_type": "NEAR"}}, "metric type not match"),
    "range filter without a radius": ({"search_params": {"params": {"range_filter": 0.5}}}, "radius"),
    "range filter beyond the radius": (
        {"search_params": {"params": {"radius": 0.1, "range_filter": 0.9}}},
        "must be less than radius",
    ),
    "group size over the limit": ({"group_by_field": "number", "group_size": 11}, "group"),
    "group by a float": ({"group_by_field": "wide"}, "wide"),
    "field that is no vector": ({"anns_field": "number"}, "number"),
}


@pytest.mark.parametrize("what", list(BAD_SEARCHES))
def test_bad_search(client, table, what):
    changes, words = BAD_SEARCHES[what]
    with refuses(1100, words):
        client.search(table, **{"data": [VEC], "limit": 3, **changes})


def test_too_many_queries_in_one_search(client, table):
    with refuses(1100, "16384"):
        client.search(table, data=[VEC] * 16385, limit=1)


def test_search_without_the_field_where_there_are_two(client, name):
    fields = {"id": KEY, "one": vector(DIM), "two": vector(DIM)}
    create(client, name, fields, {"one": FLAT_L2, "two": FLAT_L2})
    with refuses(1100, "anns_field"):
        client.search(name, data=[VEC])


def test_bad_query(client, table):
    with refuses(1100, "16384"):
        client.query(table, filter="id > 0", limit=16385)
    with refuses(1100, "16384"):
        client.query(table, filter="id > 0", limit=16000, offset=385)
    with refuses(1100, "limit"):
        client.query(table, filter="id > 0", limit=-1)
    with refuses(1100, "count"):
        client.query(table, filter="id > 0", output_fields=["count(*)"], limit=1)
    with refuses(1100, "count"):
        client.query(table, filter="id > 0", output_fields=["count(*)", "number"])


def test_bad_hybrid_search(client, table):
    request = AnnSearchRequest([VEC], "vec", {}, 5)
    with refuses(1100, "16384"):
        client.hybrid_search(table, [request], RRFRanker(), limit=16385)
    with refuses(1100, "k"):
        client.hybrid_search(table, [request], RRFRanker(0), limit=5)
    with refuses(1100):
        client.hybrid_search(table, [AnnSearchRequest([[1, 2]], "vec", {}, 5)], RRFRanker(), limit=5)


# --- definitions ------------------------------------------------------------------------------------------------

PLAIN = {"id": KEY, "vec": vector(DIM)}


@contextmanager
def creates_nothing(client: MilvusClient, name: str, codes, *words: str):
    with refuses(codes, *words):
        yield
    assert name not in client.list_collections()


BAD_NAMES = ["9starts", "with-dash", "with space", "dollar$", "naïve", "x" * 256]


@pytest.mark.parametrize("bad", BAD_NAMES, ids=ascii)
def test_bad_collection_name(client, bad):
    with creates_nothing(client, bad, 1100, "Invalid collection name"):
        create(client, bad, PLAIN)


def test_bad_names_of_other_things(client, table):
    for call in (client.create_alias, client.alter_alias):
        with refuses(1100, "Invalid collection alias: with-dash."):
            call(table, "with-dash")
    with refuses(1100, "Invalid collection alias: 1x. the first character of a collection alias must be"):
        client.describe_alias("1x")
    with refuses(1100, "the length of a collection alias must be less than 255"):
        client.create_alias(table, "x" * 256)
    for call in (client.create_database, client.drop_database):
        with refuses(802, "database name can only contain", "invalid database name[database=with-dash]"):
            call("with-dash")
    with refuses(1100, "Invalid partition name"):
        client.create_partition(table, "with space")
    with refuses(1100, "index name"):
        client.create_index(table, index_params({"word": {"index_type": "INVERTED", "index_name": "with space"}}))
    with refuses(1100, "Invalid collection name"):
        client.rename_collection(table, "with-dash")


KEYWORDS = ["like", "EXISTS", "json_contains", "Random_Sample"]
BAD_FIELD_NAMES = ["with-dash", "9starts", "x" * 256, *KEYWORDS, "RowID", "$meta"]


@pytest.mark.parametrize("bad", BAD_FIELD_NAMES, ids=ascii)
def test_bad_field_name(client, name, bad):
    codes = {1100, 1701} if bad in ("RowID", "$meta") else 1701
    with creates_nothing(client, name, codes, bad[:20]):
        create(client, name, PLAIN | {bad: NUMBER})


BAD_FIELDS = {
    "vector of one dimension": ({"vec": vector(1)}, "dim"),
    "vector of too many dimensions": ({"vec": vector(32769)}, "dim"),
    "binary vector": ({"other": {"datatype": DataType.BINARY_VECTOR, "dim": 8}}, "other"),
    "half-precision vector": ({"other": {"datatype": DataType.FLOAT16_VECTOR, "dim": 8}}, "other"),
    "sparse vector": ({"other": {"datatype": DataType.SPARSE_FLOAT_VECTOR}}, "other"),
    "eight-bit vector": ({"other": {"datatype": DataType.INT8_VECTOR, "dim": 8}}, "other"),
    "geometry": ({"other": {"datatype": DataType.GEOMETRY}}, "other"),
    "text without a length": ({"other": {"datatype": DataType.VARCHAR}}, "max_length"),
    "text of too great a length": ({"other": text(65536)}, "max_length"),
    "array without a capacity": (
        {"other": {"datatype": DataType.ARRAY, "element_type": DataType.INT64}},
        "max_capacity",
    ),
    "array of JSON": (
        {"other": {"datatype": DataType.ARRAY, "element_type": DataType.JSON, "max_capacity": 3}},
        "element type",
    ),
    "default of another type": (
        {"other": NUMBER | {"default_value": "text"}},
        "of field (other) is not equal to the type(DataType_VarChar) of default_value",
    ),
    "default of a JSON field": (
        {"other": {"datatype": DataType.JSON, "default_value": "{}"}},
        "type not support default_value, type:JSON",
    ),
    "default too long": ({"other": text(2) | {"default_value": "long"}}, "other"),
    "nullable partition key": ({"other": NUMBER | {"nullable": True, "is_partition_key": True}}, "other"),
    "nullable key": ({"id": KEY | {"nullable": True}}, "nullable"),
    "more than ten vectors": ({f"v{i}": vector(4) for i in range(10)}, "vector"),
    "more than 64 fields": ({f"n{i}": NUMBER for i in range(63)}, "64"),
}


@pytest.mark.parametrize("what", list(BAD_FIELDS))
def test_bad_field(client, name, what):
    changes, words = BAD_FIELDS[what]
    with creates_nothing(client, name, 1100, words):
        create(client, name, PLAIN | changes)


def test_no_vector(client, name):
    with creates_nothing(client, name, 1100, "schema does not contain vector field"):
        create(client, name, {"id": KEY, "n": NUMBER})


@pytest.mark.parametrize("keys", [[], ["id", "n"]], ids=["no key", "two keys"])
def test_wrong_number_of_keys(client, name, keys):
    schema = Prepare.get_schema_from_collection_schema(name, schema_of(PLAIN | {"n": NUMBER}))
    for field in schema.fields:
        field.is_primary_key = field.name in keys
    with creates_nothing(client, name, 1100, "primary key"):
        create_raw(client, name, schema.SerializeToString())


def test_schema_of_another_name(client, name):
    schema = Prepare.get_schema_from_collection_schema("another", schema_of(PLAIN))
    with creates_nothing(client, name, 1100, "name"):
        create_raw(client, name, schema.SerializeToString())


def test_schema_that_is_no_schema(client, name):
    with creates_nothing(client, name, 1100):
        create_raw(client, name, b"\xff\xff\xff")


def create_raw(client: MilvusClient, name: str, schema: bytes) -> None:
    request = milvus_pb2.CreateCollectionRequest(collection_name=name, schema=schema)
    check_status(stub_of(client).CreateCollection(request))


def test_same_collection_with_other_parameters(client, table):
    with refuses(1100, "create duplicate collection with different parameters", table):
        create(client, table, PLAIN)


def test_too_many_shards(client, name):
    with creates_nothing(client, name, 1100, "shard"):
        create(client, name, PLAIN, num_shards=17)


# --- indexes and loading ----------------------------------------------------------------------------------------


def test_load_without_an_index(client, name):
    create(client, name, PLAIN)
    with refuses(700, "index not found", name):
        client.load_collection(name)


def test_load_without_one_of_the_indexes(client, name):
    create(client, name, PLAIN | {"more": vector(DIM)})
    client.create_index(name, index_params({"vec": FLAT_L2}))
    with refuses(1100, "there is no vector index on field", "more"):
        client.load_collection(name)


BAD_INDEXES = {
    "unknown type": ({"index_type": "BEST"}, {1100, 701}, "BEST"),
    "type we do not have": ({"index_type": "IVF_PQ"}, {1100, 701}, "IVF_PQ"),
    "scalar type on a vector": ({"index_type": "INVERTED"}, {1100, 701}, "INVERTED"),
    "metric of other vectors": ({"metric_type": "HAMMING"}, {1100}, "metric"),
    "unknown metric": ({"metric_type": "NEAR"}, {1100}, "metric"),
    "M out of range": ({"params": {"M": 4096}}, {1100}, "M"),
    "M that is no number": ({"params": {"M": "many"}}, {1100}, "M"),
    "efConstruction out of range": ({"params": {"efConstruction": 0}}, {1100}, "efConstruction"),
}


@pytest.mark.parametrize("what", list(BAD_INDEXES))
def test_bad_index(client, name, what):
    changes, codes, words = BAD_INDEXES[what]
    create(client, name, PLAIN)
    with refuses(codes, words):
        client.create_index(name, index_params({"vec": {"index_type": "HNSW", "metric_type": "L2"} | changes}))
    assert client.list_indexes(name) == []


def test_vector_index_on_a_scalar(client, name):
    create(client, name, PLAIN | {"n": NUMBER})
    with refuses({1100, 701}, "HNSW"):
        client.create_index(name, index_params({"n": {"index_type": "HNSW", "metric_type": "L2"}}))
    assert client.list_indexes(name) == []


# --- the wire ---------------------------------------------------------------------------------------------------

def send_bytes(server, method: str, message: bytes) -> grpc.RpcError:
    """Sends bytes that are no request, and returns the refusal."""
    address = server.uri.removeprefix("http://")
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(f"/milvus.proto.milvus.MilvusService/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(message, timeout=60)
    return caught.value


@pytest.mark.parametrize("method", ["Insert", "Search", "CreateCollection"])
def test_truncated_message(client, server, table, method):
    whole = insert_request(client, table, ROW).SerializeToString()
    assert send_bytes(server, method, whole[: len(whole) // 2]).code() in NEVER_REPEATED


def test_oversized_message(server):
    assert send_bytes(server, "Insert", bytes(300 * 2**20)).code() in NEVER_REPEATED


def test_input_error_is_marked_as_such(client):
    with pytest.raises(MilvusException) as caught:
        client.query("nobody", filter="id > 0")
    assert caught.value.compatible_code == common_pb2.CollectionNotExists
    assert caught.value.is_input_error and not caught.value.retriable


def test_placeholder_of_the_wrong_length(client, table):
    """Bytes that are no whole number of vectors."""
    group = common_pb2.PlaceholderGroup(
        placeholders=[common_pb2.PlaceholderValue(tag="$0", type=common_pb2.FloatVector, values=[b"\x00" * 15])]
    )
    params = {"anns_field": "vec", "topk": "3", "params": json.dumps({})}
    request = milvus_pb2.SearchRequest(
        collection_name=table,
        nq=1,
        dsl_type=common_pb2.BoolExprV1,
        placeholder_group=group.SerializeToString(),
        search_params=[common_pb2.KeyValuePair(key=key, value=value) for key, value in params.items()],
    )
    with refuses(1100):
        check_status(stub_of(client).Search(request).status)
