"""The plots of a page, by Bokeh: what each shows as a JSON-able item, which its script draws once it is in view.

Lines, points and axes take their colours from the page's script, for light and dark; series have their own here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uit_jax.report.looking import Seen
from uit_jax.report.pictures import THUMBNAIL
from uit_jax.report.records import Curve, Phase

COLOURS = (
    *("#2f7fd1", "#c2660a", "#2e8b57", "#b04fc0", "#d1495b", "#1b8a94", "#8a7a12", "#9c5a3c", "#e0559c", "#6a63d8"),
    "#7a7f87",
)
"""Of runs, pseudo domains and classes, in their order and over again: each is seen on white and on black."""

_MARKS = ("circle", "square", "triangle", "diamond", "inverted_triangle")
_FEW = 20  # points of a curve that are also marked
_LARGEST_TABLE = 30  # classes or domains of which a confusion writes its counts


def colour(index: int) -> str:
    """Return the colour of a run, a pseudo domain or a class; grey for -1, none."""
    return "#7a7f87" if index < 0 else COLOURS[:-1][index % (len(COLOURS) - 1)]


def curve(title: str, curves: Mapping[str, Curve], colours: Mapping[str, str], phases: Sequence[Phase]) -> Any:
    """Plot a metric of some runs over the steps, with a mark where each phase but the first begins.

    Args:
      curves, colours: by the names of the runs that have it.
    """
    from bokeh.models import ColumnDataSource, HoverTool, Label, Span

    plot, lines = _figure(title, height=210, x_axis_label="step"), []
    # Of a constant: Bokeh's own span is that of large numbers.
    plot.y_range.default_span = 0.2 * max(abs(each.values[-1]) for each in curves.values()) or 1.0
    for name, each in curves.items():
        source = ColumnDataSource({"step": each.steps, "value": each.values})
        style = dict(source=source, color=colours[name])
        plot.line("step", "value", line_alpha=0.3, **style)
        # The page's script smoothes it.
        lines.append(_tagged("smooth", plot.line("step", "value", line_width=2, name=name, **style)))
        if len(each.steps) <= _FEW:
            plot.scatter("step", "value", size=5, **style)
    for phase in phases[1:]:
        plot.add_layout(Span(location=phase.begin, dimension="height", line_dash="dashed", line_width=1))
        told = dict(text=phase.name, text_font_size="10px", x_offset=3)
        plot.add_layout(Label(x=phase.begin, y=2, y_units="screen", **told))
    tips = [("run", "$name"), ("step", "@step"), ("value", "@value{0.[00000]}")]
    plot.add_tools(HoverTool(renderers=lines, tooltips=tips, mode="vline", line_policy="nearest"))
    return _item(plot)


def space(seen: Seen, sheet: str) -> Any:
    """Plot the styles of images in two dimensions; the image and what is known of it on hover.

    Args:
      sheet: the CSS variable that holds the thumbnails.
    """
    from bokeh.models import ColumnDataSource, HoverTool

    assigned = np.full(len(seen.names), -1) if seen.assigned is None else seen.assigned
    columns = {
        "x": np.round(seen.points[:, 0], 3).tolist(),
        "y": np.round(seen.points[:, 1], 3).tolist(),
        "place": [f"{-x}px {-y}px" for x, y in seen.sheet.places],
        "name": seen.names,
        "domain": ["" if each < 0 else f"pseudo domain {each}" for each in assigned],
        "class": ["" if each < 0 else seen.classes[each] for each in seen.labels],
        "by_domain": [colour(each) for each in assigned],
        "by_class": [colour(each) for each in seen.labels],
        # Colours come again; with the shapes they tell more groups apart.
        "domain_mark": [_mark(each) for each in assigned],
        "class_mark": [_mark(each) for each in seen.labels],
    }
    by = "domain" if seen.assigned is not None else "class"
    plot = _figure("", height=420)
    style = dict(marker=f"{by}_mark", color=f"by_{by}", fill_alpha=0.75, source=ColumnDataSource(columns))
    _tagged("points", plot.scatter("x", "y", size=8, **style))
    # The thumbnails lie in one picture, of which each tip shows a part.
    shape = f"width:{THUMBNAIL}px;height:{THUMBNAIL}px;background:var({sheet}) @place"
    tip = f'<div style="{shape}"></div><div>@domain</div><div>@class</div><div>@name</div>'
    plot.add_tools(HoverTool(tooltips=f"<div>{tip}</div>"))
    plot.axis.visible = plot.grid.visible = False
    return _item(plot)


def sizes(seen: Seen) -> Any:
    """Plot how many images each pseudo domain has, of each class where these are known."""
    from bokeh.models import HoverTool

    numbers = [str(domain.number) for domain in seen.pseudo_domains]
    plot = _figure("", height=240, x_range=numbers, x_axis_label="pseudo domain", y_axis_label="images")
    below = np.zeros(len(numbers))
    for label in np.unique(seen.labels):
        chosen = seen.assigned[seen.labels == label]
        counts = np.array([(chosen == domain.number).sum() for domain in seen.pseudo_domains])
        name = seen.classes[label] if label >= 0 else "images"
        columns = {
            "domain": numbers, "bottom": below.tolist(), "top": (below + counts).tolist(), "count": counts.tolist(),
            "name": [name] * len(numbers),
        }
        below = below + counts
        paint = dict(fill_color=colour(int(label) if label >= 0 else 0), line_color=None)
        plot.vbar("domain", 0.8, "top", "bottom", source=columns, **paint)
    plot.add_tools(HoverTool(tooltips=[("pseudo domain", "@domain"), ("of", "@name"), ("images", "@count")]))
    plot.y_range.start = 0
    return _item(plot)


def confusion(counts: np.ndarray, classes: Sequence[str], domains: Sequence[int]) -> Any:
    """Plot the images of each class and pseudo domain, [classes, domains]; a cell's opacity is its share of the class.

    Classes of one name are told apart.
    """
    from bokeh.models import HoverTool

    rows = [name if classes.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(classes)]
    columns = [str(domain) for domain in domains]
    plot = _figure(
        "", height=120 + 28 * len(rows) if len(rows) <= _LARGEST_TABLE else 700, x_range=columns, y_range=rows[::-1],
        x_axis_label="pseudo domain", y_axis_label="label",
    )
    shares = counts / counts.sum(1, keepdims=True)
    cells = {
        "label": np.repeat(rows, len(columns)).tolist(),
        "domain": columns * len(rows),
        "count": counts.ravel().tolist(),
        "share": np.round(shares, 4).ravel().tolist(),
    }
    plot.rect("domain", "label", 1, 1, source=cells, fill_color=COLOURS[0], fill_alpha="share", line_alpha=0.2)
    if max(counts.shape) <= _LARGEST_TABLE:
        told = dict(text_align="center", text_baseline="middle", text_font_size="12px")
        _tagged("counts", plot.text("domain", "label", "count", source=cells, **told))
    tips = [("label", "@label"), ("pseudo domain", "@domain"), ("images", "@count"), ("of the label", "@share{0%}")]
    plot.add_tools(HoverTool(tooltips=tips))
    return _item(plot)


def scripts() -> list[str]:
    """Return the scripts that draw the items, whole."""
    from bokeh.resources import Resources

    return Resources(mode="inline", components=["bokeh"]).js_raw


def _figure(title: str, **options: Any) -> Any:
    from bokeh.plotting import figure

    plot = figure(title=title or None, sizing_mode="stretch_width", tools="pan,box_zoom,reset,save", **options)
    plot.toolbar.logo, plot.toolbar.autohide = None, True
    plot.background_fill_color = plot.border_fill_color = plot.outline_line_color = None
    return plot


def _tagged(tag: str, renderer: Any) -> Any:
    """Let the page's script find a renderer."""
    renderer.tags = [tag]
    return renderer


def _item(plot: Any) -> Any:
    from bokeh.embed import json_item

    return json_item(plot)


def _mark(index: int) -> str:
    return _MARKS[max(index, 0) // (len(COLOURS) - 1) % len(_MARKS)]
