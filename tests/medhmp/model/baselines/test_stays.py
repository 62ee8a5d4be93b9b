"""The baselines of stays: recorded outputs, or a slow form of their own."""

import pytest
import torch
import torch.nn.functional as F

from medhmp.batch import DEMOGRAPHICS, HOURS
from medhmp.legend import Widths
from medhmp.model import recurrence
from medhmp.model.baselines import f_lstm
from medhmp.model.baselines.dcmn import DCMN
from medhmp.model.baselines.f_cnn import FCNN
from medhmp.model.baselines.f_lstm import FLSTM
from medhmp.model.baselines.raim import Raim
from medhmp.model.baselines.streams import streams_of
from medhmp.model.baselines.unimodal_lstm import EncodedLSTM, UnimodalLSTM
from medhmp.model.baselines.unimodal_transformer import EncodedTransformer, UnimodalTransformer
from medhmp.model.heads import NotedStayClassifier
from medhmp.refusal import Refusal
from medhmp.run import Model
from tests.medhmp.model.baselines.slow import (
    agree,
    attention,
    gru_step,
    hours_of,
    linear,
    lstm,
    norm,
    ones,
    softmax,
)

MODEL = Model(width=8, demographic_hidden=5)


def csr(keys, dense):
    """The non-zeros of a matrix under the keys of a batch, with their values."""
    return {
        keys.offsets: F.pad((dense != 0).sum(1).cumsum(0), (1, 0)),
        keys.ids: dense.nonzero()[:, 1],
        keys.values: dense[dense != 0],
    }


def fused_batch(recorded, features):
    hourly, constant = recorded["input.x_fused"].split([features, 5], dim=2)
    assert torch.equal(constant, constant[:, :1].expand_as(constant))
    return {**csr(HOURS, hourly.flatten(0, 1)), **csr(DEMOGRAPHICS, constant[:, 0])}


def weights_of(recorded):
    return {n.removeprefix("weight."): x for n, x in recorded.items() if n.startswith("weight.")}


