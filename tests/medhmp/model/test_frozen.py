"""Embeddings of frozen encoders, against the encoders row by row, and the blend of two floors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from medhmp.legend import Widths
from medhmp.model.admission import AdmissionEncoder
from medhmp.model.baselines.hist_gradient_boosting import fit_trees
from medhmp.model.baselines.logistic_regression import fit_logistic_regression
from medhmp.model.blocks import CodeMLP
from medhmp.model.catalog import MODELS
from medhmp.model.frozen import RATE, AdmissionEmbedding, MeanLogit, fit_frozen, mean_logit
from medhmp.model.table import Table
from medhmp.run import Finetune, Model
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.labelled import Labelled
from medhmp.shards.rows import Admissions, Patients, Stays
from medhmp.shards.tabular import counted
from medhmp.train.finetune.estimators import FitSettings, estimator_of
from medhmp.train.objective import build_admission_pretraining, build_stay_pretraining

WIDTHS = Widths(hours=4, features=12, demographics=3, diagnoses=9, drugs=7)
MODEL = Model(width=6, demographic_hidden=4, max_stays=2)
R = MODEL.width


def ragged(random, rows, width):
    sets = [random.choice(width, random.integers(4), replace=False) for _ in range(rows)]
    return Csr(from_lengths(np.array([len(s) for s in sets])), np.concatenate(sets))


def stays_of(random, rows):
    hours = ragged(random, rows * WIDTHS.hours, WIDTHS.features)
    return Stays(np.arange(rows), np.arange(rows), hours, ragged(random, rows, WIDTHS.demographics))


def admissions_of(random, rows):
    """Admissions of none, one or two stays, some without codes or a note."""
    lengths = random.integers(3, size=rows)
    stay_rows = Csr(from_lengths(lengths), np.arange(lengths.sum()))
    has_note = random.random(rows) < 0.6
    note = random.normal(size=(rows, 768)).astype(np.float32) * has_note[:, None]
    return Admissions(
        subject_id=np.arange(rows),
        row_id=np.arange(rows),
        icd=ragged(random, rows, WIDTHS.diagnoses),
        drug=ragged(random, rows, WIDTHS.drugs),
        note=note,
        has_note=has_note,
        stays=stays_of(random, int(lengths.sum())),
        stay_rows=stay_rows,
        max_stays=2,
    )


def patients_of(random, rows):
    """Patients of none to three visits, some without a code."""
    lengths = random.integers(4, size=rows)
    visits = Csr(from_lengths(lengths), np.arange(lengths.sum()))
    icd = ragged(random, int(lengths.sum()), WIDTHS.diagnoses)
    return Patients(np.arange(rows), visits, icd, np.zeros(lengths.sum(), np.float32))


def stage(build, seed=1):
    torch.manual_seed(seed)
    return build(MODEL, WIDTHS).eval()


def fitted(level, rows, start, seed=0, model=MODEL):
    random = np.random.default_rng(seed)
    label = (random.random(len(rows)) < 0.4).astype(np.float32)
    part = Labelled(rows, label)
    estimator = estimator_of(level, "frozen", {}, FitSettings(model, Finetune(), WIDTHS))
    result = estimator.fit({"train": part, "validation": part, "test": part}, 0, start)
    return estimator, part, result


@torch.inference_mode()
def test_columns_of_an_admission_are_its_fused_vector_and_the_tokens_that_it_has():
    rows = admissions_of(np.random.default_rng(0), 40)
    objective = stage(build_admission_pretraining)
    network = AdmissionEmbedding(WIDTHS, MODEL).eval()
    network.admission.load_state_dict(objective.admission.state_dict())
    found = network(rows.batch(np.arange(40)))
    encoder: AdmissionEncoder = objective.admission
    for at in range(40):  # alone, token by token
        batch = rows.batch(np.array([at]))
        tokens, present = encoder.tokens(batch)
        expected = [encoder(batch)[0]]
        expected += [t if p else torch.zeros(R) for t, p in zip(tokens[0], present[0], strict=True)]
        torch.testing.assert_close(found[at], torch.cat(expected), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_columns_of_a_patient_are_mean_and_maximum_of_its_visits():
    rows = patients_of(np.random.default_rng(2), 30)
    objective = stage(build_admission_pretraining)
    network = MODELS["frozen"].beginner("patient")(WIDTHS, MODEL)
    mlp: CodeMLP = objective.admission.diagnoses
    network.diagnoses.load_state_dict(mlp.state_dict())
    found = network(rows.batch(np.arange(30)))
    for at, (first, last) in enumerate(
        zip(rows.visits.offsets, rows.visits.offsets[1:], strict=False)
    ):
        sets = [rows.icd.take(np.array([visit])) for visit in range(first, last)]
        c = [mlp(torch.from_numpy(s.values), torch.from_numpy(s.offsets))[0] for s in sets]
        both = torch.stack(c) if c else torch.zeros(1, R)
        expected = torch.cat([both.mean(0), both.amax(0)])
        torch.testing.assert_close(found[at], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stage_of", [build_stay_pretraining, build_admission_pretraining])
def test_both_floors_are_fitted_on_counts_and_then_the_embedding(stage_of):
    rows = stays_of(np.random.default_rng(3), 80)
    objective = stage(stage_of)
    estimator, part, result = fitted("stay", rows, objective.state_dict())
    encoder = objective.stay if stage_of is build_stay_pretraining else objective.admission.stay
    with torch.inference_mode():
        b = encoder(rows.batch(np.arange(80))).numpy()
    plain = counted(rows, WIDTHS)
    table = Table(np.hstack([plain, b]), part.label, (plain.shape[1], R))
    floors = [
        fit_logistic_regression(table, table, 0),
        fit_trees(table, table, 0, learning_rate=RATE),
    ]
    logits = [np.log(p[:, 1] / p[:, 0]) for p in (f.predict_proba(table.features) for f in floors)]
    expected = 1 / (1 + np.exp(-(logits[0] + logits[1]) / 2))
    assert estimator.score(part) == pytest.approx(expected, abs=1e-6)
    names = {f"stay.{name}" for name in encoder.state_dict()}
    assert set(result.arrived) == names
    again, *_ = fitted("stay", rows, objective.state_dict())
    assert again.save() == estimator.save()
    loaded = estimator_of("stay", "frozen", {}, FitSettings(MODEL, Finetune(), WIDTHS))
    loaded.load(estimator.save())
    assert loaded.score(part).tolist() == estimator.score(part).tolist()


def test_without_a_start_it_is_the_blend_alone_and_stage_one_has_nothing_for_patients():
    rows = stays_of(np.random.default_rng(4), 60)
    estimator, part, result = fitted("stay", rows, None)
    plain = counted(rows, WIDTHS)
    table = Table(plain, part.label, (plain.shape[1],))
    slow = fit_frozen(table, table, 0)
    assert estimator.score(part).tolist() == slow.predict_proba(plain)[:, 1].tolist()
    assert result.arrived == []
    patients = patients_of(np.random.default_rng(5), 60)
    weights = stage(build_stay_pretraining).state_dict()
    with_one, of_patients, _ = fitted("patient", patients, weights)
    without, *_ = fitted("patient", patients, None)
    assert with_one.score(of_patients).tolist() == without.score(of_patients).tolist()


def test_a_mean_logit_is_of_equal_weights_and_bears_certainty():
    scores = [np.array([0.5, 0.9, 1.0, 0.0]), np.array([0.8, 0.9, 0.5, 0.0])]
    found = mean_logit(scores)
    assert found[0] == pytest.approx(2 / 3)  # odds 1 and 4: their geometric mean is 2
    assert found[1] == pytest.approx(0.9)
    assert found[2] > 0.99
    assert found[3] < 1e-6
    assert mean_logit(scores[::-1]) == pytest.approx(found)


def test_an_embedding_that_tells_the_label_is_found_with_few_rows():
    """Counts are noise; only the frozen encoder's columns tell."""
    random = np.random.default_rng(6)
    label = (random.random(240) < 0.4).astype(np.float32)
    counts = random.poisson(2, (240, 60)).astype(np.float32)
    embedding = (random.normal(size=(240, 8)) + label[:, None]).astype(np.float32)
    table = Table(np.hstack([counts, embedding]), label, (60, 8))
    half = [
        replace(table, features=table.features[part], label=label[part])
        for part in (slice(120), slice(120, None))
    ]
    blend: MeanLogit = fit_frozen(*half, 0)
    score = blend.predict_proba(half[1].features)[:, 1]
    is_case = half[1].label == 1
    assert (score[is_case][:, None] > score[~is_case]).mean() > 0.9
