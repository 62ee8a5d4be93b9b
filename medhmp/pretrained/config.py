"""``config.json`` of a model folder: everything but the weights and the features.

    models/<task>/<model>/<start>/   a fit of the grid's chosen cell, all its replicates
    models/pretrain_stay/  ...       a pretraining, by its own place
        config.json                  this
        manifest.json                of the shards, less their files: names, bins, codes, counts
        model.safetensors            the first replicate, model-1.safetensors the next, ...;
                                     model.skops of a model that is no network
        README.md                    the model card
        complete.json                sizes and SHA-256 of all these, written last

A folder is whole without the run that made it, and holds no path and no identifier. The features
of other tables are made by its manifest, as ``features.frozen`` takes that of shards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from medhmp.evaluate.operating import Operating
from medhmp.layout import CONFIG
from medhmp.legend import Level, Start, Task, Widths
from medhmp.model.catalog import MODELS
from medhmp.refusal import Refusal
from medhmp.run import Run, with_fields
from medhmp.storage import Folder, Output, opened
from medhmp.version import __version__

FORMAT: Final = 1


@dataclass(frozen=True)
class Selection:
    """How the cell was chosen among those of its grid, for the report of other rows."""

    chosen: Mapping[str, Any] | None
    validation_loss: float
    base_rate_loss: float
    pretrainings: int


@dataclass(frozen=True)
class Config:
    """What a model folder holds, and what its model needs to read rows as it was trained to."""

    kind: Literal["classifier", "pretraining"]
    model: str  # a name of the catalog; of a pretraining, its stage
    task: Task | None  # of a classifier
    level: Level | None  # of the rows that a classifier scores
    start: Start | None  # of a classifier
    weights: Sequence[str]  # files, one per replicate
    point: Mapping[str, float]  # searched field -> the chosen value
    widths: Widths
    fields: Mapping[str, Any]  # of the run: shards, fit or pretraining
    sources: Mapping[str, str]  # name -> hash of the raw tables
    encoders: Mapping[str, str]  # field of notes -> fingerprint of the encoder that it named
    operating: Operating | None  # of a classifier
    selection: Selection | None  # of a classifier
    version: str
    commit: str | None

    def predicts(self) -> tuple[Task, Level]:
        """What a classifier predicts, and of which rows. Refuses a pretraining."""
        if self.task is None or self.level is None:
            raise Refusal(
                f"this is the pretraining {self.model}, which predicts nothing; give a folder of "
                "a task, or embed with it"
            )
        return self.task, self.level

    @property
    def architecture(self) -> str:
        """The class of the network, or the function that fits another model."""
        if self.level is None:
            return self.model
        return MODELS[self.model].builders[self.level].rpartition(":")[2]

    def run(self) -> Run:
        """A run with the fields that the model was made with.

        Sources of labels are those of the run that trained it, and so left out; a file of ranges of
        its own has to be named again. Refuses a field that this version does not have.
        """
        fields = {k: v for k, v in self.fields.items() if (k, v) != ("tables.variables", "own")}
        fields.pop("cohort.label_sources", None)
        try:
            return with_fields(Run(name=self.model), fields)
        except KeyError as unknown:
            raise Refusal(
                f"the model was made by version {self.version} with the field {unknown}, which "
                f"version {__version__} does not have; use that version"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """As ``config.json`` has it, with the names that Hugging Face's tools look for first."""
        kind = {"model_type": self.model, "architectures": [self.architecture]}
        return {"format": FORMAT, **kind, **asdict(self)}


def read_config(folder: Output) -> Config:
    """Reads ``config.json``. Refuses another format, and a folder that has none."""
    if CONFIG not in folder.files:
        raise Refusal(
            f"{folder.folder} holds no trained model; give a folder below models/, which "
            "jobs.export makes"
        )
    raw = folder.read_json(CONFIG)
    if raw.pop("format", None) != FORMAT:
        made = raw.get("version", "an unknown one")
        raise Refusal(
            f"{folder.folder} is in another format of version {made} and this is version "
            f"{__version__}; use that version, or run jobs.export again with --overwrite"
        )
    for name in ("model_type", "architectures"):
        del raw[name]
    if raw["model"] not in MODELS and raw["kind"] == "classifier":
        raise Refusal(
            f"{folder.folder} holds the model '{raw['model']}' of version {raw['version']}, which "
            f"version {__version__} does not have; use that version"
        )
    widths = {name: _hashable(of) for name, of in raw.pop("widths").items()}
    operating, selection = raw.pop("operating"), raw.pop("selection")
    return Config(
        **raw,
        widths=Widths(**widths),
        operating=operating and Operating(**operating),
        selection=selection and Selection(**selection),
    )


def _hashable(value: Any) -> Any:
    """A value of JSON with tuples for its lists."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def open_model(uri: str) -> tuple[Output, Config]:
    """Opens a model folder. Refuses one that is not whole, and those of ``read_config``."""
    folder = opened(Folder(uri), "export")
    return folder, read_config(folder)
