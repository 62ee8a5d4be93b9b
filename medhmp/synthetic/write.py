"""Generates the synthetic cohort block by block and writes it as MIMIC-III's tables."""

import gzip
import io
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from medhmp.arrays import Floats, Ints
from medhmp.legend import PatientTask, Task
from medhmp.refusal import Refusal
from medhmp.run import Synthetic
from medhmp.storage import Entry, Folder, Sink
from medhmp.synthetic.dictionaries import dictionaries
from medhmp.synthetic.events import chart_events, date_events, lab_events, output_events
from medhmp.synthetic.items import HEADERS
from medhmp.synthetic.latents import draw_courses, draw_patients, late_rows
from medhmp.synthetic.notes import note_table
from medhmp.synthetic.orders import culture_events, input_events, procedure_events
from medhmp.synthetic.readings import FIRST_SUBJECT, Block
from medhmp.synthetic.records import (
    admission_table,
    code_table,
    drug_table,
    patient_table,
    stay_table,
)
from medhmp.synthetic.signal import LATE

BLOCK: Final = 128
"""Patients generated at a time. Bounds memory, and shapes the cohort of a seed."""
GZIP_LEVEL: Final = 1

TRUTH: Final = pa.schema(
    {
        "task": pa.string(),
        "subject_id": pa.int64(),
        "row_id": pa.int64(),  # ICUSTAY_ID, HADM_ID or SUBJECT_ID, by the task's level
        "probability": pa.float64(),
    }
)

TABLES: Final[dict[str, Callable[[np.random.Generator, Block], pl.DataFrame]]] = {
    "PATIENTS": patient_table,
    "ADMISSIONS": admission_table,
    "ICUSTAYS": stay_table,
    "CHARTEVENTS": chart_events,
    "LABEVENTS": lab_events,
    "INPUTEVENTS_MV": input_events,
    "OUTPUTEVENTS": output_events,
    "PROCEDUREEVENTS_MV": procedure_events,
    "DATETIMEEVENTS": date_events,
    "MICROBIOLOGYEVENTS": culture_events,
    "PRESCRIPTIONS": drug_table,
    "DIAGNOSES_ICD": code_table,
    "NOTEEVENTS": note_table,
}


def synthesize(
    settings: Synthetic,
    out: Folder,
    progress: Callable[[int, int], None] | None = None,
    gzip_level: int = GZIP_LEVEL,
) -> list[Entry]:
    """Writes all tables as ``NAME.csv.gz``, and ``truth.parquet``, into ``out``.

    Blocks of ``BLOCK`` patients, each from its own child of the seed, are appended to open streams,
    so memory does not grow with their number. The first k patients are the same in every cohort of
    one seed. ``progress`` receives (patients done, rows written). Returns the entries of the files.
    Refuses less than one patient, a negative seed and a density of 0.
    """
    if settings.patients < 1 or settings.seed < 0:
        raise Refusal(
            f"the synthetic cohort has {settings.patients} patients and seed {settings.seed}; "
            "give at least 1 patient and a seed of 0 or more"
        )
    if not 0 < settings.density < float("inf"):
        raise Refusal(f"the synthetic cohort has density {settings.density}; give a number above 0")
    with ExitStack() as stack:
        writers = {name: _Table(stack, out, name, gzip_level) for name in HEADERS}
        truth = _Truth(stack, out)
        for name, frame in dictionaries().items():
            writers[name].append(frame)
        for start in range(0, settings.patients, BLOCK):
            block, generators = draw_block(settings, start)
            beyond = FIRST_SUBJECT + settings.patients
            for (name, make), rng in zip(TABLES.items(), generators, strict=True):
                writers[name].append(make(rng, block).filter(pl.col("SUBJECT_ID") < beyond))
            truth.append(truth_rows(block).filter(pl.col("subject_id") < beyond))
            if progress:
                done = min(start + BLOCK, settings.patients)
                progress(done, sum(writer.rows for writer in writers.values()))
    return [*(writer.sink.written for writer in writers.values()), truth.sink.written]


