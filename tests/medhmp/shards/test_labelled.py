"""Labels meet their rows: shards written row by row, read back, against lookups in dictionaries."""

import itertools
import shutil
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import torch

from medhmp import layout
from medhmp.layout import note_embedding_columns
from medhmp.legend import SPLITS
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Cohort, Model
from medhmp.shards import schema
from medhmp.shards.labelled import Labelled, counts, draw, hindrance, read_task
from medhmp.shards.manifest import (
    File,
    OpenShards,
    TaskCounts,
    content_of,
    open_shards,
    own_fields,
    with_own_tasks,
)
from medhmp.shards.note_vectors import read_notes
from medhmp.shards.row_notes import NotesRead
from medhmp.shards.tabular import counted
from medhmp.storage import Folder, Output, Stamp, publish
from medhmp.train.stage import Stage, rows_to_read, setup_of
from tests.manifests import manifest

HOURS, FEATURES, FILES = 2, 40, 3
CODES = ("9:4019", "9:4280", "9:25000", "9:42822", "10:I509", "9:40201", "9:49121")
FAILING = {"core": {1, 3, 4}, "broad": {1, 3, 4, 5}}
"""Ids among ``CODES`` of heart failure."""
EPOCH = datetime(2100, 1, 1)


def data_of(run, task="mortality", seed=0):
    whole = read_task(open_shards(run), task, run.cohort, run.model)
    return draw(whole, run.finetune.labels, seed)


def stage_one(run):
    return rows_to_read(setup_of(run, Stage("pretrain_stay", run.out)), open_shards(run))


