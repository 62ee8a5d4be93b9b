"""Encoders of text that are fine-tuned: padding, and the vector of a text."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from medhmp.batch import TOKENS
from medhmp.legend import TextFamily


class TextEncoder(Protocol):
    """An encoder with pretrained weights, as ``medhmp/notes/encoder.py`` loads them."""

    @property
    def model(self) -> Any:
        """Maps ids (B, L) and an attention mask (B, L) to hidden states (B, L, E)."""

    @property
    def padding(self) -> int:
        """The id that fills a batch."""

    @property
    def width(self) -> int:
        """E."""

    @property
    def family(self) -> TextFamily:
        """A T5's vector is the mean over tokens, a BERT's that of [CLS] through its pooler."""

    @property
    def pooler(self) -> tuple[Tensor, Tensor] | None:
        """Weights (E, E) and bias (E) of a BERT's pooler; none: they begin at random."""


class PooledText(nn.Module):
    """The vector (B, E) of each text of a batch, through all weights of its encoder."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder: nn.Module = encoder.model
        self.keys, self.padding = TOKENS[encoder.family], encoder.padding
        self.pooler: nn.Linear | None = None
        if encoder.family == "bert":
            self.pooler = nn.Linear(encoder.width, encoder.width)
            if encoder.pooler is not None:
                with torch.no_grad():
                    self.pooler.weight.copy_(encoder.pooler[0])
                    self.pooler.bias.copy_(encoder.pooler[1])

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch with the tokens of texts -> (B, E)."""
        ids, mask = padded(batch[self.keys.offsets], batch[self.keys.ids], self.padding)
        hidden = self.encoder(ids, attention_mask=mask.long()).last_hidden_state  # (B, L, E)
        if self.pooler is not None:
            pooled: Tensor = self.pooler(hidden[:, 0])
            return pooled.tanh()
        weight = mask.to(hidden.dtype)
        return torch.einsum("bl,ble->be", weight / weight.sum(1, keepdim=True), hidden)


def padded(offsets: Tensor, ids: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Texts of at least one token each, padded: ids (B, L), and their mask (B, L) bool."""
    lengths = offsets.diff()
    mask = torch.arange(int(lengths.max()), device=ids.device) < lengths.unsqueeze(1)
    return ids.new_full(mask.shape, padding).masked_scatter(mask, ids), mask
