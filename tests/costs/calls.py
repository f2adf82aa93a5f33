"""Raw calls of the Milvus service: a request is encoded once and sent as bytes, so that the client costs little."""

import time
from dataclasses import dataclass

import grpc
import numpy as np
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2 as schema

SERVICE = "/milvus.proto.milvus.MilvusService/"
STRONG, SESSION, BOUNDED, EVENTUALLY = 0, 1, 2, 3
ANSWERS = {
    "Search": milvus.SearchResults,
    "HybridSearch": milvus.SearchResults,
    "Query": milvus.QueryResults,
    "Insert": milvus.MutationResult,
    "Upsert": milvus.MutationResult,
    "Delete": milvus.MutationResult,
    "Flush": milvus.FlushResponse,
    "FlushAll": milvus.FlushAllResponse,
    "DescribeCollection": milvus.DescribeCollectionResponse,
    "ShowCollections": milvus.ShowCollectionsResponse,
    "GetLoadState": milvus.GetLoadStateResponse,
    "GetFlushState": milvus.GetFlushStateResponse,
    "GetCollectionStatistics": milvus.GetCollectionStatisticsResponse,
    "DescribeIndex": milvus.DescribeIndexResponse,
    "HasCollection": milvus.BoolResponse,
}


@dataclass
class Answer:
    """What came of a call. `bare` is a gRPC error without Milvus's status."""

    seconds: float
    code: int = 0
    text: str = ""
    bare: bool = False
    size: int = 0
    body: bytes = b""
    method: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.bare

    def message(self):
        return ANSWERS.get(self.method, common.Status).FromString(self.body)

    def said(self, most: int = 160) -> str:
        kind = "gRPC " if self.bare else ""
        text = " ".join(self.text.split()).replace("|", "\\|")
        return "ok" if self.ok else f"{kind}{self.code}: {text if len(text) <= most else text[:most] + '…'}"


