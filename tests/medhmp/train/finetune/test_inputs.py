"""Outputs that a fit reads: each opened once, and only if the fit needs it."""

from dataclasses import replace

import pytest
import torch

from medhmp.layout import STARTED_FROM
from medhmp.recipes import smoke
from medhmp.refusal import Refusal
from medhmp.run import Notes
from medhmp.shards.manifest import OpenShards
from medhmp.storage import Folder, Stamp, opened, publish
from medhmp.train.checkpoint import dump_weights, write_model
from medhmp.train.finetune.inputs import FitInputs
from medhmp.train.finetune.notes import notes_read
from tests.manifests import manifest


@pytest.fixture
def out(tmp_path):
    """Pretrainings of every start, each with weights of its own."""
    root = Folder(str(tmp_path))
    publish(root / "shards", Stamp({}, {}), [])
    patients = {"pretrain_on": "train", "pretrain_sources": []}
    stamp = Stamp(patients, {"shards": opened(root / "shards", "").fingerprint})
    for number, place in enumerate(STARTED_FROM.values()):
        model = dump_weights({"w": torch.full((2,), float(number))})
        publish(root / place, stamp, write_model(root / place, model, "{}", []))
    return root


def inputs(out, pretrain_on="train"):
    shards = OpenShards(opened(out / "shards", "featurize"), manifest())
    run = replace(smoke(), out=str(out), pretrain_on=pretrain_on)
    return Inputs(FitInputs(run, shards))


class Inputs:
    """The inputs of the fits of a model that reads no notes of stays, unless another is named."""

    def __init__(self, found):
        self.found = found

    def of(self, task, start, model="medhmp", notes=None):
        return self.found.of(task, start, model, notes or Notes())


def test_start_weights_are_read_from_the_folder_of_the_start(out):
    found = inputs(out).found
    assert found.weights("none", 0) is None
    for number, start in enumerate(STARTED_FROM):
        assert found.weights(start, 0)["w"].tolist() == [number, number]


def test_each_start_has_its_own_weights_and_none_has_no_input(out):
    found = inputs(out)
    assert found.of("arf", "none").keys() == {"shards"}
    assert len({found.of("arf", start)["start"] for start in STARTED_FROM}) == len(STARTED_FROM)


def test_each_output_is_opened_once_and_notes_only_for_admissions(out, monkeypatch):
    found, read = inputs(out), []
    whole = Folder.read_json
    monkeypatch.setattr(
        Folder, "read_json", lambda self, name: read.append(self.uri) or whole(self, name)
    )
    for _ in range(2):
        for task in ("arf", "shock", "heart_failure"):
            assert found.of(task, "both")
    assert read == [f"{out}/{STARTED_FROM['both']}"]
    with pytest.raises(Refusal, match="note_embeddings is missing or not whole"):
        found.of("readmission", "none")
    publish(out / "shards/note_embeddings", Stamp({}, {}), [])
    for _ in range(2):
        assert "note_embeddings" in found.of("readmission", "both")
    assert read[1:] == [f"{out}/shards/note_embeddings"]


def test_weights_that_saw_other_patients_are_refused(out):
    with pytest.raises(Refusal, match="made with pretrain_on 'train' and this run has 'all'"):
        inputs(out, pretrain_on="all").of("arf", "both")


def test_a_model_of_notes_depends_on_what_it_reads_of_them(out):
    found, frozen = inputs(out), Notes(fine_tune=False)
    assert found.of("arf", "none", "clinical_bert").keys() == {"shards", "notes.bert"}
    assert found.of("arf", "none", "clinical_t5", frozen).keys() == {"shards", "notes.t5"}
    assert found.of("arf", "none", "bert_lstm").keys() == {"shards", "notes.bert"}
    for model in ("bert_lstm", "medhmp_notes"):
        with pytest.raises(Refusal, match="note_embeddings is missing or not whole"):
            found.of("arf", "none", model, frozen)
    publish(out / "shards/note_embeddings", Stamp({}, {}), [])
    for model in ("bert_lstm", "medhmp_notes"):
        assert found.of("arf", "none", model, frozen).keys() == {"shards", "note_embeddings"}
    with pytest.raises(Refusal, match=r"notes\.bert '/nowhere' has no config\.json"):
        found.of("arf", "none", "star_bert", Notes(bert="/nowhere"))


def test_a_task_reads_of_notes_what_its_models_do():
    run = smoke()
    assert notes_read(run, "stay", ("medhmp", "f_cnn", "dipole")) is None
    assert notes_read(run, "patient", ("clinical_bert", "dipole")) is None
    read = notes_read(run, "stay", ("clinical_t5", "star_bert"))
    assert (read.vectors, sorted(read.encoders)) == (False, ["bert", "t5"])
    frozen = replace(run, notes=Notes(fine_tune=False))
    read = notes_read(frozen, "admission", ("star_bert", "clinical_t5"))
    assert (read.vectors, sorted(read.encoders)) == (True, ["t5"])
