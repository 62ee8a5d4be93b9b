"""What the fuzz damages and how each of it is read: small raw tables of every source, and the
outputs of a small run.

A reader returns digests by name. It runs in a forked child without Ray, so it calls the functions
that Ray's workers call.
"""

import csv
import gzip
import hashlib
import io
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from medhmp.benchmark.rows import write_rows
from medhmp.evaluate import predictions
from medhmp.layout import NOTE_EMBEDDINGS, RAW, SHARDS, STAY_PRETRAINING, TRIALS
from medhmp.legend import Widths
from medhmp.notes.embed import read_index
from medhmp.notes.encoder import check_encoder, embed, load_encoder
from medhmp.notes.text import write_notes
from medhmp.recipes import smoke
from medhmp.report.material import find_results, gather
from medhmp.run import Notes, Synthetic, digest
from medhmp.shards.build.journal import Journal
from medhmp.shards.datasource import Part, rows_of
from medhmp.shards.labelled import read_task
from medhmp.shards.manifest import OpenShards, with_own_tasks
from medhmp.shards.note_vectors import read_notes
from medhmp.shards.split import assert_disjoint, splits_in
from medhmp.storage import COMPLETE, Folder, Stamp, opened, publish
from medhmp.synthetic import synthesize
from medhmp.tables.clif import events as clif_events
from medhmp.tables.eicu import events as eicu_events
from medhmp.tables.eicu import patient as eicu_patient
from medhmp.tables.ranges import read_variables
from medhmp.tables.schema import SYNTHETIC, Source
from medhmp.tables.sources import READERS, identify
from medhmp.train import checkpoint
from medhmp.train.checkpoint import read_weights

RUN: Final = replace(smoke(), quiet=True)
_WARM: Final = (AutoTokenizer.from_pretrained, BertModel.forward)  # transformers imports lazily
WORDS: Final = ("patient", "sepsis", "started", "on", "vancomycin", "stable", "the", "and")


@dataclass(frozen=True)
class Case:
    """Files of one kind, and the reading of the tree that they are in."""

    name: str
    root: Path
    files: Sequence[str]  # below ``root``: those that are damaged
    read: Callable[[Path], dict[str, str]]  # of a tree like that of ``root``
    is_published: bool  # a checksum of the files is known, so that none may change unseen
    may_lack: bool = False  # what is damaged may count as absent, and is made again


# The inputs


def write_inputs(place: Path) -> None:
    """Writes small raw tables of every source, in every physical form, and what no run leaves."""
    synthesize(Synthetic(patients=4, density=0.2), Folder(str(place / "mimic3")))
    (place / "mimic3" / "truth.parquet").unlink()
    for form in ("csv", "parquet"):
        _converted(place / "mimic3", place / f"mimic3-{form}", form)
    _write_mimic4(place / "mimic4")
    _write_eicu(place / "eicu")
    _write_clif(place / "clif")
    _write_challenge(place)
    _write_fiddle(place)
    _write_meds(place / "meds")
    _write_encoder(place / "encoder")
    package = Path(__file__).parent.parent / "tables" / "variables.yaml"
    (place / "variables").mkdir()
    shutil.copy(package, place / "variables" / "variables.yaml")
    _write_journal(Folder(str(place / "journal")))
    _write_vectors(Folder(str(place / "vectors")))
    _write_text(Folder(str(place / "text")))


