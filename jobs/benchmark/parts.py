"""The parts of a step of stage one, each in the two ways that a device may do it.

Forward and backward together. What ``medhmp.model`` chooses by the device is chosen by these.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from jobs.benchmark.rows import PAPER, random_stays
from medhmp.model.recurrence import recurrence
from medhmp.model.sparse import bag_linear
from medhmp.model.stay import hours_of, sparse_squared_error
from medhmp.train.device import to_device

Works = dict[str, Callable[[], object]]


def parts(width: int, rows: int, active: int, device: torch.device) -> Works:
    """Name -> work: each of the first layer, the recurrence and the loss, in our way and the plain
    one. The dense matrix is made beforehand for the plain ones; ``densify`` says what that takes.
    """
    batch = to_device(random_stays(rows, active).batch(np.arange(rows)), device)
    x = functools.partial(hours_of, batch, PAPER.hours, PAPER.features)
    dense, steps = x().dense, PAPER.hours
    make = functools.partial(_parameter, device=device)
    weight, recurrent = make(4 * width, PAPER.features), make(4 * width, width)
    gates = make(rows, steps, 4 * width)
    onto_gates = make(rows * steps, 4 * width).detach()
    onto_hidden = make(rows, steps, width).detach()
    h, output, bias = make(rows * steps, width), make(PAPER.features, width), make(PAPER.features)
    lstm = nn.LSTM(1, width, batch_first=True).to(device)
    nothing = torch.zeros(rows, steps, 1, device=device)
    return {
        "densify": lambda: x().dense,
        "first_layer": lambda: bag_linear(weight, x()).backward(onto_gates),
        "first_layer_dense": lambda: F.linear(dense, weight).backward(onto_gates),
        "recurrence": lambda: recurrence(gates, recurrent)[0].backward(onto_hidden),
        "recurrence_nn_lstm": lambda: lstm(nothing)[0].backward(onto_hidden),
        "loss": lambda: sparse_squared_error(h, output, bias, x()).backward(),
        "loss_dense": lambda: (F.linear(h, output, bias) - dense).square().sum().backward(),
    }


def _parameter(*shape: int, device: torch.device) -> Tensor:
    return (torch.randn(*shape, device=device) / 16).requires_grad_()
