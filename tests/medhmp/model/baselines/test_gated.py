"""The gated fusions, their encoders of series, and the classifiers of text."""

import pytest
import torch

from medhmp.batch import DEMOGRAPHICS, HAS_NOTE, HOURS, NOTE_VECTOR, TOKENS
from medhmp.legend import Widths
from medhmp.model.baselines import gated
from medhmp.model.baselines.clinical_text import NoteClassifier
from medhmp.model.baselines.gated import Gated
from medhmp.model.baselines.series import SeriesLSTM, SeriesStar
from medhmp.model.text import PooledText
from medhmp.notes.encoder import load_trainable
from medhmp.run import Model
from tests.medhmp.conftest import csr as csr_of_rows
from tests.medhmp.model.baselines.slow import (
    agree,
    attention,
    hours_of,
    linear,
    lstm,
    norm,
    ones,
)
from tests.medhmp.model.baselines.test_stays import csr, weights_of

MODEL = Model(width=32, demographic_hidden=5)
BUILDERS = {
    "lstm": (gated.bert_lstm, gated.lstm_bert),
    "cnn": (gated.bert_cnn, gated.cnn_bert),
    "star": (gated.bert_star, gated.star_bert),
    "encoder": (gated.bert_encoder, gated.encoder_bert),
}
ALL = [(kind, build) for kind, pair in BUILDERS.items() for build in pair]


def recorded_batch(recorded):
    return {
        **csr(HOURS, recorded["input.series"].transpose(0, 1).flatten(0, 1)),
        **csr(DEMOGRAPHICS, recorded["input.static"]),
        NOTE_VECTOR: recorded["input.bert_pooled"],
        HAS_NOTE: torch.ones(4, dtype=torch.bool),
    }


@pytest.mark.parametrize(
    ("name", "series", "main", "of_series"),
    [
        ("yangwu_bertlstm", lambda: SeriesLSTM(14, 8, 16, 10), "notes", "series_encoded"),
        (
            "yangwu_starbert",
            lambda: SeriesStar(14, 8, 128, 10, cycles=2),
            "series",
            "series_encoded_true_ring",
        ),
    ],
)
def test_gated_fusions_are_the_recorded_ones(golden, name, series, main, of_series):
    recorded = golden(name)
    model = Gated(Widths(8, 14, 9, 1, 1, note=24), MODEL, series(), main, static=6).eval()
    model.load_state_dict(weights_of(recorded), strict=True)
    hourly = recorded["input.series"].flatten(0, 1)
    batch = {**recorded_batch(recorded), **csr(HOURS, hourly)}
    static, encoded, note = model.modalities(batch)
    exact = {"rtol": 0, "atol": 2e-5}
    torch.testing.assert_close(static, recorded["output.static_encoded"], **exact)
    torch.testing.assert_close(encoded, recorded[f"output.{of_series}"], **exact)
    given = recorded["output.series_encoded"]  # of the star, what the authors' ring gives
    fused = model.fuse(static, given, note)
    torch.testing.assert_close(fused, recorded["output.fused_per_sample_alpha"], **exact)
    probability = model.pred(fused).sigmoid().squeeze(1)
    torch.testing.assert_close(probability, recorded["output.prob_per_sample_alpha"], **exact)


def slow_series(kind, encoder, stay):
    hours = hours_of(stay, 30)
    if kind == "lstm":
        return linear(encoder.project, lstm(encoder.lstm, hours)[0][-1]).relu()
    if kind == "cnn":
        layer, out = encoder.conv1, []
        for t in range(len(hours)):
            taps = [(k, t + k - 1) for k in range(3) if 0 <= t + k - 1 < len(hours)]
            total = sum(layer.weight[..., k] @ hours[at] for k, at in taps)
            out.append((total + layer.bias).relu())
        pooled = [torch.stack(out[t : t + 2]).amax(0) for t in range(0, len(out), 2)]
        return linear(encoder.fc1, torch.stack(pooled, dim=1).flatten()).relu()
    e = [linear(encoder.project, hour).relu() for hour in hours]
    return slow_star(encoder.star, e) if kind == "star" else slow_first_state(encoder.encoder, e)


def slow_star(star, e):
    h, s, cycle, T = e, sum(e) / len(e), star.star_trm, len(e)

    def attend(by, query, context):
        keys, values = ([linear(w, x) for x in context] for w in (by.key, by.value))
        return linear(by.out, attention(linear(by.query, query), keys, values, by.heads)).relu()

    for _ in range(star.cycles):
        contexts = [[h[i - 1], h[i], h[(i + 1) % T], e[i], s] for i in range(T)]
        mixed = [attend(cycle.multi_att_satellite, h[i], contexts[i]) for i in range(T)]
        h = [norm(cycle.ln_satellite, x) for x in mixed]
        s = norm(cycle.ln_relay, attend(cycle.multi_att_relay, s, [s, *h]))
    return linear(star.fc, sum(h) / T + s)


