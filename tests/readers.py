"""Settings of readers, from a whole run."""

from medhmp.progress import Progress
from medhmp.run import Run
from medhmp.tables.schema import ReaderSettings


def settings_of(run: Run) -> ReaderSettings:
    """The settings that ``jobs.featurize`` gives to the readers of this run."""
    return ReaderSettings.of(run.cohort, run.features, run.tables.meds, Progress(run.quiet))
