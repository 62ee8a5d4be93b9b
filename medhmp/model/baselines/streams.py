"""The two hourly streams of RAIM and DCMN, which expect two devices at a bed.

How the authors of MedHMP divided their features is not published. Here the first stream has the
values, the second what tells that something was measured (FIDDLE's masks and times since a
reading); where either is too narrow for the model, each has one half of the features.
"""

import torch
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.sparse import Sparse, bag_linear


def streams_of(widths: Widths, narrowest: int = 1) -> tuple[Tensor, Tensor]:
    """The features (F1) and (F2) of the streams, int64, each at least ``narrowest`` if F allows."""
    every = torch.arange(widths.features)
    is_event = torch.isin(every, torch.tensor(widths.events, dtype=torch.int64))
    if min(int(is_event.sum()), int((~is_event).sum())) < narrowest:
        is_event = every >= (widths.features + 1) // 2
    return every[~is_event], every[is_event]


class StreamLinear(nn.Linear):
    """A linear map of the features of a stream in each hour, over CSR rows of all features."""

    def __init__(self, stream: Tensor, width: int) -> None:
        super().__init__(len(stream), width)
        self.stream: Tensor
        self.register_buffer("stream", stream, persistent=False)

    def of_hours(self, hours: Sparse, steps: int) -> Tensor:
        """Features (T*S, F), hour after hour, of T ``steps``: (S, T, out)."""
        nothing = self.weight.new_zeros(self.out_features, hours.columns)
        every = nothing.index_copy(1, self.stream, self.weight)
        x = bag_linear(every, hours, self.bias)
        return x.view(steps, -1, self.out_features).transpose(0, 1)


def dense_stream(hours: Sparse, stream: Tensor, T: int) -> Tensor:
    """A stream of hours (T*B, F) as (B, T, F1)."""
    return hours.dense[:, stream].view(T, -1, len(stream)).transpose(0, 1)
