"""MEDS-DEV's three commands, as its ``model.yaml`` has them, on a small MEDS dataset.

Predictions are held to the ``meds`` packages: their schema, and the AUROC of their own command.
"""

import importlib.util
import json
import random
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import meds
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from meds_evaluation.schema import PredictionSchema

from medhmp.evaluate.discrimination import auroc
from medhmp.frames import frame_of
from medhmp.layout import CUT
from medhmp.shards.manifest import OpenShards, with_own_tasks
from medhmp.storage import Folder, opened

pytestmark = pytest.mark.ray

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "meds_dev"
HOUR = timedelta(hours=1)
SPLITS = (meds.train_split, meds.train_split, meds.tuning_split, meds.held_out_split)


def rows_of(subject: int, draw: random.Random) -> Iterator[dict[str, Any]]:
    """A person of one admission with one stay of three days; the sicker, the faster the heart."""
    sick, begun = subject % 3 == 0, datetime(2150, 1, 1) + subject * 30 * HOUR
    own = {"hadm_id": 1000 + subject}
    unit = own | {"icustay_id": 9000 + subject}
    yield {"time": None, "code": "GENDER//F"}
    yield {"time": datetime(2090, 1, 1), "code": "MEDS_BIRTH"}
    yield {"time": begun, "code": "HOSPITAL_ADMISSION//EW EMER.//ED", **own}
    yield {"time": begun + HOUR, "code": "ICU_ADMISSION//Medical (MICU)", **unit}
    for hour in range(2, 70):
        code = draw.choice(("LAB//220045//bpm", "LAB//220179//mmHg", "LAB//51222//g/dL"))
        value = draw.gauss(110 if sick else 75, 12)
        yield {"time": begun + hour * HOUR, "code": code, "numeric_value": value, **unit}
    yield {"time": begun + 73 * HOUR, "code": "ICU_DISCHARGE//Ward", **unit}
    home = begun + 90 * HOUR
    icd = draw.choice(("I50", "J44", "E11"))
    yield {"time": home, "code": f"DIAGNOSIS//ICD//10//{icd}", **own}
    yield {"time": home, "code": "HOSPITAL_DISCHARGE//HOME", **own}


def write_dataset(folder: Path, subjects: int) -> None:
    draw = random.Random(0)
    columns = {
        "subject_id": pa.int64(),
        "time": pa.timestamp("us"),
        "code": pa.string(),
        "numeric_value": pa.float32(),
        "hadm_id": pa.int64(),
        "icustay_id": pa.int64(),
    }
    of = {split: [s for s in range(subjects) if SPLITS[s % 4] == split] for split in set(SPLITS)}
    for split, own in of.items():
        rows = [{"subject_id": s, **row} for s in own for row in rows_of(s, draw)]
        (folder / "data" / split).mkdir(parents=True)
        table = pa.Table.from_pylist(rows, schema=pa.schema(columns))
        pq.write_table(table, folder / "data" / split / "0.parquet")
    (folder / "metadata").mkdir()
    splits = [{"subject_id": s, "split": split} for split, own in of.items() for s in own]
    pq.write_table(pa.Table.from_pylist(splits), folder / meds.subject_splits_filepath)


def write_labels(folder: Path, subjects: int) -> None:
    """Whether the heart was fast, at hour 24 of each stay; and one label long after them."""
    begun = [datetime(2150, 1, 1) + subject * 30 * HOUR for subject in range(subjects)]
    rows = [
        {"subject_id": s, "prediction_time": at + 25 * HOUR, "boolean_value": s % 3 == 0}
        for s, at in enumerate(begun)
    ]
    rows.append({**rows[3], "prediction_time": datetime(2190, 1, 1)})
    folder.mkdir()
    pq.write_table(meds.LabelSchema.align(pa.Table.from_pylist(rows)), folder / "0.parquet")


@pytest.fixture
def main() -> Callable[[Sequence[str]], None]:
    """The example's command line, in this process."""
    spec = importlib.util.spec_from_file_location("meds_dev", EXAMPLE / "meds_dev.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["meds_dev"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    found: Callable[[Sequence[str]], None] = module.main
    return found


def open_shards_of(out: Path) -> OpenShards:
    return with_own_tasks(opened(Folder(str(out / "shards")), "featurize"))


def test_the_contract_s_commands_lead_to_predictions_that_meds_evaluation_scores(
    ray: Any, main: Callable[[Sequence[str]], None], tmp_path: Path
) -> None:
    subjects = 80
    write_dataset(tmp_path / "data", subjects)
    write_labels(tmp_path / "labels", subjects)
    given = {
        "dataset_dir": str(tmp_path / "data"),
        "labels_dir": str(tmp_path / "labels"),
        "model_dir": str(EXAMPLE),
        "split": meds.held_out_split,
        "demo": True,
    }
    commands = yaml.safe_load((EXAMPLE / "model.yaml").read_text())["commands"]
    before = ""
    for kind, mode in (
        ("unsupervised", "train"),
        ("supervised", "train"),
        ("supervised", "predict"),
    ):
        out = str(tmp_path / kind / mode)
        text = commands[kind][mode].format(**given, output_dir=out, model_initialization_dir=before)
        python, script, *arguments = shlex.split(text)
        assert (python, script) == ("python", str(EXAMPLE / "meds_dev.py"))
        main(arguments)
        before = out
    shards = open_shards_of(Path(before))
    assert dict(shards.manifest.tasks["own"].steps)["rows of the label table"] == subjects + 1
    assert sum(shards.manifest.tasks["own"].rows.values()) == subjects
    assert len(frame_of(shards.own["own"].read_parquet(CUT))) == subjects
    file = Path(before) / "predictions.parquet"
    table = PredictionSchema.align(pq.read_table(file))
    PredictionSchema.validate(table)
    scored = pl.from_arrow(table)
    held_out = [s for s in range(subjects) if SPLITS[s % 4] == meds.held_out_split]
    assert sorted(scored["subject_id"]) == held_out
    asked = pl.read_parquet(tmp_path / "labels" / "0.parquet").head(subjects)
    keys = ["subject_id", "prediction_time", "boolean_value"]
    assert scored.select(keys).join(asked, on=keys).height == len(held_out)

    told = tmp_path / "told.json"
    cli = Path(sys.executable).parent / "meds-evaluation-cli"
    arguments = [f"predictions_path={file}", f"output_file={told}"]
    subprocess.run([cli, *arguments], check=True, capture_output=True, cwd=tmp_path)
    ours = auroc(
        scored["boolean_value"].cast(int).to_numpy(),
        scored["predicted_boolean_probability"].to_numpy().astype(np.float64),
    )
    theirs = json.loads(told.read_text())["samples_equally_weighted"]["roc_auc_score"]
    assert theirs == pytest.approx(ours, abs=1e-9)
