"""The frozen featurizer: everything fitted on training patients, reusable on other data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medhmp.features.codes import FittedCodes, Kind, Vocabulary
from medhmp.features.drift import Typical
from medhmp.features.fitted import FittedFeatures
from medhmp.features.numbers import FittedNumbers
from medhmp.refusal import Refusal
from medhmp.shards.manifest import Manifest, manifest_in
from medhmp.storage import Output


@dataclass(frozen=True)
class Featurizer:
    """Columns, bins and vocabularies."""

    indicators: Sequence[str]  # variables whose repeats at one time become indicators
    fitted: FittedFeatures
    vocabularies: Mapping[Kind, Vocabulary]
    icd9_of: Mapping[str, Sequence[str]]  # ICD-10 diagnosis -> the ICD-9 ones it becomes
    icd9_seen: Mapping[str, int]  # ICD-9 diagnosis -> the training admissions that have it
    # hourly variable -> the readings of the training stays
    typical: Mapping[str, Typical] = field(default_factory=dict)
    numbers: FittedNumbers | None = None  # none: without features.numbers

    @property
    def codes(self) -> FittedCodes:
        return FittedCodes(self.vocabularies, self.icd9_of, self.icd9_seen)

    @staticmethod
    def of(manifest: Manifest) -> "Featurizer":
        """The featurizer that made these shards."""
        vocabularies: dict[Kind, Vocabulary] = {
            "diagnosis": Vocabulary(tuple(manifest.diagnoses)),
            "drug": Vocabulary(tuple(manifest.drugs)),
        }
        fitted = FittedFeatures.from_json(json.dumps(manifest.fiddle))
        mapping = manifest.icd9_of, manifest.icd9_seen
        typical = {name: Typical(**of) for name, of in manifest.typical.items()}
        numbers = FittedNumbers.from_json(manifest.numbers) if manifest.numbers else None
        return Featurizer(manifest.indicators, fitted, vocabularies, *mapping, typical, numbers)


def frozen_featurizer(shards: Output, fields: Mapping[str, Any]) -> Featurizer:
    """The featurizer of other shards, for a run of these ``fields`` (``content_of``).

    Refuses shards of another format, and those made with other settings of features.
    """
    manifest = manifest_in(shards)
    for name, now in fields.items():
        if name.startswith(("features.", "cohort.hours")) and shards.fields.get(name) != now:
            raise Refusal(
                f"the shards of features.frozen were made with {name} {shards.fields.get(name)!r} "
                f"and this run has {now!r}; give the same --{name}"
            )
    return Featurizer.of(manifest)
