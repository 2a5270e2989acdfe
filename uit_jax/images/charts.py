"""Charts: of one number over training steps, and of the parts of a whole."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uit_jax.images.pictures import INK, MARGIN, MUTED, WHITE, plain

WIDTH, HEIGHT = 640, 200
_LEFT, _TOP, _BOTTOM = 80, 36, 28
_BAR, _NAMES = 22, 200
_LINE, _GRID = (26, 115, 232), (218, 220, 224)


def chart(steps: Sequence[int], values: Sequence[float], title: str, *, marked: int | None = None) -> np.ndarray:
    """Draw values over steps as a line of points, that of the step `marked` filled: uint8 [H, W, 3]."""
    font, small = ImageFont.load_default(14), ImageFont.load_default(11)
    canvas = Image.new("RGB", (WIDTH, HEIGHT), WHITE)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN - 4), plain(title), fill=INK, font=font)
    low, high = min(values), max(values)
    right, bottom = WIDTH - 2 * MARGIN, HEIGHT - _BOTTOM

    def place(step: int, value: float) -> tuple[float, float]:
        along = (step - steps[0]) / max(steps[-1] - steps[0], 1)
        up = (value - low) / (high - low) if high > low else 0.5
        return _LEFT + along * (right - _LEFT), bottom - up * (bottom - _TOP)

    for value in {low, high}:
        _, y = place(steps[0], value)
        draw.line([(_LEFT, y), (right, y)], fill=_GRID)
        draw.text((_LEFT - 8, y), f"{value:.4g}", fill=MUTED, font=small, anchor="rm")
    for step in {steps[0], steps[-1]}:
        x, _ = place(step, low)
        draw.text((x, bottom + 6), str(step), fill=MUTED, font=small, anchor="ma")
    points = [place(*each) for each in zip(steps, values, strict=True)]
    draw.line(points, fill=_LINE, width=2)
    for step, (x, y) in zip(steps, points, strict=True):
        draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=_LINE if step == marked else WHITE, outline=_LINE, width=2)
    return np.asarray(canvas)


def bars(parts: Mapping[str, float], title: str, unit: str) -> np.ndarray:
    """Draw the parts of a whole as bars, one a line with its name, amount and share: uint8 [H, W, 3]."""
    font, small = ImageFont.load_default(14), ImageFont.load_default(11)
    canvas = Image.new("RGB", (WIDTH, _TOP + _BAR * len(parts) + MARGIN), WHITE)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, MARGIN - 4), plain(title), fill=INK, font=font)
    longest, total = max(parts.values(), default=0) or 1, sum(parts.values()) or 1
    room = WIDTH - _NAMES - 150
    for row, (name, value) in enumerate(parts.items()):
        middle = _TOP + _BAR * row + _BAR // 2
        end = _NAMES + max(1, room * value / longest)
        draw.text((_NAMES - 8, middle), plain(name), fill=MUTED, font=small, anchor="rm")
        draw.rectangle([_NAMES, middle - 7, end, middle + 7], fill=_LINE)
        draw.text((end + 8, middle), f"{value:.4g} {unit}, {value / total:.0%}", fill=MUTED, font=small, anchor="lm")
    return np.asarray(canvas)
