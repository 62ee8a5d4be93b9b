"""Diagnosis codes as sources write them: each in its one form, or left out, or the source refused.

Programs that take a column of codes for numbers drop its leading zeros, and a code that has lost
one is another disease: 0389, septicemia, becomes 389, hearing loss. Most such codes look like
others. Some cannot be: a code of ICD-9-CM has three digits before the dot. Those prove the loss.
"""

from dataclasses import dataclass, field
from typing import Final

import polars as pl

from medhmp.refusal import Refusal, counted
from medhmp.tables.readings import count

SHAPES: Final = {
    "9": r"^(\d{3,5}|V\d{2,4}|E\d{3,4})$",
    "10": r"^[A-Z]\d[0-9A-Z][0-9A-Z]{0,4}$",
}
"""Version of ICD -> the shape of its diagnoses without dots. E and V codes can be of both."""

AS_NUMBER: Final = r"^(0?[1-9]|[1-9]\d)(\.\d*)?$|^\d{4,}\.\d+$"
"""Codes of ICD-9 with one or two digits before the dot, or (1882.0) more than three. A zero alone
stands for no code."""

OTHER: Final = 0.01
"""Share of a version's codes that may be of the other version: slips, which are left out."""

SHAPELESS: Final = "codes, in no form of their ICD version"
MISTAKEN: Final = "codes, of another ICD version than is said"
"""Exclusion reasons."""

_FOUND: Final = pl.DataFrame(
    schema={"version": pl.String, "kind": pl.String, "written": pl.String, "len": pl.UInt32}
)


@dataclass
class Diagnoses:
    """The diagnosis codes of one column, block by block.

    Once all blocks are taken, ``finish`` refuses a column that cannot be right as a whole.
    """

    counts: dict[str, int]  # gets the rows of each exclusion reason
    found: list[pl.DataFrame] = field(default_factory=list)  # as ``_FOUND``

    def take(self, rows: pl.DataFrame, code: pl.Expr, version: pl.Expr) -> pl.DataFrame:
        """The rows with ``code``: version, colon, code in capitals without dots and spaces.

        A blank code, or one without a version, is null. Codes that are no diagnoses of their
        version are left out and counted. ``code`` and ``version`` (an integer or a text) are
        evaluated on ``rows``.
        """
        written = code.str.replace_all(r"\s", "").str.to_uppercase()
        given = rows.with_columns(
            written=pl.when(written.str.len_chars() > 0).then(written),
            version=version.cast(pl.String).str.strip_chars(),
        )
        pairs = _judged(given.group_by("version", "written").len().drop_nulls())
        self.found.append(pairs.filter(pl.col("kind") != "right").select(_FOUND.columns))
        self.found.append(_totals(pairs))
        known = pairs.select("version", "written", "kind", "code")
        told = given.drop("code", strict=False).join(
            known, on=["version", "written"], how="left", maintain_order="left"
        )
        for kind, reason in (("shapeless", SHAPELESS), ("mistaken", MISTAKEN)):
            count(self.counts, reason, int((told["kind"] == kind).sum()))
        right = pl.col("kind").is_null() | (pl.col("kind") == "right")
        return told.filter(right).drop("written", "version", "kind")

    def finish(self, where: str) -> None:
        """Refuses codes that have lost zeros, and many of another version than is said.

        ``where`` begins the sentence: the table and the column. Their text is never repeated.
        """
        found = pl.concat([_FOUND, *self.found])
        number = found.filter(pl.col("kind") == "number")
        if number.height:
            raise Refusal(
                f"{where} has {_said(number)} that are no ICD-9 codes, as these have three digits "
                "before the dot: leading zeros are lost (0389 has become 389), and the others may "
                "be read as other diseases; export the column again as text"
            )
        for version, other in (("9", "10"), ("10", "9")):
            own = found.filter(pl.col("version") == version)
            mistaken = own.filter(pl.col("kind") == "mistaken")
            every = int(own.filter(pl.col("kind") == "all")["len"].sum())
            if int(mistaken["len"].sum()) > OTHER * every:
                raise Refusal(
                    f"{where} has {_said(mistaken)} of ICD-{other} where the version is "
                    f"{version}; give each code with its own version, as the tables of MIMIC-IV do"
                )


def _judged(pairs: pl.DataFrame) -> pl.DataFrame:
    """Adds to distinct ``version`` and ``written`` their ``kind`` and ``code``."""
    bare, nine = pl.col("written").str.replace_all(".", "", literal=True), pl.col("version") == "9"
    fits = {version: bare.str.contains(shape) for version, shape in SHAPES.items()}
    ten = pl.col("version") == "10"
    kind = (
        pl.when(nine & pl.col("written").str.contains(AS_NUMBER))
        .then(pl.lit("number"))
        .when((nine & fits["9"]) | (ten & fits["10"]))
        .then(pl.lit("right"))
        .when((nine & fits["10"]) | (ten & fits["9"]))
        .then(pl.lit("mistaken"))
        .otherwise(pl.lit("shapeless"))
    )
    return pairs.with_columns(kind=kind, code=pl.concat_str("version", bare, separator=":"))


def _totals(pairs: pl.DataFrame) -> pl.DataFrame:
    """Rows of each version, all codes together, as ``_FOUND``."""
    totals = pairs.group_by("version").agg(pl.col("len").sum())
    named = totals.with_columns(kind=pl.lit("all"), written=pl.lit(""))
    return named.select(_FOUND.columns)


def _said(found: pl.DataFrame) -> str:
    codes, rows = found["written"].n_unique(), int(found["len"].sum())
    return f"{counted(codes, 'code')} in {counted(rows, 'row')}"
