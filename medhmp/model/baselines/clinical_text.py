"""Classifiers of the note alone, with its encoder fine-tuned: ClinicalT5 and ClinicalBERT.

ClinicalT5 (Lehman and Johnson 2023) pools the mean over the note's tokens, ClinicalBERT (Huang et
al. 2019) the [CLS] token.
"""

from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.text import PooledText, TextEncoder
from medhmp.run import Model


class NoteClassifier(nn.Module):
    """The note of a stay's or an admission's patient -> encoder -> one logit."""

    def __init__(self, widths: Widths, model: Model, encoder: TextEncoder) -> None:
        super().__init__()
        self.text = PooledText(encoder)
        self.head = nn.Linear(encoder.width, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch with the tokens of notes -> logits (B)."""
        logits: Tensor = self.head(self.text(batch))
        return logits.squeeze(1)
