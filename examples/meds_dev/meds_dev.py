"""MEDS-DEV's three commands on MedHMP's jobs: see ``model.yaml`` beside this file.

unsupervised-train   a MEDS dataset -> shards, both stages of pretraining
supervised-train     these and a task's labels -> a trained model, chosen on the tuning split
predict              such a model, a dataset, labels and a split -> predictions.parquet
"""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import tyro

from jobs.embed_notes import embed_notes
from jobs.export import export
from jobs.featurize import featurize
from jobs.predict import begin, predict
from jobs.pretrain_admission import pretrain_admission
from jobs.pretrain_stay import pretrain_stay
from jobs.report import report
from jobs.tune import tune
from medhmp.frames import frame_of
from medhmp.layout import APPLIED, SHARDS, model_of
from medhmp.legend import Level
from medhmp.pretrained.config import open_model
from medhmp.ray_session import start_ray
from medhmp.recipes import tiny
from medhmp.refusal import find_refusal
from medhmp.run import Run, Tables, Tune
from medhmp.shards.manifest import with_own_tasks
from medhmp.storage import Folder, opened

TASK, MODEL, START = "own", "medhmp", "both"
Switch = tyro.conf.FlagConversionOff[bool]
"""Given as ``--demo True``, as MEDS-DEV writes it."""
SPLITS = {"train": "train", "tuning": "validation", "held_out": "test"}
"""The standard's name of a split -> ours."""


@dataclass(frozen=True)
class Pretraining:
    """Learn from a dataset without labels."""

    dataset_dir: str  # of a MEDS dataset
    output_dir: str  # gets the shards and the pretrained weights
    demo: Switch = False  # a small network, two epochs: it learns nothing, in seconds

    def work(self) -> None:
        run = asked(self.dataset_dir, self.output_dir, self.demo)
        for job in (featurize, embed_notes, pretrain_stay, pretrain_admission):
            job(run)


@dataclass(frozen=True)
class Training:
    """Learn a task from its labels, beginning with the pretrained weights."""

    dataset_dir: str  # of the MEDS dataset of the pretraining
    labels_dir: str  # of the task's labels, in the MEDS schema
    model_initialization_dir: str  # the output of unsupervised-train
    output_dir: str  # gets the trained model
    level: Level = "stay"  # of the hierarchy that the task predicts at
    demo: Switch = False  # as of unsupervised-train

    def work(self) -> None:
        shutil.copytree(self.model_initialization_dir, self.output_dir, dirs_exist_ok=True)
        run = asked(self.dataset_dir, self.output_dir, self.demo)
        run = with_labels(run, self.level, self.labels_dir)
        for job in (featurize, tune, report, export):
            job(run)


@dataclass(frozen=True)
class Prediction:
    """Score the labelled rows of a split."""

    dataset_dir: str  # of a MEDS dataset: that of the training, or another
    labels_dir: str  # says what is predicted when, in the MEDS schema
    model_initialization_dir: str  # the output of supervised-train
    output_dir: str  # gets predictions.parquet, in the MEDS prediction schema
    split: str = "held_out"  # of the dataset

    def work(self) -> None:
        folder = f"{self.model_initialization_dir}/{model_of(TASK, MODEL, START)}"
        model = begin(folder)
        tables = replace(model.tables, sources=(f"meds={self.dataset_dir}",))
        run = replace(model, out=self.output_dir, tables=tables)
        predict(with_labels(run, open_model(folder)[1].level, self.labels_dir))
        shards = with_own_tasks(opened(Folder(f"{self.output_dir}/{SHARDS}"), "featurize"))
        labels = frame_of(shards.labels(TASK)).filter(split=SPLITS[self.split])
        scored = pl.read_parquet(f"{self.output_dir}/{APPLIED}/*/part-*.parquet")
        of_split = scored.filter(pl.col("subject_id").is_in(labels["subject_id"].implode()))
        of_split.write_parquet(Path(self.output_dir) / "predictions.parquet")


def asked(dataset: str, out: str, demo: bool) -> Run:
    """The run of a training: the paper's settings or, for a demo, those of ``tiny``."""
    run = tiny() if demo else Run(tune=Tune(replicates=1))
    tables = Tables(sources=(f"meds={dataset}",))
    tuned = replace(run.tune, tasks=(TASK,), models=(MODEL,), starts=(START,))
    return replace(run, name="meds_dev", out=out, tables=tables, tune=tuned)


def with_labels(run: Run, level: Level, labels: str) -> Run:
    """The run with the task of these labels."""
    run = replace(run, cohort=replace(run.cohort, tasks=(f"{TASK}={level}:{labels}",)))
    run.check()
    return run


COMMANDS = {"unsupervised-train": Pretraining, "supervised-train": Training, "predict": Prediction}


def main(arguments: Sequence[str]) -> None:
    """Runs one command. A wrong input is one sentence, and exit status 2."""
    command = tyro.extras.subcommand_cli_from_dict(COMMANDS, args=list(arguments))
    os.umask(0o077)
    start_ray()
    try:
        command.work()
    except Exception as error:
        if refusal := find_refusal(error):
            print(f"meds_dev: {refusal}", file=sys.stderr)
            sys.exit(2)
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
