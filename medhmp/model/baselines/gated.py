"""The gated fusions of Yang and Wu (2021): notes and hourly series, one of them the main modality.

BertX has the notes as the main modality, XBert the series. The demographics are auxiliary in both.
Sizes are those that the authors ran with, for a ``model.width`` of 256, and scale with it.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from medhmp.batch import HAS_NOTE, NOTE_VECTOR, STAY_SLOT
from medhmp.legend import Widths
from medhmp.model.baselines.series import SeriesCNN, SeriesLSTM, SeriesStar, SeriesTransformer
from medhmp.model.sparse import bag_linear
from medhmp.model.stay import demographics_of, hours_of
from medhmp.model.text import PooledText, TextEncoder
from medhmp.run import Model

STATIC = 64
EPSILON = 1e-6

Series = SeriesLSTM | SeriesCNN | SeriesStar | SeriesTransformer
Main = Literal["notes", "series"]


class Gate(nn.Module):
    """Multimodal adaptation gate: shifts the main vector by what the auxiliary ones add.

    The length of the shift is at most beta times that of the main vector, row by row.
    """

    def __init__(self, main: int, a: int, b: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(main + a, 1), nn.Linear(main + b, 1)
        self.fc3 = nn.Linear(a + b, main)
        self.beta = nn.Parameter(torch.randn(1))
        self.norm, self.dropout = nn.LayerNorm(main), nn.Dropout(dropout)

    def adjustment(self, main: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """The shift (B, k) and its factor alpha (B, 1)."""
        of_a = self.fc1(torch.cat((main, a), dim=1)).sigmoid()
        of_b = self.fc2(torch.cat((main, b), dim=1)).sigmoid()
        shift = self.fc3(torch.cat((of_a * a, of_b * b), dim=1))
        length, most = (x.norm(dim=1, keepdim=True) for x in (shift, main))
        return shift, (most / (length + EPSILON) * self.beta).clamp(max=1)

    def forward(self, main: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """(B, k), (B, |a|) and (B, |b|) -> (B, k)."""
        shift, alpha = self.adjustment(main, a, b)
        fused: Tensor = self.dropout(self.norm(main + alpha * shift))
        return fused


class Gated(nn.Module):
    """Demographics, hourly series and note of a stay or an admission -> gate -> one logit.

    Of an admission, the series of its stays are encoded one by one and pooled by their maximum;
    the demographics are those of its first stay. What an admission lacks is zeros.
    """

    def __init__(
        self,
        widths: Widths,
        model: Model,
        series: Series,
        main: Main,
        encoder: TextEncoder | None = None,
        static: int = STATIC,
    ) -> None:
        super().__init__()
        self.features, self.main, self.max_stays = widths.features, main, model.max_stays
        self.ti_enc = nn.Linear(widths.demographics, static)
        self.ts_enc = series
        self.nt_enc = PooledText(encoder) if encoder is not None else None
        note = widths.note if encoder is None else encoder.width
        widest, other = (note, series.width) if main == "notes" else (series.width, note)
        self.gate = Gate(widest, static, other)
        self.pred = nn.Linear(widest, 1)

    def modalities(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The encoded demographics, series and note of each row: (B, 64), (B, n) and (B, E)."""
        hours = hours_of(batch, self.ts_enc.hours, self.features)
        demographics = demographics_of(batch, self.ti_enc.in_features)
        static = bag_linear(self.ti_enc.weight, demographics, self.ti_enc.bias)
        series = self.ts_enc(hours)
        if STAY_SLOT in batch:
            static, series = _of_admissions(static, series, batch, self.max_stays)
        note = batch[NOTE_VECTOR] if self.nt_enc is None else self.nt_enc(batch)
        return static, series, note

    def fuse(self, static: Tensor, series: Tensor, note: Tensor) -> Tensor:
        """The fused vector (B, k) of the encoded modalities."""
        main, other = (note, series) if self.main == "notes" else (series, note)
        fused: Tensor = self.gate(main, static, other)
        return fused

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """A batch of stays or admissions with notes -> logits (B)."""
        logits: Tensor = self.pred(self.fuse(*self.modalities(batch)))
        return logits.squeeze(1)


def _of_admissions(
    static: Tensor, series: Tensor, batch: dict[str, Tensor], max_stays: int
) -> tuple[Tensor, Tensor]:
    """Those of stays (S, ...) as those of admissions (B, ...); zeros for one without stays."""
    slot, slots = batch[STAY_SLOT], batch[HAS_NOTE].shape[0] * max_stays
    static, grid = (x.new_zeros(slots, x.shape[1]).index_copy(0, slot, x) for x in (static, series))
    filled = torch.zeros(slots, dtype=torch.bool, device=slot.device).index_fill(0, slot, True)
    lowest = torch.finfo(grid.dtype).min
    hidden = grid.masked_fill(~filled.unsqueeze(1), lowest)
    pooled = hidden.view(-1, max_stays, grid.shape[1]).amax(1)
    has_stay = filled[::max_stays].unsqueeze(1)  # stays fill the slots from the first on
    return static[::max_stays], torch.where(has_stay, pooled, 0)


def bert_lstm(widths: Widths, model: Model, encoder: TextEncoder | None = None) -> Gated:
    """BertLstm."""
    R = model.width
    series = SeriesLSTM(widths.features, widths.hours, hidden=4 * R, width=2 * R)
    return Gated(widths, model, series, "notes", encoder)


def lstm_bert(widths: Widths, model: Model, encoder: TextEncoder | None = None) -> Gated:
    """LstmBert, whose authors ran it with a narrower LSTM."""
    R = model.width
    series = SeriesLSTM(widths.features, widths.hours, hidden=2 * R, width=max(1, R // 2))
    return Gated(widths, model, series, "series", encoder)


def bert_cnn(widths: Widths, model: Model, encoder: TextEncoder | None = None) -> Gated:
    """BertCnn."""
    return Gated(widths, model, _cnn(widths, model), "notes", encoder)


def cnn_bert(widths: Widths, model: Model, encoder: TextEncoder | None = None) -> Gated:
    """CnnBert."""
    return Gated(widths, model, _cnn(widths, model), "series", encoder)


def bert_star(widths: Widths, model: Model, encoder: TextEncoder | None = None) -> Gated:
    """BertStar."""
    return Gated(widths, model, _star(widths, model), "notes", encoder)


def star_bert(widths: Widths, model: Model, encoder: TextEncoder | None = None) -> Gated:
    """StarBert."""
    return Gated(widths, model, _star(widths, model), "series", encoder)


def bert_encoder(widths: Widths, model: Model, encoder: TextEncoder | None = None) -> Gated:
    """BertEncoder."""
    return Gated(widths, model, _transformer(widths, model, 3 * model.width), "notes", encoder)


def encoder_bert(widths: Widths, model: Model, encoder: TextEncoder | None = None) -> Gated:
    """EncoderBert, whose authors ran it with a wider Transformer."""
    return Gated(widths, model, _transformer(widths, model, 4 * model.width), "series", encoder)


def _cnn(widths: Widths, model: Model) -> SeriesCNN:
    R = model.width
    return SeriesCNN(widths.features, widths.hours, width=4 * R, filters=max(1, R // 2))


def _star(widths: Widths, model: Model) -> SeriesStar:
    R = model.width
    return SeriesStar(widths.features, widths.hours, hidden=4 * R, width=2 * R)


def _transformer(widths: Widths, model: Model, width: int) -> SeriesTransformer:
    return SeriesTransformer(widths.features, widths.hours, width, feed_forward=8 * model.width)
