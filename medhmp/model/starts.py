"""The transfer of pretrained weights to a classifier, whole sub-modules at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from torch import Tensor, nn

from medhmp.refusal import Refusal

Stage = Literal["one", "two"]

NOTE_PROJECTION: Final = "note.0.weight"
"""The weights (R, E) of an ``AdmissionEncoder`` whose width is the note encoder's."""


@dataclass(frozen=True)
class Part:
    """A sub-module that begins from pretraining."""

    theirs: str  # prefix of its tensors in the state of pretraining
    ours: str  # the sub-module
    without: tuple[str, ...] = ()  # prefixes below ``theirs`` that it does not have


Taken = Mapping[Stage, tuple[Part, ...]]
"""What a model takes from each stage, its class's ``taken``; a stage that is missing is refused."""

STAY_ENCODER_OF_STAGE_ONE: Final[Taken] = {"one": (Part("stay.", "stay"),)}
"""The stay encoder with which stage two begins."""
STAY_ENCODER: Final[Taken] = {
    **STAY_ENCODER_OF_STAGE_ONE,
    "two": (Part("admission.stay.", "stay"),),
}
"""The stay encoder of a model, from either stage."""
HOURS_ENCODER: Final[Taken] = {
    "one": (Part("stay.", "stay", ("demographics.", "fusion.")),),
    "two": (Part("admission.stay.", "stay", ("demographics.", "fusion.")),),
}
"""That part of the stay encoder that reads the hours."""
ADMISSION_ENCODER: Final[Taken] = {
    "one": (Part("stay.", "admission.stay"),),
    "two": (Part("admission.", "admission"),),
}
"""The admission encoder of a model; from stage one its stay encoder."""
READINGS_OF_STAGE_ONE: Final[Taken] = {"one": (Part("readings.", "stay.readings"),)}
"""What stage two of MedHMP-S begins with: the encoder of readings."""
READINGS_ENCODER: Final[Taken] = {
    "one": (Part("readings.", "readings"),),
    "two": (Part("admission.stay.readings.", "readings"),),
}
"""The encoder of readings itself."""
NUMBER_STAY_ENCODER: Final[Taken] = {
    **READINGS_OF_STAGE_ONE,
    "two": (Part("admission.stay.", "stay"),),
}
"""The stay encoder of MedHMP-S; from stage one its encoder of readings."""
NUMBER_ADMISSION_ENCODER: Final[Taken] = {
    "one": (Part("readings.", "admission.stay.readings"),),
    "two": (Part("admission.", "admission"),),
}
"""Its admission encoder; from stage one the encoder of readings."""
DIAGNOSES: Final[Taken] = {
    "one": (),
    "two": (Part("admission.diagnoses.", "diagnoses"),),
}
"""MLP_c of a model, which stage one does not have."""


def load_start(model: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Copies pretrained weights into a model. Heads and predictors keep their fresh weights.

    Args:
        model: a network whose class says what it takes, in ``taken``.
        tensors: the state of the ``StayReconstruction`` (stage one) or ``AdmissionPretraining``
            (stage two) objective.

    Returns:
        The names of the model's tensors that arrived.

    Raises:
        Refusal: the tensors do not fit the model. Nothing has been copied then.
    """
    is_two = any(name.startswith("admission.") for name in tensors)
    stage: Stage = "two" if is_two else "one"
    taken: Taken = getattr(model, "taken", {})
    if stage not in taken:
        raise Refusal(
            f"{type(model).__name__} cannot start from stage {stage}; "
            "use start none, or weights of another stage"
        )
    return [name for part in taken[stage] for name in _copy(tensors, part, model)]


def _copy(tensors: Mapping[str, Tensor], part: Part, model: nn.Module) -> list[str]:
    """Copies a part, strictly."""
    own = {
        name.removeprefix(part.theirs): x
        for name, x in tensors.items()
        if name.startswith(part.theirs)
    }
    own = {name: x for name, x in own.items() if not name.startswith(part.without)}
    module = model.get_submodule(part.ours)
    _check_fit(own, module.state_dict(), part.theirs)
    module.load_state_dict(own, strict=True)
    return [f"{part.ours}.{name}" for name in own]


def _check_fit(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], prefix: str) -> None:
    if theirs.keys() != ours.keys():
        name = min(theirs.keys() ^ ours.keys())
        where = "this run's model" if name in ours else "the checkpoint"
        raise Refusal(
            f"only {where} has the tensor {prefix}{name}; give a checkpoint of pretraining with "
            "this run's model.encoder_layers, or pretrain again"
        )
    # LayerNorm weights have shape (R): they tell another width from another vocabulary.
    for name in sorted(ours, key=lambda name: not name.endswith("norm.weight")):
        if theirs[name].shape == ours[name].shape:
            continue
        if name.endswith("norm.weight"):
            raise Refusal(
                f"the checkpoint has width {len(theirs[name])} and this run's model.width is "
                f"{len(ours[name])}; give --model.width {len(theirs[name])} or pretrain again"
            )
        if name == NOTE_PROJECTION:
            raise Refusal(
                f"the checkpoint reads vectors of notes {theirs[name].shape[1]} wide and this "
                f"run's are {ours[name].shape[1]}; embed with the --notes.model that it was "
                "trained on, or pretrain again"
            )
        raise Refusal(
            f"the checkpoint's {prefix}{name} is {tuple(theirs[name].shape)} and this run's is "
            f"{tuple(ours[name].shape)}; use the shards that it was trained on, or pretrain again"
        )
