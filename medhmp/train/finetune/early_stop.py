"""Stopping on the validation loss."""

import math
from dataclasses import dataclass


@dataclass
class EarlyStop:
    """Keeps the epoch of lowest validation loss; says when ``patience`` epochs brought none lower.

    Epochs count from 0; the untrained model is not a candidate (a defect of the authors' code).
    """

    patience: int
    best_epoch: int = -1
    best_loss: float = math.inf

    def improved(self, epoch: int, loss: float) -> bool:
        """Notes an epoch's loss; True if it is the lowest so far. NaN never is."""
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
            return True
        return False

    def should_stop(self, epoch: int) -> bool:
        return epoch - self.best_epoch >= self.patience
