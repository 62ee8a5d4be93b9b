"""One face of every model of the catalog: what is saved scores as what was fitted."""

from dataclasses import replace

import numpy as np
import pytest

from medhmp.evaluate.discrimination import auroc
from medhmp.layout import PREDICTION_COLUMNS
from medhmp.legend import LEVELS, SPLITS, Widths
from medhmp.model.baselines.hist_gradient_boosting import fit_trees
from medhmp.model.catalog import MODELS
from medhmp.model.table import Table
from medhmp.run import Finetune, Fit, Model
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.labelled import Labelled
from medhmp.shards.rows import Admissions, Patients, RowNotes, Stays
from medhmp.shards.tabular import counted
from medhmp.train.finetune.estimators import (
    FitSettings,
    base_rate_loss,
    estimator_of,
    point_of,
    predict_held_out,
)

WIDTHS = Widths(
    hours=4, features=40, demographics=5, diagnoses=9, drugs=7,
    numbers=6, statistics=12, statistic_of=(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6),
)  # fmt: skip
SETTINGS = FitSettings(Model(width=8, demographic_hidden=4), Finetune(epochs=2), WIDTHS)
TASK_OF = {"stay": "mortality", "admission": "readmission", "patient": "heart_failure"}
POINT = {"learning_rate": 0.1, "max_leaf_nodes": 4, "max_features": 0.3, "components": 3}
PAIRS = [(name, level) for name, entry in MODELS.items() for level in entry.builders]


def ragged(random, rows, width, at_most=4):
    """``rows`` sets of ids below ``width``."""
    sets = [random.choice(width, random.integers(at_most), replace=False) for _ in range(rows)]
    return Csr(from_lengths(np.array([len(s) for s in sets])), np.concatenate(sets))


def stays_of(random, rows):
    hours = ragged(random, rows * WIDTHS.hours, WIDTHS.features)
    numbers = ragged(random, rows * WIDTHS.hours, WIDTHS.numbers)
    ranks = random.random((rows, WIDTHS.statistics)).astype(np.float32)
    ranks[random.random(ranks.shape) < 0.2] = np.nan
    return Stays(
        np.arange(rows),
        np.arange(rows),
        hours,
        ragged(random, rows, WIDTHS.demographics),
        numbers=numbers,
        number_values=random.normal(size=len(numbers.values)).astype(np.float32),
        statistics=ranks,
    )


def rows_of(random, level, rows):
    ids = np.arange(rows)
    if level == "stay":
        return stays_of(random, rows)
    codes = ragged(random, 2 * rows, WIDTHS.diagnoses)
    if level == "patient":
        visits = Csr(np.arange(0, 2 * rows + 1, 2), np.arange(2 * rows))
        days = np.tile(np.array([30, 0], np.float32), rows)
        return Patients(ids, visits, codes, days)
    return Admissions(
        subject_id=ids,
        row_id=ids,
        stays=stays_of(random, rows),
        stay_rows=Csr(np.arange(rows + 1), ids),
        max_stays=3,
        icd=ragged(random, rows, WIDTHS.diagnoses),
        drug=ragged(random, rows, WIDTHS.drugs),
        note=noise(random, rows),
        has_note=np.ones(rows, bool),
    )


def notes_of(random, rows, vectors):
    """Frozen vectors, and texts of bytes as both tiny encoders cut them."""
    letters = [random.integers(100, 120, random.integers(1, 9)) for _ in range(rows)]
    lengths = np.array([len(text) + 2 for text in letters])
    tokens = Csr(from_lengths(lengths), np.concatenate([[2, *text, 1] for text in letters]))
    return RowNotes((vectors, np.ones(rows, bool)), {"t5": tokens, "bert": tokens})


def labelled(level, rows, seed):
    random = np.random.default_rng(seed)
    found = rows_of(random, level, rows)
    notes = None if level == "patient" else notes_of(random, rows, noise(random, rows))
    return Labelled(found, (random.random(rows) < 0.4).astype(np.float32), notes)


def noise(random, rows):
    return random.normal(size=(rows, 768)).astype(np.float32)


def data_of(level, make=labelled, sizes=(60, 30, 31)):
    return {split: make(level, rows, rows) for split, rows in zip(SPLITS, sizes, strict=True)}


def made(name, level, settings=SETTINGS, **more):
    point = {field: values[-1] for field, values in MODELS[name].search.items()}
    point |= POINT if name == "hist_gradient_boosting" else {}
    return estimator_of(level, name, {**point, **more}, settings)


def with_id(csr, rows, code):
    """The given rows get a code, in place of the one that they may have."""
    sets = [csr.values[a:b] for a, b in zip(csr.offsets[:-1], csr.offsets[1:], strict=True)]
    sets = [
        np.append(of[of != code], [code] * int(chosen)).astype(np.int64)
        for of, chosen in zip(sets, rows, strict=True)
    ]
    return Csr(from_lengths(np.array([len(of) for of in sets])), np.concatenate(sets))


