"""One order everywhere: by score, then by key. Pages and iterators have each row once, whatever ties, and literals mean
what the column holds."""

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient
from tables import FLAT_L2, KEY, create, insert, vector, wait_for_index

PRICE = {"datatype": DataType.FLOAT}
NUMBERS = {"datatype": DataType.ARRAY, "element_type": DataType.INT64, "max_capacity": 8}


def shuffled(rows: int) -> list[int]:
    return [int(key) for key in np.random.default_rng(5).permutation(rows)]


@pytest.mark.parametrize("flushed", [False, True], ids=["growing", "flushed"])
def test_pages_of_equal_scores_are_the_whole_list(client: MilvusClient, name: str, flushed: bool):
    create(client, name, {"id": KEY, "vec": vector(2)}, {"vec": FLAT_L2})
    insert(client, name, [{"id": key, "vec": [1.0, 1.0]} for key in shuffled(300)])
    if flushed:
        client.flush(name)
    whole = [hit["id"] for hit in client.search(name, [[1.0, 2.0]], limit=300)[0]]
    assert whole == list(range(300))
    pages = [
        hit["id"] for offset in range(0, 300, 7) for hit in client.search(name, [[1.0, 2.0]], limit=7, offset=offset)[0]
    ]
    assert pages == whole


def iterated(client: MilvusClient, name: str, query: list[float], **options) -> list[int]:
    iterator = client.search_iterator(name, data=[query], **options)
    keys, pages = [], 0
    while page := iterator.next():
        keys += [hit["id"] for hit in page]
        pages += 1
        assert pages <= 100, "it does not end"
    iterator.close()
    return keys


@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
@pytest.mark.parametrize("batch", [10, 99, 1000])
def test_an_iterator_has_each_row_once(client: MilvusClient, name: str, metric: str, batch: int):
    index = {"index_type": "FLAT", "metric_type": metric}
    create(client, name, {"id": KEY, "vec": vector(2)}, {"vec": index})
    # 150 rows of one vector between nearer and farther ones, and a few that overflow.
    vectors = [[i / 1000, 1.0] if i < 50 else [1.0, 0.5] if i < 200 else [float(i), 1.0] for i in range(240)]
    vectors += [[3e38, -3e38], [3e38, 3e38], [-3e38, 3e38]]
    insert(client, name, [{"id": i, "vec": vectors[i]} for i in shuffled(len(vectors))])
    keys = iterated(client, name, [1.0, 1.0], batch_size=batch)
    assert sorted(keys) == list(range(len(vectors)))


def test_rounding_scores_loses_no_rows_of_an_iterator(client: MilvusClient, name: str):
    create(client, name, {"id": KEY, "vec": vector(8)}, {"vec": {"index_type": "FLAT", "metric_type": "COSINE"}})
    vectors = np.random.default_rng(3).normal(size=(500, 8)).astype(np.float32)
    insert(client, name, [{"id": i, "vec": vectors[i].tolist()} for i in range(500)])
    for decimals in (0, 2):
        keys = iterated(client, name, vectors[7].tolist(), batch_size=50, round_decimal=decimals)
        assert sorted(keys) == list(range(500))


@pytest.mark.parametrize("index", [None, "INVERTED"])
def test_a_float_column_equals_the_decimal_that_was_inserted(client: MilvusClient, name: str, index: str | None):
    indexes = {"vec": FLAT_L2} | ({"price": {"index_type": index}} if index else {})
    create(client, name, {"id": KEY, "price": PRICE, "vec": vector(2)}, indexes)
    prices = {1: 19.99, 2: 0.1, 3: 5.0, 4: -0.3}
    insert(client, name, [{"id": key, "price": price, "vec": [0.0, 0.0]} for key, price in prices.items()])
    if index:
        client.flush(name)
        wait_for_index(client, name, "price")
    for text, expected in {
        "price == 19.99": [1],
        "price in [0.1, 5, -0.3]": [2, 3, 4],
        "price > 0.1": [1, 3],
        "price <= 0.1": [2, 4],
        "price != 0.1": [1, 3, 4],
        "0.1 < price <= 19.99": [1, 3],
        "not (price in [0.1, 19.99])": [3, 4],
    }.items():
        assert sorted(row["id"] for row in client.query(name, text)) == expected, text


def test_arrays_compare_as_wholes(client: MilvusClient, name: str):
    create(client, name, {"id": KEY, "list": NUMBERS, "vec": vector(2)}, {"vec": FLAT_L2}, dynamic=True)
    rows = [(1, [1, 2, 3]), (2, [3, 2, 1]), (3, [])]
    insert(client, name, [{"id": key, "list": items, "free": items, "vec": [0.0, 0.0]} for key, items in rows])
    found = lambda text: sorted(row["id"] for row in client.query(name, text))  # noqa: E731
    assert found("list == [1, 2, 3]") == [1]
    assert found("list != [1, 2, 3]") == [2, 3]
    assert found("free == [3, 2, 1]") == [2]
    # Lists have no order.
    assert found("free < [9]") == [] and found("not (free < [9])") == []


def test_copies_that_are_not_shown_take_no_places(client: MilvusClient, name: str):
    create(client, name, {"id": KEY, "vec": vector(2)}, {"vec": FLAT_L2})
    insert(client, name, [{"id": key, "vec": [float(key), 0.0]} for key in (1, 2, 3, 4)])
    client.flush(name)
    insert(client, name, [{"id": 1, "vec": [100.0, 0.0]}])
    client.flush(name)
    for limit in (2, 3):
        hits = [(hit["id"], hit["distance"]) for hit in client.search(name, [[0.0, 0.0]], limit=limit)[0]]
        assert hits == [(key, float(key) ** 2) for key in range(2, 2 + limit)]
