"""DCMN (Feng et al. 2019), two memories that query each other, as the authors of MedHMP ran it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.baselines.streams import dense_stream, streams_of
from medhmp.model.recurrence import run_dense
from medhmp.model.sparse import bag_linear
from medhmp.model.stay import demographics_of, hours_of
from medhmp.refusal import Refusal
from medhmp.run import Model

KERNEL, STRIDE = 10, 5
"""Of the convolution along the features of one hour."""


class HourEmbedding(nn.Module):
    """The features of each hour -> one convolution along them -> ReLU -> linear layer."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, KERNEL, stride=STRIDE)
        self.linear = nn.Linear((features - KERNEL) // STRIDE + 1, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, Fk) -> (B, T, R)."""
        # With one channel, a product with every window takes half of a convolution's time.
        windows = x.to(self.linear.weight.dtype).unfold(2, KERNEL, STRIDE)
        convolved = F.linear(windows, self.conv.weight.view(1, KERNEL), self.conv.bias).squeeze(3)
        embedded: Tensor = self.linear(F.relu(convolved))
        return embedded


class DCMN(nn.Module):
    """Two hourly streams and the demographics -> memories, read by gated attention -> one logit."""

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R, self.hours, self.features = model.width, widths.hours, widths.features
        first, second = streams_of(widths, KERNEL)
        if min(len(first), len(second)) < KERNEL:
            raise Refusal(
                f"dcmn needs two streams of {KERNEL} features and the shards have "
                f"{widths.features} in all; featurize with a lower features.theta_2"
            )
        self.first: Tensor
        self.second: Tensor
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("second", second, persistent=False)
        self.embedding1, self.embedding2 = (
            HourEmbedding(len(first), R),
            HourEmbedding(len(second), R),
        )
        self.batchnorm1, self.batchnorm2 = nn.BatchNorm1d(R), nn.BatchNorm1d(R)
        self.w_emb, self.w_out, self.c_emb, self.c_out = (
            nn.LSTM(R, R, batch_first=True) for _ in range(4)
        )
        self.linear1, self.linear2 = nn.Linear(R, R), nn.Linear(R, R)
        self.linear3, self.linear4 = nn.Linear(R, R), nn.Linear(R, R)
        self.gate_linear, self.gate_linear2 = nn.Linear(R, R), nn.Linear(R, R)
        self.linear = nn.Linear(widths.demographics, R)
        self.dropout = nn.Dropout(0.1)
        self.output_mlp = nn.Sequential(nn.Linear(R, 1))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        hours = hours_of(batch, self.hours, self.features)
        x1 = self.embedding1(dense_stream(hours, self.first, self.hours))
        x2 = self.embedding2(dense_stream(hours, self.second, self.hours))
        demographics = demographics_of(batch, self.linear.in_features)
        s = self.dropout(bag_linear(self.linear.weight, demographics, self.linear.bias))
        logits: Tensor = self.output_mlp(self.read(x1, x2) + s)
        return logits.squeeze(1)

    def read(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The streams (B, T, R), each read with the query of the other: o_w + o_c (B, R)."""
        x1 = self.batchnorm1(x1.transpose(1, 2)).transpose(1, 2)
        x2 = self.batchnorm2(x2.transpose(1, 2)).transpose(1, 2)
        memory_w, memory_c = run_dense(self.w_emb, x1)[0], run_dense(self.c_emb, x2)[0]
        q_w, q_c = (run_dense(o, x)[0][:, -1] for o, x in ((self.w_out, x1), (self.c_out, x2)))
        o_w = _answer(memory_w, q_c, self.linear1, self.linear2, self.gate_linear)
        o_c = _answer(memory_c, q_w, self.linear3, self.linear4, self.gate_linear2)
        return o_w + o_c


def _answer(
    memory: Tensor, query: Tensor, key: nn.Linear, value: nn.Linear, gate: nn.Linear
) -> Tensor:
    """A gated read of a memory (B, T, R) with a query (B, R): (B, R)."""
    weight = torch.einsum("br,btr->bt", query, key(memory)).softmax(1)
    context = torch.einsum("bt,btr->br", weight, value(memory))
    opened: Tensor = gate(query).sigmoid()
    return context * opened + query * (1 - opened)
