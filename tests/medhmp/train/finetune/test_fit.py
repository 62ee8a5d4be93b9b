"""One fit: which weights it keeps, that it repeats, where it begins."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load as load_tensors

from medhmp.evaluate.discrimination import auroc
from medhmp.legend import SPLITS, Widths
from medhmp.refusal import Refusal
from medhmp.run import Finetune, Model
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.labelled import Labelled
from medhmp.shards.rows import Stays
from medhmp.train.finetune import fit as fitting
from medhmp.train.finetune.estimators import FitSettings, estimator_of
from medhmp.train.loop import Diverged
from medhmp.train.objective import (
    build_admission_pretraining,
    build_classifier,
    build_stay_pretraining,
)

WIDTHS = Widths(hours=4, features=12, demographics=5, diagnoses=9, drugs=7)
MODEL = Model(width=8, demographic_hidden=4)
FINETUNE = Finetune(epochs=12, patience=3)
POINT = {"batch_size": 16, "learning_rate": 0.05}


@dataclass(frozen=True)
class Fitted:
    """A network that was fitted, and how the fit ended."""

    network: Any
    result: Any

    @property
    def weights(self):
        return load_tensors(self.network.save())


def stays(n, seed):
    """Stays with three random features an hour; the label says whether feature 0 is among them."""
    random = np.random.default_rng(seed)
    hours = random.integers(0, WIDTHS.features, (n, WIDTHS.hours, 3))
    label = (hours == 0).any((1, 2)).astype(np.float32)
    ids = np.arange(n)
    demographics = Csr(np.arange(n + 1), random.integers(0, WIDTHS.demographics, n))
    rows = Stays(
        ids, ids, Csr(from_lengths(np.full(n * WIDTHS.hours, 3)), hours.ravel()), demographics
    )
    return Labelled(rows, label)


@pytest.fixture(scope="module")
def data():
    return {split: stays(n, n) for split, n in zip(SPLITS, (200, 80, 90), strict=True)}


def fitted(data, finetune=FINETUNE, start=None, seed=0, model="medhmp", **point):
    settings = FitSettings(MODEL, finetune, WIDTHS)
    network = estimator_of("stay", model, POINT | point, settings)
    return Fitted(network, network.fit(data, seed, start))


def cross_entropy(data, found, split):
    score = torch.from_numpy(found.network.score(data[split]))
    return float(F.binary_cross_entropy(score, torch.from_numpy(data[split].label)))


def test_a_fit_learns_a_rule_and_scores_it_between_0_and_1(data):
    found = fitted(data)
    score = found.network.score(data["test"])
    assert score.shape == (90,)
    assert score.min() >= 0
    assert score.max() <= 1
    assert auroc(data["test"].label.astype(int), score) > 0.9
    assert found.result.metrics[0]["loss"] > found.result.metrics[-1]["loss"]


def test_scores_are_the_same_whatever_the_batches(data, monkeypatch):
    found = fitted(data, epochs_of(1))
    together = found.network.score(data["test"])
    monkeypatch.setattr(fitting, "SCORED_AT_ONCE", 7)
    apart = found.network.score(data["test"])
    np.testing.assert_allclose(apart, together, rtol=1e-5)


def epochs_of(epochs, patience=3):
    return replace(FINETUNE, epochs=epochs, patience=patience)


def test_the_weights_of_the_best_epoch_are_kept(data):
    """Labels of the validation split turned round: each epoch of learning makes its loss worse."""
    part = data["validation"]
    turned = {**data, "validation": replace(part, label=1 - part.label)}
    found = fitted(turned)
    losses = [row["val_loss"] for row in found.result.metrics]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1
    assert len(losses) == best + 1 + FINETUNE.patience
    assert found.result.val_loss == min(losses)
    assert found.result.val_auroc == found.result.metrics[best]["val_auroc"]
    assert cross_entropy(turned, found, "validation") == pytest.approx(min(losses), rel=1e-5)
    # The kept weights are those that a fit of so many epochs ends with.
    shorter = fitted(turned, epochs_of(best + 1))
    assert equal(found.weights, shorter.weights)


def test_the_same_seed_gives_the_same_weights_bit_for_bit(data):
    first = fitted(data, epochs_of(2), seed=4)
    torch.rand(5)  # whatever happened before
    assert equal(first.weights, fitted(data, epochs_of(2), seed=4).weights)
    assert not equal(first.weights, fitted(data, epochs_of(2), seed=5).weights)


def equal(ours, theirs):
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("stage", [1, 2])
def test_pretrained_weights_arrive_and_nothing_else_changes(data, stage):
    torch.manual_seed(99)
    build = build_stay_pretraining if stage == 1 else build_admission_pretraining
    start = build(MODEL, WIDTHS).state_dict()
    still = Finetune(epochs=1, momentum=0.0, weight_decay=0.0)
    found = fitted(data, still, start, learning_rate=0.0)
    prefix = "stay." if stage == 1 else "admission.stay."
    expected = {f"stay.{n.removeprefix(prefix)}": x for n, x in start.items() if prefix in n}
    assert sorted(found.result.arrived) == sorted(expected)
    assert equal({name: found.weights[name] for name in expected}, expected)
    torch.manual_seed(0)
    fresh = build_classifier("stay", "medhmp", MODEL, WIDTHS).model.state_dict()
    rest = fresh.keys() - expected.keys()
    assert rest == {"head.weight", "head.bias"}
    assert all(torch.equal(found.weights[name], fresh[name]) for name in rest)


@pytest.mark.parametrize(
    ("rows", "sentence"), [(200, "the loss of epoch 0"), (16, "the validation loss of epoch 0")]
)
def test_a_fit_that_diverges_says_so(data, rows, sentence):
    """After an epoch of one step only the validation loss shows it."""
    with pytest.raises(Diverged, match=f"{sentence} .*lower the learning rate"):
        fitted({**data, "train": stays(rows, 1)}, learning_rate=1e38)


def test_f_lstm_is_trained_by_the_same_loop(data):
    found = fitted(data, epochs_of(12), model="f_lstm", learning_rate=1e-2)
    assert cross_entropy(data, found, "test") < 0.5
    assert math.isfinite(found.result.val_loss)


def test_a_start_that_does_not_fit_is_refused(data):
    wide = build_stay_pretraining(replace(MODEL, width=16), WIDTHS).state_dict()
    with pytest.raises(Refusal, match=r"width 16 and this run's model.width is 8"):
        fitted(data, start=wide)


def test_the_average_of_weights_is_that_of_all_steps():
    """Each step's share in the mean, written out."""
    torch.manual_seed(3)
    network = torch.nn.Linear(3, 2)
    average = fitting.WeightAverage(network)
    mean = network.weight.detach().clone()
    for step in range(1, 2000):
        with torch.no_grad():
            network.weight.normal_()
        average.update()
        kept = min(fitting.AVERAGE_DECAY, step / (step + 10))
        mean = kept * mean + (1 - kept) * network.weight.detach()
        if step in (1, 20, 1999):
            torch.testing.assert_close(average.model.weight, mean, atol=1e-5, rtol=1e-4)
    assert kept == fitting.AVERAGE_DECAY
    assert not torch.equal(average.model.weight, network.weight)
