import numpy as np
import pytest
import torch

from medhmp.model.blocks import CodeMLP, DemographicMLP, FusionBlock
from medhmp.model.sparse import Sparse, row_of_entry


def dense_and_csr(rows, columns, density, seed, real=False):
    random = np.random.default_rng(seed)
    on = random.random((rows, columns)) < density
    values = random.normal(size=on.shape) if real else np.ones(on.shape)
    offsets = torch.tensor(np.concatenate(([0], on.sum(1).cumsum())), dtype=torch.int64)
    ids = torch.tensor(on.nonzero()[1], dtype=torch.int64)
    return torch.tensor(on * values), ids, offsets, torch.tensor(values[on])


@pytest.mark.usefixtures("float64")
def test_mlps_are_the_dense_networks():
    mlp = DemographicMLP(12, 5, 3)
    x, ids, offsets, values = dense_and_csr(4, 12, 0.4, seed=0, real=True)
    ours = mlp(Sparse(ids, offsets, 12, values))
    torch.testing.assert_close(ours, mlp.second(mlp.first(x).relu()))
    x, ids, offsets, _ = dense_and_csr(4, 12, 0.4, seed=0)
    ours = mlp(Sparse(ids, offsets, 12))
    torch.testing.assert_close(ours, mlp.second(mlp.first(x).relu()))
    codes = CodeMLP(12, 3)
    layers = (codes.first, codes.first_norm, torch.relu, codes.second, codes.second_norm)
    dense = torch.nn.Sequential(
        *(layer if layer != torch.relu else torch.nn.ReLU() for layer in layers)
    )
    torch.testing.assert_close(codes(ids, offsets), dense(x).relu())
    assert len(codes.state_dict()) == 8
    kept = torch.rand(ids.numel()) < 0.5
    x[row_of_entry(offsets, ids.numel())[~kept], ids[~kept]] = 0
    torch.testing.assert_close(codes(ids, offsets, kept), dense(x).relu())


@pytest.mark.parametrize("case", ["paper_eq2_fusion", "paper_eq7_admission"])
def test_fusion_is_the_recorded_equation(golden, case):
    recorded = golden(case)
    fusion = FusionBlock(12)
    fusion.load_state_dict(
        {
            "query.weight": recorded["input.WQ"],
            "key.weight": recorded["input.WK"],
            "value.weight": recorded["input.WV"],
            "norm.weight": recorded["input.ln_weight"],
            "norm.bias": recorded["input.ln_bias"],
        },
        strict=True,
    )
    pooled = fusion(recorded["input.x"])
    torch.testing.assert_close(pooled, recorded["output.pooled"], rtol=0, atol=2e-5)


@pytest.mark.usefixtures("float64")
class TestPresence:
    def test_absent_tokens_are_as_if_not_there(self):
        torch.manual_seed(0)
        fusion, tokens = FusionBlock(8), torch.randn(15, 4, 8)
        present = torch.tensor([[bool(n >> i & 1) for i in range(4)] for n in range(1, 16)])
        fused = fusion(tokens, present)
        for row in range(15):
            alone = fusion(tokens[row, present[row]].unsqueeze(0))
            torch.testing.assert_close(fused[row], alone[0])
        other = torch.where(present.unsqueeze(2), tokens, 1e6)
        torch.testing.assert_close(fusion(other, present), fused)

    def test_a_row_without_tokens_is_zero_and_sends_no_gradient(self):
        torch.manual_seed(0)
        fusion, tokens = FusionBlock(8), torch.randn(2, 3, 8, requires_grad=True)
        present = torch.tensor([[False] * 3, [True, False, True]])
        fused = fusion(tokens, present)
        assert torch.equal(fused[0], torch.zeros(8))
        fused.square().sum().backward()
        assert torch.equal(tokens.grad[0], torch.zeros(3, 8))
        assert torch.equal(tokens.grad[1, 1], torch.zeros(8))
        assert all(parameter.grad.isfinite().all() for parameter in fusion.parameters())

    def test_several_passes_are_those_passes_one_by_one(self):
        torch.manual_seed(0)
        fusion, tokens = FusionBlock(8), torch.randn(5, 4, 8)
        present = torch.rand(3, 5, 4) < 0.6
        one_by_one = torch.stack([fusion(tokens, each) for each in present])
        torch.testing.assert_close(fusion(tokens, present), one_by_one)

    def test_attention_crosses_from_token_to_token(self):
        """The authors' head layout kept each softmax inside one token."""
        torch.manual_seed(0)
        fusion, tokens = FusionBlock(8), torch.randn(1, 2, 8)
        inputs = []
        fusion.norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        fusion(tokens)
        fusion(torch.stack((tokens[:, 0], tokens[:, 1] + 1), dim=1))
        first_token, with_another_second = (given[0, 0] for given in inputs)
        assert (first_token - with_another_second).abs().min() > 1e-6
