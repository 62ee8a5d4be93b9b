"""Losses that count as divergence, and those that do not."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.train.loop import Diverged
from medhmp.train.pretrain.guard import FACTOR, PATIENCE, Guard


def watched(losses, every=1, guard=None):
    """A guard that has seen these losses, checked after every so many steps of epoch 3."""
    guard = guard or Guard()
    for step, loss in enumerate(losses):
        guard.step(3, step, torch.tensor(loss, dtype=torch.float64))
        if (step + 1) % every == 0:
            guard.check()
    guard.check()
    return guard


@pytest.mark.parametrize("every", [1, 7, 100])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_told_with_its_step(value, every):
    with pytest.raises(Diverged, match=rf"at step 20 of epoch 3 is {value}; lower the learning"):
        watched([1.0] * 20 + [value] + [math.nan] * 30, every)


@pytest.mark.parametrize("every", [1, 7, 100])
def test_a_loss_that_explodes_ends_the_run(every):
    falling = [2 * 0.99**step for step in range(100)]
    with pytest.raises(Diverged, match=r"exploded: it is 100 at step 107 of epoch 3, where it was"):
        watched(falling + [100.0] * 50, every)


def test_it_does_as_soon_as_there_is_a_reference():
    with pytest.raises(Diverged, match="exploded"):
        watched([1.0] * PATIENCE + [1e6] * PATIENCE)


def test_a_few_bad_batches_do_not():
    guard = watched(([1.0] * 20 + [1e9] * (PATIENCE - 1)) * 10 + [1.0])
    assert guard.is_calm


def test_while_the_loss_explodes_the_guard_is_not_calm():
    assert not watched([1.0] * 20 + [1e3]).is_calm


def test_a_loss_that_falls_to_nearly_nothing_may_be_there_and_back():
    assert watched([1.0] * 5 + [1e-6] * 200 + [0.5] * 200).is_calm


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-20, 20))
def test_noise_around_any_course_is_no_divergence(seed, scale, shift):
    """Also one that crosses zero, as a contrastive loss without its positives may."""
    random = np.random.default_rng(seed)
    course = np.linspace(1 + abs(shift), 1 + abs(shift) - shift, 300)
    losses = scale * (course + random.standard_normal(300))
    assert watched(losses.tolist(), every=17).is_calm


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=200), st.data())
def test_one_that_goes_on_from_a_state_judges_the_same(losses, data):
    cut = data.draw(st.integers(0, len(losses)))

    def ended(guard, rest):
        try:
            return watched(rest, 13, guard).state()
        except Diverged as error:
            return str(error).split(" at step ")[0]

    try:
        first = watched(losses[:cut])
    except Diverged:
        return
    assert ended(Guard(first.state()), losses[cut:]) == ended(watched(losses[:cut]), losses[cut:])


def test_it_knows_the_loss_that_it_judged_last():
    guard = Guard()
    assert math.isnan(guard.last)
    for step, loss in enumerate((3.0, 2.0)):
        guard.step(0, step, torch.tensor(loss))
    assert math.isnan(guard.last)
    guard.check()
    assert guard.last == 2.0


def test_ten_times_the_largest_reference_is_the_bound():
    assert watched([1.0] * 10 + [1 + FACTOR]).is_calm
    assert not watched([1.0] * 10 + [1.001 + FACTOR]).is_calm
