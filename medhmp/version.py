"""The one place of the version; a git tag ``v<version>`` agrees with it."""

from typing import Final

__version__: Final = "0.1.0"
