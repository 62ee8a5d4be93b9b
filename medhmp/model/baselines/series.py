"""The four encoders of hourly series of Yang and Wu (2021): (T*S, F) sparse -> (S, width)."""

import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.model.baselines.f_cnn import Convolutions
from medhmp.model.baselines.star_transformer import StarTransformer
from medhmp.model.blocks import HourlyLinear
from medhmp.model.recurrence import run_sparse
from medhmp.model.sparse import Sparse

HEAD = 64
"""Width of a head of attention."""


def heads_of(width: int) -> int:
    """Heads of attention of a width; one where it does not divide."""
    return width // HEAD if width % HEAD == 0 else 1


class SeriesLSTM(nn.Module):
    """LSTM -> last hidden state -> linear layer -> ReLU."""

    def __init__(self, features: int, hours: int, hidden: int, width: int) -> None:
        super().__init__()
        self.hours, self.width = hours, width
        self.lstm = nn.LSTM(features, hidden, batch_first=True)
        self.project = nn.Linear(hidden, width)

    def forward(self, hours: Sparse) -> Tensor:
        """(T*S, F) -> (S, width)."""
        hidden, _ = run_sparse(self.lstm, hours, self.hours)
        return F.relu(self.project(hidden[:, -1]))


class SeriesCNN(Convolutions):
    """The convolutions of F-CNN without its last layer."""

    def __init__(self, features: int, hours: int, width: int, filters: int, depth: int = 1) -> None:
        super().__init__(features, hours, depth, filters, 3, width, dropout=0.1)
        self.width = width

    def forward(self, hours: Sparse) -> Tensor:
        """(T*S, F) -> (S, width)."""
        return self.encode(hours)


class _Projected(nn.Module):
    """Series whose hours pass a linear layer and a ReLU first."""

    def __init__(self, features: int, hours: int, hidden: int) -> None:
        super().__init__()
        self.hours = hours
        self.project = HourlyLinear(features, hidden)

    def embed(self, hours: Sparse) -> Tensor:
        """(T*S, F) -> (S, T, hidden)."""
        return F.relu(self.project.of_hours(hours, self.hours))


class SeriesStar(_Projected):
    """Linear layer -> ReLU -> Star-Transformer."""

    def __init__(self, features: int, hours: int, hidden: int, width: int, cycles: int = 6) -> None:
        super().__init__(features, hours, hidden)
        self.width = width
        self.star = StarTransformer(hidden, heads_of(hidden), cycles, width)

    def forward(self, hours: Sparse) -> Tensor:
        """(T*S, F) -> (S, width)."""
        encoded: Tensor = self.star(self.embed(hours))
        return encoded


class SeriesTransformer(_Projected):
    """Linear layer -> ReLU -> Transformer without positions -> the first hour's state."""

    def __init__(
        self, features: int, hours: int, width: int, feed_forward: int, layers: int = 6
    ) -> None:
        super().__init__(features, hours, width)
        self.width = width
        layer = nn.TransformerEncoderLayer(
            width, heads_of(width), feed_forward, dropout=0.1, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, hours: Sparse) -> Tensor:
        """(T*S, F) -> (S, width)."""
        encoded: Tensor = self.encoder(self.embed(hours))
        return encoded[:, 0]
