from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medhmp.model.sparse import Sparse
from medhmp.model.stay import StayDecoder, StayEncoder, sparse_squared_error
from medhmp.run import Model

pytestmark = pytest.mark.usefixtures("float64")
MODEL = Model(width=8, demographic_hidden=5)


def dense_hours(records, batch):
    """The (S, T, F) array that the CSR stands for."""
    rows = batch["hour_offsets"].numel() - 1
    dense = torch.zeros(rows, records.widths.features)
    row = torch.repeat_interleave(torch.arange(rows), batch["hour_offsets"].diff())
    dense[row, batch["feature_ids"]] = batch.get("feature_values", torch.ones(1))
    return dense.view(-1, records.widths.hours, records.widths.features)


def dense_demographics(records, batch):
    rows = batch["demographic_offsets"].numel() - 1
    dense = torch.zeros(rows, records.widths.demographics)
    row = torch.repeat_interleave(torch.arange(rows), batch["demographic_offsets"].diff())
    dense[row, batch["demographic_ids"]] = 1
    return dense


def test_without_demographics_their_token_is_a_constant(records):
    torch.manual_seed(0)
    encoder = StayEncoder(replace(records.widths, demographics=0), MODEL)
    stays = [replace(records.stay(), demographics=[]) for _ in range(3)]
    b = encoder(records.stay_batch(stays))
    b.sum().backward()
    assert b.isfinite().all()
    assert encoder.demographics.first.bias.grad is not None
    assert encoder.demographics.first.weight.shape == (5, 0)
    torch.testing.assert_close(encoder(records.stay_batch(stays[1:]))[0], b[1])


def test_one_layer_encoder_is_equations_1_and_2(records):
    torch.manual_seed(0)
    encoder, batch = StayEncoder(records.widths, MODEL), records.stay_batch([records.stay()] * 2)
    sequence, (_, cell) = encoder.lstm(dense_hours(records, batch))
    torch.testing.assert_close(encoder.encode(encoder.hours_of(batch)), (sequence, cell[0]))
    mlp = encoder.demographics
    d = mlp.second(mlp.first(dense_demographics(records, batch)).relu())
    torch.testing.assert_close(encoder(batch), encoder.fusion(torch.stack((cell[0], d), 1)))


def test_three_layer_encoder_gives_the_top_cell_state(records):
    torch.manual_seed(0)
    encoder = StayEncoder(records.widths, replace(MODEL, encoder_layers=3)).eval()
    batch = records.stay_batch([records.stay() for _ in range(3)])
    dropout, norm = encoder.between
    lower, _ = encoder.lstm(dense_hours(records, batch))
    upper, (_, cell) = encoder.upper(norm(lower))
    torch.testing.assert_close(encoder.encode(encoder.hours_of(batch)), (upper, cell[-1]))
    assert dropout.p == 0.1


def test_real_values_reach_the_encoder_and_the_loss(records):
    torch.manual_seed(0)
    batch = records.stay_batch([records.stay() for _ in range(3)])
    batch["feature_values"] = torch.randn(batch["feature_ids"].numel())
    encoder = StayEncoder(records.widths, MODEL)
    m = dense_hours(records, batch)
    hours = encoder.hours_of(batch)
    torch.testing.assert_close(encoder.encode(hours)[0], encoder.lstm(m)[0])
    decoder, b = StayDecoder(records.widths, MODEL), encoder(batch)
    error = (m - decoder.output(decoder(b))).square().sum()
    torch.testing.assert_close(decoder.squared_error(b, hours), error)


def test_decoder_is_an_lstm_fed_with_zeros(records):
    torch.manual_seed(0)
    decoder, b = StayDecoder(records.widths, MODEL), torch.randn(4, 8)
    lstm = nn.LSTM(1, 8, batch_first=True)
    state = lstm.state_dict() | {
        "weight_hh_l0": decoder.weight_hh.data,
        "bias_ih_l0": decoder.bias.data,
        "bias_hh_l0": torch.zeros(32),
    }
    lstm.load_state_dict(state)
    hidden, _ = lstm(torch.zeros(4, records.widths.hours, 1), (b[None], torch.zeros(1, 4, 8)))
    torch.testing.assert_close(decoder(b), hidden)


@given(
    rows=st.integers(1, 12),
    features=st.integers(1, 15),
    width=st.integers(1, 6),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    real=st.booleans(),
    single=st.booleans(),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=200, deadline=None)