class Calls:
    """A connection to a server."""

    def __init__(self, uri: str) -> None:
        most = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self.channel = grpc.insecure_channel(uri.removeprefix("http://"), options=[*most, ("grpc.use_local_subchannel_pool", 1)])

    def close(self) -> None:
        self.channel.close()

    def start(self, method: str, request) -> grpc.Future:
        """Begins a call; `cancel` of what it returns ends it."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        return self.channel.unary_unary(SERVICE + method).future(data)

    def __call__(self, method: str, request, timeout: float = 600) -> Answer:
        data = request if isinstance(request, bytes) else request.SerializeToString()
        began = time.monotonic()
        try:
            body = self.channel.unary_unary(SERVICE + method)(data, timeout=timeout)
        except grpc.RpcError as error:
            code = error.code()
            return Answer(time.monotonic() - began, code.value[0], error.details() or code.name, bare=True, method=method)
        answer = Answer(time.monotonic() - began, size=len(body), body=body, method=method)
        message = answer.message()
        status = getattr(message, "status", message)
        answer.code, answer.text = status.code or status.error_code, status.reason
        return answer

    def must(self, method: str, request) -> Answer:
        answer = self(method, request)
        assert answer.ok, f"{method}: {answer.said(2000)}"
        return answer


# --- columns and schemas ----------------------------------------------------------------------------------------------

SCALARS = {
    schema.Bool: "bool_data",
    schema.Int8: "int_data",
    schema.Int16: "int_data",
    schema.Int32: "int_data",
    schema.Int64: "long_data",
    schema.Float: "float_data",
    schema.Double: "double_data",
    schema.VarChar: "string_data",
    schema.JSON: "json_data",
}


def field(name: str, kind: int, primary: bool = False, element: int = 0, auto: bool = False, **params) -> schema.FieldSchema:
    made = schema.FieldSchema(name=name, data_type=kind, is_primary_key=primary, element_type=element, autoID=auto)
    for key, value in params.items():
        made.type_params.add(key=key, value=str(value))
    return made


def column(name: str, kind: int, values) -> schema.FieldData:
    made = schema.FieldData(type=kind, field_name=name)
    if kind == schema.FloatVector:
        made.vectors.dim = values.shape[1]
        made.vectors.float_vector.data.extend(values.ravel().tolist())
    elif kind == schema.Array:
        for row in values:
            getattr(made.scalars.array_data.data.add(), "long_data").data.extend(row)
        made.scalars.array_data.element_type = schema.Int64
    else:
        values = values.tolist() if isinstance(values, np.ndarray) else values
        getattr(made.scalars, SCALARS[kind]).data.extend(values)
    return made


def create(calls: Calls, name: str, fields: list, index: str = "FLAT", metric: str = "L2", **more) -> None:
    """A collection, an index on each of its vector fields, and loaded."""
    described = schema.CollectionSchema(name=name, fields=fields, enable_dynamic_field=more.pop("dynamic", False))
    request = milvus.CreateCollectionRequest(collection_name=name, schema=described.SerializeToString(), **more)
    calls.must("CreateCollection", request)
    for vector in (f for f in fields if f.data_type == schema.FloatVector):
        create_index(calls, name, vector.name, index_type=index, metric_type=metric)
    calls.must("LoadCollection", milvus.LoadCollectionRequest(collection_name=name))


def create_index(calls: Calls, collection: str, field_name: str, **params) -> None:
    request = milvus.CreateIndexRequest(collection_name=collection, field_name=field_name)
    add_pairs(request.extra_params, params)
    calls.must("CreateIndex", request)


def drop(calls: Calls, name: str) -> None:
    calls.must("DropCollection", milvus.DropCollectionRequest(collection_name=name))


def flush(calls: Calls, *names: str) -> None:
    """Writes growing rows out, and waits until they are."""
    answer = calls.must("Flush", milvus.FlushRequest(collection_names=names)).message()
    for name in names:
        ask = milvus.GetFlushStateRequest(
            collection_name=name, segmentIDs=answer.coll_segIDs[name].data, flush_ts=answer.coll_flush_ts[name]
        )
        while not calls.must("GetFlushState", ask).message().flushed:
            time.sleep(0.02)


# --- requests ---------------------------------------------------------------------------------------------------------


def add_pairs(pairs, values: dict) -> None:
    for key, value in values.items():
        pairs.add(key=key, value=str(value))


def insert(name: str, columns: list, rows: int, kind=milvus.InsertRequest, partition: str = "") -> bytes:
    request = kind(collection_name=name, num_rows=rows, fields_data=columns, partition_name=partition)
    return request.SerializeToString()


def search(name: str, vectors: np.ndarray, limit: int, expr: str = "", output=(), field_name: str = "v", **params):
    group = common.PlaceholderGroup()
    values = [row.tobytes() for row in vectors.astype(np.float32)]
    group.placeholders.add(tag="$0", type=common.FloatVector, values=values)
    request = milvus.SearchRequest(
        collection_name=name,
        dsl=expr,
        dsl_type=common.BoolExprV1,
        nq=len(vectors),
        placeholder_group=group.SerializeToString(),
        output_fields=output,
        consistency_level=params.pop("level", BOUNDED),
    )
    add_pairs(request.search_params, {"topk": limit, "anns_field": field_name, "round_decimal": -1, **params})
    return request


def hybrid(name: str, parts: list, limit: int, output=(), **rank) -> milvus.HybridSearchRequest:
    request = milvus.HybridSearchRequest(
        collection_name=name, requests=parts, output_fields=output, consistency_level=BOUNDED
    )
    add_pairs(request.rank_params, {"strategy": "rrf", "params": '{"k": 60}', "limit": limit, "round_decimal": -1, **rank})
    return request


def query(name: str, expr: str, output=(), values: dict | None = None, level: int = BOUNDED, **params) -> milvus.QueryRequest:
    request = milvus.QueryRequest(collection_name=name, expr=expr, output_fields=output, consistency_level=level)
    add_pairs(request.query_params, params)
    for key, value in (values or {}).items():
        request.expr_template_values[key].CopyFrom(template(value))
    return request


def delete(name: str, expr: str) -> milvus.DeleteRequest:
    return milvus.DeleteRequest(collection_name=name, expr=expr)


def template(values: list) -> schema.TemplateValue:
    """A list as a template value."""
    made = schema.TemplateValue()
    first = values[0]
    kind = "bool" if isinstance(first, bool) else {int: "long", float: "double", str: "string"}[type(first)]
    getattr(made.array_val, f"{kind}_data").data.extend(values)
    return made
