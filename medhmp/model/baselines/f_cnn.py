"""F-CNN (Tang et al. 2020), the convolutional model of the FIDDLE experiments."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths
from medhmp.model.sparse import Sparse, bag_linear
from medhmp.model.stay import demographics_of, hours_of
from medhmp.run import Model


class Convolutions(nn.Module):
    """``depth`` blocks of convolution over time, activation and pooling by two; then one layer.

    Pooling keeps the last hour where their number is odd, so that T need not be a multiple of
    2^depth. The first convolution's products are computed sparsely.
    """

    def __init__(
        self,
        channels: int,
        hours: int,
        depth: int = 2,
        filters: int = 64,
        filter_size: int = 3,
        width: int = 64,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.hours, self.depth = hours, depth
        padding = filter_size // 2
        for block in range(1, depth + 1):
            inputs = channels if block == 1 else filters
            convolution = nn.Conv1d(inputs, filters, filter_size, padding=padding)
            self.add_module(f"conv{block}", convolution)
            hours = (hours + 1) // 2
        self.fc1 = nn.Linear(hours * filters, width)
        self.dropout = nn.Dropout(dropout)

    def encode(self, hours: Sparse, demographics: Sparse | None = None) -> Tensor:
        """Features (T*B, F), with demographics (B, P) repeated at each hour: (B, width)."""
        x = self._first(hours, demographics)
        for block in range(1, self.depth + 1):
            if block > 1:
                length = x.shape[2]
                x = self.get_submodule(f"conv{block}")(x)[..., :length]
            x = F.max_pool1d(F.relu(x), 2, 2, ceil_mode=True)
        return F.relu(self.dropout(self.fc1(x.flatten(1))))

    def _first(self, hours: Sparse, demographics: Sparse | None) -> Tensor:
        """The first convolution (B, filters, T): its K taps' products, shifted and added."""
        convolution, T = self.conv1, self.hours
        assert isinstance(convolution, nn.Conv1d)
        weight = convolution.weight.permute(2, 0, 1)  # (K, filters, F + P)
        K, filters, padding = weight.shape[0], weight.shape[1], weight.shape[0] // 2
        taps = bag_linear(weight[..., : hours.columns], hours).view(K, T, -1, filters)
        if demographics is not None:
            taps = taps + bag_linear(weight[..., hours.columns :], demographics).unsqueeze(1)
        padded = F.pad(taps, (0, 0, 0, 0, padding, padding))
        x = torch.stack([padded[k, k : k + T] for k in range(K)]).sum(0)  # (T, B, filters)
        assert convolution.bias is not None
        return (x + convolution.bias).permute(1, 2, 0)


class FCNN(Convolutions):
    """Hourly features with the demographics repeated each hour -> convolutions -> one logit.

    Sizes are the defaults of the authors' class, whatever the run's ``model`` section says.
    """

    def __init__(
        self,
        widths: Widths,
        model: Model,
        depth: int = 2,
        filters: int = 64,
        filter_size: int = 3,
        neurons: int = 64,
    ) -> None:
        channels = widths.features + widths.demographics
        super().__init__(channels, widths.hours, depth, filters, filter_size, neurons)
        self.features, self.demographics = widths.features, widths.demographics
        self.fc2 = nn.Linear(neurons, 1)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays -> logits (B)."""
        hours = hours_of(batch, self.hours, self.features)
        encoded = self.encode(hours, demographics_of(batch, self.demographics))
        logits: Tensor = self.fc2(encoded)
        return logits.squeeze(1)
