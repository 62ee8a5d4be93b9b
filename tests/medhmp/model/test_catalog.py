"""The table of models: names that resolve, and a reader that imports nothing for it."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from medhmp.legend import LEVELS
from medhmp.model.catalog import MODELS
from medhmp.notes.encoder import load_trainable
from medhmp.run import Model

HEAVY = ("torch", "sklearn", "ray")


@pytest.mark.parametrize("name", MODELS)
def test_every_builder_is_there_for_each_level_of_its_optimizers(name):
    entry = MODELS[name]
    assert entry.builders.keys() <= set(LEVELS.values())
    assert all(callable(entry.builder(level)) for level in entry.builders)
    if entry.is_network:
        assert entry.optimizers.keys() == entry.builders.keys()
        assert {"batch_size", "learning_rate"} <= entry.search.keys()
    else:
        assert entry.takes_starts == bool(entry.embedders or entry.parts)
        assert not entry.embedders or entry.embedders.keys() == entry.builders.keys()


def test_networks_are_built_from_widths_and_the_model_section(records):
    widths = replace(records.widths, numbers=2, statistics=3, statistic_of=(0, 1, 2))
    for entry in MODELS.values():
        more = {"encoder": load_trainable(None, entry.text)} if entry.text else {}
        for level in entry.builders if entry.is_network else ():
            model = Model(width=8, demographic_hidden=4)
            network = entry.builder(level)(widths, model, **more)
            assert isinstance(network, torch.nn.Module)


def test_titles_and_colors_tell_models_apart():
    for values in ([e.title for e in MODELS.values()], [e.color for e in MODELS.values()]):
        assert len(values) == len(set(values))


def test_a_command_line_reads_it_without_the_models():
    code = f"import medhmp.model.catalog, sys; print([m for m in {HEAVY} if m in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
