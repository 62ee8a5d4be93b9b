"""The LSTM recurrence with a hand-written backward pass, over parameters that ``nn.LSTM`` holds.

``nn.LSTM`` wants dense inputs. Ours are sparse, so the products W_ih x arrive ready-made and only
the recurrence is left. Autograd would record some ten nodes an hour for it; here the backward pass
is six small operations an hour and one matrix product for the whole weight gradient.

Gates are in PyTorch's order i, f, g, o and have width 4R.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Recurrence(torch.autograd.Function):
    """(gates, weight_hh, h_0, c_0) -> (h_1..h_T, c_T)."""

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, weight_hh: Tensor, h_0: Tensor, c_0: Tensor
    ) -> tuple[Tensor, Tensor]:
        B, T, _ = gates.shape
        R = weight_hh.shape[1]
        activated = gates.new_empty(B, T, 4, R)
        hidden = gates.new_empty(B, T + 1, R)
        cell = gates.new_empty(B, T + 1, R)
        tanh_cell = gates.new_empty(B, T, R)
        hidden[:, 0], cell[:, 0] = h_0, c_0
        # Every hour's views at once: one by one they cost more than narrow arithmetic.
        now = activated.view(B, T, 4 * R).unbind(1)
        i, f, g, o = (gate.unbind(1) for gate in activated.unbind(2))
        i_and_f = activated[:, :, :2].unbind(1)
        h, c, tanh_c = hidden.unbind(1), cell.unbind(1), tanh_cell.unbind(1)
        for t, given in enumerate(gates.unbind(1)):
            torch.addmm(given, h[t], weight_hh.t(), out=now[t])
            i_and_f[t].sigmoid_()
            g[t].tanh_()
            o[t].sigmoid_()
            torch.mul(f[t], c[t], out=c[t + 1]).addcmul_(i[t], g[t])
            torch.tanh(c[t + 1], out=tanh_c[t])
            torch.mul(o[t], tanh_c[t], out=h[t + 1])
        ctx.save_for_backward(weight_hh, activated, hidden, cell, tanh_cell)
        return hidden[:, 1:], cell[:, T]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, grad_hidden: Tensor, grad_cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weight_hh, activated, hidden, cell, tanh_cell = ctx.saved_tensors
        B, T, R = tanh_cell.shape
        i, f, g, o = activated.unbind(2)
        # Local derivatives of every hour at once: of c_t by the gates i, f, g and of h_t by o, all
        # before activation, and of h_t by c_t. The loop scales them into the gates' gradient.
        grad = torch.stack(
            (
                g * i * (1 - i),
                cell[:, :-1] * f * (1 - f),
                i * (1 - g * g),
                tanh_cell * o * (1 - o),
            ),
            dim=2,
        )
        hidden_by_cell = (o * (1 - tanh_cell * tanh_cell)).unbind(1)
        grad_gates = grad.view(B, T, 4 * R)
        i_f_g, o_alone, now = (
            grad[:, :, :3].unbind(1),
            grad[:, :, 3].unbind(1),
            grad_gates.unbind(1),
        )
        forget, above = f.unbind(1), grad_hidden.unbind(1)
        grad_h, grad_c = torch.zeros_like(grad_cell), grad_cell.clone()
        for t in reversed(range(T)):
            grad_h += above[t]
            grad_c.addcmul_(grad_h, hidden_by_cell[t])
            i_f_g[t].mul_(grad_c.unsqueeze(1))
            o_alone[t].mul_(grad_h)
            grad_c.mul_(forget[t])
            torch.mm(now[t], weight_hh, out=grad_h)
        grad_weight = grad_gates.reshape(B * T, 4 * R).t() @ hidden[:, :-1].reshape(B * T, R)
        return grad_gates, grad_weight, grad_h, grad_c


def recurrence(
    gates: Tensor, weight_hh: Tensor, h_0: Tensor | None = None, c_0: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Runs one LSTM layer over its input gates.

    Args:
        gates: (B, T, 4R) = W_ih x_t + both biases.
        weight_hh: (4R, R).
        h_0: (B, R) initial hidden state; none: zeros.
        c_0: (B, R) initial cell state; none: zeros.

    Returns:
        The hidden states (B, T, R) and the last cell state (B, R).
    """
    zeros = gates.new_zeros(gates.shape[0], weight_hh.shape[1])
    h_0 = zeros if h_0 is None else h_0
    c_0 = zeros if c_0 is None else c_0
    hidden, cell = _Recurrence.apply(gates, weight_hh, h_0, c_0)  # type: ignore[no-untyped-call]
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


def input_weight(lstm: nn.LSTM) -> Tensor:
    """W_ih (4R, in) of the first layer."""
    return lstm.all_weights[0][0]


def run_lstm(lstm: nn.LSTM, projected: Tensor) -> tuple[Tensor, Tensor]:
    """Runs all layers of an ``nn.LSTM``, given what its first layer makes of the input.

    Args:
        lstm: one-directional, with biases; only its parameters are used, never its ``forward``.
        projected: (B, T, 4R) = W_ih x_t of the first layer, without biases.

    Returns:
        The top layer's hidden states (B, T, R) and its last cell state (B, R).
    """
    (_, weight_hh, bias_ih, bias_hh), *upper = lstm.all_weights
    hidden, cell = recurrence(projected + (bias_ih + bias_hh), weight_hh)
    for weight_ih, weight_hh, bias_ih, bias_hh in upper:
        hidden, cell = recurrence(F.linear(hidden, weight_ih, bias_ih + bias_hh), weight_hh)
    return hidden, cell
