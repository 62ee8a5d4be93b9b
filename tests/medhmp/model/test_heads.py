from dataclasses import replace

import pytest
import torch

from medhmp.model.admission import AdmissionEncoder
from medhmp.model.baselines.f_lstm import FLSTM
from medhmp.model.heads import AdmissionClassifier, PatientLSTM, StayClassifier
from medhmp.model.starts import load_start
from medhmp.refusal import Refusal
from medhmp.run import Model
from medhmp.train.objective import build_admission_pretraining, build_stay_pretraining

MODEL = Model(width=8, demographic_hidden=5)


def stage_one(records, model=MODEL):
    return build_stay_pretraining(model, records.widths).state_dict()


def stage_two(records, model=MODEL):
    return build_admission_pretraining(model, records.widths).state_dict()


def fill(module):
    """Makes LayerNorms and the like differ from their initial values too."""
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)


def started(model, tensors):
    """Starts the model and checks that exactly what is said to have arrived has changed."""
    before = {name: x.clone() for name, x in model.state_dict().items()}
    arrived = load_start(model, tensors)
    for name, now in model.state_dict().items():
        assert torch.equal(now, before[name]) == (name not in arrived), name
    return arrived


def names_under(model, prefix):
    return sorted(name for name in model.state_dict() if name.startswith(prefix))


@pytest.mark.parametrize("layers", [1, 3])
def test_the_whole_stay_encoder_arrives_in_stage_two(records, layers):
    """The authors' renaming lost the LSTM and the demographics."""
    model = replace(MODEL, encoder_layers=layers)
    first, second = (
        build(model, records.widths)
        for build in (build_stay_pretraining, build_admission_pretraining)
    )
    fill(first)
    arrived = started(second.admission, first.state_dict())
    assert sorted(arrived) == names_under(second.admission, "stay.")
    theirs, ours = first.stay.state_dict(), second.admission.stay.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)


@pytest.mark.parametrize(
    ("kind", "build", "theirs", "ours"),
    [
        (StayClassifier, build_stay_pretraining, "stay.", "stay."),
        (StayClassifier, build_admission_pretraining, "admission.stay.", "stay."),
        (AdmissionClassifier, build_stay_pretraining, "stay.", "admission.stay."),
        (AdmissionClassifier, build_admission_pretraining, "admission.", "admission."),
        (PatientLSTM, build_admission_pretraining, "admission.diagnoses.", "diagnoses."),
    ],
)
def test_each_task_takes_its_parts_and_a_new_head(records, kind, build, theirs, ours):
    pretrained, model = build(MODEL, records.widths), kind(records.widths, MODEL)
    fill(pretrained)
    tensors = pretrained.state_dict()
    arrived = started(model, tensors)
    assert sorted(arrived) == names_under(model, ours)
    now = model.state_dict()
    assert all(torch.equal(now[n], tensors[theirs + n.removeprefix(ours)]) for n in arrived)


def test_patients_get_nothing_from_stage_one(records):
    assert started(PatientLSTM(records.widths, MODEL), stage_one(records)) == []


def test_patients_get_the_eight_tensors_of_the_diagnosis_mlp(records):
    assert len(load_start(PatientLSTM(records.widths, MODEL), stage_two(records))) == 8


def test_stage_two_has_the_fusion_that_a_classifier_uses(records):
    """The authors' admission task lost the block after the pool; here all of it arrives."""
    model, tensors = AdmissionClassifier(records.widths, MODEL), stage_two(records)
    arrived = load_start(model, tensors)
    assert len(arrived) == len(model.admission.state_dict())
    parts = {name.split(".")[1] for name in arrived}
    assert parts == {"stay", "aggregate", "diagnoses", "drugs", "note", "fusion"}


@pytest.mark.parametrize("kind", [StayClassifier, AdmissionClassifier, PatientLSTM])
def test_another_width_is_refused_naming_both(records, kind):
    model = kind(records.widths, replace(MODEL, width=16))
    before = {name: x.clone() for name, x in model.state_dict().items()}
    with pytest.raises(Refusal, match=r"width 8 .*model\.width is 16"):
        load_start(model, stage_two(records))
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_another_vocabulary_is_refused_naming_both(records):
    wider = replace(records.widths, features=31)
    with pytest.raises(Refusal, match=r"\(32, 30\) and this run's is \(32, 31\)"):
        load_start(StayClassifier(wider, MODEL), stage_one(records))


