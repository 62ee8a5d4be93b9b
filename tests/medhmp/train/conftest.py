"""Several ranks as processes of their own."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def run_ranks(tmp_path):
    """``run_ranks(__file__, 2)``: so many processes ``FILE tmp_path RANK``, to their end."""

    def run(program, ranks):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, program, str(tmp_path)]
        processes = [
            subprocess.Popen([*command, str(rank)], env=environment) for rank in range(ranks)
        ]
        assert not any(process.wait(timeout=180) for process in processes)

    return run
