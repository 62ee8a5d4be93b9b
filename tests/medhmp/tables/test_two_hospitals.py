"""Shared names: what is fitted to the MIMIC-III demo has something to read in two other sources."""

import itertools
import shutil
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from medhmp.features import drift, fiddle, repeats
from medhmp.features.drift import Variable
from medhmp.features.fitted import FittedFeatures
from medhmp.features.settings import settings_of
from medhmp.recipes import mimic3_demo
from medhmp.run import Run
from medhmp.tables.clif import reader as clif
from medhmp.tables.mimic import mimic3
from medhmp.tables.physionet2012 import reader as physionet2012
from medhmp.tables.ranges import read_variables
from medhmp.tables.schema import Source
from tests.medhmp.tables.conftest import CLIF_DEMO

RUN = replace(mimic3_demo(), quiet=True, features=replace(mimic3_demo().features, names="shared"))
NAMES = {of.shared.name for of in read_variables("default")}


def read_by_id(source: Source) -> tuple[pl.DataFrame, np.ndarray]:
    """The events of a source as FIDDLE takes them, and all ids."""
    events = pl.concat([pl.from_arrow(batch) for batch in source.events()])
    named = events.rename({"hours": "t", "stay_id": "id"}).drop("subject_id")
    return repeats.resolve(named, []), source.stays["stay_id"].sort().to_numpy()


@dataclass(frozen=True)
class Fit:
    """What is fitted to the demo of MIMIC-III."""

    fitted: FittedFeatures
    features: dict[str, frozenset[int]]
    typical: dict[str, drift.Typical]


@pytest.fixture(scope="module")
def fit(shared: Path) -> Fit:
    raw = shared / "data" / "mimic-iii-demo-1.4"
    if not raw.is_dir():
        pytest.skip(f"needs {raw}, which is not here")
    events, ids = read_by_id(mimic3.read("mimic3", str(raw), RUN))
    fitted = fiddle.fit([(events, ids)], settings_of(RUN.cohort.hours, RUN.features)).published()
    features = drift.features_of(fitted, ())
    return Fit(fitted, features, drift.typical(drift.readings(features, events, pl.Series(ids))))


def found_in(source: Source, fit: Fit) -> dict[str, Variable]:
    events, ids = read_by_id(source)
    made = fiddle.transform(events, ids, fit.fitted)
    there = drift.typical(drift.readings(fit.features, events, pl.Series(ids)))
    filled = np.unique(made.recorded.features).tolist()
    return drift.compared(fit.features, fit.typical, filled, there)


def shared_filled(found: dict[str, Variable]) -> set[str]:
    """The shared variables of which stays there fill columns."""
    return {name for name, of in found.items() if name in NAMES and of.filled}


def test_the_challenge_fills_what_mimic_3_was_fitted_to(
    shared: Path, fit: Fit, tmp_path: Path
) -> None:
    raw = shared / "data" / "physionet-2012"
    shutil.copy(raw / "Outcomes-b.txt.gz", tmp_path)
    with (
        tarfile.open(raw / "set-b.tar.gz") as whole,
        tarfile.open(tmp_path / "set-b.tar", "w") as part,
    ):
        for member in itertools.islice(whole, 500):
            part.addfile(member, whole.extractfile(member))
    found = found_in(physionet2012.read("physionet2012", str(tmp_path), RUN), fit)
    filled = shared_filled(found)
    assert len(filled) >= 30, sorted(NAMES - filled)
    unlike = {name for name in filled if found[name].looks_different}
    assert unlike <= {"troponin T", "troponin I", "urine", "alanine aminotransferase"}


def test_clif_fills_what_mimic_3_was_fitted_to(fit: Fit) -> None:
    found = found_in(clif.read("clif", str(CLIF_DEMO), RUN), fit)
    filled = shared_filled(found)
    assert len(filled) >= 40, sorted(NAMES - filled)
    unlike = {name for name in filled if found[name].looks_different}
    assert unlike <= {"troponin T", "alanine aminotransferase", "aspartate aminotransferase"}


def test_names_of_their_own_share_nothing(fit: Fit) -> None:
    own: Run = replace(RUN, features=replace(RUN.features, names="own"))
    assert shared_filled(found_in(clif.read("clif", str(CLIF_DEMO), own), fit)) == set()
