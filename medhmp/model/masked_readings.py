"""Pretraining of MedHMP-S's encoder of readings, without labels: ours, not the paper's.

Of every stay a quarter of the variables and a block of hours are hidden. From what is left the
states of the hours say the hidden readings, and of the hours after them which variables will be
read and their means; the pooled readout says the statistics of the whole stay.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medhmp.legend import Widths

HIDDEN_VARIABLES: Final = 0.25
"""Share of the variables that are hidden in all hours."""
SHORTEST: Final = 4
LONGEST: Final = 15
"""Hours of the block in which every variable is hidden."""
AHEAD: Final = 6
"""Hours whose means and presence an hour's state says."""


def hide(observed: Tensor) -> Tensor:
    """Draws the readings to hide among those ``observed`` (S, T, U): (S, T, U) bool."""
    S, T, U = observed.shape
    device = observed.device
    variables = torch.rand(S, 1, U, device=device) < HIDDEN_VARIABLES
    length = torch.randint(SHORTEST, LONGEST + 1, (S, 1, 1), device=device).clamp(max=T)
    start = (torch.rand(S, 1, 1, device=device) * (T - length + 1)).long()
    hour = torch.arange(T, device=device).view(1, T, 1)
    block = (hour >= start) & (hour < start + length)
    return observed & (variables | block)


def coming(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the ``AHEAD`` hours after each hour but the last, and which variables they have.

    Args:
        values: (S, T, U), zeros where not observed.
        observed: (S, T, U) bool.

    Returns:
        Means (S, T - 1, U), zeros where there is no reading, and presence (S, T - 1, U) bool.
    """
    T = values.shape[1]
    after = torch.arange(1, T, device=values.device)
    end = (after + AHEAD).clamp(max=T)
    sums, counts = (
        F.pad(x.cumsum(1), (0, 0, 1, 0)) for x in (values, observed.to(values.dtype))
    )  # (S, T + 1, U): of the hours before
    count = counts[:, end] - counts[:, after]
    return (sums[:, end] - sums[:, after]) / count.clamp(min=1), count > 0


class ReadingsDecoder(nn.Module):
    """States of the hours and the readout -> errors of what they say."""

    def __init__(self, widths: Widths, width: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, widths.numbers)
        self.ahead = nn.Linear(width, 2 * widths.numbers)
        self.statistics = nn.Linear(width, widths.statistics)

    def forward(
        self,
        states: Tensor,
        readout: Tensor,
        readings: tuple[Tensor, Tensor],
        hidden: Tensor,
        ranks: Tensor,
    ) -> dict[str, Tensor]:
        """Mean errors, each over what is known.

        Args:
            states: (S, T, R) of the hours.
            readout: (S, R).
            readings: values (S, T, U) and which are observed, nothing hidden.
            hidden: (S, T, U) bool, the readings that the encoder did not see.
            ranks: of the statistics (S, Q), NaN where there is none.
        """
        values, observed = readings
        means, present = coming(values, observed)
        mean, presence = self.ahead(states[:, :-1]).chunk(2, dim=2)
        return {
            "hidden": _mean_of((self.value(states) - values).square(), hidden),
            "coming": _mean_of((mean - means).square(), present),
            "presence": F.binary_cross_entropy_with_logits(presence, present.to(presence.dtype)),
            "statistics": _mean_of(
                (self.statistics(readout) - ranks.nan_to_num()).square(), ~ranks.isnan()
            ),
        }


def _mean_of(error: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen errors; zero of none."""
    return (error * chosen).sum() / chosen.sum().clamp(min=1)
