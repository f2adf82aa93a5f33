"""What is accepted has an effect, or is refused by name: parameters, properties, and calls that are not served."""

import grpc
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from pymilvus import AnnSearchRequest, DataType, MilvusClient, MilvusException, RRFRanker
from pymilvus.client.utils import check_status
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc
from refusals import refuses
from tables import FLAT_L2, KEY, NUMBER, count, create, ids_of, insert, text, vector

FIELDS = {"id": KEY, "n": NUMBER, "vec": vector(2)}
VEC = [0.0, 0.0]


def rows(keys) -> list[dict]:
    return [{"id": key, "n": key % 3, "vec": [float(key), 0.0]} for key in keys]


@pytest.fixture
def filled(client, name):
    create(client, name, FIELDS, {"vec": FLAT_L2})
    insert(client, name, rows(range(10)))
    return name


# --- parameters of reads ----------------------------------------------------------------------------------------

# What pymilvus is given, and the name that the refusal must have.
REFUSED_OF_SEARCH = {
    "unflushed rows left out": ({"search_params": {"ignore_growing": True}}, "ignore_growing"),
    "order": ({"order_by_fields": [{"field": "n", "order": "asc"}]}, "order_by_fields"),
    "several fields to group by": ({"group_by_fields": ["n"]}, "group_by_fields"),
    "strict cast": ({"group_by_field": "n", "strict_cast": True}, "strict_cast"),
    "JSON type": ({"group_by_field": "n", "json_type": DataType.INT64}, "json_type"),
    "timezone": ({"timezone": "Asia/Shanghai"}, "timezone"),
    "time fields": ({"time_fields": "year"}, "time_fields"),
    "analyzer": ({"search_params": {"analyzer_name": "english"}}, "analyzer_name"),
    "hint that Milvus does not have": ({"search_params": {"hints": "faster"}}, "hints"),
    "effort out of range": ({"search_params": {"params": {"ef": 2**31}}}, "'ef' (2147483648) should be in range"),
    "radius that is no number": ({"search_params": {"params": {"radius": "nan"}}}, "radius [nan]"),
    "endless range filter": ({"search_params": {"params": {"radius": 9, "range_filter": "-inf"}}}, "range_filter"),
    "group by a vector": ({"group_by_field": "vec"}, "cannot be grouped by a vector field"),
    "namespace": ({"namespace": "n"}, "namespace"),
}


@pytest.mark.parametrize("what", list(REFUSED_OF_SEARCH))
def test_a_search_is_refused_what_it_would_not_get(client, filled, what):
    options, words = REFUSED_OF_SEARCH[what]
    with refuses(1100, words):
        client.search(filled, data=[VEC], limit=3, **options)


REFUSED_OF_QUERY = {
    "unflushed rows left out": ({"ignore_growing": True}, "ignore_growing"),
    "order": ({"order_by_fields": ["n:asc"], "limit": 3}, "order_by_fields"),
    "groups": ({"group_by_fields": ["n"]}, "group_by_fields"),
    "timezone": ({"timezone": "Asia/Shanghai"}, "timezone"),
    "time fields": ({"time_fields": "year"}, "time_fields"),
}


@pytest.mark.parametrize("what", list(REFUSED_OF_QUERY))
def test_a_query_is_refused_what_it_would_not_get(client, filled, what):
    options, words = REFUSED_OF_QUERY[what]
    with refuses(1100, words):
        client.query(filled, filter="id >= 0", **options)


def hybrid(client: MilvusClient, name: str, part: dict | None = None, **options):
    requests = [AnnSearchRequest([VEC], "vec", part or {}, limit=3) for _ in range(2)]
    return client.hybrid_search(name, requests, RRFRanker(), limit=3, **options)


REFUSED_OF_HYBRID = {
    "groups": ({"group_by_field": "n"}, "group_by_field of a hybrid search"),
    "score of a group": ({"rank_group_scorer": "max"}, "rank_group_scorer"),
    "unflushed rows left out": ({"part": {"ignore_growing": True}}, "ignore_growing of a search inside a hybrid"),
    "analyzer": ({"part": {"analyzer_name": "english"}}, "analyzer_name"),
}


