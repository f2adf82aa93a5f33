"""Requests that are as large as one likes, built from the messages; and every field of a request filled up."""

import functools
import json
from collections.abc import Iterator

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

SERVICE = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
RNG = np.random.default_rng(1)


def pairs(values: dict) -> list:
    return [common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in values.items()]


def vectors(rows: int, dim: int) -> np.ndarray:
    return RNG.random((rows, dim), dtype=np.float32)


def group(queries: np.ndarray) -> bytes:
    values = [query.tobytes() for query in queries]
    placeholder = common_pb2.PlaceholderValue(tag="$0", type=common_pb2.FloatVector, values=values)
    return common_pb2.PlaceholderGroup(placeholders=[placeholder]).SerializeToString()


def search(name: str, queries: np.ndarray, limit: int, filter: str = "", output=(), **params) -> Message:
    params = {"anns_field": "vec", "topk": limit, "params": "{}", "metric_type": "L2"} | params
    return milvus_pb2.SearchRequest(
        collection_name=name,
        nq=len(queries),
        placeholder_group=group(queries),
        dsl=filter,
        dsl_type=common_pb2.BoolExprV1,
        output_fields=output,
        search_params=pairs(params),
        use_default_consistency=True,
    )


def hybrid(name: str, parts: list[Message], limit: int, output=()) -> Message:
    return milvus_pb2.HybridSearchRequest(
        collection_name=name,
        requests=parts,
        rank_params=pairs({"strategy": "rrf", "params": json.dumps({"k": 60}), "limit": limit}),
        output_fields=output,
        use_default_consistency=True,
    )


def query(name: str, filter: str, output=(), **params) -> Message:
    return milvus_pb2.QueryRequest(
        collection_name=name,
        expr=filter,
        output_fields=output,
        query_params=pairs(params),
        use_default_consistency=True,
    )


def delete(name: str, filter: str) -> Message:
    return milvus_pb2.DeleteRequest(collection_name=name, expr=filter)


def with_values(request: Message, name: str, values: list) -> Message:
    """The request with a list for a variable of its filter."""
    if isinstance(values[0], str):
        array = schema_pb2.TemplateArrayValue(string_data=schema_pb2.StringArray(data=values))
    else:
        array = schema_pb2.TemplateArrayValue(long_data=schema_pb2.LongArray(data=values))
    request.expr_template_values[name].CopyFrom(schema_pb2.TemplateValue(array_val=array))
    return request


def rows(name: str, count: int, columns: list, kind: type = milvus_pb2.InsertRequest) -> Message:
    return kind(collection_name=name, num_rows=count, fields_data=columns)


def scalars(name: str, data_type: int, is_dynamic: bool = False, **data) -> Message:
    field = schema_pb2.ScalarField(**data)
    return schema_pb2.FieldData(type=data_type, field_name=name, is_dynamic=is_dynamic, scalars=field)


def longs(name: str, values) -> Message:
    return scalars(name, schema_pb2.Int64, long_data=schema_pb2.LongArray(data=values))


def strings(name: str, values) -> Message:
    return scalars(name, schema_pb2.VarChar, string_data=schema_pb2.StringArray(data=values))


def documents(values: list[bytes]) -> Message:
    return scalars("$meta", schema_pb2.JSON, is_dynamic=True, json_data=schema_pb2.JSONArray(data=values))


def arrays(name: str, values: list) -> Message:
    items = [schema_pb2.ScalarField(long_data=schema_pb2.LongArray(data=value)) for value in values]
    data = schema_pb2.ArrayArray(data=items, element_type=schema_pb2.Int64)
    return scalars(name, schema_pb2.Array, array_data=data)


def floats(name: str, values: np.ndarray) -> Message:
    field = schema_pb2.VectorField(dim=values.shape[1], float_vector=schema_pb2.FloatArray(data=values.ravel()))
    return schema_pb2.FieldData(type=schema_pb2.FloatVector, field_name=name, vectors=field)


