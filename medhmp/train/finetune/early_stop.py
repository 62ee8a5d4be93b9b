"""Early stopping on the validation loss."""

import math
from dataclasses import dataclass


@dataclass
class EarlyStop:
    """The epoch of lowest validation loss, and the end after ``patience`` epochs without another.

    Epochs count from 0. The untrained model is no candidate, unlike in the authors' code.
    """

    patience: int
    best_epoch: int = -1
    best_loss: float = math.inf

    def improved(self, epoch: int, loss: float) -> bool:
        """Takes an epoch's loss; True if it is the lowest so far. NaN never is."""
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, loss
            return True
        return False

    def should_stop(self, epoch: int) -> bool:
        return epoch - self.best_epoch >= self.patience