@pytest.mark.parametrize("what", list(REFUSED_OF_HYBRID))
def test_a_hybrid_search_is_refused_what_it_would_not_get(client, filled, what):
    options, words = REFUSED_OF_HYBRID[what]
    with refuses(1100, words):
        hybrid(client, filled, **options)


def test_groups_inside_one_part_of_a_hybrid_search(client, filled):
    """pymilvus asks for groups of the whole; other clients can ask one part for them."""
    part = client._get_connection().hybrid_search.__self__  # the handler, for its stub
    params = {"anns_field": "vec", "topk": "3", "params": "{}", "group_by_field": "n"}
    group = common_pb2.PlaceholderGroup(
        placeholders=[common_pb2.PlaceholderValue(tag="$0", type=common_pb2.FloatVector, values=[bytes(8)])]
    )
    search = milvus_pb2.SearchRequest(
        collection_name=filled,
        nq=1,
        placeholder_group=group.SerializeToString(),
        search_params=[common_pb2.KeyValuePair(key=key, value=value) for key, value in params.items()],
    )
    ranks = [common_pb2.KeyValuePair(key="strategy", value="rrf"), common_pb2.KeyValuePair(key="limit", value="3")]
    request = milvus_pb2.HybridSearchRequest(collection_name=filled, requests=[search], rank_params=ranks)
    with refuses(1100, "group_by_field of a search inside a hybrid search"):
        check_status(part._stub.HybridSearch(request).status)


def test_what_changes_no_answer_is_accepted(client, filled):
    """And so is what Milvus does not know."""
    plain = ids_of(client.search(filled, data=[VEC], limit=3)[0])
    for extra in (
        {"ignore_growing": False},
        {"hints": "iterative_filter"},
        {"page_retain_order": True},
        {"params": {"nprobe": 7, "reorder_k": 100, "level": 2, "some_new_name": "whatever"}},
    ):
        assert ids_of(client.search(filled, data=[VEC], limit=3, search_params=extra)[0]) == plain
    assert ids_of(hybrid(client, filled, {"params": {"nprobe": 7}}, offset=0)[0]) == plain
    assert len(client.query(filled, filter="id >= 0", ignore_growing=False)) == 10


# --- properties -------------------------------------------------------------------------------------------------

REFUSED_PROPERTIES = {
    "lifetime": ({"collection.ttl.seconds": 3}, "collection.ttl.seconds"),
    "lifetime of nonsense": ({"collection.ttl.seconds": "-7 apples"}, "collection TTL is not a valid positive integer"),
    "lifetime out of range": ({"collection.ttl.seconds": -2}, "collection TTL is out of range, expect [-1, "),
    "field of lifetimes": ({"ttl_field": "n"}, "ttl_field"),
    "warmup of nonsense": ({"warmup.vectorField": "nonsense"}, "invalid warmup policy: nonsense"),
    "no mapping": ({"mmap.enabled": "false"}, "mmap.enabled"),
    "given automatic keys": ({"allow_insert_auto_id": "true"}, "allow_insert_auto_id"),
    "large top-k": ({"query_mode": "large_topk"}, "query_mode"),
    "rate": ({"collection.insertRate.max.mb": 1}, "collection.insertRate.max.mb"),
    "timezone": ({"timezone": "Asia/Shanghai"}, "timezone"),
    "isolation of nonsense": ({"partitionkey.isolation": "perhaps"}, "failed to parse partition key isolation"),
}


@pytest.mark.parametrize("what", list(REFUSED_PROPERTIES))
def test_a_collection_is_refused_properties_without_effect(client, name, what):
    properties, words = REFUSED_PROPERTIES[what]
    with refuses(1100, words):
        create(client, name, FIELDS, properties=properties)
    assert not client.has_collection(name)


