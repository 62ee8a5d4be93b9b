"""The LSTM recurrence with a hand-written backward pass, over parameters that ``nn.LSTM`` holds.

``nn.LSTM`` needs dense inputs and ours are sparse. On a CPU the caller computes the products
W_ih x, and this file the recurrence that is left, in small operations on one hour that stay in the
cache. On a GPU ``nn.LSTM`` runs on inputs made dense.

``gates`` have an axis for the four gates, in PyTorch's order i, f, g, o. Buffers keep one gate of
one hour contiguous in memory.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.model.sparse import Sparse, bag_linear, full_precision

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input


def runs_natively(device: torch.device) -> bool:
    """True where ``nn.LSTM`` itself runs. ``jobs.benchmark train`` measures both ways."""
    return device.type == "cuda"


class _Recurrence(torch.autograd.Function):
    """(gates, weight_hh, bias, h_0) -> (h_1..h_T, c_T), with c_0 zeros.

    Instead of tanh x it keeps s(-2x), where s is the sigmoid and tanh x = 1 - 2 s(-2x). On a CPU
    this takes a fraction of the time of PyTorch's tanh, and one call activates all gates. Sums are
    as exact.
    """

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, weight_hh: Tensor, bias: Tensor, h_0: Tensor
    ) -> tuple[Tensor, Tensor]:
        _, T, B, R = gates.shape
        activated = gates.new_empty(T, 4, B, R)  # of g the s(-2g)
        hidden = gates.new_empty(T + 1, B, R)
        cell = gates.new_empty(T + 1, B, R)
        of_cell = gates.new_empty(T, B, R)  # s(-2c)
        hidden[0], cell[0] = h_0, 0
        minus_two, bias = gates.new_full((), -2), bias.view(4, 1, R)
        weight = weight_hh.view(4, R, R).transpose(1, 2)
        # unbind() once: indexing hour by hour costs more than the arithmetic of a narrow layer.
        given, now = gates.unbind(1), activated.unbind(0)
        i, f, g, o = (gate.unbind(0) for gate in activated.unbind(1))
        h, c, s = hidden.unbind(0), cell.unbind(0), of_cell.unbind(0)
        h_by_gate = hidden.unsqueeze(1).expand(-1, 4, -1, -1).unbind(0)
        for t in range(T):
            torch.add(given[t], bias, out=now[t]).baddbmm_(h_by_gate[t], weight)
            g[t].mul_(minus_two)
            now[t].sigmoid_()
            # c = f c + i tanh g
            torch.addcmul(i[t], f[t], c[t], out=c[t + 1]).addcmul_(i[t], g[t], value=-2)
            # h = o tanh c
            torch.mul(c[t + 1], minus_two, out=s[t]).sigmoid_()
            torch.addcmul(o[t], o[t], s[t], value=-2, out=h[t + 1])
        ctx.save_for_backward(weight_hh, activated, hidden, cell, of_cell)
        return hidden[1:].transpose(0, 1), cell[T]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_hidden: Tensor, grad_cell: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        weight_hh, activated, hidden, cell, of_cell = ctx.saved_tensors
        T, _, B, R = activated.shape
        is_asked = ctx.needs_input_grad[0]  # the gradient with respect to the gates
        grad = activated.new_empty(4, T if is_asked else 1, B, R)
        every = grad.expand(4, T, B, R)  # otherwise every hour reuses the same buffer
        now, now_turned = every.unbind(1), every.transpose(2, 3).unbind(1)
        by_i, by_f, by_g, by_o = (gate.unbind(0) for gate in every.unbind(0))
        i, f, g, o = (gate.unbind(0) for gate in activated.unbind(1))
        c, s, above = cell.unbind(0), of_cell.unbind(0), grad_hidden.unbind(1)
        after, h_by_gate = activated.unbind(0), hidden.unsqueeze(1).expand(-1, 4, -1, -1).unbind(0)
        weight = weight_hh.view(4, R, R)
        by_weight, by_bias = torch.zeros_like(weight), weight.new_zeros(4, R)
        grad_h, grad_c = torch.zeros_like(grad_cell), grad_cell.clone()
        onto_c, zeros = torch.empty_like(grad_c), torch.zeros_like(grad_c)
        for t in reversed(range(T)):
            grad_h += above[t]
            torch.mul(grad_h, o[t], out=onto_c)
            grad_c.add_(sigmoid_backward(onto_c, s[t], grad_input=onto_c), alpha=4)
            torch.addcmul(grad_c, grad_c, g[t], value=-2, out=by_i[t])
            torch.mul(grad_c, c[t], out=by_f[t])
            torch.addcmul(zeros, grad_c, i[t], value=4, out=by_g[t])
            torch.addcmul(grad_h, grad_h, s[t], value=-2, out=by_o[t])
            sigmoid_backward(now[t], after[t], grad_input=now[t])
            grad_c.mul_(f[t])
            torch.addbmm(grad_h, now[t], weight, beta=0, out=grad_h)
            # Here, not for all hours at the end: now they are in the cache.
            by_weight.baddbmm_(now_turned[t], h_by_gate[t])
            by_bias += now[t].sum(1)
        return grad if is_asked else None, by_weight.flatten(0, 1), by_bias.flatten(), grad_h


def recurrence(
    gates: Tensor, weight_hh: Tensor, bias: Tensor, h_0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One LSTM layer, given the products of its inputs with W_ih.

    Args:
        gates: (4, T, B, R) = W_ih x_t.
        weight_hh: (4R, R).
        bias: (4R), the sum of both.
        h_0: (B, R) initial hidden state; none: zeros. The initial cell state is zeros.

    Returns:
        The hidden states (B, T, R) and the last cell state (B, R).
    """
    if h_0 is None:
        h_0 = gates.new_zeros(gates.shape[2:])
    hidden, cell = _Recurrence.apply(gates, weight_hh, bias, h_0)  # type: ignore[no-untyped-call]
    return hidden, cell


