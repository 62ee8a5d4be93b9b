"""Star-Transformer (Guo et al. 2019) as Yang and Wu (2021) use it, with true neighbours."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StarAttention(nn.Module):
    """Attention of one query per row over its own context, with biases and an output layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        """(..., H) -> (..., heads, H/heads)."""
        return x.view(*x.shape[:-1], self.heads, -1)

    def mix(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attends and projects.

        Args:
            query: (..., H), before its map.
            keys: (..., C, heads, H/heads) of the context.
            values: the same.

        Returns:
            (..., H).
        """
        q = self.split(self.query(query))
        scores = torch.einsum("...he,...che->...hc", q, keys) * q.shape[-1] ** -0.5
        mixed = torch.einsum("...hc,...che->...he", scores.softmax(-1), values)
        out: Tensor = self.out(mixed.flatten(-2))
        return out


class StarCycle(nn.Module):
    """One update of all satellites, then of the relay; its weights serve every cycle."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.multi_att_satellite = StarAttention(width, heads)
        self.multi_att_relay = StarAttention(width, heads)
        self.ln_satellite = nn.LayerNorm(width, eps=1e-12)
        self.ln_relay = nn.LayerNorm(width, eps=1e-12)

    def forward(self, h: Tensor, e: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Satellites h (B, T, H), inputs e (B, T, H) and relay s (B, H) -> new h and s."""
        satellite, relay = self.multi_att_satellite, self.multi_att_relay
        keys, values = (
            torch.stack(
                (
                    *(of_h.roll(shift, 1) for shift in (1, 0, -1)),  # h_{i-1}, h_i, h_{i+1}
                    satellite.split(layer(e)),
                    satellite.split(layer(s)).unsqueeze(1).expand_as(of_h),
                ),
                dim=2,
            )  # (B, T, 5, heads, H/heads)
            for layer in (satellite.key, satellite.value)
            for of_h in (satellite.split(layer(h)),)
        )
        h = self.ln_satellite(F.relu(satellite.mix(h, keys, values)))
        context = torch.cat((s.unsqueeze(1), h), dim=1)  # (B, 1 + T, H)
        keys, values = (relay.split(layer(context)) for layer in (relay.key, relay.value))
        return h, self.ln_relay(F.relu(relay.mix(s, keys, values)))


class StarTransformer(nn.Module):
    """A ring of satellites around a relay: (B, T, H) -> (B, n), without a final activation."""

    def __init__(self, width: int, heads: int, cycles: int, outputs: int) -> None:
        super().__init__()
        self.cycles = cycles
        self.star_trm = StarCycle(width, heads)
        self.fc = nn.Linear(width, outputs)

    def forward(self, e: Tensor) -> Tensor:
        """(B, T, H) -> (B, n)."""
        h, s = e, e.mean(1)
        for _ in range(self.cycles):
            h, s = self.star_trm(h, e, s)
        encoded: Tensor = self.fc(h.mean(1) + s)
        return encoded
