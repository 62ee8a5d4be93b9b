import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.model import sparse as module
from medhmp.model.sparse import Sparse, bag_linear, row_of_entry


def drawn(rows, columns, density, seed, real=False):
    """A dense matrix and the same one as ours."""
    random = np.random.default_rng(seed)
    on = random.random((rows, columns)) < density
    values = random.normal(size=on.shape) if real else np.ones(on.shape)
    offsets = torch.tensor(np.concatenate(([0], on.sum(1).cumsum())), dtype=torch.int64)
    ids = torch.tensor(on.nonzero()[1], dtype=torch.int64)
    kept = torch.tensor(values[on])
    return torch.tensor(on * values), Sparse(ids, offsets, columns, kept if real else None)


shapes = given(
    rows=st.integers(0, 9),
    columns=st.integers(1, 9),
    density=st.sampled_from([0.0, 0.2, 0.7, 1.0]),
    real=st.booleans(),
    seed=st.integers(0, 99),
    block=st.sampled_from([1, 3, 2048]),
    panel=st.sampled_from([1, 2, 128]),
    maps=st.sampled_from([(), (2,), (2, 3)]),
    densifies=st.booleans(),
)


@shapes
@settings(max_examples=120, deadline=None)
def test_bag_linear_is_the_dense_product(
    rows, columns, density, real, seed, block, panel, maps, densifies
):
    dense, x = drawn(rows, columns, density, seed, real)
    weight = torch.randn(*maps, 5, columns, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True)
    onto = torch.randn(*maps, rows, 5, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        patch.setattr(module, "PANEL", panel)
        patch.setattr(module, "densifies", lambda _: densifies)
        ours = bag_linear(weight, x, bias)
        mine = torch.autograd.grad((ours * onto).sum(), (weight, bias))
        torch.testing.assert_close(bag_linear(weight, x), dense @ weight.mT)
    theirs = dense @ weight.mT + bias
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(mine, torch.autograd.grad((theirs * onto).sum(), (weight, bias)))


@shapes
@settings(max_examples=60, deadline=None)
def test_a_sparse_matrix_is_the_dense_one(rows, columns, density, real, seed, **_):
    dense, x = drawn(rows, columns, density, seed, real)
    assert x.rows == rows
    torch.testing.assert_close(x.dense.double(), dense)
    torch.testing.assert_close(x.column_sums.double(), dense.sum(0))
    assert torch.equal(row_of_entry(x.offsets, x.ids.numel()), dense.nonzero()[:, 0])


@pytest.mark.parametrize("real", [False, True])
def test_regrouping_takes_steps_outside(real):
    dense, x = drawn(12, 5, 0.5, seed=1, real=real)
    expected = dense.view(3, 4, 5).transpose(0, 1).reshape(12, 5)
    torch.testing.assert_close(x.regrouped(4).dense.double(), expected)


def test_an_id_twice_in_a_row_counts_twice():
    x = Sparse(torch.tensor([1, 1, 0]), torch.tensor([0, 2, 3]), 3)
    assert x.dense.tolist() == [[0, 2, 0], [1, 0, 0]]
    weight = torch.randn(2, 3, requires_grad=True)
    torch.testing.assert_close(bag_linear(weight, x), x.dense @ weight.t())
    (grad,) = torch.autograd.grad(bag_linear(weight, x).sum(), [weight])
    assert grad.tolist() == [[1, 2, 0], [1, 2, 0]]
