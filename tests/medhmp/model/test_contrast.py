import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from medhmp.model.contrast import contrastive_loss


def slow_loss(queries, keys, has_query, has_key, subject, tau, denominator):
    """Eq. 10 term by term."""
    terms = []
    for i in range(queries.shape[0]):
        for r in range(queries.shape[1]):
            negatives = [
                math.exp(F.cosine_similarity(queries[i, r], keys[j, r], dim=0) / tau)
                for j in range(keys.shape[0])
                if subject[j] != subject[i] and has_key[j, r]
            ]
            if not (has_query[i, r] and has_key[i, r] and negatives):
                continue
            positive = F.cosine_similarity(queries[i, r], keys[i, r], dim=0).item() / tau
            if denominator == "include_positive":
                negatives.append(math.exp(positive))
            terms.append(math.log(sum(negatives)) - positive)
    return sum(terms) / max(len(terms), 1)


@pytest.mark.parametrize(
    ("output", "tau", "denominator"),
    [
        ("loss_tau01", 0.1, "include_positive"),
        ("loss_tau007", 0.07, "include_positive"),
        ("loss_tau01_paper_denominator", 0.1, "exclude_positive"),
    ],
)
def test_loss_is_the_recorded_one(golden, output, tau, denominator):
    recorded = golden("infonce")
    everything = torch.ones(7, 1, dtype=torch.bool)
    queries, keys = recorded["input.query"].unsqueeze(1), recorded["input.key"].unsqueeze(1)
    loss = contrastive_loss(
        queries, keys, everything, everything, torch.arange(7), tau, denominator
    )
    torch.testing.assert_close(loss, recorded[f"output.{output}"][0], rtol=0, atol=2e-5)


@given(
    rows=st.integers(1, 7),
    patients=st.integers(1, 7),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    denominator=st.sampled_from(["exclude_positive", "include_positive"]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=60, deadline=None)
def test_loss_is_the_slow_one(rows, patients, share, denominator, seed):
    random = torch.Generator().manual_seed(seed)
    queries, keys = torch.randn(2, rows, 3, 5, dtype=torch.float64, generator=random)
    has_query, has_key = torch.rand(2, rows, 3, generator=random) < share
    subject = torch.randint(patients, (rows,), generator=random)
    queries.requires_grad_()
    loss = contrastive_loss(queries, keys, has_query, has_key, subject, 0.1, denominator)
    expected = slow_loss(
        queries.detach(), keys, has_query, has_key, subject.tolist(), 0.1, denominator
    )
    assert loss.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    loss.backward()
    assert queries.grad.isfinite().all()
    assert torch.count_nonzero(queries.grad[~has_query]) == 0


def test_half_precision_is_summed_in_float32():
    queries, keys = torch.randn(2, 64, 3, 16)
    everything, subject = torch.ones(64, 3, dtype=torch.bool), torch.arange(64)
    arguments = (everything, everything, subject, 0.1, "exclude_positive")
    low = contrastive_loss(queries.bfloat16(), keys.bfloat16(), *arguments)
    assert low.dtype == torch.float32
    rounded = contrastive_loss(queries.bfloat16().float(), keys.bfloat16().float(), *arguments)
    torch.testing.assert_close(low, rounded)
