"""The labels of a task of the run's own, read from files: Parquet or CSV, a file or a folder.

A row says whom it is of, when it is predicted, and what came of it:

    stay_id or hadm_id, of the task's level     by the source's own identifier
    subject_id, prediction_time                 else by patient and time, as MEDS has labels
    label or boolean_value                      0 or 1, false or true
    source                                      the source's name, where a run has several

``prediction_time`` may be left out beside a stay_id or hadm_id. Other columns are not read.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from medhmp.frames import frame_of
from medhmp.legend import ROW_ID, Level, Task
from medhmp.refusal import Refusal
from medhmp.run import OwnTask, digest
from medhmp.storage import Folder
from medhmp.tables.csv_file import CsvFile
from medhmp.tables.kinds import INTEGER, TEXT, TIME
from medhmp.tables.parquet_file import ParquetFile

SUBJECT: Final = "subject_id"
WHEN: Final = "prediction_time"
SOURCE: Final = "source"
LABELS: Final = ("label", "boolean_value")
"""Columns that may have the label; the first that is there does."""
FORMS: Final = (".parquet", ".csv", ".csv.gz")
_TRUTHS: Final = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0}


@dataclass(frozen=True)
class LabelTable:
    """The files of one task's labels."""

    task: Task
    level: Level
    folder: Folder
    names: tuple[str, ...]  # of the files, below ``folder``

    @staticmethod
    def find(task: Task, own: OwnTask) -> "LabelTable":
        """Finds the files. Refuses a place without any."""
        above, name = posixpath.split(own.uri.rstrip("/"))
        if name and Folder(above or ".").size(name) is not None:
            return LabelTable(task, own.level, Folder(above or "."), (name,))
        folder = Folder(own.uri)
        names = [name for name in folder.names() if name.lower().endswith(FORMS)]
        shown = [name for name in names if not any(p[0] in "._" for p in name.split("/"))]
        if not shown:
            raise Refusal(
                f"cohort.tasks has {task} at '{own.uri}', where there is no Parquet or CSV file; "
                "give the file or the folder of its labels"
            )
        return LabelTable(task, own.level, folder, tuple(shown))

    @property
    def fingerprint(self) -> str:
        """Content hash of the files, wherever they are."""
        traces = self.folder.traces({name: self.folder.size(name) for name in self.names})
        return digest([asdict(trace) for trace in traces])

    def read(self) -> pl.DataFrame:
        """All rows: ``row`` (from 0), ``label`` (Int8) and what there is of the identifier of the
        level, ``subject_id``, ``prediction_time`` (whole seconds) and ``source``.

        Refuses a file without the columns that a label needs, and a label that is none.
        """
        frames = [frame for name in self.names if (frame := self._read(name)) is not None]
        if not frames:
            raise Refusal(f"{self._said()} has no row; give labels, or leave out the task")
        columns = frames[0].columns
        for frame, name in zip(frames, self.names, strict=False):
            if frame.columns != columns:
                raise Refusal(
                    f"{self._said()} has other columns in {name} than in {self.names[0]}; "
                    "put the files of one table there"
                )
        return pl.concat(frames).with_row_index("row")

    def _read(self, name: str) -> pl.DataFrame | None:
        """A file's rows; None without any, whatever its columns are."""
        kind = ParquetFile if name.lower().endswith(".parquet") else CsvFile
        file = kind(self.folder, name, self.task.upper())
        if not file.place(0)[0]:
            return None
        has = file.columns
        label = next((column for column in LABELS if column in has), None)
        if label is None:
            raise Refusal(f"{self._said(name)} has no column {' or '.join(LABELS)}; add one")
        kinds = {column: kind for column, kind in self._keys(name, has).items() if column in has}
        batches: Iterator[pa.RecordBatch] = file.blocks({**kinds, label: TEXT})
        frame = pl.concat([frame_of(batch) for batch in batches])
        return frame.with_columns(self._truth(name, frame[label])).select(*kinds, "label")

    def _keys(self, name: str, has: list[str]) -> dict[str, pa.DataType]:
        """Columns that say whom a row is of and when it is predicted, with their types."""
        own = ROW_ID[self.level]
        if own in has and own != SUBJECT:
            return {own: INTEGER, WHEN: TIME, SOURCE: TEXT}
        if SUBJECT in has and WHEN in has:
            return {SUBJECT: INTEGER, WHEN: TIME, SOURCE: TEXT}
        either = "" if own == SUBJECT else f"{own}, or "
        raise Refusal(
            f"{self._said(name)} has no column {either}{SUBJECT} with {WHEN}, by which a label of "
            f"{_an(self.level)} finds its row; add one"
        )

    def _truth(self, name: str, texts: pl.Series) -> pl.Series:
        found = texts.str.to_lowercase().replace_strict(_TRUTHS, default=None, return_dtype=pl.Int8)
        other = (found.is_null() & texts.is_not_null()).sum()
        if other:
            raise Refusal(
                f"{self._said(name)} has {other:,} labels that are neither 0 nor 1, false nor true;"
                " give a label of two classes"
            )
        return found.alias("label")

    def _said(self, name: str = "") -> str:
        place = self.folder / name if name else self.folder
        return f"cohort.tasks has {self.task} at '{place}', which"


def _an(level: Level) -> str:
    return f"an {level}" if level == "admission" else f"a {level}"
