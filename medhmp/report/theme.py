"""Figures in the colors of the reader's theme.

matplotlib writes colors as numbers. On the page each becomes a CSS variable, whose value under a
dark theme is the same hue, as light as it must be to stand out from the background.
"""

import colorsys
import re
from dataclasses import dataclass, replace
from typing import Final

from markupsafe import Markup
from matplotlib.colors import to_rgb

from medhmp.report.figures import FAINT, GRID, INK, PAPER, SOFT, Drawing

FIXED: Final = {
    INK: "--ink",
    SOFT: "--soft",
    FAINT: "--faint",
    GRID: "--line",
    PAPER: "--card",
}
"""Colors of a figure's frame -> the page's own variables."""

BACKGROUND: Final = "#171d24"
"""The page's ``--card`` under a dark theme."""
CONTRAST: Final = 4.5
"""Ratio of luminances that WCAG 2 asks of text."""

HEX: Final = re.compile(r"#[0-9a-f]{6}\b")


@dataclass(frozen=True)
class Color:
    """A CSS variable and its values."""

    name: str
    light: str
    dark: str


class Theme:
    """Puts variables for the colors of drawings, and remembers which it used."""

    def __init__(self) -> None:
        self._colors: dict[str, Color] = {}

    @property
    def colors(self) -> list[Color]:
        """The variables that the page must define."""
        return list(self._colors.values())

    def drawing(self, drawing: Drawing) -> Drawing:
        """The drawing with variables for colors; its SVG is markup that no template escapes."""
        panels = [
            replace(panel, svg=Markup(HEX.sub(self._variable, panel.svg)))
            for panel in drawing.panels
        ]
        return replace(drawing, panels=panels)

    def _variable(self, match: re.Match[str]) -> str:
        color = match[0]
        if color in FIXED:
            return f"var({FIXED[color]})"
        name = f"--c-{color[1:]}"
        self._colors[color] = Color(name, color, lightened(color))
        return f"var({name})"


def lightened(color: str) -> str:
    """The darkest color of the same hue that has ``CONTRAST`` to the dark background."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(color))
    while contrast(color, BACKGROUND) < CONTRAST:
        lightness += 0.01
        red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
        color = f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
    return color


def contrast(one: str, other: str) -> float:
    """Ratio of the luminances of two colors after WCAG 2, from 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
