import pytest
import torch
import torch.nn.functional as F
from torch import nn

from medhmp.model import recurrence as module
from medhmp.model.recurrence import recurrence, run_dense, run_sparse, run_unfed
from medhmp.model.sparse import Sparse

pytestmark = pytest.mark.usefixtures("float64")


def gradients(loss, tensors):
    return torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 4, 7), (2, 9, 6, 2)])
def test_values_and_gradients_are_those_of_nn_lstm(layers, shape):
    B, T, inputs, R = shape
    torch.manual_seed(0)
    lstm = nn.LSTM(inputs, R, num_layers=layers, batch_first=True)
    x = torch.randn(B, T, inputs, requires_grad=True)
    above, onto_cell = torch.randn(B, T, R), torch.randn(B, R)
    ours = run_dense(lstm, x)
    hidden, (_, cell) = lstm(x)
    for mine, theirs in zip(ours, (hidden, cell[-1]), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    tensors = [x, *lstm.parameters()]
    mine = gradients((ours[0] * above).sum() + (ours[1] * onto_cell).sum(), tensors)
    theirs = gradients((hidden * above).sum() + (cell[-1] * onto_cell).sum(), tensors)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_the_initial_state_gets_values_and_gradients():
    torch.manual_seed(1)
    lstm, x = nn.LSTM(3, 4, batch_first=True), torch.randn(2, 5, 3)
    h_0 = torch.randn(2, 4, requires_grad=True)
    gates = F.linear(x, lstm.weight_ih_l0).view(2, 5, 4, 4).permute(2, 1, 0, 3)
    hidden, cell = recurrence(gates, lstm.weight_hh_l0, lstm.bias_ih_l0 + lstm.bias_hh_l0, h_0)
    expected, (_, expected_cell) = lstm(x, (h_0[None], torch.zeros(1, 2, 4)))
    torch.testing.assert_close(hidden, expected)
    torch.testing.assert_close(cell, expected_cell[0])
    mine = gradients(hidden.square().sum() + cell.sum(), h_0)
    theirs = gradients(expected.square().sum() + expected_cell.sum(), h_0)
    torch.testing.assert_close(mine, theirs)


def test_backward_pass_agrees_with_finite_differences():
    torch.manual_seed(2)
    shapes = ((4, 3, 2, 2), (8, 2), (8,), (2, 2))
    arguments = [torch.randn(shape, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(recurrence, arguments)


def test_gates_without_a_gradient_leave_the_other_gradients_as_they_are():
    """Then the hours share a buffer in the backward pass."""
    torch.manual_seed(3)
    shapes = ((8, 2), (8,), (3, 2))
    others = [torch.randn(shape, requires_grad=True) for shape in shapes]
    fed = torch.randn(4, 5, 3, 2, requires_grad=True)
    expected = recurrence(fed, *others)
    ours = recurrence(fed.detach(), *others)
    torch.testing.assert_close(ours, expected)
    (mine, theirs) = (gradients(h.square().sum() + c.sum(), others) for h, c in (ours, expected))
    torch.testing.assert_close(mine, theirs)


def test_no_rows_at_all():
    weight, bias = torch.randn(8, 2, requires_grad=True), torch.randn(8, requires_grad=True)
    hidden, cell = recurrence(torch.zeros(4, 4, 0, 2, requires_grad=True), weight, bias)
    assert hidden.shape == (0, 4, 2)
    assert cell.shape == (0, 2)
    for grad in gradients(hidden.sum() + cell.sum(), [weight, bias]):
        assert torch.equal(grad, torch.zeros_like(grad))


@pytest.mark.parametrize("layers", [1, 2])
def test_no_rows_at_all_in_whole_networks(layers):
    """A chunk of admissions without stays has no rows."""
    lstm = nn.LSTM(3, 4, num_layers=layers, batch_first=True)
    dense = run_dense(lstm, torch.zeros(0, 5, 3))
    nothing = torch.zeros(0, dtype=torch.int64)
    sparse = run_sparse(lstm, Sparse(nothing, torch.zeros(1, dtype=torch.int64), 3), 5)
    for hidden, cell in (dense, sparse):
        assert hidden.shape == (0, 5, 4)
        assert cell.shape == (0, 4)
        for grad in gradients(hidden.sum() + cell.sum(), [*lstm.parameters()]):
            assert torch.equal(grad, torch.zeros_like(grad))


def test_the_path_of_a_gpu_gives_the_same(monkeypatch):
    """``nn.LSTM`` over inputs made dense: the choice is the device's, here it is ours."""
    torch.manual_seed(5)
    lstm, T, B = nn.LSTM(7, 4, batch_first=True), 6, 3
    on = torch.rand(T * B, 7) < 0.3
    offsets = F.pad(on.sum(1).cumsum(0), (1, 0))
    h_0 = torch.randn(B, 4, requires_grad=True)
    results = []
    for natively in (False, True):
        monkeypatch.setattr(module, "runs_natively", lambda _, natively=natively: natively)
        x = Sparse(on.nonzero()[:, 1], offsets, 7, torch.ones(int(on.sum())))
        hidden, cell = run_sparse(lstm, x, T)
        unfed = run_unfed(lstm.weight_hh_l0, lstm.bias_hh_l0, h_0, T)
        loss = hidden.square().sum() + cell.sum() + unfed.square().sum()
        results.append([hidden, cell, unfed, *gradients(loss, [h_0, *lstm.parameters()])])
    for ours, native in zip(*results, strict=True):
        torch.testing.assert_close(ours, native)
