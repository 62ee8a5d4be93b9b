"""FIDDLE's own settings, those of its recorded cases, where they differ from the project's."""

from dataclasses import replace
from typing import Any

from medhmp.features.settings import Settings, settings_of
from medhmp.run import Features

FIDDLE = Features(theta_1=0.001, theta_2=0.001, theta_2_static=None, scale="none", clip=False)


def fiddle_settings(hours: int, **changes: Any) -> Settings:
    """FIDDLE's settings but for these."""
    return replace(settings_of(hours, FIDDLE), **changes)
