"""Types of the arrays that most modules pass on."""

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
AnyInts = npt.NDArray[np.integer[Any]]
"""Integers of any width, as ids are stored."""
