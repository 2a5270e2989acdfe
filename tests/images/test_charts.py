"""A chart: where its points lie, and of one value or one step too; bars as long as what they stand for."""

import numpy as np

from uit_jax.images import charts


def test_points_lie_where_their_values_are():
    drawn = charts.chart([0, 10, 20], [1.0, 3.0, 2.0], "Fréchet", marked=10)
    assert drawn.shape == (charts.HEIGHT, charts.WIDTH, 3) and drawn.dtype == np.uint8
    # The marked point is the one that is filled.
    line = (drawn == charts._LINE).all(-1)
    rows, columns = np.nonzero(line[:, charts._LEFT + 3 : charts.WIDTH - 3 * charts.MARGIN])
    top = columns[rows == rows.min()].mean() + charts._LEFT + 3
    assert abs(top - (charts._LEFT + charts.WIDTH - 2 * charts.MARGIN) / 2) < 3
    assert line[charts._TOP - 1 : charts._TOP + 2, int(top) - 1 : int(top) + 2].all()


def test_one_step_and_equal_values_are_drawn_too():
    for steps, values in (([5], [1.0]), ([5, 9], [2.0, 2.0])):
        assert charts.chart(steps, values, "flat").shape == (charts.HEIGHT, charts.WIDTH, 3)


def test_bars_are_as_long_as_their_parts():
    drawn = charts.bars({"convolution": 30.0, "norm": 10.0, "none": 0.0}, "a step", "ms")
    lengths = (drawn == charts._LINE).all(-1)[:, charts._NAMES :].sum(1)
    rows = [lengths[charts._TOP + charts._BAR * row + charts._BAR // 2] for row in range(3)]
    assert abs(rows[0] - 3 * rows[1]) <= 3 and rows[2] <= 2 and drawn.shape[1] == charts.WIDTH
    assert charts.bars({}, "nothing", "ms").shape[2] == 3
