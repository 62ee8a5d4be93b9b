"""Hierarchical pretraining on multimodal electronic health records, as batch jobs on Ray."""

from typing import Final

__version__: Final = "0.1.0"
"""The one place of the version; a git tag ``v<version>`` agrees with it."""