def test_notes_of_another_width_are_refused_naming_both(records):
    narrower = replace(records.widths, note=48)
    message = r"vectors of notes 768 wide and this run's are 48; embed with the --notes\.model"
    with pytest.raises(Refusal, match=message):
        load_start(AdmissionClassifier(narrower, MODEL), stage_two(records))
    assert load_start(AdmissionClassifier(narrower, MODEL), stage_one(records))
    for kind in (StayClassifier, PatientLSTM):  # they read no note
        assert load_start(kind(narrower, MODEL), stage_two(records))


def test_another_depth_or_model_is_refused(records):
    deep = replace(MODEL, encoder_layers=3)
    with pytest.raises(Refusal, match="encoder_layers"):
        load_start(StayClassifier(records.widths, deep), stage_one(records))
    with pytest.raises(Refusal, match="AdmissionEncoder cannot start from stage two"):
        load_start(AdmissionEncoder(records.widths, MODEL), stage_two(records))
    with pytest.raises(Refusal, match="FLSTM cannot start"):
        load_start(FLSTM(records.widths, MODEL), stage_one(records))


def test_patient_lstm_is_the_recorded_one(golden, records):
    recorded = golden("patient_lstm")
    weight = {n.removeprefix("weight."): x for n, x in recorded.items() if n.startswith("weight.")}
    model = PatientLSTM(replace(records.widths, diagnoses=25), Model(width=16)).eval()
    places = zip(("first", "first_norm", "second", "second_norm"), "0134", strict=True)
    tensors = {
        f"diagnoses.{ours}.{kind}": weight[f"embbedding1.{theirs}.{kind}"]
        for ours, theirs in places
        for kind in ("weight", "bias")
    }
    tensors |= {n.replace("rnns", "lstm"): x for n, x in weight.items() if n.startswith("rnns")}
    for kind in ("weight", "bias"):
        two = weight[f"output_mlp.0.{kind}"]
        tensors[f"head.{kind}"] = (two[1] - two[0]).unsqueeze(0)
    model.load_state_dict(tensors, strict=True)
    visits = zip(recorded["input.x"], recorded["input.lengths"].tolist(), strict=True)
    patients = [[row.nonzero()[:, 0].tolist() for row in x[:length]] for x, length in visits]
    logits = recorded["output.logits"]
    batch = records.patient_batch(patients)
    torch.testing.assert_close(model(batch), logits[:, 1] - logits[:, 0], rtol=0, atol=4e-5)
    probability = logits.softmax(1)[:, 1]
    torch.testing.assert_close(model(batch).sigmoid(), probability, rtol=0, atol=2e-5)


@pytest.mark.usefixtures("float64")
def test_patients_do_not_see_each_other_or_padding(records):
    torch.manual_seed(0)
    model = PatientLSTM(records.widths, MODEL).eval()
    patients = [[records.ids(40) for _ in range(n)] for n in (3, 1, 5, 2)]
    together = model(records.patient_batch(patients))
    alone = torch.cat([model(records.patient_batch([patient])) for patient in patients])
    torch.testing.assert_close(together, alone)


def test_a_patient_without_visits_gets_the_bias(records):
    model = PatientLSTM(records.widths, MODEL).eval()
    logits = model(records.patient_batch([[[1, 2]], []]))
    assert logits[1] == model.head.bias
    model(records.patient_batch([[]])).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_batches_of_one_keep_their_axis(records):
    """The authors' last batch of one row lost its axis and the loss failed."""
    admission = records.admission_batch([records.admission(0)], dtype=torch.float32)
    assert StayClassifier(records.widths, MODEL)(admission).shape == (1,)
    assert AdmissionClassifier(records.widths, MODEL)(admission).shape == (1,)
    assert FLSTM(records.widths, MODEL)(admission).shape == (1,)
    assert PatientLSTM(records.widths, MODEL)(records.patient_batch([[[3]]])).shape == (1,)


def test_only_the_head_has_dropout(records):
    model = StayClassifier(records.widths, replace(MODEL, head_dropout=0.5))
    batch = records.stay_batch([records.stay()])
    assert torch.equal(model.stay(batch), model.stay(batch))
    assert len({model(batch).item() for _ in range(20)}) > 1
    assert torch.equal(model.eval()(batch), model(batch))
