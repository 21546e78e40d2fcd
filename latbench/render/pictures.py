"""What is rendered, as SVG pictures for a README: nothing in them is fetched from elsewhere."""

from __future__ import annotations

import io
from typing import Final

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

FONTS: Final = (
    "ui-monospace, 'Cascadia Mono', 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', "
    "'Liberation Mono', monospace"
)
"""Fonts that systems bring along; Rich's own template loads one from a CDN."""

THEME: Final = TerminalTheme(
    background=(22, 24, 29),
    foreground=(208, 211, 217),
    normal=[
        (60, 64, 72),
        (224, 108, 117),
        (140, 190, 120),
        (224, 185, 110),
        (97, 165, 235),
        (190, 140, 220),
        (95, 185, 195),
        (208, 211, 217),
    ],
    bright=[
        (110, 115, 125),
        (240, 130, 138),
        (160, 210, 140),
        (240, 205, 130),
        (120, 185, 250),
        (210, 160, 235),
        (120, 205, 215),
        (240, 242, 246),
    ],
)

# every cell of a line is given its place, so that columns stand even in a font of another width
_FORMAT: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: FONTS;
        font-size: {char_height}px;
        line-height: {line_height}px;
        font-variant-ligatures: none;
    }}
    .{unique_id}-title {{
        font-size: 18px;
        font-weight: bold;
        font-family: system-ui, sans-serif;
    }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" \
clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
""".replace("FONTS", FONTS)


def draw_svg(renderable: RenderableType, *, title: str, width: int = 140) -> str:
    """`renderable` as it looks on a terminal of `width` cells, as one self-contained SVG."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        # the caller's NO_COLOR, COLUMNS and so on are no business of a picture
        _environ={},
    )
    console.print(renderable)
    console.print()  # room for the last line's descenders
    return console.export_svg(title=title, theme=THEME, code_format=_FORMAT)
