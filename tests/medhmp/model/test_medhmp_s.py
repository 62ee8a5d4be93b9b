"""MedHMP-S against slow forms: hour by hour, statistic by statistic, member by member."""

import math

import numpy as np
import pytest
import torch

from medhmp.batch import LABEL, NUMBERS, STATISTICS, STAY_SLOT, TARGETS
from medhmp.layout import TARGETS as TARGET_NAMES
from medhmp.legend import Widths
from medhmp.model import medhmp_s
from medhmp.model.medhmp_s import (
    KNOTS,
    MEMBERS,
    Members,
    NumberAdmissionClassifier,
    NumberStayClassifier,
    NumberStayEncoder,
    carried,
    grid_of,
    piecewise,
)
from medhmp.refusal import Refusal
from medhmp.run import Finetune, Model
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.labelled import Labelled
from medhmp.shards.rows import Admissions, Stays
from medhmp.train.finetune.estimators import FitSettings, estimator_of
from medhmp.train.objective import AUXILIARY_WEIGHT, MemberClassification

WIDTHS = Widths(
    hours=6, features=12, demographics=3, diagnoses=9, drugs=7,
    numbers=4, statistics=6, statistic_of=(0, 0, 1, 2, 3, 4),
)  # fmt: skip
MODEL = Model(width=8, demographic_hidden=4, max_stays=2)
T, U, Q, R = WIDTHS.hours, WIDTHS.numbers, WIDTHS.statistics, MODEL.width


def ragged(random, rows, width):
    sets = [random.choice(width, random.integers(3), replace=False) for _ in range(rows)]
    return Csr(from_lengths(np.array([len(s) for s in sets])), np.concatenate(sets))


def stays_of(random, rows):
    numbers = ragged(random, rows * T, U)
    statistics = random.random((rows, Q)).astype(np.float32)
    statistics[random.random((rows, Q)) < 0.3] = np.nan
    return Stays(
        subject_id=np.arange(rows),
        row_id=np.arange(rows),
        hours=ragged(random, rows * T, WIDTHS.features),
        demographics=ragged(random, rows, WIDTHS.demographics),
        numbers=numbers,
        number_values=random.normal(size=len(numbers.values)).astype(np.float32),
        statistics=statistics,
    )


def admissions_of(random, rows):
    lengths = random.integers(3, size=rows)
    count = int(lengths.sum())
    return Admissions(
        subject_id=np.arange(rows),
        row_id=np.arange(rows),
        icd=ragged(random, rows, WIDTHS.diagnoses),
        drug=ragged(random, rows, WIDTHS.drugs),
        note=random.normal(size=(rows, 768)).astype(np.float32),
        has_note=random.random(rows) < 0.6,
        stays=stays_of(random, count),
        stay_rows=Csr(from_lengths(lengths), np.arange(count)),
        max_stays=2,
    )


def network(kind):
    torch.manual_seed(0)
    return kind(WIDTHS, MODEL).eval()


def test_channels_are_those_of_a_walk_through_the_hours():
    rows = stays_of(np.random.default_rng(0), 30)
    found = carried(*grid_of(rows.batch(np.arange(30)), T, U))
    for stay in range(30):
        value, hour_of = np.zeros(U), np.full(U, -1)
        for hour in range(T):
            at = stay * T + hour
            entries = slice(rows.numbers.offsets[at], rows.numbers.offsets[at + 1])
            ids = rows.numbers.values[entries]
            value[ids], hour_of[ids] = rows.number_values[entries], hour
            since = np.where(hour_of >= 0, hour - hour_of, T)
            expected = [
                *value,
                *np.isin(np.arange(U), ids).astype(float),
                *np.log1p(since) / math.log1p(T),
            ]
            assert found[stay, hour].tolist() == pytest.approx(expected, abs=1e-6)


def test_pieces_of_a_rank_are_filled_one_after_another():
    ranks = torch.tensor([[0.0, 1.0, 0.5], [math.nan, 0.3, 0.999]])
    found = piecewise(ranks).view(2, 3, KNOTS + 1)
    for row in range(2):
        for column in range(3):
            u = float(ranks[row, column])
            pieces = [min(max(u * KNOTS - k, 0), 1) - (1 - (k + 0.5) / KNOTS) for k in range(KNOTS)]
            expected = [0.0] * KNOTS + [1.0] if math.isnan(u) else [*pieces, 0.0]
            assert found[row, column].tolist() == pytest.approx(expected, abs=1e-5)
    uniform = piecewise(torch.linspace(0, 1, 4001).unsqueeze(1))
    assert uniform.mean(0).abs().max() < 1e-3


@torch.inference_mode()
def test_a_member_is_a_linear_map_of_its_own():
    torch.manual_seed(1)
    layer = Members(5, 3, differ=True)
    layer.of_output.normal_()
    x = torch.randn(7, 1, 5)
    found = layer(x)
    assert found.shape == (7, MEMBERS, 3)
    for k in range(MEMBERS):
        weight = layer.of_output[k, :, None] * layer.weight * layer.of_input[k]
        torch.testing.assert_close(found[:, k], x[:, 0] @ weight.t() + layer.bias[k])
    assert len({tuple(signs) for signs in layer.of_input.tolist()}) > 1


