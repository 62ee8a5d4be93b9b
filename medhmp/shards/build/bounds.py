"""Refusals of a build whose shards would hold nothing to learn from, with what the data had."""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from medhmp.features.filled import Filled
from medhmp.features.fitted import FittedFeatures
from medhmp.refusal import Refusal
from medhmp.shards.build.buckets import Bucket
from medhmp.shards.build.index import Index
from medhmp.shards.build.pool import Pool
from medhmp.shards.featurizer import Featurizer
from medhmp.shards.split import nearest_shares

NAMED: Final = 5
"""Variables of each side that a refusal names."""
COMMON: Final = 0.1
"""Share of a source's stays that have a variable that is named: a rare one may be a slip, a name
typed into the wrong column."""


def refuse_no_training_stay(index: Index) -> None:
    """Refuses stays of which none is in the training split: nothing could be fitted."""
    if "train" in index.stays["split"]:
        return
    if index.stays.is_empty():
        raise Refusal("there is no ICU stay to fit features to; check the tables and cohort.hours")
    drawn = index.stays.join(index.patients, on=["source", "subject_id"])["drawn"].drop_nulls()
    if drawn.is_empty():
        raise Refusal(
            f"none of {index.stays.height:,} stays is in the training split, as the source itself "
            "has the splits; put patients into its training split"
        )
    shares = nearest_shares([(drawn.unique().to_numpy(), ())], index.splits)
    remedy = f"--splits.train {shares[0]:g}" if shares else "more patients"
    raise Refusal(
        f"none of {index.stays.height:,} stays is in the training split, so there is nothing to "
        f"fit features to; give another --splits.salt, or {remedy}"
    )


def refuse_no_feature(
    fitted: FittedFeatures, index: Index, buckets: Sequence[Bucket], pool: Pool
) -> None:
    """Refuses a fit that leaves no hourly feature, and says at which step they were lost.

    No variable is named: none need be one that many stays have.
    """
    if fitted.hourly.names:
        return
    settings = fitted.plan.settings
    training = index.stays.filter(pl.col("split") == "train")
    found = variables(training, buckets, pool)
    timed = found.filter(pl.col("timeless") == 0)
    said = f"no hourly feature is left of {training.height:,} training stays: "
    if timed.is_empty():
        raise Refusal(
            f"{said}none of their {found.height:,} variables is always recorded with a time in "
            f"hours 0 to {settings.hours}; give readings with times, or a larger --cohort.hours"
        )
    if not fitted.hourly.names_all:
        most = int(timed["stays"].max())  # type: ignore[arg-type]
        raise Refusal(
            f"{said}of {timed.height:,} variables the commonest is in {most:,} stays, a share not "
            f"above features.theta_1 {settings.theta_1:g}; lower --features.theta_1"
        )
    raise Refusal(
        f"{said}of {len(fitted.hourly.names_all):,} features of {timed.height:,} variables none "
        f"is on in a share of stays above features.theta_2 {settings.theta_2:g} and off in one; "
        "lower --features.theta_2"
    )


def refuse_unfilled(
    least: float,
    found: Mapping[str, Filled],
    frozen: Featurizer,
    index: Index,
    buckets: Sequence[Bucket],
    pool: Pool,
) -> None:
    """Refuses a source of which fewer than the share ``least`` of the stays have an hourly feature
    of ``frozen``; names the variables that most of its stays have, and some of the fit's."""
    for source, of in found.items():
        if of.share >= least:
            continue
        own = variables(index.stays.filter(pl.col("source") == source), buckets, pool)
        common = own.filter((pl.col("stays") > 1) & (pl.col("stays") >= COMMON * of.stays))
        theirs = common.sort("stays", "variable", descending=[True, False])["variable"]
        raise Refusal(
            f"only {of.filled:,} of {of.stays:,} stays of {source} have any of the "
            f"{len(frozen.fitted.hourly.names):,} hourly features of features.frozen, a share "
            f"below features.min_filled {least:g}: its variables are {_listed(recorded(frozen))}, "
            f"those of {source} {_listed(theirs.to_list())}; freeze shards of a source whose "
            "variables have the same names, or leave out --features.frozen"
        )


def _listed(names: Sequence[str]) -> str:
    """The first names, quoted, since a name may have blanks and commas."""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) or "none"


def recorded(frozen: Featurizer) -> list[str]:
    """Hourly variables of a fit by the names that events have, those with most readings first.

    An indicator, made of a variable and a value, is not among them: a value is a cell.
    """
    plan = frozen.fitted.plan
    of_values = tuple(f"{name}: " for name in frozen.indicators)
    every = dict.fromkeys([*plan.readings, *plan.types.of])
    return [n for n in every if n not in plan.static and not n.startswith(of_values)]


def variables(stays: pl.DataFrame, buckets: Sequence[Bucket], pool: Pool) -> pl.DataFrame:
    """The variables of the events of stays of the index: in how many stays each is, and how many
    of its rows have no time."""
    own = [(b, stays.filter(pl.col("bucket") == b.number)["id"]) for b in buckets]
    found: list[pl.DataFrame] = list(pool.each(_variables_of, own))
    return pl.concat(found).group_by("variable").sum()


def _variables_of(bucket: Bucket, ids: pl.Series) -> pl.DataFrame:
    rows = bucket.events().filter(pl.col("id").is_in(ids.implode()))
    return rows.group_by("variable").agg(
        stays=pl.col("id").n_unique().cast(pl.Int64),
        timeless=pl.col("t").null_count().cast(pl.Int64),
    )
