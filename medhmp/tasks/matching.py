"""Case-control matching: controls of the case's stratum, those most similar in diseases first."""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import polars as pl
import scipy.sparse as sp

from medhmp.arrays import Floats, Ints

CONTROLS: Final = 3
"""Controls of a case (paper, Appendix A)."""
STRATUM: Final = ("sex", "race", "band")
"""Columns in which a control equals its case. Unknown counts as a value."""
CELLS: Final = 4_000_000
"""Similarities held in memory at a time."""


def match(people: pl.DataFrame, categories: pl.DataFrame, seed: int) -> pl.DataFrame:
    """``case``, ``control``: the subject_id of up to three controls per case, nearest first.

    ``people`` has subject_id, ``case`` and the columns of ``STRATUM``; ``categories`` has
    subject_id and category, each pair once. Cases choose in an order hashed with ``seed``. Each
    takes from the controls left in its stratum those with the largest Jaccard index of categories
    (1 if neither has any); the same hash breaks ties. No patient is a control twice.

    Time is proportional to cases times controls per stratum; memory is bounded by ``CELLS``.
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
    """64 hashed bits. The order they give depends on no machine and on no other patient."""
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
    """The pairs of one stratum. Both arrays are in hash order, so argmax breaks ties by hash."""
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
                    return  # no control is left
                taken[nearest], similarity[nearest] = True, -1.0
                yield int(case), int(controls[nearest])


def _jaccard(vectors: Any, rows: Ints, others: Ints) -> Floats:
    """(rows, others): Jaccard index, the shared categories over all categories of the two."""
    one, other = vectors[rows], vectors[others]
    both = (one @ other.T).toarray()
    sizes = [np.asarray(of.sum(axis=1)).ravel() for of in (one, other)]
    either = sizes[0][:, None] + sizes[1] - both
    index: Floats = np.ones(both.shape)
    np.divide(both, either, out=index, where=either > 0)
    return index
