"""What needs a GPU is skipped without one, saying so."""

import pytest
import torch

from tests.medhmp.conftest import Records


@pytest.fixture
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, and PyTorch sees none here")
    return torch.device("cuda")


@pytest.fixture
def records() -> Records:
    return Records()
