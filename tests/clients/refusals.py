"""Expects that a call is refused with a Milvus code, and that nothing changed by it."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pytest
from pymilvus import MilvusClient, MilvusException


@contextmanager
def refuses(codes: int | Collection[int], *words: str) -> Iterator[pytest.ExceptionInfo[MilvusException]]:
    """The call inside is refused with this code (or one of these), and its message has these words."""
    codes = {codes} if isinstance(codes, int) else set(codes)
    with pytest.raises(MilvusException) as caught:
        yield caught
    error = caught.value
    assert error.code in codes, f"code {error.code}, expected {codes}: {error.message}"
    for word in words:
        assert word.lower() in error.message.lower(), f"no {word!r} in: {error.message}"


@contextmanager
def unchanged(client: MilvusClient, table: str) -> Iterator[None]:
    """What is done inside changes neither the table nor the list of collections and databases."""
    before = state_of(client, table)
    yield
    after = state_of(client, table)
    for what, value in before.items():
        assert after[what] == value, f"{what} changed"


def state_of(client: MilvusClient, table: str) -> dict:
    return {
        "databases": sorted(client.list_databases()),
        "collections": sorted(client.list_collections()),
        "description": client.describe_collection(table),
        "partitions": sorted(client.list_partitions(table)),
        "aliases": client.list_aliases(table)["aliases"],
        "indexes": [client.describe_index(table, index) for index in sorted(client.list_indexes(table))],
        "load state": client.get_load_state(table),
        "rows": [dict(row) for row in client.query(table, limit=1000, output_fields=["*"])],
    }
