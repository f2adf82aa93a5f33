"""Exact answers, computed with numpy, and the comparison of the server's with them."""

from collections.abc import Sequence

import numpy as np

ASCENDING = {"L2"}
TIE = 1e-5


def scores(metric: str, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Score of each vector as Milvus reports it: squared distance for L2, similarity otherwise."""
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    if metric == "L2":
        return ((vectors - query) ** 2).sum(axis=1)
    products = vectors @ query
    if metric == "IP":
        return products
    return products / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))


def best(metric: str, scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k best scores, best first; ties by position."""
    return np.argsort(scores if metric in ASCENDING else -scores, kind="stable")[:k]


def check_hits(hits, expected: dict[int, float], metric: str, k: int) -> None:
    """`hits` are the k best of `expected` (id to score), in order. Where scores are equal up to rounding, any order."""
    ids = [hit.id for hit in hits]
    ranked = sorted(expected.values(), reverse=metric not in ASCENDING)[:k]
    assert len(ids) == len(set(ids)) == len(ranked)
    np.testing.assert_allclose([hit.distance for hit in hits], ranked, rtol=1e-5, atol=TIE)
    np.testing.assert_allclose([expected[key] for key in ids], ranked, rtol=1e-5, atol=TIE)


def found(hit_ids: Sequence[int], scores: np.ndarray, matching: np.ndarray, k: int) -> float:
    """Recall of one answer of a bigger-is-better metric: a hit counts when its score is at least the exact k-th's
    minus TIE. `scores` is by id; `matching` says which ids the filter lets through."""
    ranked = np.sort(scores[matching])[::-1][:k]
    hits = [key for key in set(hit_ids) if matching[key] and scores[key] >= ranked[-1] - TIE]
    return len(hits) / len(ranked)
