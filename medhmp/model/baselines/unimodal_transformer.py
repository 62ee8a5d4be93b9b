"""Transformer on the hourly features alone (paper, Sec. 3.2.2), with and without MedHMP.

With it, the pretrained LSTM of the stay encoder takes the place of the linear layer and is
fine-tuned; from random weights it is the fair control.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.blocks import HourlyLinear
from medhmp.model.starts import HOURS_ENCODER
from medhmp.model.stay import HoursEncoder, hours_of
from medhmp.run import Model

DROPOUT = 0.5
HEADS = 4


class SelfAttention(nn.Module):
    """Self-attention of four heads without biases; dropout, residual, LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_linear, self.k_linear, self.v_linear, self.fc = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.dropout = nn.Dropout(0.1)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, R) -> (B, L, R)."""
        q, k, v = (
            layer(x).unflatten(2, (HEADS, -1)).transpose(1, 2)  # (B, heads, L, R/heads)
            for layer in (self.q_linear, self.k_linear, self.v_linear)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        attended: Tensor = self.layer_norm(x + self.dropout(self.fc(mixed)))
        return attended


class FeedForward(nn.Module):
    """R -> 4R -> R with a ReLU between; residual, LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.ffn = nn.Sequential(up, nn.ReLU(), down)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, R) -> (B, L, R)."""
        out: Tensor = self.layer_norm(x + self.ffn(x))
        return out


class TransformerHead(nn.Module):
    """Embedded hours -> one layer of attention, without positions -> max over time -> one logit."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention, self.ffn = SelfAttention(width), FeedForward(width)
        self.dropout = nn.Dropout(DROPOUT)
        self.output_mlp = nn.Sequential(nn.Linear(width, 1))

    def classify(self, embedded: Tensor) -> Tensor:
        """(B, T, R) -> logits (B)."""
        pooled = self.dropout(self.ffn(self.attention(embedded))).amax(1)
        logits: Tensor = self.output_mlp(pooled)
        return logits.squeeze(1)


class UnimodalTransformer(TransformerHead):
    """The hours of a stay -> linear layer -> Transformer -> one logit."""

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__(model.width)
        self.hours = widths.hours
        self.embedding1 = HourlyLinear(widths.features, model.width)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        hours = hours_of(batch, self.hours, self.embedding1.in_features)
        return self.classify(F.relu(self.embedding1.of_hours(hours, self.hours)))


class EncodedTransformer(TransformerHead):
    """The same on the hidden states of MedHMP's encoder."""

    taken = HOURS_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__(model.width)
        self.stay = HoursEncoder(widths, model)
        self.encoder_dropout = nn.Dropout(DROPOUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        sequence = self.stay.encode(self.stay.hours_of(batch))[0]
        return self.classify(self.encoder_dropout(sequence))