def test_factored_error_is_the_dense_error(rows, features, width, density, real, single, seed):
    """To 1e-12 in float64 and 1e-6 in float32, relative to what the errors are differences of."""
    random = torch.Generator().manual_seed(seed)
    on = torch.rand(rows, features, generator=random) < density
    m = on * (torch.randn(rows, features, generator=random) if real else 1.0)
    h, weight, bias = (
        torch.randn(shape, generator=random, requires_grad=True)
        for shape in ((rows, width), (features, width), (features,))
    )
    dense = (m - (h @ weight.t() + bias)).square().sum()
    kind, tolerance = (torch.float32, 1e-6) if single else (torch.float64, 1e-12)
    given = [x.detach().to(kind).requires_grad_() for x in (h, weight, bias)]
    offsets = F.pad(on.sum(1).cumsum(0), (1, 0))
    values = m[on].to(kind) if real else None
    sparse = sparse_squared_error(*given, Sparse(on.nonzero()[:, 1], offsets, features, values))
    # How large the terms are whose sum is the loss, and so how exact it can be.
    scale = (m.abs() + h.abs() @ weight.abs().t() + bias.abs()).square().sum()
    assert abs(sparse - dense) <= tolerance * scale
    mine = torch.autograd.grad(sparse, given)
    theirs = torch.autograd.grad(dense, (h, weight, bias))
    for a, b in zip(mine, theirs, strict=True):
        assert (a - b).norm() <= tolerance * (scale + b.norm())


@pytest.mark.parametrize("single", [True, False])
def test_factored_error_is_the_dense_error_at_the_papers_density(single):
    """Relative to the dense error and gradients themselves, over blocks of rows."""
    torch.manual_seed(0)
    rows, features, width, active = 5000, 300, 64, 15
    ids = torch.rand(rows, features).topk(active).indices
    m = torch.zeros(rows, features).scatter_(1, ids, 1)
    h, weight, bias = torch.rand(rows, width) - 0.5, torch.randn(features, width), torch.randn(300)
    tensors = [x.requires_grad_() for x in (h, weight / 8, bias / 10)]
    tensors = [x.detach().requires_grad_() for x in tensors]
    dense = (m - F.linear(*tensors)).square().sum()
    kind, tolerance = (torch.float32, 1e-6) if single else (torch.float64, 1e-12)
    given = [x.detach().to(kind).requires_grad_() for x in tensors]
    offsets = torch.arange(rows + 1) * active
    sparse = sparse_squared_error(*given, Sparse(ids.flatten(), offsets, features))
    assert abs(sparse - dense) <= tolerance * dense
    mine, theirs = torch.autograd.grad(sparse, given), torch.autograd.grad(dense, tensors)
    for a, b in zip(mine, theirs, strict=True):
        assert (a - b).norm() <= tolerance * b.norm()


def test_stays_do_not_see_each_other(records):
    torch.manual_seed(0)
    encoder, stays = StayEncoder(records.widths, MODEL), [records.stay() for _ in range(5)]
    order = [3, 0, 4, 2, 1]
    b = encoder(records.stay_batch(stays))
    permuted = encoder(records.stay_batch([stays[i] for i in order]))
    torch.testing.assert_close(permuted, b[order])


def test_no_stays_give_no_rows_and_zero_gradients(records):
    encoder = StayEncoder(records.widths, MODEL)
    b = encoder(records.stay_batch([]))
    assert b.shape == (0, 8)
    b.sum().backward()
    assert all(torch.count_nonzero(p.grad) == 0 for p in encoder.parameters())


def test_forget_gates_begin_open_or_as_pytorch_has_them(records):
    """By hours that a cell state lasts, 1 / (1 - the gate): all of them, or two."""
    lasting = {}
    for begun in ("open", "halving"):
        torch.manual_seed(0)
        model = Model(width=64, encoder_layers=3, forget_gates=begun)
        encoder = StayEncoder(records.widths, model)
        biases = [b_ih + b_hh for _, _, b_ih, b_hh in encoder.lstm.all_weights]
        biases += [b_ih + b_hh for _, _, b_ih, b_hh in encoder.upper.all_weights]
        biases.append(StayDecoder(records.widths, model).bias)
        gates = torch.stack([bias[64:128].sigmoid() for bias in biases])
        lasting[begun] = (1 / (1 - gates)).mean(1)
    assert (lasting["open"] > 0.4 * records.widths.hours).all()
    assert (lasting["halving"] < 2.2).all()
