"""HiTANet (Luo et al. 2020): a Transformer over visits whose attention knows the time between."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.visits import PatientClassifier, VisitGrid, last_of, softmax_over
from medhmp.run import Model

HEADS = 4
INNER = 64
"""Width of what times, queries and keys become."""
SCALE = 180.0
"""Days that count as one unit of time."""
DROPOUT = 0.5


def faded(layer: nn.Linear, time: Tensor) -> Tensor:
    """1 - tanh(z^2) of a linear map z of times (B, N): (B, N, 64)."""
    z: Tensor = layer(time.unsqueeze(2))
    return 1 - z.square().tanh()


class VisitAttention(nn.Module):
    """Attention of ``HEADS`` heads among the visits; residual, LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_k, self.linear_v, self.linear_q, self.linear_final = (
            nn.Linear(width, width) for _ in range(4)
        )
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """(B, N, R) -> (B, N, R). ``valid`` (B, N): padding is not attended to."""
        q, k, v = (
            layer(x).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for layer in (self.linear_q, self.linear_k, self.linear_v)
        )
        scores = q @ k.transpose(2, 3) * q.shape[3] ** -0.5  # (B, heads, N, N)
        absent = ~valid[:, None, None, :]
        attention = scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(3)
        mixed = self.linear_final((attention @ v).transpose(1, 2).flatten(2))
        attended: Tensor = self.layer_norm(x + mixed)
        return attended


class FeedForward(nn.Module):
    """R -> 4R -> R with a ReLU between; residual, LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, R) -> (B, N, R)."""
        out: Tensor = self.layer_norm(x + self.w2(F.relu(self.w1(x))))
        return out


def positions(length: int, width: int, like: Tensor) -> Tensor:
    """Fixed sinusoids (N, R): sine in even columns, cosine in odd ones."""
    at = torch.arange(length, device=like.device, dtype=torch.float64).unsqueeze(1)
    column = torch.arange(width, device=like.device)
    angle = at / 10000 ** (2 * (column // 2) / width).double()
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).to(like.dtype)


class HiTANet(nn.Module):
    """Visits and the days from each to the last -> a weighted sum of the visits' states (R).

    Weights come from the states (local) and from the times, asked for by the last visit (global);
    the last visit decides how both are mixed.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.selection_layer, self.time_layer = nn.Linear(1, INNER), nn.Linear(INNER, width)
        self.attention, self.feed_forward = VisitAttention(width), FeedForward(width)
        self.query_layer = nn.Linear(width, INNER)
        self.query_weight_layer = nn.Linear(width, 2)
        self.self_layer = nn.Linear(width, 1)
        self.global_selection_layer = nn.Linear(1, INNER)
        self.global_weight_layer = nn.Linear(INNER, INNER)

    def states(self, visits: Tensor, valid: Tensor, days: Tensor) -> Tensor:
        """The Transformer's states (B, N, R)."""
        x = visits + self.time_layer(faded(self.selection_layer, days / SCALE))
        place = positions(visits.shape[1], visits.shape[2], visits)
        x = x + place * valid.unsqueeze(2)
        states: Tensor = self.feed_forward(self.attention(x, valid))
        return states

    def self_attention(self, states: Tensor, chosen: Tensor) -> Tensor:
        """The local weights (B, N) of the chosen visits, by their states (B, N, R)."""
        return softmax_over(self.self_layer(states).squeeze(2), chosen)

    def pool(self, states: Tensor, query: Tensor, chosen: Tensor, days: Tensor) -> Tensor:
        """The weighted sum (B, R).

        Args:
            states: (B, N, R).
            query: (B, R) the state that asks.
            chosen: (B, N) bool, the visits that may have weight.
            days: (B, N).
        """
        by_self = self.self_attention(states, chosen)
        asked = F.relu(self.query_layer(query))  # (B, 64)
        faded_time = faded(self.global_selection_layer, days / SCALE)
        keys = F.relu(self.global_weight_layer(faded_time))  # (B, N, 64)
        scores = torch.einsum("bk,bnk->bn", asked, keys) / INNER**0.5
        by_time = softmax_over(scores, chosen)
        of_time, of_self = self.query_weight_layer(query).softmax(1).unsqueeze(2).unbind(1)
        weight = of_time * by_time + of_self * by_self  # (B, N)
        weight = weight / (weight.sum(1, keepdim=True) + 1e-5)
        return torch.einsum("bn,bnr->br", weight, states)

    def forward(self, visits: Tensor, grid: VisitGrid, days: Tensor) -> Tensor:
        """(B, N, R) and (B, N) -> (B, R)."""
        states = self.states(visits, grid.valid, days)
        return self.pool(states, last_of(states, grid.counts), grid.valid, days)


def hitanet(widths: Widths, model: Model) -> PatientClassifier:
    """The classifier of patients around HiTANet."""
    return PatientClassifier(widths, model, HiTANet(model.width), DROPOUT)