def planted(level, rows, seed):
    """Rows whose label every modality tells: an hourly feature, a code, a letter, a vector."""
    found = labelled(level, rows, seed)
    is_case = found.label == 1
    if level == "patient":
        icd = with_id(found.rows.icd, np.repeat(is_case, 2), 3)
        return replace(found, rows=replace(found.rows, icd=icd))
    random = np.random.default_rng(seed)
    vectors = noise(random, rows)
    vectors[:, :64] += 2 * is_case[:, None]
    notes = notes_of(random, rows, vectors)
    text = notes.tokens["bert"]
    letters = np.where(text.values > 2, np.where(np.repeat(is_case, text.lengths), 90, 80), 1)
    letters[text.offsets[:-1]] = 2
    text = Csr(text.offsets, letters)
    notes = replace(notes, tokens={"t5": text, "bert": text})
    stays = found.rows if level == "stay" else found.rows.stays
    for feature in (3, 23):  # one of each stream
        hours = with_id(stays.hours, np.repeat(is_case, WIDTHS.hours), feature)
        stays = replace(stays, hours=hours)
    ranks = stays.statistics.copy()
    ranks[:, 2] = 0.1 + 0.8 * is_case
    stays = replace(stays, statistics=ranks)
    if level == "stay":
        return replace(found, rows=stays, notes=notes)
    own = {"icd": with_id(found.rows.icd, is_case, 3), "note": vectors}
    return replace(found, rows=replace(found.rows, stays=stays, **own), notes=notes)


RATE = {"sgd": 0.05, "adam": 3e-3, "adamw": 3e-3}
"""Of the optimizers; what is planted is plain, and fits are few."""


@pytest.mark.parametrize(("name", "level"), PAIRS)
def test_every_model_learns_what_is_planted(name, level):
    data = data_of(level, planted, sizes=(120, 40, 80))
    more = {}
    if MODELS[name].is_network:
        more = {"batch_size": 8, "learning_rate": RATE[MODELS[name].optimizers[level]]}
    settings = replace(SETTINGS, model=Model(width=16), finetune=Finetune(epochs=8))
    estimator = made(name, level, settings, **more)
    estimator.fit(data, 0)
    test = data["test"]
    assert auroc(test.label.astype(int), estimator.score(test)) > 0.9


@pytest.mark.parametrize(("name", "level"), PAIRS)
def test_a_model_that_is_saved_and_loaded_scores_the_same(name, level):
    data, first, again, loaded = data_of(level), *(made(name, level) for _ in range(3))
    result = first.fit(data, 3)
    assert again.fit(data, 3).val_loss == result.val_loss
    assert first.save() == again.save()  # bit for bit, as everything that a run writes
    loaded.load(first.save())
    for part in data.values():
        score = loaded.score(part)
        assert score.shape == (len(part),)
        assert ((score >= 0) & (score <= 1)).all()
        assert score.tolist() == first.score(part).tolist()
    validation, score = data["validation"], loaded.score(data["validation"]).astype(np.float64)
    area = auroc(validation.label.astype(int), score)
    assert result.val_auroc == pytest.approx(area, abs=5e-3)  # two logits may have one score
    of_label = np.where(validation.label == 1, score, 1 - score)
    assert result.val_loss == pytest.approx(-np.log(np.clip(of_label, 1e-7, None)).mean(), rel=1e-4)


def test_trees_are_those_of_the_counts_and_no_pickle():
    data, estimator = data_of("stay"), made("hist_gradient_boosting", "stay")
    estimator.fit(data, 0)
    blocks = (WIDTHS.features + WIDTHS.demographics,)
    of = [Table(counted(data[s].rows, WIDTHS), data[s].label, blocks) for s in SPLITS[:2]]
    slow = fit_trees(*of, 0, **POINT)
    expected = slow.predict_proba(counted(data["test"].rows, WIDTHS))[:, 1]
    assert estimator.score(data["test"]).tolist() == expected.tolist()
    assert estimator.save()[:2] == b"PK"  # an archive of JSON and arrays


def test_the_base_rate_is_that_of_the_labelled_rows():
    data = data_of("stay")
    share, events = data["train"].label.mean(), data["validation"].label.mean()
    expected = -events * np.log(share) - (1 - events) * np.log(1 - share)
    assert base_rate_loss(data) == pytest.approx(expected, rel=1e-6)


def test_held_out_rows_are_scored_in_the_schema_of_predictions():
    data, estimator = data_of("stay"), made("hist_gradient_boosting", "stay")
    estimator.fit(data, 0)
    table = predict_held_out(estimator, data, seed=7)
    assert table.schema == PREDICTION_COLUMNS
    assert table["split"].to_pylist() == ["validation"] * 30 + ["test"] * 31
    assert set(table["seed"].to_pylist()) == {7}
    expected = np.concatenate([estimator.score(data[split]) for split in SPLITS[1:]])
    assert table["score"].to_pylist() == expected.astype(np.float32).tolist()


def test_the_one_fit_gives_a_model_the_fields_that_it_reads():
    fit = Fit(batch_size=8, learning_rate=0.5)
    assert point_of(fit) == {"batch_size": 8, "learning_rate": 0.5}
    assert point_of(Fit(model="hist_gradient_boosting", start="none")) == {}


def test_every_task_has_a_model():
    assert {level for _, level in PAIRS} == set(LEVELS.values())