def test_isolation_needs_a_partition_key(client, name):
    with refuses(105, "no partition key field is set"):
        create(client, name, FIELDS, properties={"partitionkey.isolation": "true"})


def test_properties_that_are_kept(client, name):
    """What asks for what is done anyway, and what nobody knows."""
    kept = {"collection.ttl.seconds": "-1", "mmap.enabled": "true", "warmup.vectorField": "sync", "my.own": "x"}
    create(client, name, FIELDS, properties=kept)
    assert kept.items() <= client.describe_collection(name)["properties"].items()


REFUSED_FIELDS = {
    "warmup of nonsense": ({"vec": vector(2) | {"warmup": "nonsense"}}, "invalid warmup policy"),
    "empty warmup": ({"vec": vector(2) | {"warmup": ""}}, "invalid warmup policy"),
    "analyzer": ({"t": text() | {"enable_analyzer": True}}, "enable_analyzer"),
    "match": ({"t": text() | {"enable_match": True}}, "enable_match"),
    "no mapping": ({"t": text() | {"mmap_enabled": False}}, "mmap.enabled"),
}


@pytest.mark.parametrize("what", list(REFUSED_FIELDS))
def test_a_field_is_refused_parameters_without_effect(client, name, what):
    fields, words = REFUSED_FIELDS[what]
    with refuses(1100, words):
        create(client, name, FIELDS | fields)
    assert not client.has_collection(name)


def test_an_index_is_refused_parameters_without_effect(client, name):
    create(client, name, FIELDS)
    for key, value in {"warmup": "nonsense", "mmap.enabled": "false", "json_cast_type": "double"}.items():
        params = client.prepare_index_params()
        params.add_index("vec", index_type="HNSW", metric_type="L2", params={"M": 8, key: value})
        with refuses(1100, key):
            client.create_index(name, params)
    assert client.list_indexes(name) == []


def test_a_load_is_refused_what_it_would_not_do(client, filled):
    client.release_collection(filled)
    with refuses(1100, "load_fields"):
        client.load_collection(filled, load_fields=["id", "vec"])
    with refuses(1100, "skip_load_dynamic_field"):
        client.load_collection(filled, skip_load_dynamic_field=True)
    with refuses(1100, "resource groups"):
        client.load_collection(filled, _resource_groups=["rg"])
    client.load_collection(filled, load_fields=["id", "n", "vec"])
    assert count(client, filled) == 10


def test_searches_of_an_isolated_collection_keep_to_one_key(client, name):
    fields = {"id": KEY, "tenant": text() | {"is_partition_key": True}, "vec": vector(2)}
    create(client, name, fields, {"vec": FLAT_L2}, properties={"partitionkey.isolation": "true"})
    insert(client, name, [{"id": i, "tenant": "ab"[i % 2], "vec": [float(i), 0.0]} for i in range(6)])
    for filter in ("", "id > 0", "tenant in ['a', 'b']", "tenant == 'a' or tenant == 'b'", "not (tenant == 'a')"):
        with refuses(1100, "partition key"):
            client.search(name, data=[VEC], filter=filter, limit=9)
    found = client.search(name, data=[VEC], filter="tenant == 'b' and id > 1", limit=9)[0]
    assert ids_of(found) == [3, 5]
    with refuses(1100, "partition key"):
        hybrid(client, name)
    assert count(client, name) == 6, "queries are free"


def test_a_database_has_no_more_collections_than_it_says(client, server, name):
    for properties in ({"database.max.collections": "many"}, {"database.diskQuota.mb": 5}, {"timezone": "CET"}):
        with refuses(1100, list(properties)[0]):
            client.create_database(name, properties=properties)
    client.create_database(name, properties={"database.max.collections": 1})
    inside = MilvusClient(server.uri, db_name=name)
    try:
        create(inside, "one", FIELDS)
        with refuses(102, "exceeded the limit number of collections", "limit=1"):
            create(inside, "two", FIELDS)
        client.alter_database_properties(name, {"database.max.collections": 2})
        create(inside, "two", FIELDS)
        with refuses(1100, "database.force.deny.writing"):
            client.alter_database_properties(name, {"database.force.deny.writing": True})
    finally:
        for collection in inside.list_collections():
            inside.drop_collection(collection)
        inside.close()
        client.drop_database(name)


