"""Origins of the outputs that a report is made from."""

from types import SimpleNamespace
from typing import Any, cast

from medhmp.report.material import Material


def test_provenance_is_told_of_the_outputs_that_have_it() -> None:
    told: Any = SimpleNamespace(provenance={"python": "3.12"})
    silent: Any = SimpleNamespace()  # made before records told it
    material = Material(
        shards=cast(Any, SimpleNamespace(output=told, own={})),
        grids={("arf", "medhmp", "none"): silent, ("arf", "medhmp", "both"): told},
        skipped=[],
        pretrainings={"pretrain_stay": silent},
        raw=None,
    )
    assert material.provenance == {
        "shards": {"python": "3.12"},
        "tune/arf/medhmp/both": {"python": "3.12"},
    }
