"""The models that a task can be trained with: plain data, one entry each.

A new model is its file, its entry here and its test. ``train/finetune/estimators.py`` gives
them one face (fit, score, save, load), so that nothing else names a model. This file imports no
model and no PyTorch: a command line reads it.
"""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from medhmp.legend import Level, TextFamily

Optimizer = Literal["sgd", "adam", "adamw"]
EVERY_LEVEL: Final[tuple[Level, ...]] = ("stay", "admission", "patient")
NOTED: Final[tuple[Level, ...]] = ("stay", "admission")
"""Levels whose rows have a note, a stay that of its admission."""
STATISTICAL: Final[tuple[Level, ...]] = ("stay", "admission")
"""Levels whose rows have numbers, an admission those of its stays."""


@dataclass(frozen=True)
class ModelEntry:
    """One model, as the grid, the report and the command line know it.

    A network's builder is called with (widths, model), and gets what is searched beside batch size
    and learning rate by name, and as ``encoder`` the encoder of notes that it fine-tunes, if it
    does. That of a model on counted features is called with (training rows, validation rows, seed),
    two ``table.Table``, and gets all that is searched; it gives the fitted classifier. With
    ``embedders`` the outputs of such a network, frozen as pretraining left it, are further columns
    of its tables; their builders are called as those of networks are.
    """

    title: str  # in tables and figures
    color: str  # of its line and its dots; MedHMP's starts have their own
    builders: Mapping[Level, str]  # level -> "module:name" below medhmp.model
    optimizers: Mapping[Level, Optimizer] = field(default_factory=dict)  # of a network alone
    search: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # field -> its values
    takes_starts: bool = False  # begins from pretraining
    reads_numbers: bool = False  # MedHMP-S and what begins from its pretraining
    embedders: Mapping[Level, str] = field(default_factory=dict)  # builders of what stays frozen
    text: TextFamily | None = None  # fine-tunes an encoder of notes of this family
    vectors: bool = False  # reads the frozen vectors of notes; with ``text``, if asked to
    parts: tuple[str, ...] = ()  # models whose logits it averages; ``builders`` are of the first
    statistics: bool = False  # reads statistics of numbers (``features.numbers``), not counts
    on_request: bool = False  # runs only where the run names it
    trusted: tuple[str, ...] = ()  # types in its file that skops does not trust by itself

    @property
    def is_network(self) -> bool:
        """True for a network alone."""
        return bool(self.optimizers)

    @property
    def has_network(self) -> bool:
        """True if a network is trained, by itself or as a part."""
        return self.is_network or bool(self.parts)

    @property
    def is_floor(self) -> bool:
        """True for a model on counted features alone, which a claim has to beat."""
        return not self.has_network and not self.embedders

    def text_read(self, fine_tune: bool) -> TextFamily | None:
        """The family of the encoder that a network gets. ``fine_tune``: a run's field."""
        return None if self.vectors and not fine_tune else self.text

    def vectors_read(self, fine_tune: bool) -> bool:
        """True if frozen vectors of notes are read."""
        return self.vectors and self.text_read(fine_tune) is None

    def builder(self, level: Level) -> Any:
        """The builder for a level that the model has; imports it."""
        return pkgutil.resolve_name(f"{__package__}.{self.builders[level]}")

    def beginner(self, level: Level) -> Any:
        """The builder of the network that begins from pretraining: the model, or what it embeds
        rows with; imports it."""
        if not self.embedders:
            return self.builder(level)
        return pkgutil.resolve_name(f"{__package__}.{self.embedders[level]}")


SIZES: Final = (16, 32, 64)
RATES: Final = (2e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3)
"""Batch sizes and learning rates that the paper searches (Appendix B)."""
OF_MEDHMP: Final = {"batch_size": SIZES, "learning_rate": RATES}
OF_FIDDLE: Final = {"batch_size": SIZES, "learning_rate": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)}
"""Three of the rates are those of Tang et al. 2020; as many cells as MedHMP."""
OF_TEXT: Final = {"batch_size": SIZES, "learning_rate": (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4)}
"""Around the rates that encoders of text are fine-tuned with; Yang and Wu 2021 have 1e-4."""


_TREES_TRUSTED: Final = (
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "medhmp.model.baselines.logistic_regression.signed_log1p",
)
"""Types in the file of fitted trees."""


_OF_MEDHMP_S: Final[Mapping[Level, str]] = {
    "stay": "medhmp_s:NumberStayClassifier",
    "admission": "medhmp_s:NumberAdmissionClassifier",
}


