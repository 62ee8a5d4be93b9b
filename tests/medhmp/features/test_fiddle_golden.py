"""Every recorded FIDDLE run: names, order, non-zeros, aliases, bin edges, value types, error."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from medhmp.features.fiddle import fit, transform
from medhmp.features.fitted import FittedFeatures, FittedTable, Transformed
from medhmp.features.settings import Settings
from medhmp.refusal import Refusal
from tests.fiddle import fiddle_settings

GOLDEN = Path(__file__).parents[2] / "golden" / "fiddle"
CASES = sorted(path.stem for path in GOLDEN.glob("c*.json"))


def recorded(case: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{case}.json").read_text())


def settings_of_case(asked: dict[str, Any]) -> Settings:
    config = asked["config"]
    return fiddle_settings(
        hours=asked["T"],
        dt=asked["dt"],
        theta_1=asked["theta_1"],
        theta_2=asked["theta_2"],
        theta_freq=asked["theta_freq"],
        statistics=tuple(asked["stats_functions"]),
        discretize=config["discretize"],
        ordinal=config["use_ordinal_encoding"],
        value_types=config["value_types"],
        hierarchical_levels=tuple(config.get("hierarchical_levels", (0, 1, 2))),
    )


@pytest.fixture(scope="session")
def read_case(read_events):
    def read(asked: dict[str, Any]) -> tuple[pl.DataFrame, list[int]]:
        events = read_events(GOLDEN / asked["data_file"], asked["config"]["value_types"])
        return events, pl.read_csv(GOLDEN / asked["population_file"])["ID"].to_list()

    return read


def edges_of(asked: dict[str, Any], name: str) -> dict[str, Any] | None:
    return json.loads((GOLDEN / asked[name]).read_text()) if name in asked else None


@pytest.fixture(scope="session")
def fit_case(read_case):
    def fitted_to(case: str) -> tuple[pl.DataFrame, list[int], FittedFeatures]:
        asked = recorded(case)["settings"]
        events, ids = read_case(asked)
        edges = (edges_of(asked, "S_discretization_bins"), edges_of(asked, "X_discretization_bins"))
        bucket = [(events, ids)]
        fitted = fit(bucket, settings_of_case(asked), static_edges=edges[0], hourly_edges=edges[1])
        return events, ids, fitted

    return fitted_to


def plain(name: str) -> str:
    """The name with a number at its end in its shortest form: FIDDLE prints "1.0" or "1"."""
    head, sep, tail = name.rpartition("_")
    try:
        return f"{head}{sep}{float(tail):g}"
    except ValueError:
        return name


def unfiltered(table: FittedTable) -> FittedTable:
    return replace(table, kept=tuple(range(len(table.names_all))))


def static_nonzero(made: Transformed, names: tuple[str, ...]) -> list[list[Any]]:
    owner = np.repeat(made.ids, np.diff(made.static_offsets))
    return [[i, plain(names[f])] for i, f in zip(owner.tolist(), made.static_ids, strict=True)]


def hourly_nonzero(made: Transformed, names: tuple[str, ...]) -> list[list[Any]]:
    per_bin = np.diff(made.hour_offsets.astype(np.int64), axis=1)
    n, bins = per_bin.shape
    owner = np.repeat(np.repeat(made.ids, bins), per_bin.ravel()).tolist()
    hour = np.repeat(np.tile(np.arange(bins), n), per_bin.ravel()).tolist()
    columns = zip(owner, hour, made.feature_ids, strict=True)
    return [[i, k, plain(names[f])] for i, k, f in columns]


def expected_nonzero(table: dict[str, Any]) -> list[list[Any]]:
    return [[*entry[:-1], plain(entry[-1])] for entry in table["nonzero"]]


def plain_names(names: Any) -> list[str]:
    return [plain(name) for name in names]


def plain_aliases(aliases: dict[str, list[str]]) -> dict[str, list[str]]:
    inner = {
        k: [f"~{{{plain(v[2:-1])}}}" if v.startswith("~{") else plain(v) for v in vs]
        for k, vs in aliases.items()
    }
    return {plain(k): vs for k, vs in inner.items()}


@pytest.mark.parametrize("case", [c for c in CASES if "error" not in c])
def test_features_are_those_recorded(fit_case, case: str) -> None:
    events, ids, fitted = fit_case(case)
    expected = recorded(case)["expected"]
    whole = replace(fitted, static=unfiltered(fitted.static), hourly=unfiltered(fitted.hourly))
    for stage, model in (("", fitted), ("_all", whole)):
        made = transform(events, ids, model)
        static, hourly = expected[f"S{stage}"], expected[f"X{stage}"]
        assert made.ids.tolist() == expected["ids"]
        assert plain_names(model.static.names) == plain_names(static["feature_names"])
        assert plain_names(model.hourly.names) == plain_names(hourly["feature_names"])
        assert static_nonzero(made, model.static.names) == expected_nonzero(static)
        assert hourly_nonzero(made, model.hourly.names) == expected_nonzero(hourly)


@pytest.mark.parametrize("case", [c for c in CASES if "error" not in c])
def test_what_the_fit_decided_is_as_recorded(fit_case, case: str) -> None:
    _, _, fitted = fit_case(case)
    expected = recorded(case)["expected"]
    assert fitted.plan.types.of == expected["value_types"]
    for letter, table in (("S", fitted.static), ("X", fitted.hourly)):
        assert plain_aliases(table.aliases) == plain_aliases(expected[f"{letter}_aliases"])
        edges = {name: e and list(e) for name, e in table.edges.items()}
        assert list(edges.items()) == list(expected[f"{letter}_bin_edges"].items())


def test_two_numbers_at_one_time_are_refused_as_recorded(read_case) -> None:
    case = recorded("c7_error_numeric_duplicate")
    events, ids = read_case(case["settings"])
    text = case["expected_error"].removeprefix("Exception: ")
    with pytest.raises(Refusal, match=text) as refusal:
        fit([(events, ids)], settings_of_case(case["settings"]))
    repeated = events.filter(pl.struct("id", "t", "variable").is_duplicated())
    for cell in (repeated["variable"][0], str(repeated["id"][0])):
        assert cell not in str(refusal.value)
