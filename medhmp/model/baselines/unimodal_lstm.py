"""LSTM on the hourly features alone (paper, Sec. 3.2.2), with and without MedHMP.

With it, the pretrained LSTM of the stay encoder comes first and is fine-tuned. Such a model has
more layers than the one without, so the fair control of a pretrained start is the same model from
random weights.
"""

from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.recurrence import run_dense, run_sparse
from medhmp.model.starts import HOURS_ENCODER
from medhmp.model.stay import HoursEncoder, hours_of
from medhmp.run import Model

DROPOUT = 0.5


class LSTMHead(nn.Module):
    """Hidden states of an LSTM (B, T, R) -> max over time -> one logit."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.rnns = nn.LSTM(inputs, width, batch_first=True)
        self.output_mlp = nn.Sequential(nn.Linear(width, 1))

    def pool(self, hidden: Tensor) -> Tensor:
        """(B, T, R) -> logits (B)."""
        logits: Tensor = self.output_mlp(hidden.amax(1))
        return logits.squeeze(1)


class UnimodalLSTM(LSTMHead):
    """The hours of a stay -> LSTM -> max over time -> one logit."""

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__(widths.features, model.width)
        self.hours = widths.hours

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        hours = hours_of(batch, self.hours, self.rnns.input_size)
        return self.pool(run_sparse(self.rnns, hours, self.hours)[0])


class EncodedLSTM(LSTMHead):
    """The same on the hidden states of MedHMP's encoder."""

    taken = HOURS_ENCODER

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__(model.width, model.width)
        self.stay = HoursEncoder(widths, model)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        sequence = self.stay.encode(self.stay.hours_of(batch))[0]
        return self.pool(run_dense(self.rnns, self.dropout(sequence))[0])
