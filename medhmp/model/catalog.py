"""The models that a task can be trained with: plain data, one entry each.

A new model is its file, its entry here and its test. ``train/finetune/estimators.py`` gives
them one face (fit, score, save, load), so that nothing else names a model. This file imports no
model and no PyTorch: a command line reads it.
"""

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from medhmp.legend import Level

Optimizer = Literal["sgd", "adam", "adamw"]
EVERY_LEVEL: Final[tuple[Level, ...]] = ("stay", "admission", "patient")


@dataclass(frozen=True)
class ModelEntry:
    """One model, as the grid, the report and the command line know it.

    A network's builder is called with (widths, model), and gets what is searched beside batch size
    and learning rate by name. That of a model on counted features is called with
    (training rows, validation rows, seed), two ``baselines.table.Table``, and gets all that is
    searched; it gives the fitted classifier.
    """

    title: str  # in tables and figures
    color: str  # of its line and its dots; MedHMP's starts have their own
    builders: Mapping[Level, str]  # level -> "module:name" below medhmp.model
    optimizers: Mapping[Level, Optimizer] = field(default_factory=dict)  # of a network alone
    search: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # field -> its values
    takes_starts: bool = False  # begins from pretraining
    trusted: tuple[str, ...] = ()  # types in its file that skops does not trust by itself

    @property
    def is_network(self) -> bool:
        """True for a network, false for a model on counted features."""
        return bool(self.optimizers)

    def builder(self, level: Level) -> Any:
        """The builder for a level that the model has; imports it."""
        return pkgutil.resolve_name(f"{__package__}.{self.builders[level]}")


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
        search={  # paper, Appendix B
            "batch_size": (16, 32, 64),
            "learning_rate": (2e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3),
        },
        takes_starts=True,
    ),
    "f_lstm": ModelEntry(
        title="F-LSTM",
        color="#e69f00",
        builders={"stay": "baselines.f_lstm:FLSTM"},
        optimizers={"stay": "adam"},  # Tang et al. 2020, as are three of the rates
        search={  # as many cells as MedHMP
            "batch_size": (16, 32, 64),
            "learning_rate": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
        },
    ),
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
        trusted=(
            "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
            "medhmp.model.baselines.logistic_regression.signed_log1p",
        ),
    ),
    "logistic_regression": ModelEntry(
        title="Logistic regression",
        color="#8c6d31",
        builders=dict.fromkeys(
            EVERY_LEVEL, "baselines.logistic_regression:fit_logistic_regression"
        ),
        trusted=("medhmp.model.baselines.logistic_regression.signed_log1p",),
    ),
}
"""By name, in the order of tables and figures."""
