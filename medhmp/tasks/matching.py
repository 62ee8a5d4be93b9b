"""Case-control matching: controls of the case's own stratum, the most alike in diseases first."""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

CONTROLS: Final = 3
"""Controls of a case (paper, Appendix A)."""
STRATUM: Final = ("sex", "race", "band")
"""What a control has exactly as its case. Unknown is a value as any other."""
CELLS: Final = 4_000_000
"""Similarities held at a time."""

Ints = npt.NDArray[np.int64]


def match(people: pl.DataFrame, categories: pl.DataFrame, seed: int) -> pl.DataFrame:
    """``case``, ``control``: subject_id of the up to three controls of each case, nearest first.

    ``people`` has subject_id, ``case`` and the columns of ``STRATUM``; ``categories`` subject_id
    and category, each pair once. Cases choose in an order hashed with ``seed``, each the controls
    left of its stratum with the largest Jaccard index of categories (1 of two without any); ties
    go by the same hash. Nobody is a control twice. Time grows with the cases times the controls of
    a stratum, memory with ``CELLS`` at most.
    """
    keys = pl.Series("key", [_key(subject, seed) for subject in people["subject_id"]], pl.UInt64)
    ordered = people.with_columns(keys).sort("key", "subject_id").with_row_index("row")
    vectors = _vectors(ordered, categories)
    pairs: list[tuple[int, int]] = []
    for _, stratum in ordered.group_by(STRATUM, maintain_order=True):
        parts = [stratum.filter(rule)["row"] for rule in (pl.col("case"), ~pl.col("case"))]
        pairs += _chosen(vectors, *(part.to_numpy().astype(np.int64) for part in parts))
    subject = ordered["subject_id"]
    case, control = np.array(pairs, np.int64).reshape(-1, 2).T
    return pl.DataFrame({"case": subject[case], "control": subject[control]})


def _key(subject: int, seed: int) -> int:
    """64 hashed bits: the order is the same on every machine, whoever else is there."""
    digest = hashlib.blake2b(f"{seed}:{subject}".encode(), digest_size=8, person=b"match")
    return int.from_bytes(digest.digest(), "big")


def _vectors(ordered: pl.DataFrame, categories: pl.DataFrame) -> Any:
    """CSR matrix (people, categories) of ones."""
    place = categories.join(ordered.select("subject_id", "row"), on="subject_id")
    row = place["row"].to_numpy().astype(np.int64)
    names, column = np.unique(place["category"].to_numpy(), return_inverse=True)
    ones = np.ones(len(row), np.int64)
    return sp.csr_matrix((ones, (row, column)), shape=(ordered.height, max(1, len(names))))


def _chosen(vectors: Any, cases: Ints, controls: Ints) -> Iterator[tuple[int, int]]:
    """The pairs of one stratum. Both come in the order of choice, so the first of equals wins."""
    if not len(controls):
        return
    taken = np.zeros(len(controls), np.bool_)
    step = max(1, CELLS // len(controls))
    for at in range(0, len(cases), step):
        block = cases[at : at + step]
        for case, similarity in zip(block, _jaccard(vectors, block, controls), strict=True):
            similarity[taken] = -1.0
            for _ in range(CONTROLS):
                nearest = int(similarity.argmax())
                if similarity[nearest] < 0:
                    return  # nobody is left
                taken[nearest], similarity[nearest] = True, -1.0
                yield int(case), int(controls[nearest])


def _jaccard(vectors: Any, rows: Ints, others: Ints) -> npt.NDArray[np.float64]:
    """(rows, others): the share of the categories of either that both have."""
    one, other = vectors[rows], vectors[others]
    both = (one @ other.T).toarray()
    sizes = [np.asarray(of.sum(axis=1)).ravel() for of in (one, other)]
    either = sizes[0][:, None] + sizes[1] - both
    index: npt.NDArray[np.float64] = np.ones(both.shape)
    np.divide(both, either, out=index, where=either > 0)
    return index
