"""RAIM (Xu et al. 2018), attention over two monitored streams, as the authors of MedHMP ran it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.baselines.streams import StreamLinear, streams_of
from medhmp.model.sparse import bag_linear
from medhmp.model.stay import demographics_of, hours_of
from medhmp.run import Model


class Raim(nn.Module):
    """Two hourly streams and the demographics -> attention and GRU, hour after hour -> one logit.

    At hour i the GRU reads the attended mean of hours 0 to i. Attention is guided: it scores hour
    i itself, and where no earlier hour turned on the second stream (its first channel), those too;
    the other hours get the score of the state alone. Hours to come have weight and no content.
    """

    def __init__(self, widths: Widths, model: Model) -> None:
        super().__init__()
        R, self.hours, self.features = model.width, widths.hours, widths.features
        first, second = streams_of(widths)
        self.embedding1, self.embedding2 = StreamLinear(first, R), StreamLinear(second, R)
        self.linear = nn.Linear(widths.demographics, R)
        self.mlp_for_x = nn.Linear(R, 1, bias=False)
        self.mlp_for_hidden = nn.Linear(R, widths.hours)
        self.grucell = nn.GRUCell(R, R)
        self.hidden2label = nn.Linear(R, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        hours = hours_of(batch, self.hours, self.features)
        e1, e2 = (
            F.relu(layer.of_hours(hours, self.hours))  # (B, T, R)
            for layer in (self.embedding1, self.embedding2)
        )
        demographics = demographics_of(batch, self.linear.in_features)
        u = bag_linear(self.linear.weight, demographics, self.linear.bias)  # (B, R)
        logits: Tensor = self.hidden2label(self.attend(e1 + e2, e2[..., 0]) + u)
        return logits.squeeze(1)

    def attend(self, x: Tensor, events: Tensor) -> Tensor:
        """The last state (B, R) of the hours x (B, T, R), guided by ``events`` (B, T)."""
        B, T, R = x.shape
        score = self.mlp_for_x(x).squeeze(2)  # (B, T)
        before = F.pad(events.cumsum(1), (1, 0))[:, :-1]  # (B, T) of the hours before each
        step = torch.arange(T, device=x.device)
        h = x.new_zeros(B, R)
        for i in range(T):
            guidance = (step == i) | ((before[:, i : i + 1] == 0) & (step < i))  # (B, T)
            alpha = (guidance * score + self.mlp_for_hidden(h)).softmax(1)
            context = torch.einsum("bt,btr->br", alpha[:, : i + 1], x[:, : i + 1])
            h = self.grucell(context, h)
        return h