def _baseline(
    title: str,
    color: str,
    builder: str,
    levels: tuple[Level, ...],
    optimizer: Optimizer,
    search: Mapping[str, tuple[float, ...]] = OF_MEDHMP,
    **more: Any,
) -> ModelEntry:
    """A network of the paper's comparisons, the same on each of its levels."""
    return ModelEntry(
        title,
        color,
        builders=dict.fromkeys(levels, f"baselines.{builder}"),
        optimizers=dict.fromkeys(levels, optimizer),
        search=search,
        on_request=True,
        **more,
    )


def _gated(title: str, color: str, builder: str) -> ModelEntry:
    """A gated fusion of notes and series (Yang and Wu 2021)."""
    how: dict[str, Any] = {"text": "bert", "vectors": True}
    return _baseline(title, color, f"gated:{builder}", NOTED, "adamw", OF_TEXT, **how)


def _text(title: str, color: str, family: TextFamily) -> ModelEntry:
    """A classifier of the note alone."""
    builder = "clinical_text:NoteClassifier"
    return _baseline(title, color, builder, NOTED, "adamw", OF_TEXT, text=family)


def _patient(title: str, color: str, builder: str) -> ModelEntry:
    """A model of visits, which can begin from MedHMP's embedding of diagnoses."""
    return _baseline(title, color, builder, ("patient",), "adamw", takes_starts=True)