def _converted(source: Path, target: Path, form: str) -> None:
    target.mkdir()
    for path in source.glob("*.csv.gz"):
        text, name = gzip.decompress(path.read_bytes()), path.name.removesuffix(".csv.gz")
        if form == "csv":
            (target / f"{name}.csv").write_bytes(text)
        else:
            as_text = pacsv.ConvertOptions(
                column_types=dict.fromkeys(
                    next(csv.reader(text.decode().splitlines())), pa.string()
                )
            )
            table = pacsv.read_csv(
                io.BytesIO(text),
                pacsv.ReadOptions(),
                pacsv.ParseOptions(newlines_in_values=True),
                as_text,
            )
            pq.write_table(table, target / f"{name}.parquet")


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(header)
    with gzip.open(path, "wt", newline="") as stream:
        writer = csv.DictWriter(stream, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _write_mimic4(place: Path) -> None:
    ids = [{"subject_id": 10 + n, "hadm_id": 200 + n, "stay_id": 3000 + n} for n in range(4)]
    day = "2150-03-0{} {:02}:00:00".format
    tables: dict[str, list[dict[str, Any]]] = {
        "hosp/patients": [
            {"subject_id": i["subject_id"], "gender": "F", "anchor_age": 50, "anchor_year": 2150}
            | {"anchor_year_group": "2011 - 2013", "dod": ""}
            for i in ids
        ],
        "hosp/admissions": [
            i
            | {"admittime": day(1, 0), "dischtime": day(6, 12), "deathtime": "", "race": "WHITE"}
            | {"admission_type": "EW EMER.", "admission_location": "EMERGENCY ROOM"}
            | {"insurance": "Other", "language": "ENGLISH", "marital_status": "SINGLE"}
            | {"hospital_expire_flag": 0}
            for i in ids
        ],
        "icu/icustays": [
            i
            | {"first_careunit": "Medical Intensive Care Unit (MICU)"}
            | {"intime": day(1, 3), "outtime": day(4, 3)}
            for i in ids
        ],
        "hosp/diagnoses_icd": [
            i | {"seq_num": k, "icd_code": code, "icd_version": version}
            for i in ids
            for k, (code, version) in enumerate((("4280", 9), ("I509", 10)))
        ],
        "icu/d_items": [
            {"itemid": 220045, "label": "Heart Rate", "category": "Routine Vital Signs"}
            | {"param_type": "Numeric", "linksto": "chartevents"}
        ],
        "icu/chartevents": [
            i
            | {"itemid": 220045, "charttime": day(2, h), "value": 70 + h, "valuenum": 70 + h}
            | {"valueuom": "bpm", "warning": 0}
            for i in ids
            for h in range(12)
        ],
        "icu/inputevents": [
            i
            | {"itemid": 221906, "starttime": day(2, 1), "endtime": day(2, 9), "amount": 8}
            | {"amountuom": "mg", "rate": 1, "rateuom": "mg/hour", "statusdescription": "Stopped"}
            | {"ordercategorydescription": "Continuous Med", "ordercategoryname": "01-Drips"}
            for i in ids
        ],
        "icu/procedureevents": [
            i
            | {"itemid": 225792, "starttime": day(2, 2), "endtime": day(2, 20), "value": 18}
            | {"valueuom": "hour", "statusdescription": "FinishedRunning"}
            for i in ids
        ],
        "hosp/labevents": [
            i
            | {"itemid": 50912, "charttime": day(1, 8), "value": "1.1", "valuenum": 1.1}
            | {"valueuom": "mg/dL", "flag": ""}
            for i in ids
        ],
        "hosp/prescriptions": [
            i
            | {"starttime": day(1, 9), "stoptime": day(3, 9), "drug": "Heparin", "ndc": "1"}
            | {"gsn": "2"}
            for i in ids
        ],
    }
    for name, rows in tables.items():
        _write_csv(place / f"{name}.csv.gz", rows[0], rows)


def _write_eicu(place: Path) -> None:
    stays = [{"patientunitstayid": 141_000 + n} for n in range(4)]
    columns = (*eicu_patient._INTEGERS, *eicu_patient._TEXTS)
    patients = [
        dict.fromkeys(columns, "")
        | stay
        | {"patienthealthsystemstayid": 128_000 + n, "uniquepid": f"060-{33_870 + n}"}
        | {"hospitalid": 60, "unitvisitnumber": 1, "gender": "Male", "age": "67"}
        | {"hospitaladmitoffset": -60, "hospitaldischargeoffset": 5000}
        | {"unitdischargeoffset": 4000, "hospitaldischargeyear": 2014}
        | {"hospitaldischargestatus": "Alive", "unittype": "MICU", "admissionheight": 170.2}
        for n, stay in enumerate(stays)
    ]
    _write_csv(place / "patient.csv.gz", columns, patients)
    _write_csv(
        place / "hospital.csv.gz",
        ("hospitalid", *eicu_patient.HOSPITAL),
        [{"hospitalid": 60, "region": "West"}],
    )
    own: dict[str, dict[str, Any]] = {
        "MEDICATION": {"drugordercancelled": "No"},
        "DIAGNOSIS": {"icd9code": "428.0, I50.9"},
    }
    own["RESPIRATORYCARE"] = {"peeplimit": "5", "ventstartoffset": 30}
    for table, shapes in eicu_events.SHAPES.items():
        row: dict[str, Any] = dict(own.get(table, {}))
        for shape in shapes:
            row |= dict.fromkeys(shape.names, "Glucose") | dict.fromkeys(shape.values, "5.5")
            row |= dict.fromkeys(shape.stacked, "60")
        if "drughiclseqno" in row:
            row["drughiclseqno"] = "1820"
        rows = [stay | {shapes[0].minute: 60 * h} | row for stay in stays for h in range(4)]
        _write_csv(place / f"{table.lower()}.csv.gz", rows[0], rows)


def _write_clif(place: Path) -> None:
    """The required tables of CLIF as Parquet, with times in UTC as the format asks."""
    ids = [{"patient_id": f"{n}", "hospitalization_id": f"{10 + n}"} for n in range(4)]
    hadm = [{"hospitalization_id": i["hospitalization_id"]} for i in ids]
    begun = datetime(2150, 1, 2, tzinfo=UTC)

    def at(hour: int) -> datetime:
        return begun + timedelta(hours=hour)

    settings = dict.fromkeys(clif_events.VENTILATOR, 5.0)
    tables: dict[str, list[dict[str, Any]]] = {
        "patient": [
            {"patient_id": i["patient_id"], "race_category": "White", "sex_category": "Female"}
            | {"ethnicity_category": "Non-Hispanic", "language_category": "English"}
            | {"birth_date": datetime(2100, 1, 1, tzinfo=UTC), "death_dttm": at(900 + n)}
            for n, i in enumerate(ids)
        ],
        "hospitalization": [
            i
            | {"admission_dttm": at(-9), "discharge_dttm": at(99), "age_at_admission": 50}
            | {"admission_type_category": "ed", "discharge_category": "Home"}
            for i in ids
        ],
        "adt": [
            i
            | {"in_dttm": at(0), "out_dttm": at(90), "location_category": "icu"}
            | {"location_type": "medical_icu"}
            for i in hadm
        ],
        "hospital_diagnosis": [
            i | {"diagnosis_code": "I50.9", "diagnosis_code_format": "ICD10CM"} for i in hadm
        ],
        "respiratory_support": [
            i
            | {"recorded_dttm": at(h), "device_category": "IMV", "mode_category": "SIMV"}
            | {"tracheostomy": h == 1, **settings}
            for i in hadm
            for h in range(3)
        ],
        "medication_admin_continuous": [
            i
            | {"admin_dttm": at(h), "med_category": "propofol", "med_dose": 20.0 + h}
            | {"med_dose_unit": "mcg/kg/min", "mar_action_category": "dose_change"}
            for i in hadm
            for h in range(3)
        ],
        "vitals": [
            i | {"recorded_dttm": at(h), "vital_category": "heart_rate", "vital_value": 70.0 + h}
            for i in hadm
            for h in range(12)
        ],
        "labs": [
            i
            | {"lab_collect_dttm": at(2), "lab_result_dttm": at(3), "lab_category": "sodium"}
            | {"lab_value": "140", "reference_unit": "mmol/L"}
            for i in hadm
        ],
    }
    place.mkdir()
    for name, rows in tables.items():
        pq.write_table(pa.Table.from_pylist(rows), place / f"clif_{name}.parquet")


def _write_challenge(place: Path) -> None:
    """Challenge 2012: a set as a tar archive, as a zip archive and as a folder."""
    records = {}
    for n in range(132539, 132551):
        lines = ["Time,Parameter,Value", f"00:00,RecordID,{n}", "00:00,Age,54", "00:00,Gender,0"]
        lines += ["00:00,Height,-1", "00:00,ICUType,4", "00:00,Weight,-1"]
        lines += [f"{h:02}:07,HR,{60 + h}" for h in range(24)]
        records[f"set-a/{n}.txt"] = ("\n".join(lines) + "\n").encode()
    outcomes = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
    outcomes += "".join(f"{n},6,1,5,-1,{n % 2}\n" for n in range(132539, 132551))
    for form in ("tar", "zip", "folder"):
        folder = place / f"challenge-{form}"
        folder.mkdir()
        (folder / "Outcomes-a.txt").write_text(outcomes)
        if form == "tar":
            with tarfile.open(folder / "set-a.tar.gz", "w:gz") as archive:
                for name, data in records.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        elif form == "zip":
            with zipfile.ZipFile(folder / "set-a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
                for name, data in records.items():
                    packed.writestr(name, data)
        else:
            for name, data in records.items():
                path = folder / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)


def _write_fiddle(place: Path) -> None:
    ids = range(1, 9)
    lines = ["ID,t,variable_name,variable_value"]
    lines += [f"{n},{h}.5,HR,{60 + h}" for n in ids for h in range(6)]
    lines += [f"{n},,SEX,{'FM'[n % 2]}" for n in ids]
    data, people = "\n".join(lines) + "\n", "ID\n" + "".join(f"{n}\n" for n in ids)
    for form in ("csv", "gz", "parquet"):
        folder = place / f"fiddle-{form}"
        folder.mkdir()
        for name, text in (("input_data", data), ("pop", people)):
            if form == "parquet":
                pq.write_table(
                    pacsv.read_csv(io.BytesIO(text.encode())), folder / f"{name}.parquet"
                )
            elif form == "gz":
                (folder / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
            else:
                (folder / f"{name}.csv").write_text(text)


def _write_meds(place: Path) -> None:
    rows: list[tuple[int, str | None, str, float | None]] = []
    for n in range(1, 7):
        day = "2150-03-0{}T{:02}:00:00".format
        rows += [(n, None, "GENDER//F", None), (n, "2100-01-01T00:00:00", "MEDS_BIRTH", None)]
        rows += [(n, day(1, 0), "HOSPITAL_ADMISSION//EW EMER.//EMERGENCY ROOM", None)]
        rows += [(n, day(1, 3), "ICU_ADMISSION//Medical Intensive Care Unit (MICU)", None)]
        rows += [(n, day(1, 4 + h), "LAB//220045//bpm", 60.0 + h) for h in range(10)]
        rows += [(n, day(4, 3), "ICU_DISCHARGE//MICU", None)]
        rows += [(n, day(6, 0), "HOSPITAL_DISCHARGE//HOME", None)]
        rows += [(n, day(6, 0), "DIAGNOSIS//ICD//9//4280", None)]
    subject, time, code, number = zip(*rows, strict=True)
    moments = pa.array([None if t is None else np.datetime64(t, "us") for t in time])
    columns = {
        "subject_id": pa.array(subject, pa.int64()),
        "time": moments.cast(pa.timestamp("us")),
        "code": pa.array(code),
        "numeric_value": pa.array(number, pa.float32()),
    }
    for part in ("data/train", "metadata"):
        (place / part).mkdir(parents=True)
    pq.write_table(pa.table(columns), place / "data" / "train" / "0.parquet")
    splits = ["train", "train", "tuning", "held_out", "train", "train"]
    table = pa.table({"subject_id": pa.array(range(1, 7), pa.int64()), "split": splits})
    pq.write_table(table, place / "metadata" / "subject_splits.parquet")


def _write_encoder(place: Path) -> None:
    place.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (place / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (place / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    config = BertConfig(vocab_size=len(vocabulary), num_attention_heads=2, **sizes)
    config.max_position_embeddings = 20
    BertModel(config).save_pretrained(place)


def _write_journal(place: Folder) -> None:
    journal = Journal.begin(place, "a build")
    for number in range(3):
        made = {"rows": [number, 0.5], "none": None}
        journal.once(f"step-{number}", partial(dict, made))


def _write_vectors(place: Folder) -> None:
    sizes = Widths(hours=3, features=25, demographics=11, diagnoses=40, drugs=23)
    write_rows(place, "admissions", 30, sizes, batch_size=4, files=3, active=6)


def _write_text(place: Folder) -> None:
    texts = [f"note {n} {random.Random(n).choice(WORDS)}" for n in range(40)]
    batch = pa.record_batch({"hadm_id": range(40), "text": texts})
    source: Any = type("Of", (), {"name": "s", "notes": lambda self: iter([batch]), "counts": {}})()
    admissions = pl.DataFrame({"source": ["s"] * 40, "hadm_id": range(40)})
    entries, *_ = write_notes([source], admissions, place)
    publish(place, Stamp({}, {}), entries)


# The cases


def cases_of(root: Path, inputs: Path) -> list[Case]:
    """Everything that is damaged: ``inputs`` of ``write_inputs``, and the outputs of the run in
    ``root``."""
    forms = {
        **dict.fromkeys(("mimic3", "mimic3-csv", "mimic3-parquet"), "mimic3"),
        **{"mimic4": "mimic4", "eicu": "eicu", "clif": "clif", "meds": "meds"},
        **dict.fromkeys(("challenge-tar", "challenge-zip", "challenge-folder"), "physionet2012"),
        **dict.fromkeys(("fiddle-csv", "fiddle-gz", "fiddle-parquet"), "fiddle"),
    }
    raw = [_case(name, inputs / name, _reading(source), False) for name, source in forms.items()]
    shards = root / SHARDS
    stays = root / STAY_PRETRAINING
    grids = [path.parent.relative_to(root) for path in root.glob(f"tune/*/*/*/{COMPLETE}")]
    published = [
        _case("shards", shards, _read_rows, True, ["stays", "admissions", "patients"]),
        _case("labels", shards, _read_labels, True, ["labels"]),
        _case("manifest", shards, _read_manifest, True, ["manifest.json"]),
        _case("complete.json of shards", shards, _read_manifest, True, [COMPLETE]),
        _case("note vectors", inputs / "vectors" / NOTE_EMBEDDINGS, _read_vectors, True),
        _case("note text", inputs / "text", _read_text, True),
        _case(
            "checkpoints", stays, _reading_checkpoints(stays), True, ["checkpoints"], may_lack=True
        ),
        _case("stage weights", stays, _read_weights, True, ["model.safetensors", COMPLETE]),
        _case("synthetic tables", root / RAW, _read_synthetic, True),
        _case("journal", inputs / "journal", _read_journal, True, may_lack=True),
        _case("grids", root, _read_report, True, [str(grid) for grid in grids]),
    ]
    published += [
        _case("trials", root / grid / TRIALS, _read_trials, True, may_lack=True)
        for grid in grids[:1]
    ]
    own = [
        _case("encoder", inputs / "encoder", _read_encoder, False),
        _case("variables", inputs / "variables", _read_variables, False),
    ]
    return [*raw, *published, *own]


def _case(
    name: str,
    root: Path,
    read: Callable[[Path], dict[str, str]],
    is_published: bool,
    below: Sequence[str] = ("",),
    may_lack: bool = False,
) -> Case:
    """The case of all files of ``root`` that begin with one of ``below``."""
    every = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    files = [file for file in every if any(file.startswith(begin) for begin in below)]
    return Case(name, root, files, read, is_published, may_lack)


def _of(tables: Iterable[pa.Table | pa.RecordBatch | pl.DataFrame]) -> str:
    """Digest of the content of tables."""
    sha = hashlib.sha256()
    for table in tables:
        found = table.to_arrow() if isinstance(table, pl.DataFrame) else table
        found = pa.Table.from_batches([found]) if isinstance(found, pa.RecordBatch) else found
        found.validate(full=True)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, found.schema) as stream:
            stream.write_table(found.combine_chunks())
        sha.update(sink.getvalue())
    return sha.hexdigest()


def _reading(name: str) -> Callable[[Path], dict[str, str]]:
    def read(place: Path) -> dict[str, str]:
        folder = Folder(str(place))
        folder.traces(READERS[name].files(folder))
        source: Source = READERS[name].read(name, folder.uri, RUN)
        small = (source.patients, source.admissions, source.stays, source.codes)
        found = {"small": _of(small), "events": _of(source.events()), "notes": _of(source.notes())}
        return found | {"onsets": _of([source.onsets()])}

    return read


def _shards(place: Path) -> OpenShards:
    output = opened(Folder(str(place)), "featurize")
    return with_own_tasks(output)


def _read_rows(place: Path) -> dict[str, str]:
    shards = _shards(place)
    found = {}
    for table, files in shards.manifest.tables.items():
        assert_disjoint(splits_in(shards, table))
        for name, file in files.items():
            part = Part(name, 0, shards.manifest.rows_per_file(table)[name])
            splits = {"split": ("train", "validation", "test")}
            rows = rows_of(shards.folder / table, part, file.sha256, splits)
            found[f"{table}/{name}"] = _of(rows)
    return found


def _read_labels(place: Path) -> dict[str, str]:
    shards, found = _shards(place), {}
    for task in shards.manifest.tasks:
        data = read_task(shards, task, RUN.cohort, RUN.model)
        for split, part in data.items():
            found[f"{task} {split}"] = digest([part.rows.row_id.tolist(), part.label.tolist()])
    return found


def _read_manifest(place: Path) -> dict[str, str]:
    shards = _shards(place)
    return {"manifest": digest(asdict(shards.manifest)), "content": shards.fingerprint}


def _read_vectors(place: Path) -> dict[str, str]:
    notes = read_notes(opened(Folder(str(place)), "embed_notes"))
    return {
        "ids": digest(notes.hadm_id.tolist()),
        "vectors": digest(notes.of(notes.hadm_id)[0].tolist()),
    }


def _read_text(place: Path) -> dict[str, str]:
    notes = opened(Folder(str(place)), "featurize")
    index = read_index(notes)
    return {"index": _of([index]), "text": _of(notes.read_parquet(n) for n in notes.files)}


def _reading_checkpoints(root: Path) -> Callable[[Path], dict[str, str]]:
    """Reads every checkpoint, as a run does that finds none of the later ones."""
    written = opened(Folder(str(root)), "pretrain_stay")
    stamp = Stamp(written.fields, written.inputs)

    def read(place: Path) -> dict[str, str]:
        folder, found = Folder(str(place)), {}
        while one := checkpoint.newest(folder, stamp):
            weights = {name: value.tolist() for name, value in one.weights.items()}
            found[str(one.position)] = digest([weights, one.metrics, str(one.optimizer), one.guard])
            for position in checkpoint.positions(folder):
                if position >= one.position:
                    checkpoint.place_of(folder, position).remove()
        return found

    return read


def _read_weights(place: Path) -> dict[str, str]:
    weights = read_weights(Folder(str(place)), "pretrain_stay")
    return {name: digest(value.tolist()) for name, value in weights.items()}


def _read_synthetic(place: Path) -> dict[str, str]:
    folder = Folder(str(place))
    return {"raw": identify(SYNTHETIC, folder, opened(folder, "synthesize").fields).hash}


def _read_journal(place: Path) -> dict[str, str]:
    journal, found = Journal.resume(Folder(str(place)), "a build"), {}
    for number in range(3):
        made = journal.once(f"step-{number}", lambda: "again") if journal else "again"
        if made != "again":
            found[str(number)] = digest(made)
    return found


def _read_trials(place: Path) -> dict[str, str]:
    """Records of fits, and the models that they name."""
    trials, found = Folder(str(place)), {}
    for name in trials.names():
        if name.endswith(".json") and (record := trials.read_record(name)):
            found[name] = digest(record)
            for model, sha256 in record["files"].items():
                if trials.exists(model) and trials.entry(model).sha256 == sha256:
                    found[model] = sha256
    return found


def _read_report(place: Path) -> dict[str, str]:
    out = Folder(str(place))
    grids, skipped = find_results(out)
    material = gather(out, out, grids, skipped, _shards(place / SHARDS))
    return {
        "/".join((one.task, one.model, one.start)): digest(
            [one.test.scores.tolist(), one.validation.scores.tolist(), one.chosen]
        )
        for one in predictions.read_all(material.grids)
    }


def _read_encoder(place: Path) -> dict[str, str]:
    check_encoder(str(place))
    vectors = embed(load_encoder(str(place)), ["patient stable", "sepsis"], Notes())
    return {"vectors": digest(vectors.tolist())}


def _read_variables(place: Path) -> dict[str, str]:
    return {"entries": digest([str(entry) for entry in read_variables(f"{place}/variables.yaml")])}
