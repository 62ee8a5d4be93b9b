"""Everything that is measured of one model on one task beside discrimination.

With the discrimination of ``results.json`` these are all rows that PyHealth's metrics of binary
outcomes and OHDSI's PatientLevelPrediction have.
"""

from typing import Any

import numpy as np
import polars as pl

from medhmp.arrays import Floats, Ints
from medhmp.evaluate import influence, recalibration
from medhmp.evaluate.calibration import calibration, curve, intervals
from medhmp.evaluate.decisions import THRESHOLDS, decision_curve, net_benefit, table_at
from medhmp.evaluate.discrimination import Ranking
from medhmp.evaluate.operating import BEST_F1
from medhmp.evaluate.predictions import Predictions
from medhmp.evaluate.risks import distribution
from medhmp.evaluate.subgroups import subgroups


def measures(predictions: Predictions, people: pl.DataFrame | None) -> dict[str, Any]:
    """The keys of a row of ``results.json`` that are not discrimination, of seed-averaged scores.

    Recalibration and thresholds come from validation rows, figures from test rows. ``people`` has
    the attributes of the test rows, row by row; None: no subgroups. Their intervals hold the
    chance of test patients alone.
    """
    test, operating = predictions.test, predictions.operating
    label, score = test.label, test.average
    patient = np.unique(test.subject, return_inverse=True)[1]
    thresholds, tuned = operating.thresholds, operating.thresholds[BEST_F1]
    maps = {name: recalibration.from_numbers(of) for name, of in operating.maps.items()}
    applied = {name: of.apply(score) for name, of in maps.items()}
    return {
        "score_auroc": influence.auroc_estimate(label, score, patient).to_json(),
        "calibration": _calibration(label, score, patient),
        "recalibrated": {
            name: {
                **maps[name].numbers,
                "auroc": influence.auroc_estimate(label, risk, patient).to_json(),
                "calibration": _calibration(label, risk, patient),
                "net_benefit": [
                    float(net_benefit(label, risk, t).mean()) for t in THRESHOLDS.tolist()
                ],
            }
            for name, risk in applied.items()
        },
        "net_benefit": decision_curve(label, score, patient),
        "thresholds": [
            {"name": name, **table_at(label, score, at)} for name, at in thresholds.items()
        ],
        "risk": {
            "events": distribution(score[label == 1]),
            "others": distribution(score[label == 0]),
        },
        "per_patient_auroc": _per_patient(label, score, patient),
        "subgroups": [] if people is None else subgroups(label, score, patient, people, tuned),
    }


def _calibration(label: Ints, score: Floats, patient: Ints) -> dict[str, Any]:
    return {
        **calibration(label, score).to_json(),
        "intervals": intervals(label, score, patient),
        "curve": [vars(b) for b in curve(label, score)],
    }


def _per_patient(label: Ints, score: Floats, patient: Ints) -> float:
    """AUROC with every patient weighing the same, however many rows they have."""
    weights = 1 / np.bincount(patient)[patient]
    return float(Ranking(label, score).auroc(weights[None])[0])
