"""The baselines of patients, each held to a slow form, HiTANet to its authors' outputs, too."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medhmp.batch import VISIT_DAYS
from medhmp.model.baselines.adacare import adacare
from medhmp.model.baselines.dipole import dipole
from medhmp.model.baselines.hitanet import HiTANet, hitanet
from medhmp.model.baselines.retain import retain
from medhmp.model.visits import VisitGrid
from medhmp.run import Model
from tests.medhmp.model.baselines.slow import (
    agree,
    attention,
    code_mlp,
    gru,
    linear,
    norm,
    ones,
    softmax,
)

MODEL = Model(width=8)
BUILDERS = (dipole, retain, adacare, hitanet)


def weighted(weights, values):
    return sum((w * v for w, v in zip(weights, values, strict=True)), torch.zeros(len(values[0])))


def slow_dipole(reader, v, days):
    forwards, turned = gru(reader.forwards, v), gru(reader.backwards, v[::-1])[::-1]
    h = [torch.cat(both) for both in zip(forwards, turned, strict=True)]
    scores = [linear(reader.location, x)[0] for x in h[:-1]]
    context = weighted(softmax(scores), h[:-1]) if scores else torch.zeros(16)
    return linear(reader.combine, torch.cat((context, h[-1]))).tanh()


def slow_retain(reader, v, days):
    g, h = (gru(layer, v[::-1])[::-1] for layer in (reader.alpha_gru, reader.beta_gru))
    alpha = softmax([linear(reader.alpha_li, x)[0] for x in g])
    beta = [linear(reader.beta_li, x).tanh() for x in h]
    return weighted(alpha, [b * x for b, x in zip(beta, v, strict=True)])


def slow_adacare(reader, v, days):
    inputs = []
    for t, x in enumerate(v):
        channels = []
        for layer, gap in ((reader.nn_conv1, 1), (reader.nn_conv3, 3), (reader.nn_conv5, 5)):
            before = v[t - gap] if t >= gap else torch.zeros(len(x))
            channels.append(layer.weight[..., 0] @ before + layer.weight[..., 1] @ x + layer.bias)
        gated = []
        for gate, z in ((reader.nn_convse, torch.cat(channels).relu()), (reader.nn_inputse, x)):
            gated.append(z * linear(gate.nn_rescale, linear(gate.nn_c, z).relu()).sigmoid())
        inputs.append(torch.cat(gated))
    return torch.stack(gru(reader.rnn, inputs)).amax(0)


def slow_hitanet(reader, v, days):
    def faded(layer, day):
        return 1 - linear(layer, day.reshape(1) / 180).square().tanh()

    x = []
    for at, (visit, day) in enumerate(zip(v, days, strict=True)):
        angles = [at / 10000 ** (2 * (j // 2) / 8) for j in range(8)]
        sinusoid = [np.cos(a) if j % 2 else np.sin(a) for j, a in enumerate(angles)]
        time = linear(reader.time_layer, faded(reader.selection_layer, day))
        x.append(visit + time + torch.tensor(sinusoid))
    of = reader.attention
    q, k, u = ([linear(w, h) for h in x] for w in (of.linear_q, of.linear_k, of.linear_v))
    mixed = [linear(of.linear_final, attention(q[i], k, u, 4)) for i in range(len(x))]
    x = [norm(of.layer_norm, h + m) for h, m in zip(x, mixed, strict=True)]
    ffn = reader.feed_forward
    x = [norm(ffn.layer_norm, h + linear(ffn.w2, linear(ffn.w1, h).relu())) for h in x]
    local = softmax([linear(reader.self_layer, h)[0] for h in x])
    asked = linear(reader.query_layer, x[-1]).relu()
    of_time = [
        linear(reader.global_weight_layer, faded(reader.global_selection_layer, day)).relu()
        for day in days
    ]
    far = softmax([asked @ r / 8 for r in of_time])
    z = softmax(list(linear(reader.query_weight_layer, x[-1])))
    weights = [z[0] * a + z[1] * b for a, b in zip(far, local, strict=True)]
    return weighted([w / (sum(weights) + 1e-5) for w in weights], x)


SLOW = {
    dipole: slow_dipole,
    retain: slow_retain,
    adacare: slow_adacare,
    hitanet: slow_hitanet,
}


def patients_of(records, counts):
    """Visits of each patient, and days of each visit before the last."""
    visits = [[records.ids(40) for _ in range(n)] for n in counts]
    gaps = [np.sort(records.random.integers(1, 900, n))[::-1] for n in counts]
    return visits, [[*gap[:-1].tolist(), 0][:n] for gap, n in zip(gaps, counts, strict=True)]


def batch_of(records, visits, days):
    flat = [day for patient in days for day in patient]
    dtype = torch.get_default_dtype()
    return {**records.patient_batch(visits), VISIT_DAYS: torch.tensor(flat, dtype=dtype)}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("build", BUILDERS)
def test_a_model_of_patients_is_its_slow_form(records, build):
    torch.manual_seed(0)
    visits, days = patients_of(records, (3, 1, 7))

    def slow(model, at):
        v = [code_mlp(model.diagnoses, ones(ids, 40)) for ids in visits[at]]
        times = [torch.tensor(float(day)) for day in days[at]]
        return linear(model.head, SLOW[build](model.reader, v, times))[0]

    agree(build(records.widths, MODEL), slow, batch_of(records, visits, days), range(3))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("build", BUILDERS)
def test_patients_do_not_see_each_other_and_one_without_visits_gets_the_bias(records, build):
    torch.manual_seed(0)
    model = build(records.widths, MODEL).eval()
    visits, days = patients_of(records, (2, 0, 5))
    together = model(batch_of(records, visits, days))
    alone = [model(batch_of(records, [v], [d])) for v, d in zip(visits, days, strict=True) if v]
    torch.testing.assert_close(together[[0, 2]], torch.cat(alone))
    assert together[1] == model.head.bias
    empty = batch_of(records, [[]], [[]])
    model(empty).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


class HeadsInOrderOfMemory(nn.Module):
    """The authors' attention, with their layout of heads and their scale, around our weights."""

    def __init__(self, ours):
        super().__init__()
        self.ours = ours

    def forward(self, x, valid):
        B, N, R = x.shape
        ours = self.ours
        q, k, v = (
            layer(x).reshape(B * 4, N, R // 4)
            for layer in (ours.linear_q, ours.linear_k, ours.linear_v)
        )
        absent = ~valid.unsqueeze(1).repeat(4, N, 1)
        scores = (q @ k.transpose(1, 2) * 0.25).masked_fill(absent, -torch.inf)
        mixed = (scores.softmax(2) @ v).reshape(B, N, R)
        return ours.layer_norm(x + ours.linear_final(mixed))


def test_hitanet_is_the_recorded_one_but_for_heads_and_query(shared):
    """The authors append a visit that asks and has no weight; their heads mix visits."""
    recorded = load_file(shared / "golden" / "models" / "hitanet_original.safetensors")
    weight = {n.removeprefix("weight."): x for n, x in recorded.items() if n.startswith("weight.")}
    theirs = {
        "attention": "feature_encoder.encoder_layers.0.attention",
        "feed_forward": "feature_encoder.encoder_layers.0.feed_forward",
        "selection_layer": "feature_encoder.selection_layer",
        "time_layer": "feature_encoder.time_layer",
        "query_layer": "quiry_layer",
        "query_weight_layer": "quiry_weight_layer",
        "self_layer": "self_layer",
        "global_selection_layer": "time_encoder.selection_layer",
        "global_weight_layer": "time_encoder.weight_layer",
    }
    model = HiTANet(256).eval()
    tensors = {}
    for name in model.state_dict():
        layer, _, rest = name.partition(".")
        tensors[name] = weight[f"{theirs[layer]}.{rest}"]
        if ".w" in name and tensors[name].ndim == 3:  # a convolution of one step
            tensors[name] = tensors[name].squeeze(2)
    model.load_state_dict(tensors, strict=True)
    model.attention = HeadsInOrderOfMemory(model.attention)

    lengths = recorded["input.lengths"]
    grid = VisitGrid(torch.cat((torch.zeros(1, dtype=torch.int64), lengths.cumsum(0))))
    table = weight["feature_encoder.pre_embedding.weight"]
    bias = weight["feature_encoder.bias_embedding"]
    visits, days = recorded["input.code_counts"] @ table + bias, recorded["input.time_step"]
    states = model.states(visits, grid.valid, days)
    query = states[torch.arange(len(lengths)), lengths - 1]
    asks = torch.arange(states.shape[1]) == (lengths - 1).unsqueeze(1)
    chosen = grid.valid & ~asks
    local = model.self_attention(states, chosen).unsqueeze(2)
    torch.testing.assert_close(local, recorded["output.self_attention"], rtol=0, atol=1e-4)
    pooled = model.pool(states, query, chosen, days)
    logits = pooled @ weight["classify_layer.weight"].t() + weight["classify_layer.bias"]
    torch.testing.assert_close(logits, recorded["output.logits"], rtol=0, atol=1e-4)