def slow_first_state(transformer, x):
    for layer in transformer.layers:
        of, size = layer.self_attn, len(x[0])
        maps = zip(of.in_proj_weight.split(size), of.in_proj_bias.split(size), strict=True)
        q, k, v = ([w @ h + b for h in x] for w, b in maps)
        mixed = [linear(of.out_proj, attention(one, k, v, of.num_heads)) for one in q]
        x = [norm(layer.norm1, h + m) for h, m in zip(x, mixed, strict=True)]
        fed = [linear(layer.linear2, linear(layer.linear1, h).relu()) for h in x]
        x = [norm(layer.norm2, h + f) for h, f in zip(x, fed, strict=True)]
    return x[0]


def slow_gate(gate, m, a, b):
    wa = linear(gate.fc1, torch.cat((m, a))).sigmoid()
    wb = linear(gate.fc2, torch.cat((m, b))).sigmoid()
    shift = linear(gate.fc3, torch.cat((wa * a, wb * b)))
    length = (shift @ shift).sqrt() + 1e-6
    alpha = torch.minimum((m @ m).sqrt() / length * gate.beta, torch.ones(1))
    return norm(gate.norm, m + alpha * shift)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("kind", "build"), ALL)
def test_a_gated_fusion_of_admissions_is_its_slow_form(records, kind, build):
    torch.manual_seed(0)
    admissions = [records.admission(at, stays, note=at != 2) for at, stays in enumerate((1, 0, 3))]
    model = build(records.widths, MODEL)

    def slow(model, admission):
        encoded = [slow_series(kind, model.ts_enc, stay) for stay in admission.stays]
        static, series = torch.zeros(64), torch.zeros(model.ts_enc.width)
        if encoded:
            static = linear(model.ti_enc, ones(admission.stays[0].demographics, 9))
            series = torch.stack(encoded).amax(0)
        note = torch.zeros(768) if admission.note is None else admission.note
        main, other = (note, series) if build.__name__.startswith("bert") else (series, note)
        return linear(model.pred, slow_gate(model.gate, main, static, other))[0]

    # The star's six norms have next to no epsilon, and enlarge what float32 rounds off.
    gradients = 1e-4 if kind == "star" else 1e-6
    agree(model, slow, records.admission_batch(admissions), admissions, gradients)


@pytest.mark.parametrize(("kind", "build"), ALL)
def test_a_stay_is_an_admission_of_one_stay(records, kind, build):
    torch.manual_seed(0)
    model = build(records.widths, MODEL).eval()
    admissions = [records.admission(at) for at in range(3)]
    batch = records.admission_batch(admissions, dtype=torch.float32)
    of_stays = {name: x for name, x in batch.items() if name != "stay_slot"}
    torch.testing.assert_close(model(batch), model(of_stays))


def text_batch(family, texts):
    return csr_of_rows(TOKENS[family], texts)


TEXTS = [[2, 40, 41, 42, 1], [2, 1], [2, 77, 78, 1]]


@pytest.mark.parametrize("family", ["t5", "bert"])
def test_a_text_does_not_see_the_padding_of_others(family):
    torch.manual_seed(0)
    text = PooledText(load_trainable(None, family)).eval()
    together = text(text_batch(family, TEXTS))
    assert together.shape == (3, text.encoder.config.hidden_size)
    for row, ids in enumerate(TEXTS):
        hidden = text.encoder(torch.tensor([ids])).last_hidden_state[0]
        if family == "t5":
            alone = sum(hidden) / len(ids)
        else:
            alone = (text.pooler.weight @ hidden[0] + text.pooler.bias).tanh()
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", ["t5", "bert"])
def test_every_weight_of_a_text_encoder_is_trained_and_saved_once(family):
    model = NoteClassifier(Widths(8, 4, 4, 4, 4), MODEL, load_trainable(None, family))
    model(text_batch(family, TEXTS)).sum().backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
    places = [x.data_ptr() for x in model.state_dict().values()]
    assert len(places) == len(set(places))


def test_a_gated_fusion_reads_text_where_it_gets_an_encoder(records):
    torch.manual_seed(0)
    encoder = load_trainable(None, "bert")
    model = gated.bert_lstm(records.widths, MODEL, encoder=encoder).eval()
    stays = [records.stay() for _ in TEXTS]
    batch = {**records.stay_batch(stays), **text_batch("bert", TEXTS)}
    torch.testing.assert_close(model.modalities(batch)[2], model.nt_enc(batch))
    model(batch).sum().backward()
    assert encoder.model.get_input_embeddings().weight.grad is not None
