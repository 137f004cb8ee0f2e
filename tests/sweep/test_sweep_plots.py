"""Plots of a sweep: they show what is so, for every kind of sweep, and nothing runs into anything."""

import itertools
import math
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from runner import plots as house
from runner.plots import _style
from runner.sweeps.report import plots
from runner.sweeps.report.plots import (
    Curves,
    _listing,
    by_parameter,
    curves,
    heat_map,
    mean_and_spread,
    parallel_coordinates,
    ranked,
)
from runner.sweeps.report.plots._parameters import parameters
from runner.sweeps.report.table import Row, Table
from tests.plots.test_plots import assert_words_are_legible, collisions, said

NAMES = ["by_parameter", "curves", "heat_map", "mean_and_spread", "parallel_coordinates", "ranked"]
LR, WIDTH = ("optimizer.lr", ["0.001", "0.01", "0.1", "1"]), ("model.knobs.width", ["8", "16", "32"])
KIND = ("model", ["digits_cnn", "digits_mlp", "mobile_net_v3_small"])
MANY = ("model.knobs.width", [str(8 * (i + 1)) for i in range(32)])
FLAG = ("flag", ["true", "false"])
ODD = ["[16,32]", "{Linear: 4}", "null", "x" * 60, "größe$5_$x", "a\nb", ""]


def sweep(*space: tuple[str, list[str]], mode: str = "min", low: float = 0.01) -> tuple[Table, Curves]:
    """All combinations; the result grows with the job's number, from `low`, by ten to a hundredfold."""
    rows = []
    for number, values in enumerate(itertools.product(*(values for _, values in space))):
        overrides = {key: value for (key, _), value in zip(space, values, strict=True)}
        rows.append(Row(number, overrides, f"{number:032x}", "FINISHED", low * 1.3**number, {}, 5, 5, 1.0))
    table = Table(rows, "valid/loss" if mode == "min" else "valid/Accuracy", mode)
    return table, curves_of(table)


def curves_of(table: Table) -> Curves:
    """They fall to the result, or rise to it."""
    factor = 3.0 if table.mode == "min" else 1 / 3
    return {row.number: [(10 * i, (row.value or 1.0) * factor ** (5 - i)) for i in range(1, 6)] for row in table.rows}


def seeds(count: int) -> tuple[str, list[str]]:
    return ("seed", [str(i) for i in range(count)])


def draw_all(table: Table, found: Curves) -> Iterator[tuple[str, Figure]]:
    """Name and picture of every plot for which the sweep has something to show."""
    for name in plots.names():
        if (figure := plots.draw(name, table, found)) is not None:
            yield name, figure


def drawn(module: Any, table: Table, found: Curves | None = None) -> Any:
    figure = module.draw(table, curves_of(table) if found is None else found)
    assert isinstance(figure, Figure)
    assert_words_are_legible(figure)
    return figure


def labelled(axes: Any, label: str) -> Any:
    [found] = [line for line in axes.get_lines() if line.get_label() == label]
    return found


def points(axes: Any, label: str) -> list[tuple[float, float]]:
    line = labelled(axes, label)
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


# -- all plots -------------------------------------------------------------------------------------------------


def test_the_folder_is_the_list() -> None:
    assert plots.names() == NAMES


