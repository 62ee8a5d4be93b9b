"""Pretraining of the encoder of readings, against walks through hours and entries."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.batch import NUMBERS, STATISTICS
from medhmp.legend import Widths
from medhmp.model import masked_readings
from medhmp.model.masked_readings import AHEAD, LONGEST, ReadingsDecoder, coming, hide
from medhmp.run import Model
from medhmp.shards.csr import Csr, from_lengths
from medhmp.shards.rows import Stays
from medhmp.train.objective import build_number_pretraining

WIDTHS = Widths(
    hours=18, features=9, demographics=3, diagnoses=4, drugs=4,
    numbers=5, statistics=6, statistic_of=(0, 1, 2, 3, 4, 5),
)  # fmt: skip
MODEL = Model(width=8)
S, T, U, Q = 12, WIDTHS.hours, WIDTHS.numbers, WIDTHS.statistics


def stays_of(seed, rows=S):
    random = np.random.default_rng(seed)
    sets = [random.choice(U, random.integers(4), replace=False) for _ in range(rows * T)]
    numbers = Csr(from_lengths(np.array([len(of) for of in sets])), np.concatenate(sets))
    empty = Csr(np.zeros(rows * T + 1, np.int64), np.zeros(0, np.int64))
    ranks = random.random((rows, Q)).astype(np.float32)
    ranks[random.random((rows, Q)) < 0.3] = np.nan
    return Stays(
        subject_id=np.arange(rows),
        row_id=np.arange(rows),
        hours=empty,
        demographics=Csr(np.zeros(rows + 1, np.int64), np.zeros(0, np.int64)),
        numbers=numbers,
        number_values=random.normal(size=len(numbers.values)).astype(np.float32),
        statistics=ranks,
    )


def test_means_and_presence_are_those_of_the_next_hours():
    torch.manual_seed(0)
    observed = torch.rand(S, T, U) < 0.2
    values = torch.randn(S, T, U) * observed
    means, present = coming(values, observed)
    assert means.shape == present.shape == (S, T - 1, U)
    for stay in range(S):
        for hour in range(T - 1):
            after = slice(hour + 1, hour + 1 + AHEAD)
            for variable in range(U):
                known = values[stay, after, variable][observed[stay, after, variable]]
                assert bool(present[stay, hour, variable]) == bool(len(known))
                mean = float(known.mean()) if len(known) else 0.0
                assert float(means[stay, hour, variable]) == pytest.approx(mean, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**30), st.integers(1, 50))
def test_what_is_hidden_are_readings_of_whole_variables_or_of_one_block(seed, hours):
    torch.manual_seed(seed)
    observed = torch.ones(6, hours, 40, dtype=torch.bool)
    hidden = hide(observed)
    whole = hidden.all(1, keepdim=True)  # (6, 1, 40)
    rest = hidden & ~whole
    block = hidden.all(2)
    assert (rest == (block.unsqueeze(2) & ~whole)).all()
    for of_stay in block.long().tolist():
        text = "".join(map(str, of_stay)).strip("0")
        assert "0" not in text  # hours that follow one another
        assert min(4, hours) <= len(text) <= min(LONGEST, hours)
    some = torch.rand(6, hours, 40) < 0.3
    assert not (hide(some) & ~some).any()


def test_the_loss_is_that_of_the_entries_that_it_names(monkeypatch):
    torch.manual_seed(1)
    batch = stays_of(2).batch(np.arange(S))
    objective = build_number_pretraining(MODEL, WIDTHS)
    values, observed = objective.readings.grid_of(batch)
    hidden = observed & (torch.rand(observed.shape) < 0.4)
    monkeypatch.setattr("medhmp.train.objective.hide", lambda _: hidden)
    loss, report = objective(batch)
    shown = observed & ~hidden
    states, readout = objective.readings(torch.cat(walk(values * shown, shown), dim=2))
    decoder: ReadingsDecoder = objective.decoder
    said = decoder.value(states)
    of_hidden = [
        float((said[i] - values[i]) ** 2) for i in zip(*hidden.nonzero(as_tuple=True), strict=True)
    ]
    assert float(report["hidden"]) == pytest.approx(np.mean(of_hidden), rel=1e-4)
    means, present = coming(values, observed)
    mean, presence = decoder.ahead(states[:, :-1]).chunk(2, dim=2)
    at = present.nonzero(as_tuple=True)
    of_coming = [float((mean[i] - means[i]) ** 2) for i in zip(*at, strict=True)]
    assert float(report["coming"]) == pytest.approx(np.mean(of_coming), rel=1e-4)
    p = torch.sigmoid(presence.double())
    of_presence = -torch.where(present, p.log(), (1 - p).log()).mean()
    assert float(report["presence"]) == pytest.approx(float(of_presence), rel=1e-4)
    ranks, found = batch[STATISTICS], decoder.statistics(readout)
    of_ranks = [
        (float(found[s, q]) - float(ranks[s, q])) ** 2
        for s in range(S)
        for q in range(Q)
        if not math.isnan(ranks[s, q])
    ]
    assert float(report["statistics"]) == pytest.approx(np.mean(of_ranks), rel=1e-4)
    names = ("hidden", "coming", "presence", "statistics")
    assert float(loss) == pytest.approx(sum(float(report[name]) for name in names), rel=1e-5)


def walk(values, observed):
    """The channels of ``medhmp_s.carried``, hour after hour."""
    value, since = torch.zeros(S, U), torch.full((S, U), float(T))
    found = []
    for hour in range(T):
        now = observed[:, hour]
        value, since = torch.where(now, values[:, hour], value), torch.where(now, 0, since + 1)
        since = since.clamp(max=T)
        found.append((value, now.float(), torch.log1p(since) / math.log1p(T)))
    return [torch.stack(of, dim=1) for of in zip(*found, strict=True)]


def test_hidden_readings_do_not_reach_the_encoder(monkeypatch):
    monkeypatch.setattr(masked_readings, "HIDDEN_VARIABLES", 1.0)
    batch = stays_of(3).batch(np.arange(S))
    other = {**batch, NUMBERS.values: -batch[NUMBERS.values]}
    objective = build_number_pretraining(MODEL, WIDTHS)
    seen = []
    objective.readings.register_forward_hook(lambda _, __, out: seen.append(out[1]))
    for given_batch in (batch, other):
        torch.manual_seed(0)
        objective(given_batch)
    torch.testing.assert_close(seen[0], seen[1])


def test_without_readings_every_error_is_finite():
    rows = stays_of(4, 3)
    none = Csr(np.zeros(3 * T + 1, np.int64), np.zeros(0, np.int64))
    batch = rows.batch(np.arange(3))
    batch[NUMBERS.offsets] = torch.from_numpy(none.offsets)
    batch[NUMBERS.ids] = torch.zeros(0, dtype=torch.int64)
    batch[NUMBERS.values] = torch.zeros(0)
    batch[STATISTICS] = torch.full((3, Q), math.nan)
    objective = build_number_pretraining(MODEL, WIDTHS)
    loss, _ = objective(batch)
    loss.backward()
    assert torch.isfinite(loss)
    gradients = [parameter.grad for parameter in objective.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)  # DDP waits for each
