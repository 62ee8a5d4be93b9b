"""The parts of a step of stage one, each in the two forms that a device may prefer.

Forward and backward together. ``medhmp.model`` chooses a form for each device by these figures.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import grad

from medhmp.benchmark.rows import PAPER, random_stays
from medhmp.model.recurrence import recurrence
from medhmp.model.sparse import bag_linear
from medhmp.model.stay import hours_of, sparse_squared_error
from medhmp.train.device import to_device

Works = dict[str, Callable[[], object]]


def parts(width: int, rows: int, active: int, device: torch.device) -> Works:
    """Name -> work: the first layer, the recurrence and the loss, each in our form and the plain
    one; the first layer also as PyTorch's embedding bag.

    Recurrences have no input, except ``recurrence_fed``, whose gradient by its input is taken too.
    The plain forms find the dense matrix made; ``densify`` makes it.
    """
    batch = to_device(random_stays(rows, active).batch(np.arange(rows)), device)
    x = functools.partial(hours_of, batch, PAPER.hours, PAPER.features)
    dense, steps = x().dense, PAPER.hours
    make = functools.partial(_parameter, device=device)
    weight, recurrent = make(4 * width, PAPER.features), make(4 * width, width)
    gates, biases = make(4, steps, rows, width), make(4 * width)
    onto_gates = make(rows * steps, 4 * width).detach()
    onto_each = make(4, rows * steps, width).detach()
    onto_hidden = make(rows, steps, width).detach()
    h, output, bias = make(rows * steps, width), make(PAPER.features, width), make(PAPER.features)
    lstm = nn.LSTM(1, width, batch_first=True).to(device)
    unfed = gates.new_zeros(()).expand(gates.shape)
    nothing = torch.zeros(rows, steps, 1, device=device)
    decoder, weights = (h, output, bias), [*lstm.parameters()]
    return {
        "densify": lambda: x().dense,
        "first_layer": lambda: grad(bag_linear(weight.view(4, width, -1), x()), weight, onto_each),
        "first_layer_bags": lambda: grad(
            F.embedding_bag(x().ids, weight.t(), x().offsets, mode="sum", include_last_offset=True),
            weight,
            onto_gates,
        ),
        "first_layer_dense": lambda: grad(F.linear(dense, weight), weight, onto_gates),
        "recurrence": lambda: grad(
            recurrence(unfed, recurrent, biases)[0], (recurrent, biases), onto_hidden
        ),
        "recurrence_fed": lambda: grad(
            recurrence(gates, recurrent, biases)[0], (gates, recurrent, biases), onto_hidden
        ),
        "recurrence_nn_lstm": lambda: grad(lstm(nothing)[0], weights, onto_hidden),
        "loss": lambda: grad(sparse_squared_error(*decoder, x()), decoder),
        "loss_dense": lambda: grad((F.linear(h, output, bias) - dense).square().sum(), decoder),
    }


def _parameter(*shape: int, device: torch.device) -> Tensor:
    return (torch.randn(*shape, device=device) / 16).requires_grad_()
