"""The LSTM recurrence with a hand-written backward pass, over parameters that ``nn.LSTM`` holds.

``nn.LSTM`` wants dense inputs. Ours are sparse, so on a CPU the products W_ih x arrive ready-made
and only the recurrence is left, in small operations on one hour that stay in the cache; on a GPU
``nn.LSTM`` runs on inputs made dense.

Gates are in PyTorch's order i, f, g, o and have width 4R. Buffers are laid out hour by hour; their
shapes are as ``batch_first`` has them all the same.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.model.sparse import Sparse, bag_linear, full_precision

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input


def runs_natively(device: torch.device) -> bool:
    """Whether ``nn.LSTM`` runs on this device. ``jobs.benchmark train`` measures both ways."""
    return device.type == "cuda"


def _tanh(x: Tensor, minus_one: Tensor, out: Tensor) -> None:
    """2 sigmoid(2x) - 1: on a CPU a sixth of the time of PyTorch's tanh, as exact in sums."""
    torch.mul(x, 2, out=out).sigmoid_()
    torch.add(minus_one, out, alpha=2, out=out)


class _Recurrence(torch.autograd.Function):
    """(gates, weight_hh, h_0) -> (h_1..h_T, c_T), with c_0 zeros."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight_hh: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        B, T, _ = gates.shape
        R = weight_hh.shape[1]
        # Of g the sigmoid of twice its argument: then one call activates all gates.
        activated = gates.new_empty(T, B, 4, R)
        hidden = gates.new_empty(T + 1, B, R)
        cell = gates.new_empty(T + 1, B, R)
        tanh_cell = gates.new_empty(T, B, R)
        hidden[0], cell[0] = h_0, 0
        minus_one, weight = gates.new_full((), -1), weight_hh.t()
        # Every hour's views at once: one by one they cost more than narrow arithmetic.
        now = activated.view(T, B, 4 * R).unbind(0)
        i, f, g, o = (gate.unbind(0) for gate in activated.unbind(2))
        h, c, tanh_c = hidden.unbind(0), cell.unbind(0), tanh_cell.unbind(0)
        for t, given in enumerate(gates.unbind(1)):
            torch.addmm(given, h[t], weight, out=now[t])
            g[t].mul_(2)
            now[t].sigmoid_()
            torch.mul(f[t], c[t], out=c[t + 1]).addcmul_(i[t], g[t], value=2).sub_(i[t])
            _tanh(c[t + 1], minus_one, tanh_c[t])
            torch.mul(o[t], tanh_c[t], out=h[t + 1])
        ctx.save_for_backward(weight_hh, activated, hidden, cell, tanh_cell)
        return hidden[1:].transpose(0, 1), cell[T]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_hidden: Tensor, grad_cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight_hh, activated, hidden, cell, tanh_cell = ctx.saved_tensors
        T, B, _, R = activated.shape
        grad = torch.empty_like(activated)  # by the gates before activation
        grad_gates = grad.view(T, B, 4 * R)
        by_i, by_f, by_g, by_o = (gate.unbind(0) for gate in grad.unbind(2))
        i, f, g, o = (gate.unbind(0) for gate in activated.unbind(2))
        after, by_gates, now = activated.unbind(0), grad.unbind(0), grad_gates.unbind(0)
        c, tanh_c, above = cell.unbind(0), tanh_cell.unbind(0), grad_hidden.unbind(1)
        grad_h, grad_c = torch.zeros_like(grad_cell), grad_cell.clone()
        onto_c = torch.empty_like(grad_c)
        for t in reversed(range(T)):
            grad_h += above[t]
            torch.mul(grad_h, o[t], out=onto_c)
            grad_c += tanh_backward(onto_c, tanh_c[t], grad_input=onto_c)
            torch.mul(grad_c, g[t], out=by_i[t]).mul_(2).sub_(grad_c)
            torch.mul(grad_c, c[t], out=by_f[t])
            torch.mul(grad_c, i[t], out=by_g[t]).mul_(4)
            torch.mul(grad_h, tanh_c[t], out=by_o[t])
            sigmoid_backward(by_gates[t], after[t], grad_input=by_gates[t])
            grad_c.mul_(f[t])
            torch.mm(now[t], weight_hh, out=grad_h)
        grad_weight = grad_gates.view(T * B, 4 * R).t() @ hidden[:-1].view(T * B, R)
        return grad_gates.transpose(0, 1), grad_weight, grad_h


def recurrence(
    gates: Tensor, weight_hh: Tensor, h_0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Runs one LSTM layer over its input gates.

    Args:
        gates: (B, T, 4R) = W_ih x_t + both biases.
        weight_hh: (4R, R).
        h_0: (B, R) initial hidden state; none: zeros.
            The cell begins as zeros.

    Returns:
        The hidden states (B, T, R) and the last cell state (B, R).
    """
    if h_0 is None:
        h_0 = gates.new_zeros(gates.shape[0], weight_hh.shape[1])
    hidden, cell = _Recurrence.apply(gates, weight_hh, h_0)  # type: ignore[no-untyped-call]
    return hidden, cell


