"""Facts that hold for a whole stay, in one vocabulary: their words do not tell the database.

MIMIC-III writes EMERGENCY and ENGL where MIMIC-IV writes EW EMER. and ENGLISH. ``facts.yaml`` has
the shared categories and the words of each source. A word that is not there is kept as it is, and
counted. The tables of a source keep its own words, so labels do not depend on any of this.
"""

import re
from collections.abc import Mapping
from fnmatch import translate
from functools import cache
from importlib import resources
from typing import Final, Literal

import polars as pl
import yaml

from medhmp.tables.hours import hours_between
from medhmp.tables.readings import as_events, count

Words = Literal["shared", "own"]
"""Facts in the shared categories, or in each source's own words."""

REST: Final = "OTHER OR UNKNOWN"
"""The category of what no other category is for, and of an empty field."""

HIGHEST_AGE: Final = 91.4
"""Years, for every age above 89: MIMIC-III hides these."""


def static_events(
    stays: pl.DataFrame,
    patients: pl.DataFrame,
    admissions: pl.DataFrame,
    texts: Mapping[str, str],
    words: Words,
    counts: dict[str, int],
) -> pl.DataFrame:
    """EVENTS of what holds for a whole stay (hours null): age, hours since admission, ``texts``.

    ``texts`` are those of ``STATIC`` that the source has. Under ``words`` "shared", those without
    shared categories, which one database alone has, are left out and counted.
    """
    facts = stays.join(patients, on="subject_id").join(admissions.drop("subject_id"), on="hadm_id")
    age = (pl.col("intime") - pl.col("birth")).dt.total_seconds() / (3600 * 24 * 365)
    numbers = {"AGE": capped(age), "HADM_to_ICU_time": hours_between("intime", "admitted")}
    if words == "shared":
        for name in texts.keys() - vocabulary().keys():
            left_out(name, facts[texts[name]], counts)
        texts = {name: column for name, column in texts.items() if name in vocabulary()}
        facts = facts.with_columns(shared(n, facts[c], counts) for n, c in texts.items())
    hours = pl.lit(None, pl.Float64)
    parts = [
        as_events(facts.with_columns(hours=hours, variable=pl.lit(name), **{kind: value}), "apart")
        for kind, named in (
            ("number", numbers),
            ("text", {n: pl.col(c) for n, c in texts.items()}),
        )
        for name, value in named.items()
    ]
    return pl.concat(parts)


def capped(age: pl.Expr) -> pl.Expr:
    """Ages in years, with one number for all above 89."""
    return pl.when(age > 89).then(HIGHEST_AGE).otherwise(age)


def left_out(fact: str, texts: pl.Series, counts: dict[str, int]) -> None:
    """Counts the texts of a fact that has no shared categories."""
    count(counts, f"{fact}, a fact that one database alone has", texts.count())


def shared(fact: str, texts: pl.Series, counts: dict[str, int]) -> pl.Series:
    """The shared categories of a fact's texts; ``counts`` gets the stays with a word of none."""
    known = {word: _category(fact, word) for word in texts.drop_nulls().unique().to_list()}
    strange = [word for word, category in known.items() if category is None]
    said = f"{fact}, in a word of no shared category, kept as it is"
    if strange:
        count(counts, said, int(texts.is_in(strange).sum()))
    words = {word: category or word for word, category in known.items()}
    return texts.replace_strict(words, default=REST, return_dtype=pl.String)


def _category(fact: str, word: str) -> str | None:
    """The shared category of a word, or None. A blank word is an empty field."""
    written = " ".join(word.upper().split())
    found = (of for pattern, of in vocabulary()[fact] if pattern.match(written))
    return next(found, None) if written else REST


@cache
def vocabulary() -> dict[str, tuple[tuple[re.Pattern[str], str], ...]]:
    """Fact -> (pattern of words in upper case, category), in the order in which they are tried."""
    file = resources.files("medhmp.tables") / "facts.yaml"
    facts: dict[str, dict[str, list[str]]] = yaml.safe_load(file.read_text("utf-8"))
    return {
        fact: tuple(
            (re.compile(translate(str(word).upper())), category)
            for category, words in categories.items()
            for word in words
        )
        for fact, categories in facts.items()
    }