@pytest.mark.parametrize(
    ("space", "mode", "expected"),
    [
        ([LR], "min", {"by_parameter", "curves", "ranked"}),
        ([seeds(4)], "max", {"by_parameter", "curves", "mean_and_spread", "ranked"}),
        ([LR, WIDTH], "min", {"by_parameter", "curves", "heat_map", "ranked"}),
        ([LR, WIDTH, seeds(3)], "max", {"by_parameter", "curves", "heat_map", "mean_and_spread", "ranked"}),
        ([LR, WIDTH, KIND], "max", {"by_parameter", "curves", "parallel_coordinates", "ranked"}),
        ([LR, WIDTH, KIND, FLAG], "min", {"by_parameter", "curves", "parallel_coordinates", "ranked"}),
    ],
)
def test_each_sweep_gets_its_plots(
    space: list[tuple[str, list[str]]], mode: str, expected: set[str], tmp_path: Path
) -> None:
    table, found = sweep(*space, mode=mode)
    figures = dict(draw_all(table, found))
    assert set(figures) == expected
    for name, figure in figures.items():
        assert_words_are_legible(figure)
        assert f"{table.metric}, {table.better}" in said(figure)
        house.save(figure, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.width == 960


def finished(jobs: Iterable[dict[str, str]]) -> Table:
    return Table([Row(i, overrides, f"{i:032x}", "FINISHED", 1.0 + i) for i, overrides in enumerate(jobs)])


def degenerate() -> dict[str, Table]:
    nan, mixed, failed = (sweep(LR, WIDTH, seeds(2))[0] for _ in range(3))
    for row in nan.rows:
        row.value = math.nan
    for row, value in zip(mixed.rows, [None, math.inf, -math.inf, math.nan, 1e308, 0.0, -5.0, 1e-12], strict=False):
        row.value = value
    for row in failed.rows:
        row.status, row.value, row.reason = "FAILED", None, "ValueError: " + "long " * 50
    waiting = sweep(LR)[0]
    for row in waiting.rows:
        row.status, row.value = "WAITING", None
    same = sweep(LR, WIDTH, KIND)[0]
    for row in same.rows:
        row.value = 0.5
    tiny = sweep(("a.eps", ["1e-12", "2e-12", "3e-12"]), ("b", ["0", "1e-300", "1e300"]), low=1e-12)[0]
    odd = sweep(("model.layers", ODD), ("flag", ["true", "false", "null"]), ("n", ["1", "null", "2.5"]), low=1e-9)[0]
    wide = sweep(*((f"group{i}.a_rather_long_key_number_{i}", ["1", "2"]) for i in range(6)))[0]
    many = finished({"lr": f"{1.02**i / 1e4:.6g}", "p": f"{i * 7919 % 500}"} for i in range(500))
    named = finished({"name": f"a configuration with the number {i}"} for i in range(500))
    partly = finished({"a": "1", "b": "2"} if i % 2 else {"c": "3"} for i in range(4))
    running = sweep(LR, seeds(3))[0]
    for row in running.rows:
        row.status = "RUNNING"
    return {
        "none": Table([]), "one": Table([Row(0, {"lr": "1"}, "", "FINISHED", 0.5)]),
        "bare": Table([Row(0, {}, "", "FINISHED", 0.5)]), "nan": nan, "mixed": mixed, "failed": failed,
        "waiting": waiting, "same": same, "tiny": tiny, "odd": odd, "wide": wide, "many": many, "named": named,
        "partly": partly, "running": running,
    }  # fmt: skip


@pytest.mark.parametrize("name", degenerate())
def test_every_sweep_is_drawn_without_a_warning(name: str) -> None:
    table = degenerate()[name]
    broken: Curves = {row.number: [(1, math.nan), (2, math.inf), (3, 1e308)] for row in table.rows}
    for mode, found in (("min", curves_of(table)), ("max", broken)):
        table.mode = mode
        figures = dict(draw_all(table, found))
        assert figures or name in ("none", "nan", "waiting"), "there is something to show"
        for plot, figure in figures.items():
            assert collisions(figure) == [], plot


@pytest.mark.parametrize("found", [{}, {0: [(7, 0.5)]}, {0: [], 1: [(7, 0.5)]}, {99: [(1, 1.0)]}])
def test_curves_of_no_or_one_point_are_no_trouble(found: Curves) -> None:
    table, _ = sweep(LR, seeds(2))
    assert {"ranked", "mean_and_spread"} < {name for name, _ in draw_all(table, found)}
    figure = curves.draw(table, found)
    assert (figure is not None) is bool(found.get(0) or found.get(1))


@pytest.mark.parametrize("count", [26, 27, 80])
def test_however_many_keys_are_swept_there_is_a_page(count: int) -> None:
    keys = [f"model.knobs.k{number}" for number in range(count)]
    rows = [
        Row(job, {"seed": str(job % 2), **{key: str((job >> i % 7) % 2) for i, key in enumerate(keys)}}, "", "FINISHED")
        for job in range(8)
    ]
    for row in rows:
        row.value = 1.0 + row.number
    table = Table(rows)
    figures = dict(draw_all(table, curves_of(table)))
    assert {"by_parameter", "mean_and_spread", "parallel_coordinates", "ranked"} <= set(figures)
    assert f"(the first {_listing.MOST} of " in said(figures["ranked"])


@pytest.mark.parametrize("room", [-1.0, 0.0, 1e-9, 1.0])
def test_widths_are_shared_whatever_room_there_is(room: float) -> None:
    assert sum(_listing.shared([0.5] * 30, room)) <= max(room, 0.0)


def test_a_sweep_without_any_result_has_no_plots_but_its_failures() -> None:
    tables = degenerate()
    for name in ("none", "waiting", "nan"):
        assert list(draw_all(tables[name], {})) == []
    [(name, figure)] = draw_all(tables["failed"], {})
    assert name == "ranked"
    assert "No job has a result" in said(figure)
    assert said(figure).count("ValueError") == ranked.FAILURES
    assert "and 14 more" in said(figure)


def test_values_without_a_finite_number_are_counted() -> None:
    table, _ = sweep(LR)
    table.rows[1].value, table.rows[2].value = math.nan, math.inf
    assert "2 finished jobs without a finite valid/loss" in said(drawn(ranked, table))


def test_plots_are_drawn_without_pyplot() -> None:
    code = """
import sys
from runner.sweeps.report import plots
from runner.sweeps.report.table import Row, Table
assert not [name for name in sys.modules if name.startswith("matplotlib")]
table = Table([Row(i, {"a": str(i), "seed": str(i)}, "", "FINISHED", 1.0 + i) for i in range(4)])
figures = [plots.draw(name, table, {0: [(1, 0.5)]}) for name in plots.names()]
assert sum(figure is not None for figure in figures) == 4
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=1500)


# -- parameters ------------------------------------------------------------------------------------------------


def test_numbers_stand_by_size_and_words_as_they_came() -> None:
    rows = [Row(i, {"a": a, "b": b, "c": "1"}) for i, (a, b) in enumerate([("10", "x"), ("9", "2"), ("1e1", "10")])]
    a, b = parameters(Table(rows))
    assert (a.numeric, a.values, a.places) == (True, ["9", "10"], [9.0, 10.0])
    assert (b.numeric, b.values) == (False, ["2", "10", "x"])
    assert [a.place(row) for row in rows] == [10.0, 9.0, 10.0]
    assert [b.place(row) for row in rows] == [2.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("values", "log"),
    [(["1", "10"], True), (["1", "9"], False), (["0", "100"], False), (["-1", "-100"], False), (["a", "100"], False)],
)
def test_what_was_swept_over_a_decade_is_logarithmic(values: list[str], log: bool) -> None:
    [parameter] = parameters(sweep(("x", values))[0])
    assert parameter.log is log
    assert (drawn(by_parameter, sweep(("x", values))[0]).axes[0].get_xscale() == "log") is log


# -- ranked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_is_on_top(mode: str) -> None:
    table, _ = sweep(LR, WIDTH, mode=mode)
    [axes] = drawn(ranked, table).axes
    [(x, y)] = points(axes, "best")
    assert x == (min if mode == "min" else max)(row.value or 0.0 for row in table.rows)
    assert y == 0
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    others = points(axes, "finished")
    assert len(others) == len(table.rows) - 1
    assert [x for x, _ in others] == sorted((x for x, _ in others), reverse=mode == "max")


def test_of_many_the_best_thirty_are_shown() -> None:
    table, _ = sweep(LR, WIDTH, seeds(4))
    figure = drawn(ranked, table)
    assert "The best 30 of 48 results" in said(figure)
    assert len(points(figure.axes[0], "finished")) == 29


def test_pruned_running_and_failed_jobs_are_told_apart() -> None:
    table, _ = sweep(LR, WIDTH)
    table.rows[4].pruned, table.rows[5].status = 2, "RUNNING"
    table.rows[0].status, table.rows[0].reason = "FAILED", "FloatingPointError: nan at step 3"
    figure = drawn(ranked, table)
    axes = figure.axes[0]
    assert [x for x, _ in points(axes, "pruned")] == [table.rows[4].value]
    assert [x for x, _ in points(axes, "running")] == [table.rows[5].value]
    assert [x for x, _ in points(axes, "best")] == [table.rows[1].value]  # not the failed one
    assert "failed: lr=0.001, width=8 FloatingPointError: nan at step 3" in said(figure)
    assert "10 finished (1 pruned), 1 failed" in said(figure)


def test_wide_columns_give_way_and_narrow_ones_stay() -> None:
    assert _listing.shared([0.5, 1.0], 2.0) == [0.5, 1.0]
    narrow, wide, wider = _listing.shared([0.5, 3.0, 9.0], 4.0)
    assert narrow == 0.5
    assert wide == wider == pytest.approx(1.75, rel=0.03)


# -- by_parameter ----------------------------------------------------------------------------------------------


def test_each_parameter_has_a_panel_with_all_jobs() -> None:
    table, _ = sweep(LR, WIDTH, KIND, seeds(2))
    figure = drawn(by_parameter, table)
    assert [axes.get_xlabel() for axes in figure.axes] == ["lr (logarithmic)", "width", "model", "seed"]
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear", "linear", "linear"]
    for axes in figure.axes:
        assert len(points(axes, "job")) == len(table.rows)
        assert axes.get_yscale() == "log"
    best = table.best
    assert best is not None
    assert points(figure.axes[0], "best") == [(0.001, best.value)]


def test_a_line_goes_through_the_medians_of_values_that_come_often() -> None:
    table = Table([Row(i, {"a": str(i % 3), "b": str(i)}, "", "FINISHED", float(i)) for i in range(9)])
    first, second = drawn(by_parameter, table).axes
    assert points(first, "median") == [(0.0, 3.0), (1.0, 4.0), (2.0, 5.0)]
    assert "median" not in [line.get_label() for line in second.get_lines()]


def test_what_was_swept_is_written_on_the_axis() -> None:
    axes = drawn(by_parameter, sweep(LR, WIDTH)[0]).axes
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == LR[1]
    assert [tick.get_text() for tick in axes[1].get_xticklabels()] == WIDTH[1]


# -- heat_map --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max"])
def test_cells_hold_the_mean_over_the_rest_and_the_best_is_framed(mode: str) -> None:
    table, _ = sweep(LR, WIDTH, seeds(2), mode=mode)
    figure = drawn(heat_map, table)
    axes = figure.axes[0]
    [frame] = [patch for patch in axes.patches if patch.get_label() == "best"]
    assert frame.get_xy() == ((-0.5, -0.5) if mode == "min" else (2.5, 1.5))
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert len(written) == 12
    assert written[0, 0] == _style.number(0.01 * (1 + 1.3) / 2, 3)
    assert "mean over the seeds" in said(figure)


def test_cells_without_a_result_are_hatched_and_pruned_ones_in_brackets() -> None:
    table, _ = sweep(LR, WIDTH)
    table.rows[3].status, table.rows[7].pruned = "FAILED", 1
    axes = drawn(heat_map, table).axes[0]
    hatched = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_hatch()]
    assert [patch.get_xy() for patch in hatched] == [(0.5, -0.5)]
    assert [text.get_text() for text in axes.texts if "(" in text.get_text()] == [
        f"({_style.number(table.rows[7].value or 0.0, 3)})"
    ]


def test_values_are_written_up_to_twelve_by_twelve() -> None:
    def grid(side: int) -> Any:
        space = [(key, [str(i) for i in range(side)]) for key in "ab"]
        return drawn(heat_map, sweep(*space, low=1e-9)[0]).axes[0]

    assert len(grid(12).texts) == 144
    assert len(grid(13).texts) == 0


def test_values_that_make_no_grid_are_points_in_the_plane() -> None:
    axes = drawn(heat_map, degenerate()["many"]).axes[0]
    assert len(axes.collections[0].get_offsets()) == 500
    assert points(axes, "best") == [(0.0001, 0.0)]


# -- parallel_coordinates --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_job_is_the_thickest_line_and_ends_at_its_result(mode: str) -> None:
    table, _ = sweep(LR, WIDTH, KIND, mode=mode)
    [axes] = drawn(parallel_coordinates, table).axes
    best = labelled(axes, "best")
    assert list(best.get_xdata()) == [0, 1, 2, 3]
    ends = [0.0, 0.0, 1 / 6, 0.0] if mode == "min" else [1.0, 1.0, 5 / 6, 1.0]
    assert list(best.get_ydata()) == pytest.approx(ends)
    assert best.get_linewidth() == max(line.get_linewidth() for line in axes.get_lines())


def test_failed_and_pruned_jobs_are_grey() -> None:
    table, _ = sweep(LR, WIDTH, KIND)
    table.rows[1].status, table.rows[1].value = "FAILED", None
    table.rows[2].pruned = 1
    [axes] = drawn(parallel_coordinates, table).axes
    [thin] = axes.collections
    grey = [len(line) for line, colour in zip(thin.get_segments(), thin.get_colors(), strict=True) if pale(colour)]
    assert sorted(grey) == [3, 4]  # without a result it ends before the last axis
    assert labelled(axes, "failed, pruned or without a result").get_color() == _style.PALE


def pale(colour: Any) -> bool:
    return to_hex(colour).upper() == _style.PALE


@pytest.mark.parametrize("space", [[LR, seeds(256)], [("optimizer.lr", [f"{2.0**-i:.6g}" for i in range(32)]), MANY]])
def test_a_thousand_jobs_are_drawn_with_few_parts(space: list[tuple[str, list[str]]]) -> None:
    """A line of its own for each would take seconds."""
    table, _ = sweep(*space, low=1e-3)
    for row in table.rows:
        row.value = 1 + row.number % 97 / 97
    table.rows[7].status, table.rows[7].value = "FAILED", None
    for name, figure in draw_all(table, curves_of(table)):
        assert_words_are_legible(figure)
        assert sum(len(axes.get_children()) for axes in figure.axes) < 400, name


def test_of_many_jobs_the_medians_are_of_neighbours_and_of_many_seeds_there_are_none() -> None:
    table, _ = sweep(("optimizer.lr", [str(i + 1) for i in range(500)]))
    for row in table.rows:
        row.value = float(row.overrides["optimizer.lr"])
    line = points(drawn(by_parameter, table).axes[0], "median")
    assert len(line) == by_parameter.VALUES
    assert [x for x, _ in line] == [y for _, y in line] == sorted(x for x, _ in line)
    many, _ = sweep(LR, seeds(40))
    rates, seeds_ = drawn(by_parameter, many).axes
    assert len(points(rates, "median")) == 4
    assert "median" not in [line.get_label() for line in seeds_.get_lines()]


def test_a_logarithmic_parameter_has_its_values_at_even_heights() -> None:
    table, _ = sweep(LR, WIDTH, KIND)
    [lr, width, kind] = parameters(table)
    heights = sorted({round(parallel_coordinates.height(lr, row), 9) for row in table.rows})
    assert heights == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert sorted({parallel_coordinates.height(width, row) for row in table.rows}) == pytest.approx([0, 1 / 3, 1])
    assert sorted({parallel_coordinates.height(kind, row) for row in table.rows}) == pytest.approx([1 / 6, 0.5, 5 / 6])


# -- curves ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["min", "max"])
def test_few_curves_have_names_and_the_best_is_the_thickest(mode: str) -> None:
    table, found = sweep(LR, mode=mode)
    figure = drawn(curves, table, found)
    axes = figure.axes[0]
    lines = {tuple(line.get_ydata()): line for line in axes.get_lines() if len(line.get_xdata()) == 5}
    assert len(lines) == 4
    best = table.best
    assert best is not None
    thickest = max(lines.values(), key=lambda line: line.get_linewidth())
    assert list(thickest.get_ydata()) == [value for _, value in found[best.number]]
    assert points(axes, "best") == [(50, best.value)]
    assert axes.get_yscale() == "log"
    assert all(f"lr={value}" in said(figure) for value in LR[1])
    assert len({(line.get_color(), line.get_linestyle()) for line in lines.values()}) == 4


def test_many_curves_are_coloured_by_their_result() -> None:
    table, found = sweep(LR, WIDTH)
    figure = drawn(curves, table, found)
    assert len(figure.axes) == 2  # the second is the colour bar
    assert "lr=0.01" not in said(figure)


def test_the_ends_of_pruned_and_failed_jobs_are_marked() -> None:
    table, found = sweep(LR)
    table.rows[1].pruned, table.rows[2].status = 2, "FAILED"
    found[1] = found[1][:2]
    axes = drawn(curves, table, found).axes[0]
    assert points(axes, "pruned") == [found[1][-1]]
    assert points(axes, "failed") == [found[2][-1]]


def test_what_diverges_does_not_make_all_else_flat() -> None:
    table, found = sweep(LR)
    found[3] = [(10, 1.0), (20, 1e10), (30, 1e30)]
    low, high = drawn(curves, table, found).axes[0].get_ylim()
    assert high < 1e5
    assert low < 0.01 < high


def test_curves_of_the_training_loss_are_called_so() -> None:
    table, found = sweep(LR)
    assert "Curves: valid/loss" in said(drawn(curves, table, found))
    other = {number: [(step, 2 * value) for step, value in points] for number, points in found.items()}
    assert "Curves: train/loss" in said(drawn(curves, table, other))


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    table, _ = sweep(LR)
    long = {row.number: [(step, 1 + 1 / step) for step in range(1, 100_001)] for row in table.rows}
    lines = [line for line in drawn(curves, table, long).axes[0].get_lines() if len(line.get_xdata()) > 5]
    assert {len(line.get_xdata()) <= curves.MOST + 1 for line in lines} == {True}
    assert {line.get_xdata()[-1] for line in lines} == {100_000}


# -- mean_and_spread -------------------------------------------------------------------------------------------


def test_mean_and_sample_standard_deviation_over_the_seeds() -> None:
    values = [1.0, 2.0, 4.0, 10.0, 11.0, 12.0]
    rows = [Row(i, {"lr": str(i // 3 + 1), "seed": str(i % 3)}, "", "FINISHED", v) for i, v in enumerate(values)]
    figure = drawn(mean_and_spread, Table(rows), {})
    axes = figure.axes[0]
    assert points(axes, "mean") == [(pytest.approx(7 / 3), 0)]
    spread = math.sqrt(((1 - 7 / 3) ** 2 + (2 - 7 / 3) ** 2 + (4 - 7 / 3) ** 2) / 2)
    assert [x for x, _ in points(axes, "± one std")] == pytest.approx([7 / 3 - spread, 7 / 3 + spread])
    assert points(axes, "one seed") == [(1.0, 0), (2.0, 0), (4.0, 0)]
    assert "2.333 ± 1.5  (n = 3)" in said(figure)
    assert "11 ± 1  (n = 3)" in said(figure)
    assert "sample standard deviation" in said(figure)


def test_the_best_mean_is_on_top_even_if_another_has_the_best_job() -> None:
    rows = [Row(i, {"lr": str(i // 2 + 1), "seed": str(i % 2)}, "", "FINISHED", v) for i, v in enumerate([1, 9, 3, 4])]
    assert [group.mean for group in mean_and_spread.groups(Table(rows))] == [3.5, 5.0]
    assert [group.mean for group in mean_and_spread.groups(Table(rows, mode="max"))] == [5.0, 3.5]


def test_a_configuration_with_one_seed_has_no_spread() -> None:
    table, found = sweep(LR, seeds(2))
    table.rows[1].status = "FAILED"
    figure = drawn(mean_and_spread, table, found)
    assert "0.01  (n = 1)" in said(figure)


def test_mean_curves_are_over_the_steps_that_all_seeds_have() -> None:
    rows = [Row(i, {"seed": str(i)}, "", "FINISHED", 1.0 + i) for i in range(2)]
    found: Curves = {0: [(1, 1.0), (2, 3.0), (3, 5.0)], 1: [(1, 3.0), (2, math.nan), (3, 1.0)]}
    lower = drawn(mean_and_spread, Table(rows), found).axes[1]
    [line] = lower.get_lines()
    assert list(line.get_xdata()) == [1, 3]
    assert list(line.get_ydata()) == [2.0, 3.0]
    assert len(lower.collections) == 1


def test_many_configurations_have_no_mean_curves() -> None:
    few, found = sweep(LR, ("b", ["1", "2"]), seeds(2))
    assert len(drawn(mean_and_spread, few, found).axes) == 2
    many, found = sweep(LR, WIDTH, seeds(2))
    assert len(drawn(mean_and_spread, many, found).axes) == 1