MODELS: Final[Mapping[str, ModelEntry]] = {
    "medhmp": ModelEntry(
        title="MedHMP",
        color="#0060a8",
        builders={
            "stay": "heads:StayClassifier",
            "admission": "heads:AdmissionClassifier",
            "patient": "heads:PatientLSTM",
        },
        # As the authors ran them: SGD barely moves the two-layer LSTM of patients.
        optimizers={"stay": "sgd", "admission": "sgd", "patient": "adamw"},
        search=OF_MEDHMP,
        takes_starts=True,
    ),
    "f_lstm": ModelEntry(
        title="F-LSTM",
        color="#e69f00",
        builders={"stay": "baselines.f_lstm:FLSTM"},
        optimizers={"stay": "adam"},
        search=OF_FIDDLE,
    ),
    "medhmp_notes": ModelEntry(
        title="MedHMP with notes",
        color="#003f6e",
        builders={"stay": "heads:NotedStayClassifier"},
        optimizers={"stay": "sgd"},
        search=OF_MEDHMP,
        takes_starts=True,
        vectors=True,
        on_request=True,
    ),
    "medhmp_s": ModelEntry(
        title="MedHMP-S",
        color="#007f5f",
        builders=_OF_MEDHMP_S,
        optimizers={"stay": "adamw", "admission": "adamw"},
        search={"batch_size": (128,), "learning_rate": (2e-3,)},
        takes_starts=True,
        reads_numbers=True,
        on_request=True,
    ),
    "hybrid": ModelEntry(
        title="MedHMP-S and trees",
        color="#b5179e",
        builders=_OF_MEDHMP_S,
        search={"batch_size": (128,), "learning_rate": (2e-3,)},
        takes_starts=True,
        reads_numbers=True,
        parts=("medhmp_s", "hist_gradient_boosting_statistics"),
        on_request=True,
    ),
    "frozen": ModelEntry(
        title="Frozen encoder",
        color="#5b2a86",
        builders=dict.fromkeys(EVERY_LEVEL, "frozen:fit_frozen"),
        takes_starts=True,
        embedders={
            "stay": "frozen:StayEmbedding",
            "admission": "frozen:AdmissionEmbedding",
            "patient": "frozen:PatientEmbedding",
        },
        on_request=True,
        trusted=(*_TREES_TRUSTED, "medhmp.model.frozen.MeanLogit"),
    ),
    "frozen_s": ModelEntry(
        title="Frozen MedHMP-S",
        color="#9d4edd",
        builders=dict.fromkeys(STATISTICAL, "frozen:fit_frozen_statistics"),
        takes_starts=True,
        reads_numbers=True,
        statistics=True,
        embedders={
            "stay": "frozen:NumberStayEmbedding",
            "admission": "frozen:NumberAdmissionEmbedding",
        },
        on_request=True,
        trusted=(
            *_TREES_TRUSTED,
            "medhmp.model.baselines.logistic_regression_statistics.piecewise_linear",
            "medhmp.model.frozen.MeanLogit",
        ),
    ),
    "f_cnn": _baseline("F-CNN", "#c98500", "f_cnn:FCNN", ("stay",), "adam", OF_FIDDLE),
    "raim": _baseline("RAIM", "#7b4ea3", "raim:Raim", ("stay",), "adam"),
    "dcmn": _baseline("DCMN", "#a64d79", "dcmn:DCMN", ("stay",), "adam"),
    "unimodal_lstm": _baseline("LSTM", "#4d7c2a", "unimodal_lstm:UnimodalLSTM", ("stay",), "sgd"),
    "encoded_lstm": _baseline(
        "LSTM on MedHMP's encoder",
        "#6aa33a",
        "unimodal_lstm:EncodedLSTM",
        ("stay",),
        "sgd",
        takes_starts=True,
    ),
    "unimodal_transformer": _baseline(
        "Transformer", "#2a7c72", "unimodal_transformer:UnimodalTransformer", ("stay",), "sgd"
    ),
    "encoded_transformer": _baseline(
        "Transformer on MedHMP's encoder",
        "#3aa398",
        "unimodal_transformer:EncodedTransformer",
        ("stay",),
        "sgd",
        takes_starts=True,
    ),
    "clinical_t5": _text("ClinicalT5", "#b3261e", "t5"),
    "clinical_bert": _text("ClinicalBERT", "#e0604f", "bert"),
    "bert_lstm": _gated("BertLstm", "#5b6abf", "bert_lstm"),
    "lstm_bert": _gated("LstmBert", "#8f9be0", "lstm_bert"),
    "bert_cnn": _gated("BertCnn", "#947019", "bert_cnn"),
    "cnn_bert": _gated("CnnBert", "#c9a64a", "cnn_bert"),
    "bert_star": _gated("BertStar", "#1f7f9c", "bert_star"),
    "star_bert": _gated("StarBert", "#57b4cf", "star_bert"),
    "bert_encoder": _gated("BertEncoder", "#9c3f6b", "bert_encoder"),
    "encoder_bert": _gated("EncoderBert", "#cf7ba3", "encoder_bert"),
    "dipole": _patient("Dipole", "#3f9c5a", "dipole:dipole"),
    "retain": _patient("RETAIN", "#9c5a3f", "retain:retain"),
    "adacare": _patient("AdaCare", "#5a3f9c", "adacare:adacare"),
    "hitanet": _patient("HiTANet", "#9c9c3f", "hitanet:hitanet"),
    "hist_gradient_boosting": ModelEntry(
        title="Gradient boosting",
        color="#d55e00",
        builders=dict.fromkeys(EVERY_LEVEL, "baselines.hist_gradient_boosting:fit_trees"),
        search={
            "learning_rate": (0.05, 0.1),
            "max_leaf_nodes": (2, 4, 16),
            "max_features": (0.1, 0.3),
            "components": (0, 30),
        },
        trusted=_TREES_TRUSTED,
    ),
    "logistic_regression": ModelEntry(
        title="Logistic regression",
        color="#8c6d31",
        builders=dict.fromkeys(
            EVERY_LEVEL, "baselines.logistic_regression:fit_logistic_regression"
        ),
        trusted=("medhmp.model.baselines.logistic_regression.signed_log1p",),
    ),
    "hist_gradient_boosting_statistics": ModelEntry(
        title="Gradient boosting on statistics",
        color="#f08c3c",
        builders=dict.fromkeys(
            STATISTICAL, "baselines.hist_gradient_boosting_statistics:fit_trees_statistics"
        ),
        search={
            "iterations": (100, 300),
            "learning_rate": (0.04,),
            "max_leaf_nodes": (4, 8),
            "max_features": (0.1, 0.3),
        },
        statistics=True,
        on_request=True,
        trusted=("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",),
    ),
    "logistic_regression_statistics": ModelEntry(
        title="Logistic regression on statistics",
        color="#b59352",
        builders=dict.fromkeys(
            STATISTICAL,
            "baselines.logistic_regression_statistics:fit_logistic_regression_statistics",
        ),
        statistics=True,
        on_request=True,
        trusted=(
            "medhmp.model.baselines.logistic_regression.signed_log1p",
            "medhmp.model.baselines.logistic_regression_statistics.piecewise_linear",
        ),
    ),
}
"""By name, in the order of tables and figures."""
USUAL: Final = tuple(name for name, entry in MODELS.items() if not entry.on_request)
"""The models of a grid that names none."""
