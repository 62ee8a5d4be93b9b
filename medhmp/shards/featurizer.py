"""What featurization learns from training patients, and what other data may be made with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medhmp.features.codes import Kind, Vocabulary
from medhmp.features.fitted import FittedFeatures
from medhmp.shards.manifest import Manifest


@dataclass(frozen=True)
class Learnt:
    """Columns, bins and codes."""

    indicators: Sequence[str]  # variables whose repeats at one time became indicators
    fitted: FittedFeatures
    vocabularies: Mapping[Kind, Vocabulary]
    icd9_of: Mapping[str, Sequence[str]]  # ICD-10 diagnosis -> what it has become

    @staticmethod
    def of(manifest: Manifest) -> "Learnt":
        """What made shards that are whole."""
        vocabularies: dict[Kind, Vocabulary] = {
            "diagnosis": Vocabulary(tuple(manifest.diagnoses)),
            "drug": Vocabulary(tuple(manifest.drugs)),
        }
        fitted = FittedFeatures.from_json(json.dumps(manifest.fiddle))
        return Learnt(manifest.indicators, fitted, vocabularies, manifest.icd9_of)