def draw_block(settings: Synthetic, start: int) -> tuple[Block, list[np.random.Generator]]:
    """Draws patients ``start`` to ``start + BLOCK``, their courses, a generator per table."""
    child = np.random.SeedSequence(settings.seed, spawn_key=(start // BLOCK,))
    latents, *tables = np.random.default_rng(child).spawn(1 + len(TABLES))
    patients = draw_patients(latents, BLOCK)
    courses = draw_courses(latents, patients)
    return Block(start, patients, *courses, settings.density), tables


class _Table:
    """One CSV table being written."""

    def __init__(self, stack: ExitStack, out: Folder, name: str, gzip_level: int) -> None:
        self.sink: Sink = stack.enter_context(out.create(f"{name}.csv.gz"))
        stream = gzip.GzipFile("", "wb", gzip_level, self.sink, mtime=0)  # no name and time inside
        self._stream = stack.enter_context(stream)
        self._columns, self.rows = HEADERS[name].split(), 0
        self._stream.write((",".join(self._columns) + "\n").encode())

    def append(self, frame: pl.DataFrame) -> None:
        """Adds rows; columns of the header that the frame lacks stay empty."""
        frame = frame.with_columns(ROW_ID=pl.int_range(1, pl.len() + 1) + self.rows)
        self.rows += len(frame)
        absent = [c for c in self._columns if c not in frame.columns]
        frame = frame.with_columns(pl.lit(None, pl.String).alias(c) for c in absent)
        text = io.BytesIO()
        frame.select(self._columns).write_csv(
            text, include_header=False, datetime_format="%Y-%m-%d %H:%M:%S"
        )
        self._stream.write(text.getbuffer())


class _Truth:
    """truth.parquet being written, a row group per block."""

    def __init__(self, stack: ExitStack, out: Folder) -> None:
        self.sink: Sink = stack.enter_context(out.create("truth.parquet"))
        stream = pa.PythonFile(self.sink, mode="w")
        self._writer = stack.enter_context(pq.ParquetWriter(stream, TRUTH, compression="zstd"))

    def append(self, rows: pl.DataFrame) -> None:
        """Adds rows of ``TRUTH``."""
        self._writer.write_table(rows.to_arrow().cast(TRUTH))


def truth_rows(block: Block) -> pl.DataFrame:
    """``TRUTH`` of a block: the rows that may be in the cohort of each task.

    These are stays of 48 hours without an earlier onset, admissions discharged alive, and patients
    with two admissions or more.
    """
    admissions, stays = block.admissions, block.stays
    subject = block.subject_id
    of_stay = subject[admissions.patient[stays.admission]]
    arf = stays.long & ~(stays.arf_onset < 48)
    shock = stays.long & ~(stays.shock_onset < 48)
    home, back = ~admissions.died, admissions.readmission
    return pl.concat(
        [
            _truth("arf", of_stay[arf], block.stay_id[arf], stays.arf[arf]),
            _truth("shock", of_stay[shock], block.stay_id[shock], stays.shock[shock]),
            _truth(
                "mortality",
                of_stay[stays.long],
                block.stay_id[stays.long],
                stays.mortality[stays.long],
            ),
            _truth(
                "readmission",
                subject[admissions.patient[home]],
                block.hadm_id[home],
                back[home],
            ),
            *(_late(task, block) for task in LATE),
        ]
    )


def _late(task: PatientTask, block: Block) -> pl.DataFrame:
    many, risk, _ = late_rows(task, block.patients, block.admissions)
    subject = block.subject_id[many]
    return _truth(task, subject, subject, risk)


def _truth(task: Task, subject: Ints, row: Ints, probability: Floats) -> pl.DataFrame:
    columns = {"subject_id": subject, "row_id": row, "probability": probability}
    return pl.DataFrame(columns).select(pl.lit(task).alias("task"), pl.all())