@torch.no_grad()
def remember(lstm: nn.LSTM, steps: int) -> None:
    """Chrono initialization (Tallec and Ollivier 2018): memories of 1 to ``steps`` steps.

    Biases of forget gates begin at log u and those of input gates at -log u, u uniform in
    [1, steps - 1]. PyTorch's own initialization halves a cell state at every step: c_T would hold
    little but a stay's last hours, and most of the gain of pretraining would be learning to
    remember.
    """
    for _, _, bias_ih, bias_hh in lstm.all_weights:
        R = bias_ih.numel() // 4
        bias_ih[: 2 * R] = 0
        bias_hh[R : 2 * R] = torch.empty(R).uniform_(1, max(steps - 1, 1)).log()
        bias_hh[:R] = -bias_hh[R : 2 * R]


def run_gates(lstm: nn.LSTM, gates: Tensor) -> tuple[Tensor, Tensor]:
    """Runs all layers of an ``nn.LSTM``, given the first layer's products of its inputs with W_ih.

    Args:
        lstm: one-directional, with biases; only its parameters are used, never its ``forward``.
        gates: (4, T, B, R) = W_ih x_t of the first layer.

    Returns:
        The top layer's hidden states (B, T, R) and its last cell state (B, R).
    """
    (_, weight_hh, bias_ih, bias_hh), *upper = lstm.all_weights
    hidden, cell = recurrence(gates, weight_hh, bias_ih + bias_hh)
    for weight_ih, weight_hh, bias_ih, bias_hh in upper:
        gates = _gates_of(hidden, weight_ih)
        hidden, cell = recurrence(gates, weight_hh, bias_ih + bias_hh)
    return hidden, cell


def _gates_of(x: Tensor, weight_ih: Tensor) -> Tensor:
    """(B, T, in) -> W_ih x_t (4, T, B, R)."""
    B, T, _ = x.shape
    return F.linear(x, weight_ih).view(B, T, 4, len(weight_ih) // 4).permute(2, 1, 0, 3)


def run_dense(lstm: nn.LSTM, x: Tensor) -> tuple[Tensor, Tensor]:
    """``run_gates`` of dense inputs x (B, T, in)."""
    weight_ih = lstm.all_weights[0][0]
    if not runs_natively(x.device):
        return run_gates(lstm, _gates_of(x, weight_ih))
    with full_precision(x):  # autocast runs nn.LSTM in float16, whose range gradients leave
        hidden, (_, cell) = lstm(x.to(weight_ih.dtype))
    return hidden, cell[-1]


def run_sparse(lstm: nn.LSTM, x: Sparse, steps: int) -> tuple[Tensor, Tensor]:
    """``run_gates`` of sparse inputs x (T*B, in), the T ``steps`` one after another."""
    weight_ih = lstm.all_weights[0][0]
    if runs_natively(weight_ih.device):
        return run_dense(lstm, x.dense.view(steps, -1, x.columns).transpose(0, 1))
    gates = bag_linear(weight_ih.view(4, lstm.hidden_size, -1), x)  # (4, T*B, R)
    return run_gates(lstm, gates.view(4, steps, -1, lstm.hidden_size))


def run_unfed(weight_hh: Tensor, bias: Tensor, h_0: Tensor, steps: int) -> Tensor:
    """One LSTM layer without inputs: hidden states (B, T, R) after h_0 (B, R).

    Args:
        weight_hh: (4R, R).
        bias: (4R), the sum of both.
        h_0: initial hidden state. The initial cell state is zeros.
        steps: T.
    """
    if not runs_natively(h_0.device):
        nothing = bias.new_zeros(()).expand(4, steps, *h_0.shape)
        return recurrence(nothing, weight_hh, bias, h_0)[0]
    with full_precision(h_0):
        h_0 = h_0.to(bias.dtype)
        nothing = h_0.new_zeros(steps, h_0.shape[0], 1)
        weights = [bias.new_zeros(bias.numel(), 1), weight_hh, bias, torch.zeros_like(bias)]
        states = (h_0.unsqueeze(0), torch.zeros_like(h_0).unsqueeze(0))
        hidden = torch.lstm(nothing, states, weights, True, 1, 0.0, True, False, False)[0]
    return hidden.transpose(0, 1)