class Cohorts:
    """Patients of three splits with admissions and stays, as plain records in the shards' order."""

    def __init__(self, seed=0):
        self.random = np.random.default_rng(seed)
        self.patients = [self.patient(subject) for subject in self.random.permutation(60).tolist()]
        self.admissions = [
            {"subject_id": p["subject_id"], "split": p["split"], **visit, **self.events(visit)}
            for p in self.patients
            for visit in p["visits"]
        ]
        self.stays = [
            {"hadm_id": a["hadm_id"], "split": a["split"], "subject_id": a["subject_id"], **stay}
            for a in self.admissions
            for stay in a["stays"]
        ]

    def patient(self, subject):
        split = SPLITS[self.random.choice(3, p=[0.5, 0.2, 0.3])]
        times = sorted(self.random.choice(900, self.random.integers(1, 7), replace=False).tolist())
        visits = [
            {
                "hadm_id": 100 * subject + number,
                "admitted": EPOCH + timedelta(days=10 * day),
                "discharged": EPOCH + timedelta(days=10 * day + 4),
                "icd_ids": self.some(len(CODES)),
            }
            for number, day in enumerate(times)
        ]
        return {"subject_id": subject, "split": split, "visits": visits}

    def events(self, visit):
        stays = range(self.random.integers(0, 4))
        return {"drug_ids": self.some(9), "stays": [self.stay(visit, n) for n in stays]}

    def stay(self, visit, number):
        hours = [self.some(FEATURES) for _ in range(HOURS)]
        return {
            "stay_id": 10 * visit["hadm_id"] + number,
            "hour_offsets": np.cumsum([0, *map(len, hours)]).tolist(),
            "feature_ids": [i for hour in hours for i in hour],
            "demographic_ids": self.some(3),
        }

    def some(self, vocabulary):
        count = self.random.integers(0, min(vocabulary, 4) + 1)
        return sorted(self.random.choice(vocabulary, count, replace=False).tolist())

    def labels(self, rows, key):
        """Labels of two rows in three, in an order of their own."""
        chosen = self.random.permutation(len(rows))[: 2 * len(rows) // 3]
        for row in (rows[i] for i in chosen):
            yield {
                "subject_id": row["subject_id"],
                "row_id": row[key],
                "split": row["split"],
                "label": int(self.random.integers(2)),
                "prediction_time": EPOCH + timedelta(days=int(self.random.integers(9000))),
            }


@pytest.fixture(scope="module")
def cohort():
    return Cohorts()


@pytest.fixture(scope="module")
def labels(cohort):
    """Task -> row_id -> its label's record."""
    of = {
        "mortality": cohort.labels(cohort.stays, "stay_id"),
        "readmission": cohort.labels(cohort.admissions, "hadm_id"),
        "heart_failure": cohort.labels(cohort.patients, "subject_id"),
        "copd": cohort.labels(cohort.patients, "subject_id"),
        "amnesia": (),  # no case among them
    }
    return {task: {row["row_id"]: row for row in rows} for task, rows in of.items()}


@pytest.fixture(scope="module")
def run(cohort, labels, tmp_path_factory):
    """A run whose shards hold the cohort in files of unequal lengths."""
    out = tmp_path_factory.mktemp("out")
    shards = Folder(str(out)) / "shards"
    stay = (HOURS, FEATURES, 3, False)
    tables = {
        "stays": (cohort.stays, schema.stays(*stay)),
        "admissions": (cohort.admissions, schema.admissions(*stay, len(CODES), 9)),
        "patients": (cohort.patients, schema.patients(len(CODES))),
    }
    entries, files = [], {}
    for table, of in tables.items():
        written, files[table] = write_files(shards, table, *of)
        entries += written
    entries += [
        shards.write_parquet(
            f"labels/{task}.parquet",
            pa.Table.from_pylist(list(rows.values()), layout.LABEL_COLUMNS),
        )
        for task, rows in labels.items()
    ]
    noted = [a["hadm_id"] for a in cohort.admissions[::2]]
    notes = {"hadm_id": noted, "embedding": [[float(hadm)] * 768 for hadm in noted]}
    vectors = pa.table(notes, note_embedding_columns(768))
    embedded = shards / "note_embeddings"
    publish(embedded, Stamp({}, {}), [embedded.write_parquet("part.parquet", vectors)])
    run = replace(smoke(), out=str(out), model=Model(max_stays=2))
    entries.append(shards.write_json("manifest.json", manifest_of(files).to_json()))
    publish(shards, Stamp(content_of(run, ()), {}), entries)
    return run


def write_files(shards, table, rows, target):
    rows = [{"source": "s", **row} for row in rows]
    ends = [len(rows) * number**2 // FILES**2 for number in range(FILES + 1)]
    entries, files = [], {}
    for number, (start, end) in enumerate(itertools.pairwise(ends)):
        own = rows[start:end]
        content = pa.Table.from_pylist(own, target)
        entries.append(shards.write_parquet(f"{table}/{number}.parquet", content))
        splits = {split: sum(row["split"] == split for row in own) for split in SPLITS}
        files[f"{number}.parquet"] = File(len(own), splits, "")
    return entries, files


def manifest_of(files):
    return manifest(
        hours=HOURS,
        features=[str(i) for i in range(FEATURES)],
        demographics=["a", "b", "c"],
        diagnoses=CODES,
        drugs=[str(i) for i in range(9)],
        tables=files,
        tasks={
            "amnesia": TaskCounts(
                [("cases", 0)],
                dict.fromkeys(SPLITS, 0),
                dict.fromkeys(SPLITS, 0),
                emptied="no rows: there are no cases",
            )
        },
    )


def expected_rows(rows, key, labels, split):
    """(row, label) of the split's labelled rows, in the shards' order."""
    return [(row, labels[row[key]]) for row in rows if row["split"] == split and row[key] in labels]


def sets(batch, name, offsets=None):
    ends = batch[f"{offsets or name}_offsets"].tolist()
    ids = batch[f"{name}_ids"].tolist()
    return [ids[start:end] for start, end in itertools.pairwise(ends)]


def everything(part):
    return part.batch(np.arange(len(part)))


@pytest.mark.parametrize("split", SPLITS)
def test_stays_have_their_own_labels(run, cohort, labels, split):
    part = data_of(labelling(run, None))[split]
    expected = expected_rows(cohort.stays, "stay_id", labels["mortality"], split)
    assert len(expected) > 10
    assert part.rows.row_id.tolist() == [row["stay_id"] for row, _ in expected]
    batch = everything(part)
    assert batch["label"].tolist() == [label["label"] for _, label in expected]
    assert batch["subject_id"].tolist() == [row["subject_id"] for row, _ in expected]
    assert sets(batch, "demographic") == [row["demographic_ids"] for row, _ in expected]
    assert batch["feature_ids"].tolist() == [i for row, _ in expected for i in row["feature_ids"]]


@pytest.mark.parametrize("split", SPLITS)
def test_admissions_have_their_own_labels_stays_and_notes(run, cohort, labels, split):
    part = data_of(labelling(run, None), "readmission")[split]
    expected = expected_rows(cohort.admissions, "hadm_id", labels["readmission"], split)
    assert part.rows.row_id.tolist() == [row["hadm_id"] for row, _ in expected]
    batch = everything(part)
    assert batch["label"].tolist() == [label["label"] for _, label in expected]
    assert sets(batch, "icd") == [row["icd_ids"] for row, _ in expected]
    assert sets(batch, "drug") == [row["drug_ids"] for row, _ in expected]
    noted = {row["hadm_id"] for row in cohort.admissions[::2]}
    notes = [row["hadm_id"] * (row["hadm_id"] in noted) for row, _ in expected]
    assert batch["note"][:, 0].tolist() == notes
    assert batch["has_note"].tolist() == [row["hadm_id"] in noted for row, _ in expected]
    kept = [stay for row, _ in expected for stay in row["stays"][:2]]
    assert batch["feature_ids"].tolist() == [i for stay in kept for i in stay["feature_ids"]]


@pytest.mark.parametrize("codes", ["core", "broad"])
@pytest.mark.parametrize("most", [2, 50])
@pytest.mark.parametrize("split", SPLITS)
def test_heart_failure_sees_neither_later_visits_nor_target_codes(
    run, cohort, labels, tmp_path, split, most, codes
):
    settings = Cohort(max_visits=most, heart_failure_codes=codes)
    other = replace(labelling(run, None), cohort=settings)
    other = replace(other, out=str(tmp_path))
    shards = Output.of(Folder(run.out) / "shards")
    shutil.copytree(shards.folder.uri, tmp_path / "shards")
    content = Stamp(content_of(other, ()), {})
    publish(Folder(other.out) / "shards", content, list(shards.files.values()))
    part = data_of(other, "heart_failure")[split]
    expected = expected_rows(cohort.patients, "subject_id", labels["heart_failure"], split)
    visits = [
        [v for v in row["visits"] if v["discharged"] <= label["prediction_time"]][-most:]
        for row, label in expected
    ]
    assert {len(of) for of in visits} > {0, 1}
    batch = everything(part)
    assert batch["label"].tolist() == [label["label"] for _, label in expected]
    assert batch["subject_id"].tolist() == [row["subject_id"] for row, _ in expected]
    assert batch["visit_offsets"].diff().tolist() == [len(of) for of in visits]
    shown = [[i for i in v["icd_ids"] if i not in FAILING[codes]] for of in visits for v in of]
    assert sets(batch, "icd") == shown
    days = [(of[-1]["admitted"] - v["admitted"]).days for of in visits for v in of]
    assert batch["visit_days"].tolist() == days


@pytest.mark.parametrize("task", ["mortality", "readmission"])
def test_a_stay_has_the_note_of_its_admission(run, cohort, labels, task):
    shards = open_shards(labelling(run, None))
    read = NotesRead(vectors=True)
    data = read_task(shards, task, run.cohort, run.model, read)
    known = read_notes(shards.note_embeddings)
    rows, key = {
        "mortality": (cohort.stays, "stay_id"),
        "readmission": (cohort.admissions, "hadm_id"),
    }[task]
    for split, part in data.items():
        expected = [row for row, _ in expected_rows(rows, key, labels[task], split)]
        note, has_note = known.of(np.array([row["hadm_id"] for row in expected]))
        batch = everything(part)
        assert batch["has_note"].tolist() == has_note.tolist()
        assert batch["note"].tolist() == note.tolist()
    assert has_note.any()
    assert not has_note.all()


@pytest.fixture(scope="module")
def own(run, cohort, labels):
    """The run with tasks of its own: the built-in tasks' labels, predicted at other times.

    Yields the shards, and of each task row_id -> over; stay_id -> bins that are known of it.
    """
    shards, random = Output.of(Folder(run.out) / "shards"), np.random.default_rng(1)
    of_task = {"stay": "mortality", "admission": "readmission", "patient": "heart_failure"}
    bins = {stay["stay_id"]: int(random.integers(-1, HOURS + 1)) for stay in cohort.stays}
    over = {}
    for level, task in of_task.items():
        folder = shards.folder / layout.own_task_of(f"own_{level}")
        over[level] = {row_id: bool(random.integers(2)) for row_id in labels[task]}
        rows = [{**row, "over": over[level][row_id]} for row_id, row in labels[task].items()]
        cut = [{"stay_id": s, "bins": n} for s, n in bins.items() if n < HOURS]
        entries = [
            folder.write_parquet(name, pa.Table.from_pylist(of, columns))
            for name, of, columns in (
                (layout.OWN_LABELS, rows, layout.OWN_LABEL_COLUMNS),
                (layout.CUT, cut if level != "patient" else [], layout.CUT_COLUMNS),
            )
        ]
        counts = TaskCounts([], dict.fromkeys(SPLITS, 1), dict.fromkeys(SPLITS, 1))
        entries.append(folder.write_json(layout.COUNTS, asdict(counts)))
        stamp = Stamp(own_fields(f"own_{level}", level), {"shards": shards.fingerprint})
        publish(folder, stamp, entries)
    yield with_own_tasks(shards), over, bins
    (shards.folder / layout.OWN_TASKS).remove()


def known_hours(stay, bins):
    """The ids of each hour of a stay, of those cut none."""
    ends = stay["hour_offsets"]
    hours = [stay["feature_ids"][a:b] for a, b in itertools.pairwise(ends)]
    return [hour if at < bins[stay["stay_id"]] else [] for at, hour in enumerate(hours)]


def own_batch(run, own, level, split, **more):
    data = read_task(own[0], f"own_{level}", run.cohort, run.model, **more)
    return data, everything(data[split])


@pytest.mark.parametrize("split", SPLITS)
def test_hours_after_the_prediction_time_are_no_stay_s(run, own, cohort, labels, split):
    expected = expected_rows(cohort.stays, "stay_id", labels["mortality"], split)
    data, batch = own_batch(run, own, "stay", split, notes=NotesRead(vectors=True))
    hours = [hour for row, _ in expected for hour in known_hours(row, own[2])]
    assert sets(batch, "feature", "hour") == hours
    assert sets(batch, "demographic") == [row["demographic_ids"] for row, _ in expected]
    widths = replace(own[0].widths, features=FEATURES)
    counted_hours = counted(data[split].rows, widths)[:, :FEATURES].sum(1)
    assert counted_hours.tolist() == [
        sum(map(len, known_hours(row, own[2]))) for row, _ in expected
    ]
    noted = {row["hadm_id"] for row in cohort.admissions[::2]}
    assert batch["has_note"].tolist() == [
        row["hadm_id"] in noted and own[1]["stay"][row["stay_id"]] for row, _ in expected
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_an_admission_not_over_has_neither_codes_nor_a_note_nor_later_stays(
    run, own, cohort, labels, split
):
    expected = expected_rows(cohort.admissions, "hadm_id", labels["readmission"], split)
    data, batch = own_batch(run, own, "admission", split)
    over = [own[1]["admission"][row["hadm_id"]] for row, _ in expected]
    assert {*over} == {True, False}
    for name in ("icd", "drug"):
        shown = [row[f"{name}_ids"] * seen for (row, _), seen in zip(expected, over, strict=True)]
        assert sets(batch, name) == shown
    noted = {row["hadm_id"] for row in cohort.admissions[::2]}
    has = [row["hadm_id"] in noted and o for (row, _), o in zip(expected, over, strict=True)]
    assert batch["has_note"].tolist() == has
    assert batch["note"].any(1).tolist() == has
    begun = [[s for s in row["stays"][:2] if own[2][s["stay_id"]] >= 0] for row, _ in expected]
    hours = [hour for stays in begun for stay in stays for hour in known_hours(stay, own[2])]
    assert sets(batch, "feature", "hour") == hours
    slots = [2 * row + n for row, stays in enumerate(begun) for n in range(len(stays))]
    assert batch["stay_slot"].tolist() == slots
    some = np.arange(0, len(expected), 2)
    taken, of_whole = data[split].take(some), data[split].batch(some)
    assert all(torch.equal(of, of_whole[key]) for key, of in everything(taken).items())


def test_a_patient_s_own_task_has_its_admissions_and_hides_no_code(run, own, cohort, labels):
    expected = expected_rows(cohort.patients, "subject_id", labels["heart_failure"], "train")
    _, batch = own_batch(run, own, "patient", "train")
    assert sets(batch, "icd") == [
        visit["icd_ids"]
        for row, label in expected
        for visit in row["visits"]
        if visit["discharged"] <= label["prediction_time"]
    ]


def test_labels_of_other_shards_and_levels_are_not_the_run_s(run, own):
    asked = replace(run, cohort=Cohort(tasks=("own_stay=patient:/labels",)))
    with pytest.raises(Refusal, match=r"cohort\.tasks 'own_stay=stay' and this run has 'own"):
        open_shards(asked)
    assert set(open_shards(run).own) == {"own_stay", "own_admission", "own_patient"}
    assert open_shards(run).manifest.tasks["own_stay"].rows == dict.fromkeys(SPLITS, 1)
    folder = own[0].own["own_stay"].folder
    record = folder.read_bytes("complete.json")
    publish(folder, Stamp(own_fields("own_stay", "stay"), {"shards": "others"}), [])
    assert "own_stay" not in open_shards(run).own
    with pytest.raises(Refusal, match=r"no labels of own_stay; run jobs\.featurize for this task"):
        read_task(open_shards(run), "own_stay", run.cohort, run.model)
    folder.write_bytes("complete.json", record)


def test_each_patient_task_hides_its_own_codes(run, cohort, labels):
    """Those of heart failure are no secret of COPD's."""
    part = data_of(labelling(run, None), "copd")["train"]
    expected = expected_rows(cohort.patients, "subject_id", labels["copd"], "train")
    visits = [
        v for row, of in expected for v in row["visits"] if v["discharged"] <= of["prediction_time"]
    ]
    copd = CODES.index("9:49121")
    shown = sets(everything(part), "icd")
    assert shown == [[i for i in v["icd_ids"] if i != copd] for v in visits]
    assert {1, copd} <= {i for v in visits for i in v["icd_ids"]}


def test_a_task_without_a_case_has_no_rows_and_a_reason(run):
    data = data_of(run, "amnesia")
    assert [len(data[split]) for split in SPLITS] == [0, 0, 0]
    assert hindrance(open_shards(run), "amnesia", data).startswith("no rows: ")
    assert counts(data) == {split: {"rows": 0, "positive": 0} for split in SPLITS}


@pytest.mark.parametrize("task", ["mortality", "readmission", "heart_failure"])
def test_labels_are_drawn_by_the_seed_patient_by_patient(run, task):
    whole = data_of(labelling(run, None), task)["train"]
    subject, row_id = whole.rows.subject_id, whole.rows.row_id.tolist()
    found = set()
    for seed in range(6):
        few, again = (data_of(labelling(run, 9), task, seed)["train"] for _ in range(2))
        at = [row_id.index(row) for row in few.rows.row_id.tolist()]
        assert at == sorted(set(at))  # in the order of the shards
        assert few.rows.row_id.tolist() == again.rows.row_id.tolist()
        assert few.label.tolist() == whole.label[at].tolist()
        batch, of_whole = few.batch(np.arange(9)), whole.batch(np.array(at))
        assert batch.keys() == of_whole.keys()
        assert all(torch.equal(batch[key], of_whole[key]) for key in batch)
        taken = few.rows.subject_id
        cut = [s for s in set(taken.tolist()) if (subject == s).sum() > (taken == s).sum()]
        assert len(cut) <= 1  # only the last patient's rows may not all be taken
        found.add(tuple(at))
    assert len(found) > 1


def test_few_labels_leave_the_other_splits_alone(run):
    whole, few = (data_of(labelling(run, n)) for n in (None, 7))
    for split in ("validation", "test"):
        assert few[split].rows.row_id.tolist() == whole[split].rows.row_id.tolist()
    found = counts(few)
    assert found["train"] == {"rows": 7, "positive": int(few["train"].label.sum())}
    assert len(data_of(labelling(run, 10**6))["train"]) == len(whole["train"])


def test_a_batch_takes_the_labels_of_its_rows(run):
    part = data_of(labelling(run, None))["train"]
    rows = np.array([4, 0, 4, 9])
    batch = part.batch(rows)
    assert batch["label"].tolist() == part.label[rows].tolist()
    assert batch["subject_id"].tolist() == part.rows.subject_id[rows].tolist()


def shards_of(**tasks):
    """Shards whose manifest counts these tasks, and that have nothing else."""
    return OpenShards(None, manifest(tasks=tasks))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("positive", "negative", "said"),
    [(2, 0, "no negative row"), (0, 2, "no positive row"), (0, 0, "no row")],
)
def test_a_split_of_one_class_is_named_with_what_would_help(split, positive, negative, said):
    both = Labelled(None, np.array([0, 1], np.float32))
    one = Labelled(None, np.array([1] * positive + [0] * negative, np.float32))
    every = dict.fromkeys(SPLITS, both)
    for data, expected in ((every, ""), ({**every, split: one}, f"{split} has {said} (")):
        rows = {s: len(part) for s, part in data.items()}
        positives = {s: int(part.label.sum()) for s, part in data.items()}
        counted = TaskCounts([], rows, positives, shares=(0.7, 0.2, 0.1) if expected else ())
        told = hindrance(shards_of(mortality=counted), "mortality", data)
        assert told.startswith(expected)
        assert bool(told) == bool(expected)
        if expected:
            assert told.endswith("--splits.train 0.7 --splits.validation 0.2 --splits.test 0.1")


def test_labels_cut_to_one_class_are_said_with_their_field():
    two, cut = (Labelled(None, np.array(of, np.float32)) for of in ([0, 0, 1], [0, 0]))
    rows = dict.fromkeys(SPLITS, 3)
    shards = shards_of(mortality=TaskCounts([], rows, dict.fromkeys(SPLITS, 1)))
    assert hindrance(shards, "mortality", dict.fromkeys(SPLITS, two)) == ""
    data = {**dict.fromkeys(SPLITS, two), "train": cut}
    assert hindrance(shards, "mortality", data) == (
        "the 2 labelled training rows that were drawn are all of one class "
        "(1 of 3 are positive); "
        "give a larger --finetune.labels"
    )


def copied(run, path):
    shutil.copytree(run.out, path, dirs_exist_ok=True)
    return replace(run, out=str(path)), Folder(str(path)) / "shards"


def moved(table):
    """The table with its first row in another split."""
    at = table.schema.get_field_index("split")
    first, *rest = table["split"].to_pylist()
    other = next(split for split in SPLITS if split != first)
    return table.set_column(at, table.schema.field(at), pa.array([other, *rest]))


@pytest.mark.parametrize(
    ("name", "jobs"),
    [
        ("labels/mortality.parquet", [data_of]),
        ("stays/2.parquet", [data_of, stage_one]),
        ("patients/2.parquet", [data_of, stage_one]),
    ],
)
def test_a_patient_in_two_splits_is_refused_whoever_reads(run, tmp_path, name, jobs):
    run, shards = copied(run, tmp_path)
    entry = shards.write_parquet(name, moved(shards.read_parquet(name)))
    files = Output.of(shards).files | {name: entry}
    publish(shards, Stamp(content_of(run, ()), {}), list(files.values()))
    for job in jobs:
        with pytest.raises(Refusal, match="1 patients are in more than one split"):
            job(run)


@pytest.mark.parametrize("name", ["labels/mortality.parquet", "stays/2.parquet"])
def test_labels_and_rows_that_are_not_those_written_are_refused(run, tmp_path, name):
    run, shards = copied(run, tmp_path)
    shards.write_parquet(name, shards.read_parquet(name).slice(1))
    with pytest.raises(Refusal, match=f"is damaged: {name} is missing or not"):
        data_of(run)


def test_a_task_without_labels_is_refused(run):
    with pytest.raises(Refusal, match=r"has no labels of shock; run jobs\.featurize"):
        data_of(run, "shock")


def labelling(run, labels):
    return replace(run, finetune=replace(run.finetune, labels=labels))