# --- calls ------------------------------------------------------------------------------------------------------

UNSERVED = {
    "ManualCompaction": lambda client, name: client.compact(name),
    "AlterCollection": lambda client, name: client.alter_collection_properties(name, {"collection.ttl.seconds": 60}),
    "GetReplicas": lambda client, name: client.describe_replica(name),
    "CreateCredential": lambda client, name: client.create_user("somebody", "password"),
    "CreateRole": lambda client, name: client.create_role("some_role"),
    "RunAnalyzer": lambda client, name: client.run_analyzer(["some words"]),
    "GetCompactionState": lambda client, name: client.get_compaction_state(1),
}


@pytest.mark.parametrize("rpc", list(UNSERVED))
def test_calls_that_are_not_served_say_so_in_their_status(client, filled, rpc):
    with refuses(10, f"{rpc} is not supported"):
        UNSERVED[rpc](client, filled)


def test_lists_that_nobody_can_fill_are_empty(client):
    assert client.list_users() == []
    assert client.list_resource_groups() == []
    assert client.list_privilege_groups() == []
    assert client.list_snapshots() == []


# Their answers have no place for a status.
WITHOUT_STATUS = {"Dummy", "GetReplicateInfo", "CreateReplicateStream"}


def test_every_call_of_the_protocol_is_answered(server):
    """With an empty message, so that nothing comes of it: an answer that decodes, or a refusal where it has no status."""
    served_by_transport = set()
    with grpc.insecure_channel(server.uri.removeprefix("http://")) as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        for rpc in milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods:
            request = rpc.input_type._concrete_class()
            try:
                answer = getattr(stub, rpc.name)(iter([request]) if rpc.client_streaming else request, timeout=30)
                answer = next(answer) if rpc.server_streaming else answer
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNIMPLEMENTED, rpc.name
                served_by_transport.add(rpc.name)
                continue
            status = answer if rpc.output_type.name == "Status" else getattr(answer, "status", None)
            status = answer.alter_status if rpc.name == "AlterCollectionSchema" else status
            assert status is not None, rpc.name
            assert len(UnknownFieldSet(answer)) == 0, rpc.name
    assert served_by_transport == WITHOUT_STATUS


def test_a_call_that_milvus_does_not_have(server):
    with grpc.insecure_channel(server.uri.removeprefix("http://")) as channel:
        call = channel.unary_unary("/milvus.proto.milvus.MilvusService/Serach")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=30)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED and "Serach" in caught.value.details()


def test_a_call_that_is_not_served_leaves_the_connection_as_it_is(client, filled):
    for _ in range(3):
        with pytest.raises(MilvusException):
            client.compact(filled)
        assert count(client, filled) == 10


def test_the_answer_of_flush_has_both_parts_of_every_entry(client, server, filled):
    """Clients in JavaScript read no entry without a value."""
    with grpc.insecure_channel(server.uri.removeprefix("http://")) as channel:
        flush = channel.unary_unary("/milvus.proto.milvus.MilvusService/Flush")
        raw = flush(milvus_pb2.FlushRequest(collection_names=[filled]).SerializeToString())
    key = b"\x0a" + bytes([len(filled)]) + filled.encode()
    assert b"\x1a" + bytes([len(key) + 2]) + key + b"\x12\x00" in raw


def test_the_time_of_a_delete_that_finds_nothing(client, filled):
    """Not later than any read that comes after."""
    stub = client._get_connection()._stub
    times = []
    for filter in ("n == 77", "id in []", "id == 3"):
        answer = stub.Delete(milvus_pb2.DeleteRequest(collection_name=filled, expr=filter))
        check_status(answer.status)
        times.append(answer.timestamp)
    assert 0 < times[0] <= times[1] <= times[2]
