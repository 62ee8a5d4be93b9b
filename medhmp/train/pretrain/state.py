"""The state of a training: restored from a checkpoint, copied for the next one."""

from typing import Any

import torch

from medhmp.train.checkpoint import Checkpoint, Position
from medhmp.train.loop import Midway
from medhmp.train.pretrain.guard import Guard
from medhmp.train.pretrain.writer import copied


class TrainingState:
    """Weights, optimizer, metrics and guard of one rank, at a position."""

    def __init__(
        self,
        objective: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        begun: Checkpoint | None,
    ) -> None:
        """Restores the checkpoint ``begun``; none: keeps the fresh state.

        ``objective`` is the bare module, not its wrapper for several ranks.
        """
        self._objective, self._optimizer = objective, optimizer
        if begun:
            objective.load_state_dict(begun.weights, strict=True)
            optimizer.load_state_dict(begun.optimizer)
        self.start = begun.position if begun else Position(0)
        self.metrics = list(begun.metrics) if begun else []  # a row per epoch that is done
        self.guard = Guard(begun.guard if begun else None)
        self._meters = begun.meters if begun else []

    def midway(self, rank: int) -> Midway | None:
        """The step inside the first epoch from which a rank goes on; None at its beginning."""
        return Midway(self.start.step, self._meters[rank]) if self.start.step else None

    def checkpoint(self, position: Position, meters: list[dict[str, Any]]) -> Checkpoint:
        """Copies the state on the device; ``meters`` are those of every rank."""
        return Checkpoint(
            position,
            copied(self._objective.state_dict()),
            copied(self._optimizer.state_dict()),
            [*self.metrics],
            meters,
            self.guard.state(),
        )