@torch.no_grad()
def remember(lstm: nn.LSTM, steps: int) -> None:
    """Chrono initialization (Tallec and Ollivier 2018): memories of 1 to ``steps`` steps.

    Forget gates begin at log u and input gates at -log u, u uniform in [1, steps - 1]. PyTorch's
    own initialization halves a cell at every step, so that little of a stay but its last hours
    would be left in c_T, and learning to remember would be most of what pretraining brings.
    """
    for _, _, bias_ih, bias_hh in lstm.all_weights:
        R = bias_ih.numel() // 4
        bias_ih[: 2 * R] = 0
        bias_hh[R : 2 * R] = torch.empty(R).uniform_(1, max(steps - 1, 1)).log()
        bias_hh[:R] = -bias_hh[R : 2 * R]


def first_layer(lstm: nn.LSTM) -> tuple[Tensor, Tensor]:
    """W_ih (4R, in) and the sum of both biases (4R) of the first layer."""
    weight_ih, _, bias_ih, bias_hh = lstm.all_weights[0]
    return weight_ih, bias_ih + bias_hh


def run_gates(lstm: nn.LSTM, gates: Tensor) -> tuple[Tensor, Tensor]:
    """Runs all layers of an ``nn.LSTM``, given what its first layer makes of the input.

    Args:
        lstm: one-directional, with biases; only its parameters are used, never its ``forward``.
        gates: (B, T, 4R) = W_ih x_t + both biases of the first layer.

    Returns:
        The top layer's hidden states (B, T, R) and its last cell state (B, R).
    """
    (_, weight_hh, _, _), *upper = lstm.all_weights
    hidden, cell = recurrence(gates, weight_hh)
    for weight_ih, weight_hh, bias_ih, bias_hh in upper:
        hidden, cell = recurrence(F.linear(hidden, weight_ih, bias_ih + bias_hh), weight_hh)
    return hidden, cell


def run_dense(lstm: nn.LSTM, x: Tensor) -> tuple[Tensor, Tensor]:
    """As ``run_gates``, for inputs x (B, T, in)."""
    if not runs_natively(x.device):
        return run_gates(lstm, F.linear(x, *first_layer(lstm)))
    with full_precision(x):  # autocast runs nn.LSTM in float16, whose range gradients leave
        hidden, (_, cell) = lstm(x.to(lstm.all_weights[0][0].dtype))
    return hidden, cell[-1]


def run_sparse(lstm: nn.LSTM, x: Sparse, steps: int) -> tuple[Tensor, Tensor]:
    """As ``run_gates``, for the rows (T*B) of a sparse matrix, T ``steps`` after one another."""
    weight, bias = first_layer(lstm)
    if runs_natively(weight.device):
        return run_dense(lstm, x.dense.view(steps, -1, x.columns).transpose(0, 1))
    gates = bag_linear(weight, x, bias).view(steps, -1, weight.shape[0])
    return run_gates(lstm, gates.transpose(0, 1))


def run_unfed(weight_hh: Tensor, bias: Tensor, h_0: Tensor, steps: int) -> Tensor:
    """One LSTM layer that gets no input: hidden states (B, T, R) after h_0 (B, R).

    Args:
        weight_hh: (4R, R).
        bias: (4R), the sum of both.
        h_0: the initial hidden state; the cell begins as zeros.
        steps: T.
    """
    if not runs_natively(h_0.device):
        hidden, _ = recurrence(bias.expand(h_0.shape[0], steps, -1), weight_hh, h_0)
        return hidden
    with full_precision(h_0):
        h_0 = h_0.to(bias.dtype)
        nothing = h_0.new_zeros(steps, h_0.shape[0], 1)
        weights = [bias.new_zeros(bias.numel(), 1), weight_hh, bias, torch.zeros_like(bias)]
        states = (h_0.unsqueeze(0), torch.zeros_like(h_0).unsqueeze(0))
        hidden = torch.lstm(nothing, states, weights, True, 1, 0.0, True, False, False)[0]
    return hidden.transpose(0, 1)