@torch.inference_mode()
def test_a_stay_is_read_alike_in_any_batch_and_the_logit_is_the_mean_of_the_members():
    rows = stays_of(np.random.default_rng(2), 20)
    model = network(NumberStayClassifier)
    whole = model(rows.batch(np.arange(20)))
    alone = torch.cat([model(rows.batch(np.array([at]))) for at in range(20)])
    torch.testing.assert_close(whole, alone, atol=1e-5, rtol=1e-4)
    _, logits = model.members(rows.batch(np.arange(20)))
    torch.testing.assert_close(whole, logits.mean(1))
    assert logits.std(1).min() > 0


@torch.inference_mode()
def test_stays_of_an_admission_go_through_equation_4_in_their_order():
    rows = admissions_of(np.random.default_rng(3), 16)
    model = network(NumberAdmissionClassifier)
    batch = rows.batch(np.arange(16))
    s, has_stay = model.admission.aggregate_stays(batch)
    b = model.admission.stay(batch)
    for at in range(16):
        slots = torch.zeros(2 * R)
        for of_stay, slot in zip(b, batch[STAY_SLOT].tolist(), strict=True):
            if slot // 2 == at:
                slots[slot % 2 * R : (slot % 2 + 1) * R] = of_stay
        torch.testing.assert_close(s[at], model.admission.aggregate(slots), atol=1e-5, rtol=1e-4)
        assert bool(has_stay[at]) == (rows.stay_rows.lengths[at] > 0)
    assert model(batch).shape == (16,)


def test_a_hidden_variable_tells_nothing_in_readings_or_statistics(monkeypatch):
    random = np.random.default_rng(4)
    rows = stays_of(random, 12)
    monkeypatch.setattr(medhmp_s, "VARIABLE_DROPOUT", 1.0)
    encoder = NumberStayEncoder(WIDTHS, MODEL).train()
    encoder.readings.dropout.p = 0.0
    batch = rows.batch(np.arange(12))
    other = {**batch, NUMBERS.values: -batch[NUMBERS.values]}
    other[STATISTICS] = batch[STATISTICS].clone()
    other[STATISTICS][:, :5] = torch.rand(12, 5)
    torch.testing.assert_close(encoder(batch), encoder(other))
    other[STATISTICS][:, 5] = 1 - other[STATISTICS][:, 5].nan_to_num()  # of no single variable
    assert not torch.allclose(encoder(batch), encoder(other))


def test_shards_without_numbers_are_refused():
    with pytest.raises(Refusal, match=r"--features\.numbers"):
        NumberStayClassifier(Widths(6, 12, 3, 9, 7), MODEL)


def objective_of(targets):
    objective = MemberClassification(network(NumberStayClassifier), R)
    objective.scale(torch.from_numpy(targets))
    return objective


def targets_of(random, rows):
    found = random.normal(3, 2, size=(rows, len(TARGET_NAMES))).astype(np.float32)
    found[:, 3:] = random.random((rows, 3)) < 0.3
    found[random.random(found.shape) < 0.3] = np.nan
    return found


def test_the_loss_is_that_of_every_member_and_of_every_known_target():
    random = np.random.default_rng(5)
    rows, targets = stays_of(random, 10), targets_of(random, 10)
    objective = objective_of(targets)
    label = (random.random(10) < 0.5).astype(np.float32)
    batch = Labelled(rows, label, targets=targets).batch(np.arange(10))
    loss, report = objective(batch)
    hidden, logits = objective.model.members(batch)
    task, auxiliary = 0.0, 0.0
    said = objective.auxiliary(hidden).tolist()
    for row in range(10):
        for k in range(MEMBERS):
            p = 1 / (1 + math.exp(-logits[row, k]))
            task -= math.log(p if label[row] else 1 - p) / (10 * MEMBERS)
            for at, name in enumerate(TARGET_NAMES):
                target, value = float(targets[row, at]), said[row][k][at]
                if math.isnan(target):
                    continue
                if name.startswith("death_"):
                    q = 1 / (1 + math.exp(-value))
                    error = -math.log(q if target else 1 - q)
                else:
                    column = targets[:, at][~np.isnan(targets[:, at])]
                    error = (value - (target - column.mean()) / column.std()) ** 2
                auxiliary += error / (10 * MEMBERS * len(TARGET_NAMES))
    assert float(report["task"]) == pytest.approx(task, rel=1e-4)
    assert float(report["auxiliary"]) == pytest.approx(auxiliary, rel=1e-4)
    assert float(loss) == pytest.approx(task + AUXILIARY_WEIGHT * auxiliary, rel=1e-4)
    without = {name: value for name, value in batch.items() if name != TARGETS}
    assert float(objective(without)[0]) == pytest.approx(task, rel=1e-4)
    assert batch[LABEL].tolist() == label.tolist()


def test_auxiliary_targets_of_training_rows_alone_reach_the_weights():
    """Those of held-out rows, were they there, change no byte; those of training rows do."""
    random = np.random.default_rng(6)
    parts = {}
    for split, count in (("train", 40), ("validation", 20), ("test", 20)):
        label = (random.random(count) < 0.5).astype(np.float32)
        parts[split] = Labelled(stays_of(random, count), label, targets=targets_of(random, count))
    point = {"batch_size": 8, "learning_rate": 1e-3}

    def weights(data):
        settings = FitSettings(MODEL, Finetune(epochs=2), WIDTHS)
        estimator = estimator_of("stay", "medhmp_s", point, settings)
        estimator.fit(data, 0)
        return estimator.save()

    def corrupted(*splits):
        return {
            name: Labelled(part.rows, part.label, targets=-7 * part.targets)
            if name in splits
            else part
            for name, part in parts.items()
        }

    assert weights(corrupted("validation", "test")) == weights(parts)
    assert weights(corrupted("train")) != weights(parts)