@pytest.mark.parametrize(
    ("name", "build", "sizes"),
    [
        ("f_lstm", FLSTM, {"hidden": 11, "layers": 2, "neurons": 7}),
        ("f_cnn_depth2", FCNN, {"filters": 6, "neurons": 7}),
    ],
)
def test_the_models_of_fiddle_are_the_recorded_ones(golden, name, build, sizes):
    recorded = golden(name)
    model = build(Widths(8, 14, 5, diagnoses=1, drugs=1), Model(), **sizes).eval()
    model.load_state_dict(weights_of(recorded), strict=True)
    probability = model(fused_batch(recorded, 14)).sigmoid().unsqueeze(1)
    torch.testing.assert_close(probability, recorded["output.prob"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("build", [FLSTM, FCNN])
def test_the_models_of_fiddle_read_real_values(records, build):
    torch.manual_seed(0)
    model, batch = build(records.widths, Model()).eval(), None
    batch = records.stay_batch([records.stay() for _ in range(3)])
    for kind in ("feature", "demographic"):
        values = torch.ones(batch[f"{kind}_ids"].numel())
        torch.testing.assert_close(model(batch), model({**batch, f"{kind}_values": values}))
        doubled = model({**batch, f"{kind}_values": 2 * values})
        assert (model(batch) - doubled).abs().max() > 0


@pytest.mark.usefixtures("float64")
def test_f_lstm_of_a_gpu_is_that_of_a_cpu(records, monkeypatch):
    torch.manual_seed(0)
    model = FLSTM(records.widths, Model(), layers=2)
    batch = records.stay_batch([records.stay() for _ in range(5)])
    found = []
    for runs in (False, True):
        for module in (recurrence, f_lstm):
            monkeypatch.setattr(module, "runs_natively", lambda _, runs=runs: runs)
        logits = model(batch)
        found.append([logits, *torch.autograd.grad(logits.square().sum(), model.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("depth", "filter_size"), [(1, 3), (3, 2), (2, 4), (2, 1)])
def test_f_cnn_is_its_slow_form_for_any_depth_and_filter(records, depth, filter_size):
    torch.manual_seed(0)
    sizes = {"depth": depth, "filter_size": filter_size, "filters": 5, "neurons": 4}
    model, stays = FCNN(records.widths, Model(), **sizes), [records.stay() for _ in range(3)]

    def slow(model, stay):
        demographics = ones(stay.demographics, records.widths.demographics)
        x = [torch.cat((h, demographics)) for h in hours_of(stay, records.widths.features)]
        for block in range(1, depth + 1):
            layer, T = model.get_submodule(f"conv{block}"), len(x)
            before = filter_size // 2
            out = []
            for t in range(T):
                taps = [(k, t + k - before) for k in range(filter_size)]
                held = [layer.weight[..., k] @ x[at] for k, at in taps if 0 <= at < T]
                out.append((sum(held) + layer.bias).relu())
            x = [torch.stack(out[t : t + 2]).amax(0) for t in range(0, T, 2)]
        flat = torch.stack(x, dim=1).flatten()  # channel after channel
        return linear(model.fc2, linear(model.fc1, flat).relu())[0]

    agree(model, slow, records.stay_batch(stays), stays)


@pytest.mark.usefixtures("float64")
def test_raim_is_its_slow_form(records):
    torch.manual_seed(0)
    widths = records.widths
    model, stays = Raim(widths, MODEL), [records.stay() for _ in range(4)]
    with torch.no_grad():  # so that some rows have no earlier event, some have
        model.embedding2.bias[0] = -0.1
    first, second = streams_of(widths)

    def slow(model, stay):
        hours = hours_of(stay, widths.features)
        e1 = [linear(model.embedding1, hour[first]).relu() for hour in hours]
        e2 = [linear(model.embedding2, hour[second]).relu() for hour in hours]
        x, T = [a + b for a, b in zip(e1, e2, strict=True)], len(hours)
        h = torch.zeros(8)
        for i in range(T):
            xi = [x[t] if t <= i else torch.zeros(8) for t in range(T)]
            g = [float(t == i) for t in range(T)]
            if i > 0 and sum(e2[t][0].item() for t in range(i)) == 0:
                g[:i] = [1.0] * i
            of_state = linear(model.mlp_for_hidden, h)
            scores = [linear(model.mlp_for_x, g[t] * xi[t])[0] + of_state[t] for t in range(T)]
            context = sum(a * v for a, v in zip(softmax(scores), xi, strict=True))
            cell = model.grucell
            weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
            h = gru_step(weights, context, h)
        u = linear(model.linear, ones(stay.demographics, widths.demographics))
        return linear(model.hidden2label, h + u)[0]

    agree(model, slow, records.stay_batch(stays), stays)


def test_dcmn_is_the_recorded_one(golden):
    recorded = golden("dcmn")
    ours = {"0": "conv", "2": "linear"}  # of the embeddings
    weights = {}
    for name, tensor in weights_of(recorded).items():
        layer, *below = name.split(".")
        if layer.startswith("embbedding"):
            layer, below = layer.replace("bb", "b"), [ours[below[0]], below[1]]
        if layer != "conv":  # which no input passes
            weights[".".join((layer, *below))] = tensor
    widths = Widths(6, 35, 73, 1, 1, events=tuple(range(20, 35)))
    model = DCMN(widths, Model(width=16)).eval()
    model.load_state_dict(weights, strict=True)
    hours = torch.cat((recorded["input.x1"], recorded["input.x2"]), dim=2)
    batch = {**csr(HOURS, hours.flatten(0, 1)), **csr(DEMOGRAPHICS, recorded["input.s"])}
    probability = model(batch).sigmoid().unsqueeze(1)
    torch.testing.assert_close(probability, recorded["output.prob"], rtol=0, atol=2e-5)


def test_dcmn_needs_two_streams_of_ten_features():
    with pytest.raises(Refusal, match="two streams of 10 features and the shards have 19"):
        DCMN(Widths(6, 19, 3, 1, 1), MODEL)


def test_streams_are_events_and_values_or_else_halves():
    widths = Widths(6, 6, 3, 1, 1, events=(1, 4))
    assert [s.tolist() for s in streams_of(widths)] == [[0, 2, 3, 5], [1, 4]]
    assert [s.tolist() for s in streams_of(widths, 3)] == [[0, 1, 2], [3, 4, 5]]
    assert [s.tolist() for s in streams_of(Widths(6, 5, 3, 1, 1))] == [[0, 1, 2], [3, 4]]


def slow_encoder(encoder, stay, features):
    """Hidden states of MedHMP's encoder of one layer."""
    return lstm(encoder.lstm, hours_of(stay, features))[0]


def slow_max(states):
    return torch.stack(states).amax(0)


def slow_transformer(model, x):
    of = model.attention
    q, k, v = ([linear(w, h) for h in x] for w in (of.q_linear, of.k_linear, of.v_linear))
    x = [norm(of.layer_norm, h + linear(of.fc, attention(q[t], k, v, 4))) for t, h in enumerate(x)]
    first, _, second = model.ffn.ffn
    x = [norm(model.ffn.layer_norm, h + linear(second, linear(first, h).relu())) for h in x]
    return linear(model.output_mlp[0], slow_max(x))[0]


SLOW = {
    UnimodalLSTM: lambda model, stay: linear(
        model.output_mlp[0], slow_max(lstm(model.rnns, hours_of(stay, 30))[0])
    )[0],
    EncodedLSTM: lambda model, stay: linear(
        model.output_mlp[0], slow_max(lstm(model.rnns, slow_encoder(model.stay, stay, 30))[0])
    )[0],
    UnimodalTransformer: lambda model, stay: slow_transformer(
        model, [linear(model.embedding1, h).relu() for h in hours_of(stay, 30)]
    ),
    EncodedTransformer: lambda model, stay: slow_transformer(
        model, slow_encoder(model.stay, stay, 30)
    ),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", SLOW)
def test_unimodal_models_are_their_slow_forms(records, kind):
    torch.manual_seed(0)
    model, stays = kind(records.widths, MODEL), [records.stay() for _ in range(3)]
    agree(model, SLOW[kind], records.stay_batch(stays), stays)


@pytest.mark.usefixtures("float64")
def test_medhmp_with_notes_is_its_slow_form_and_does_without_one(records):
    torch.manual_seed(0)
    admissions = [records.admission(at, note=at != 1) for at in range(3)]
    batch = records.admission_batch(admissions)
    model = NotedStayClassifier(records.widths, MODEL)

    def slow(model, admission):
        (stay,), widths = admission.stays, records.widths
        h = lstm(model.stay.lstm, hours_of(stay, widths.features))[1]
        mlp = model.stay.demographics
        x = ones(stay.demographics, widths.demographics)
        d = linear(mlp.second, linear(mlp.first, x).relu())
        tokens = [slow_fusion(model.stay.fusion, [h, d])]
        if admission.note is not None:
            tokens.append(linear(model.note, admission.note))
        return linear(model.head, slow_fusion(model.fusion, tokens))[0]

    def slow_fusion(block, tokens):
        q, k, v = ([linear(w, x) for x in tokens] for w in (block.query, block.key, block.value))
        return slow_max(
            [norm(block.norm, x + attention(q[i], k, v, 1)) for i, x in enumerate(tokens)]
        )

    agree(model, slow, batch, admissions)