def new_collection(name: str, fields: int = 0, properties: dict | None = None) -> Message:
    """A key, a vector and so many strings."""
    parts = [
        schema_pb2.FieldSchema(name="id", data_type=schema_pb2.Int64, is_primary_key=True),
        schema_pb2.FieldSchema(name="vec", data_type=schema_pb2.FloatVector, type_params=pairs({"dim": 4})),
    ]
    for i in range(fields):
        params = pairs({"max_length": 100})
        parts.append(
            schema_pb2.FieldSchema(name=f"f{i}", data_type=schema_pb2.VarChar, nullable=True, type_params=params)
        )
    schema = schema_pb2.CollectionSchema(name=name, fields=parts).SerializeToString()
    return milvus_pb2.CreateCollectionRequest(
        collection_name=name, schema=schema, properties=pairs(properties or {})
    )


# --- every field of every request ---------------------------------------------------------------------------------

# What a request needs so that a server does not refuse it before it looks at the field that is large.
NEEDED = {
    "num_rows": 1,
    "nq": 1,
    "dsl": "id == 1",
    "dsl_type": common_pb2.BoolExprV1,
    "expr": "id == 1",
    "field_name": "vec",
    "placeholder_group": group(np.zeros((1, 4), dtype=np.float32)),
}
NEEDED_PAIRS = {
    "search_params": {"anns_field": "vec", "topk": 3, "params": "{}", "metric_type": "L2"},
    "query_params": {"limit": 3},
    "rank_params": {"strategy": "rrf", "params": json.dumps({"k": 60}), "limit": 3},
}


def usual(method: str, name: str) -> Message:
    """A small request for a collection."""
    descriptor = SERVICE.methods_by_name[method].input_type
    request = getattr(milvus_pb2, descriptor.name)()
    for field in descriptor.fields:
        if field.name in ("collection_name", "collectionName"):
            setattr(request, field.name, name)
        elif field.name in NEEDED:
            setattr(request, field.name, NEEDED[field.name])
        elif field.name in NEEDED_PAIRS:
            getattr(request, field.name).extend(pairs(NEEDED_PAIRS[field.name]))
        elif field.name == "requests":
            request.requests.extend([search(name, np.zeros((1, 4), dtype=np.float32), 3)] * 2)
    return request


# As many of one field as a message may have, with some others.
MANY = 65_000


def varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number % 128 | 128)
        number //= 128
    return bytes([*out, number])


def piece(number: int, contents: bytes) -> bytes:
    """One length-delimited field, as protobuf writes it."""
    return varint(number << 3 | 2) + varint(len(contents)) + contents


@functools.cache
def contents(kind: str, count: int) -> list[bytes]:
    """Different short contents with their lengths: texts, pairs of texts, or entries of a map with a text as key."""
    texts = [f"k{i}".encode() for i in range(count)]
    if kind == "pair":
        texts = [piece(1, text) + piece(2, b"v") for text in texts]
    elif kind == "entry":
        texts = [piece(1, text) for text in texts]
    return [bytes([len(text)]) + text for text in texts]


def kind_of(field: FieldDescriptor) -> str:
    """Of contents; empty when it is a message of another kind."""
    entry = field.message_type
    if not entry:
        return "text"
    if entry.name == "KeyValuePair":
        return "pair"
    is_map = entry.GetOptions().map_entry and entry.fields[0].type == FieldDescriptor.TYPE_STRING
    return "entry" if is_map else ""


def filled(method: str, name: str, size: int) -> Iterator[tuple[str, bytes]]:
    """For each field of a request that may be many or be a message: it with nothing in it, more often than a message
    may have fields; and with something short, as often as it may."""
    for field in SERVICE.methods_by_name[method].input_type.fields:
        is_plain = field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
        # One text or another that is not repeated: each costs the same to read, and the last one counts.
        if not (field.message_type or is_plain and field.is_repeated):
            continue
        request = usual(method, name)
        if not field.is_repeated:
            request.ClearField(field.name)
        base = request.SerializeToString()
        empty = piece(field.number, b"")
        yield f"{method}.{field.name}, empty", base + empty * (size // len(empty))
        kind = kind_of(field)
        if field.is_repeated and kind:
            tag = varint(field.number << 3 | 2)
            yield f"{method}.{field.name}, short", base + tag.join([b"", *contents(kind, MANY)])
