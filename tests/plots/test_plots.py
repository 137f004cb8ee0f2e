"""Plots: they show what is so, fit on their page, refuse what they cannot show, and leave no traces."""

import importlib
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from torch import Tensor, nn

from runner import plots
from runner.data import Data, Source, Tensors
from runner.data.digits import digits
from runner.data.line import line
from runner.model.predicted import probabilities
from runner.plots import Seen, _style, confusion_matrix, examples, feature_maps, predicted_vs_true
from runner.plots._data import classify
from runner.training.parts import metric_values
from tests.support.on_disk import OnDisk

NAMES = [
    "augmented",
    "confusion_matrix",
    "examples",
    "feature_maps",
    "filters",
    "fit",
    "learning_rate",
    "loss_curve",
    "predicted_vs_true",
]
LONG = [f"a class with an extremely long, winding name and $5, number {i}" for i in range(10)]


@dataclass
class Trained:
    """A run that is over."""

    data: Data
    model: nn.Module
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    name: str = "digits-cnn width=16"
    loss: nn.Module = field(default_factory=nn.CrossEntropyLoss)
    metrics: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name} (best weights, step 1,200)"

    def predict(self, source: Source) -> tuple[Tensor, Tensor, Tensor]:
        pairs = [cast(Any, source)[i] for i in range(len(cast(Any, source)))]
        x, y = (torch.stack(values) for values in zip(*pairs, strict=True))
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            output = self.model(x)
        self.model.train(training)
        return x, y, output

    def treated(self, number: int, epochs: int) -> tuple[list[Seen], list[list[Seen | None]]]:
        x, box = torch.stack([self.data.train[i][0] for i in range(number)]), torch.tensor([[1.0, 2.0, 5.0, 7.0]])
        seen: list[list[Seen | None]] = [
            [Seen(one, box) for one in x.roll(epoch, -1)] for epoch in range(min(epochs, 3))
        ]
        seen[-1][0] = None
        return [Seen(one, box) for one in x], seen

    def outputs(self, source: Source) -> tuple[Tensor, Tensor]:
        return self.predict(source)[1:]


def trained(data: Data, model: nn.Module, loss: nn.Module, steps: int, lr: float) -> Trained:
    optimizer = torch.optim.Adam(model.parameters(), lr)
    train, valid = (cast(Any, part)[:300] for part in (data.train, data.valid))
    history: dict[str, list[tuple[int, float]]] = {"train/loss": [], "valid/loss": []}
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        cost = loss(model(train[0]), train[1])
        cost.backward()
        optimizer.step()
        with torch.no_grad():
            history["train/loss"].append((step, cost.item()))
            history["valid/loss"].append((step, loss(model(valid[0]), valid[1]).item()))
    history |= {name: [(step, rate / step) for step in (1, steps)] for name, rate in (("lr", lr), ("lr/head", 2 * lr))}
    return Trained(data, model, history, loss=loss)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors this small are slower on several threads, and much slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def fitted_line() -> Trained:
    torch.manual_seed(0)
    return trained(line(), nn.Sequential(nn.Linear(1, 1)), nn.MSELoss(), 150, 0.05)


@pytest.fixture(scope="module")
def classified_digits() -> Trained:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.1),
        nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    return trained(digits(), model, nn.CrossEntropyLoss(), 40, 0.02)


def table(classes: int, names: list[str], per_class: int = 20, spread: float = 1.0) -> Trained:
    """Logits as data, and the identity as the model."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(classes).repeat(per_class)
    x = 3 * spread * nn.functional.one_hot(y, classes) + torch.randn(len(y), classes, generator=generator)
    return Trained(Data(Tensors(x, y), Tensors(x, y), task="multiclass", classes=tuple(names)), identity())


def identity() -> nn.Module:
    return nn.Sequential(nn.Identity())


def problem(name: str, data: Data, model: nn.Module) -> str | None:
    reason: str | None = importlib.import_module(f"runner.plots.{name}").problem(data, model)
    return reason


def draw(name: str, run: plots.Subject) -> Any:  # a Figure, of whose parts mypy knows too little
    assert problem(name, run.data, run.model) is None
    found = plots.find(name)
    assert found is not None
    figure = found(run)
    assert_words_are_legible(figure)
    return figure


def words(figure: Figure) -> list[Text]:
    """Every text that is seen."""
    found = list(figure.texts)
    for axes in figure.axes:
        found += [*axes.texts, *(axes.legend_.get_texts() if axes.legend_ else [])]
        if not axes.axison:
            continue
        found += [axes.title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found.append(axis.get_offset_text())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if low <= tick.get_loc() <= high:
                    found += [text for text in (tick.label1, tick.label2) if text.get_visible()]
    return [text for text in found if text.get_text().strip()]


def collisions(figure: Figure) -> list[str]:
    """What is wrong with the places of the texts: those that lie on one another, and those that leave the page."""
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in words(figure)]
    page = figure.bbox
    wrong = [t for t, b in boxes if b.x0 < 0 or b.y0 < 0 or b.x1 > page.x1 or b.y1 > page.y1]
    for (t, a), (u, b) in combinations(boxes, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > 1 and down > 2:  # pixels; descenders may reach into the next line's leading
            wrong.append(f"{t!r} and {u!r}")
    return wrong


def assert_words_are_legible(figure: Figure) -> None:
    assert collisions(figure) == []
    assert min(float(text.get_fontsize()) for text in words(figure)) >= 5.5


def said(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in words(figure))


def lines(figure: Figure) -> dict[str, Any]:
    return {str(made.get_label()): made for made in figure.axes[0].get_lines()}


# -- all plots -------------------------------------------------------------------------------------------------


def test_every_plot_is_found_by_its_name() -> None:
    assert plots.names() == NAMES
    assert all(callable(plots.find(name)) for name in NAMES)
    assert plots.find("_style") is None
    assert plots.find("nothing") is None


@pytest.mark.parametrize("name", NAMES)
def test_every_plot_is_drawn_saved_and_titled(
    name: str, fitted_line: Trained, classified_digits: Trained, tmp_path: Path
) -> None:
    run = fitted_line if name in ("fit", "predicted_vs_true") else classified_digits
    figure = draw(name, run)
    plots.save(figure, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.width == 960
        assert image.convert("L").getextrema() != (255, 255)
    assert run.name in said(figure)


@pytest.mark.parametrize("name", NAMES)
def test_data_that_are_read_as_needed_give_the_same_picture(
    name: str, fitted_line: Trained, classified_digits: Trained
) -> None:
    run = fitted_line if name in ("fit", "predicted_vs_true") else classified_digits
    train, valid, test = (
        part and OnDisk(cast(Tensors, part)) for part in (run.data.train, run.data.valid, run.data.test)
    )
    assert train is not None
    same = Trained(Data(train, valid, test, run.data.task, run.data.classes), run.model, run.history, run.name)
    assert np.array_equal(pixels(draw(name, run)), pixels(draw(name, same)))


def pixels(figure: Figure) -> Any:
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


REFUSED = {
    "augmented": (line(), nn.Linear(1, 1), "pictures"),
    "confusion_matrix": (line(), nn.Linear(1, 1), "classes"),
    "predicted_vs_true": (digits(), nn.Linear(64, 10), "numbers to predict"),
    "fit": (digits(), nn.Linear(64, 10), "numbers to predict"),
    "filters": (line(), nn.Linear(1, 1), "convolution"),
    "feature_maps": (digits(), nn.Linear(64, 10), "pooling"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_plot_says_why_it_cannot_be_drawn(name: str) -> None:
    data, model, needs = REFUSED[name]
    assert needs in str(problem(name, data, model)).partition(", and ")[0]


def test_a_plot_that_suits_data_suits_them_before_they_have_values() -> None:
    x, y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 1])
    kinds = (
        Data(Tensors(x, y), task="multiclass", classes=("a", "b", "c")),
        Data(Tensors(x, x.flatten(1)[:, :3])),
        Data(Tensors(x[:, 0, :1, 0], x[:, 0, :1, 1])),
        Data(Tensors(x, x.flatten(1)[:, :3].round()), task="multilabel", classes=("a", "b", "c")),
    )
    for data in kinds:
        empty = Data(data.train.to(torch.device("meta")), task=data.task, classes=data.classes)  # type: ignore[union-attr]
        for name in NAMES:
            assert problem(name, empty, identity().to("meta")) == problem(name, data, identity())


def test_a_plot_of_one_number_in_and_one_out_refuses_others() -> None:
    wide = Data(Tensors(torch.zeros(3, 2), torch.zeros(3, 1)))
    indices = Data(Tensors(torch.zeros(3, 1, dtype=torch.int64), torch.zeros(3, 1)))
    assert "2 in and 1 out" in str(problem("fit", wide, identity()))
    assert "indices" in str(problem("fit", indices, identity()))


def test_a_plot_of_classes_refuses_several_classes_per_example() -> None:
    pixelwise = Data(Tensors(torch.zeros(3, 1, 4, 4), torch.zeros(3, 4, 4, dtype=torch.int64)), task="multiclass")
    assert (
        problem("examples", pixelwise, identity()) == "it needs one class per example, and the data has 16 per example"
    )


def test_a_plot_is_refused_without_matplotlib_and_drawn_without_pyplot(tmp_path: Path) -> None:
    code = f"""
import sys, torch
from runner import plots
from runner.data.line import line
class Run:
    name, title, history, data, model = "x", "x", {{"train/loss": [(1, 1.0)]}}, line(), torch.nn.Conv1d(1, 1, 1)
    loss = torch.nn.MSELoss()
    def predict(source): return source.x, source.y, source.y
    def outputs(source): return source.y, source.y
modules = [sys.modules[plots.find(name).__module__] for name in plots.names()]
possible = [module for module in modules if not module.problem(Run.data, Run.model)]
assert 1 < len(possible) < len(modules)
assert not [name for name in sys.modules if name.startswith("matplotlib")]
for module in possible:
    plots.save(module.draw(Run), {str(tmp_path / "plot.png")!r})
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_overlap_check_sees_overlaps(fitted_line: Trained) -> None:
    figure = draw("loss_curve", fitted_line)
    _style.write(figure, 0.25, 0.33, "on top of the title")
    _style.write(figure, 7.9, 0.9, "beyond the edge")
    assert len(collisions(figure)) >= 2


# -- loss_curve ------------------------------------------------------------------------------------------------


def test_the_loss_curve_is_the_history(fitted_line: Trained) -> None:
    figure = draw("loss_curve", fitted_line)
    shown = lines(figure)
    for name in ("train", "valid"):
        assert list(zip(*shown[name].get_data(), strict=True)) == fitted_line.history[f"{name}/loss"]
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[0].get_xlabel() == "optimizer steps"


def test_further_losses_are_drawn_but_for_one_that_is_the_loss(fitted_line: Trained) -> None:
    usual = fitted_line.history["train/loss"]
    half = [(step, value / 2) for step, value in usual]
    parts = {**fitted_line.history, "train/g": usual, "train/d": half, "train/h": usual, "valid/h": half}
    shown = lines(draw("loss_curve", Trained(fitted_line.data, fitted_line.model, parts)))
    assert {"train = g", "d", "h"} < set(shown)
    assert not {"train", "g"} & set(shown)


@pytest.mark.parametrize("every", [1, 10])
def test_metrics_of_training_batches_are_no_losses(fitted_line: Trained, every: int) -> None:
    usual = fitted_line.history["train/loss"]
    seen = [(step, 0.9) for step, _ in usual[::every]]
    metered = dict.fromkeys(["train/Accuracy", "train/kind/F1Score", "train/each_cat"], seen)
    history = {**fitted_line.history, **metered, "train/kl": usual[:]}
    metrics = "Accuracy", "kind/F1Score", "each"
    shown = lines(draw("loss_curve", Trained(fitted_line.data, fitted_line.model, history, metrics=metrics)))
    assert "train = kl" in shown
    assert not any(name in label for label in shown for name in ("Accuracy", "F1Score", "each"))


def test_the_learning_rates_are_those_of_the_groups(fitted_line: Trained) -> None:
    shown = lines(draw("learning_rate", fitted_line))
    for name in ("lr", "lr/head"):
        assert list(zip(*shown[name].get_data(), strict=True)) == fitted_line.history[name]
    one = draw("learning_rate", Trained(fitted_line.data, fitted_line.model, {"lr": [(1, 0.1)]}))
    assert set(lines(one)) == {"lr"}
    equal = {"lr": [(1, 0.1)], "lr/body": [(1, 0.1)], "lr/head": [(1, 0.2)]}
    same = draw("learning_rate", Trained(fitted_line.data, fitted_line.model, equal))
    assert set(lines(same)) == {"lr = lr/body", "lr/head"}
    many = {f"lr/body.layer{i}.with_a_very_long_name.weight": [(1, 0.1), (9, 0.1 / (i + 1))] for i in range(20)}
    assert "2 rates more" in said(draw("learning_rate", Trained(fitted_line.data, fitted_line.model, many)))
    assert "no learning rate" in said(draw("learning_rate", Trained(fitted_line.data, fitted_line.model, {})))


def test_the_best_validation_point_is_marked(fitted_line: Trained) -> None:
    figure = draw("loss_curve", fitted_line)
    step, best = min(fitted_line.history["valid/loss"], key=lambda point: point[1])
    star = next(made for label, made in lines(figure).items() if label.startswith("best"))
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (step, best)
    assert star.get_label() == f"best: {_style.number(best)} at step {step}"


def history(steps: int, value: Callable[[float], float], every: int = 10) -> dict[str, list[tuple[int, float]]]:
    noise = torch.randn(steps, generator=torch.Generator().manual_seed(0)).mul(0.3).exp().tolist()
    train = [(i, value(i / steps) * noise[i - 1]) for i in range(1, steps + 1)]
    return {"train/loss": train, "valid/loss": [(i, 1.2 * value(i / steps)) for i in range(every, steps + 1, every)]}


HISTORIES = {
    "nothing": {},
    "one step": {"train/loss": [(1, 0.5)], "valid/loss": [(1, 0.6)]},
    "one step, no validation": {"train/loss": [(1, 0.5)]},
    "constant": {"train/loss": [(i, 0.25) for i in range(1, 90)], "valid/loss": [(i, 0.25) for i in range(1, 90)]},
    "nearly constant": {"train/loss": [(i, 0.25 + 1e-7 * math.sin(i)) for i in range(1, 90)]},
    "six decades": history(5000, lambda u: 10 ** (3 - 6 * u)),
    "forty decades": history(500, lambda u: 10 ** (37 - 40 * u)),
    "tiny": history(1500, lambda u: 1e-8 * (2 - u)),
    "huge": history(1500, lambda u: 1e9 * (2 - u)),
    "negative": {"train/loss": [(i, 3 - i / 10) for i in range(1, 90)]},
    "a million steps": {"train/loss": [(1, 2.0), (1_000_000, 1.0)], "valid/loss": [(1_000_000, 1.23456)]},
    "only nan": {"train/loss": [(1, math.nan)], "valid/loss": [(1, math.inf)]},
    "nan validation": {"train/loss": [(1, 1.0), (2, 2.0)], "valid/loss": [(1, math.nan)]},
    "largest numbers": {"train/loss": [(1, 1.0), (2, 1.8e308), (3, -1.8e308), (4, 3e38)]},
}


@pytest.mark.parametrize("case", HISTORIES)
def test_any_history_is_legible(case: str, fitted_line: Trained) -> None:
    pixels(draw("loss_curve", Trained(fitted_line.data, fitted_line.model, HISTORIES[case])))


def test_a_hundred_thousand_steps_keep_their_spikes(fitted_line: Trained) -> None:
    run = Trained(fitted_line.data, fitted_line.model, history(100_000, lambda u: 2 * math.exp(-3 * u) + 0.1))
    run.history["train/loss"][77_777] = (77_778, 30.0)
    shown = lines(draw("loss_curve", run))
    values = [value for _, value in run.history["train/loss"]]
    assert len(shown["train"].get_xdata()) <= 2000
    assert max(shown["train"].get_ydata()) == 30.0
    assert min(shown["train"].get_ydata()) == min(values)
    mean = shown["mean of 1,000 steps"]
    assert mean.get_ydata()[3] == pytest.approx(np.mean(values[3000:4000]))
    assert mean.get_xdata()[3] == pytest.approx(3500.5)


def test_values_that_are_not_finite_are_counted(fitted_line: Trained) -> None:
    losses = history(1500, lambda u: 2 - u)
    losses["train/loss"][99] = (100, math.inf)
    losses["train/loss"][1200:] = [(i, math.nan) for i in range(1201, 1501)]
    figure = draw("loss_curve", Trained(fitted_line.data, fitted_line.model, losses))
    assert "301 values are not finite, the first at step 100" in said(figure)
    assert np.isfinite(lines(figure)["mean of 15 steps"].get_ydata()[:80]).all()


def test_a_long_run_name_fits_and_is_no_formula(fitted_line: Trained) -> None:
    name = "costs $5 and $6, " + "model.knobs.width=16,optimizer.lr=0.001," * 6
    figure = draw("loss_curve", Trained(fitted_line.data, fitted_line.model, {"train/loss": [(1, math.nan)]}, name))
    assert r"costs \$5 and \$6" in said(figure)


# -- fit and predicted_vs_true ---------------------------------------------------------------------------------


def test_the_red_line_is_the_model(fitted_line: Trained) -> None:
    figure = draw("fit", fitted_line)
    model = lines(figure)["model"]
    x = torch.as_tensor(model.get_xdata())
    with torch.no_grad():
        assert torch.equal(torch.as_tensor(model.get_ydata()), fitted_line.model(x.unsqueeze(1)).flatten())
    assert (x.diff() > 0).all()
    assert (len(x), float(x[0]), float(x[-1])) == (500, -1.0, 1.0)
    assert model.get_color() == _style.RED


def test_the_points_are_the_data(fitted_line: Trained) -> None:
    shown = {str(made.get_label()): made.get_offsets() for made in draw("fit", fitted_line).axes[0].collections}
    for part in ("train", "valid"):
        source = getattr(fitted_line.data, part)
        assert np.array_equal(shown[part], torch.cat([source.x, source.y], 1).numpy())


@pytest.mark.parametrize("name", ["fit", "predicted_vs_true", "examples"])
def test_one_example_is_enough(name: str) -> None:
    pixels(draw(name, Trained(Data(Tensors(torch.ones(1, 1), torch.ones(1, 1))), nn.Sequential(nn.Linear(1, 1)))))


@pytest.mark.parametrize("name", ["fit", "predicted_vs_true", "examples"])
def test_a_diverged_model_is_drawn_and_said_to_be_so(name: str) -> None:
    model = nn.Sequential(nn.Linear(1, 1))
    nn.init.constant_(cast(Tensor, model[0].weight), math.nan)
    assert "finite" in said(draw(name, Trained(line(), model)))


def test_many_points_are_thinned_and_said_to_be() -> None:
    x = torch.randn(3001, 1)
    data = Data(Tensors(x, x.sin()), notes={"features": ["pressure"], "mean": [0.0], "std": [1.0], "target": "stage"})
    figure = draw("fit", Trained(data, nn.Sequential(nn.Linear(1, 1))))
    assert "train (2,000 of 3,001 points)" in said(figure)
    assert figure.axes[0].get_xlabel() == "pressure (standardized)"
    assert figure.axes[0].get_ylabel() == "stage"


def test_predicted_and_true_values_and_their_scores(fitted_line: Trained) -> None:
    figure = draw("predicted_vs_true", fitted_line)
    _, y, output = fitted_line.predict(cast(Source, fitted_line.data.valid))
    assert np.allclose(figure.axes[0].collections[0].get_offsets(), torch.cat([y, output], 1).numpy())
    rmse, r2 = float((y - output).pow(2).mean().sqrt()), 1 - float((y - output).pow(2).mean() / y.var(correction=0))
    assert f"validation data, RMSE {rmse:.4g}, R² {r2:.3f}" in said(figure)
    axes = figure.axes[0]
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.bbox.width == pytest.approx(axes.bbox.height)


def test_the_score_of_several_outputs_is_the_mean_of_theirs() -> None:
    truth, output = torch.randn(2, 30, 3, dtype=torch.float64)
    each = [predicted_vs_true.scores(truth[:, [i]], output[:, [i]])[1] for i in range(3)]
    assert predicted_vs_true.scores(truth, output)[1] == pytest.approx(np.mean(cast(Any, each)))
    assert predicted_vs_true.scores(torch.ones(4, 1), torch.zeros(4, 1)) == (1.0, None)


@pytest.mark.parametrize(
    ("shape", "notes", "names"),
    [
        ((3,), {"targets": ["low", "a very long name of a column of prices", "high"]}, ["low", "high"]),
        ((3,), {"targets": ["one"]}, ["output 0", "output 2"]),
        ((2, 2), {"targets": ["a", "b"], "horizon": 2}, ["a+1", "b+1", "a+2", "b+2"]),
        ((7,), {}, ["values of 7 outputs"]),
    ],
)
def test_each_output_has_its_colour_name_and_scores(shape: Any, notes: dict[str, Any], names: list[str]) -> None:
    y = torch.randn(30, *shape)
    run = Trained(Data(Tensors(y + torch.randn(30, *shape) / 9, y), notes=notes), identity())
    figure = draw("predicted_vs_true", run)
    pixels(figure)
    axes, columns = figure.axes[0], math.prod(shape) if len(names) > 1 else 1
    assert len({tuple(made.get_facecolor()[0]) for made in axes.collections}) == columns
    assert all(name in said(figure) for name in names)
    assert "data, RMSE" in said(figure)
    assert said(figure).count("R²") == (columns + 1 if columns > 1 else 1)
    for made, truth in zip(axes.collections, y.reshape(30, -1).T if columns > 1 else (), strict=columns > 1):
        assert np.allclose(made.get_offsets()[:, 0], truth)
    assert axes.bbox.width == pytest.approx(axes.bbox.height)


# -- confusion_matrix ------------------------------------------------------------------------------------------


def test_the_matrix_counts_what_the_model_says(classified_digits: Trained) -> None:
    _, y, output = classified_digits.predict(cast(Source, classified_digits.data.valid))
    counts = np.zeros((10, 10), dtype=int)
    for truth, answer in zip(y.tolist(), output.argmax(1).tolist(), strict=True):
        counts[truth, answer] += 1
    figure = draw("confusion_matrix", classified_digits)
    assert np.array_equal(confusion_matrix.matrix(y, output.argmax(1), 10), counts)
    written = np.zeros((10, 10), dtype=int)
    for text in figure.axes[0].texts:
        column, row = text.get_position()
        written[int(row), int(column)] = int(text.get_text())
    assert np.array_equal(written, counts)
    shares = counts / counts.sum(1, keepdims=True)
    assert np.allclose(figure.axes[0].images[0].get_array(), shares)
    assert f"{100 * counts.trace() / counts.sum():.1f} % of {len(y)} right" in said(figure)


@pytest.mark.parametrize(
    ("classes", "names"),
    [(2, ["benign", "malignant"]), (10, LONG), (25, []), (40, [f"species {i}" for i in range(40)]), (150, [])],
    ids=["2", "10 long names", "25", "40", "150"],
)
def test_any_number_of_classes_is_legible(classes: int, names: list[str]) -> None:
    figure = draw("confusion_matrix", table(classes, names))
    assert bool(figure.axes[0].texts) == (classes <= 30)


def test_a_class_without_examples_has_an_empty_row() -> None:
    x = torch.eye(3)[:2]
    figure = draw("confusion_matrix", Trained(Data(Tensors(x, torch.tensor([0, 1])), task="multiclass"), identity()))
    assert figure.axes[0].images[0].get_array()[2].tolist() == [0, 0, 0]


def test_outputs_that_are_not_finite_are_left_out_and_counted() -> None:
    run = table(3, ["a", "b", "c"])
    cast(Tensors, run.data.valid).x[:2] = math.nan
    figure = draw("confusion_matrix", run)
    assert "2 outputs are not finite" in said(figure)
    assert "of 58 right" in said(figure)
    cast(Tensors, run.data.valid).x[:] = math.nan
    for name in ("confusion_matrix", "examples"):
        assert "60 outputs are not finite" in said(draw(name, run))


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_logit_means_two_classes(shape: tuple[int, ...]) -> None:
    x = torch.tensor([-2.0, -0.5, 0.5, 2.0]).reshape(shape)
    for y in (torch.tensor([0, 1, 1, 0]), torch.tensor([[0.0], [1.0], [1.0], [0.0]])):
        run = Trained(Data(Tensors(x, y), task="binary", classes=("no", "yes")), identity())
        assert {t.get_text() for t in draw("confusion_matrix", run).axes[0].texts} == {"1"}
        wrong = examples.choose_classes(run, "training", run.data.train).examples
        assert [(e.index, e.truth, e.predicted, e.measure) for e in wrong] == [
            (3, "no", "yes", "88.1 %"),
            (1, "yes", "no", "62.2 %"),
        ]


def test_probabilities_are_taken_as_they_are() -> None:
    shares = torch.tensor([[0.25], [0.75]])
    for last, loss in ((nn.Sigmoid(), nn.Identity()), (nn.Hardsigmoid(), nn.BCELoss())):
        found = probabilities(nn.Sequential(nn.Linear(1, 1), last), loss, shares, "binary")
        assert found.tolist() == [[0.75, 0.25], [0.25, 0.75]]
    pairs = torch.tensor([[0.9, 0.1]])
    for last, output, wanted in (
        (nn.Softmax(1), pairs, pairs),
        (nn.Linear(2, 2), pairs, pairs.softmax(1)),
        (nn.LogSoftmax(1), pairs.log(), pairs),
    ):
        assert torch.allclose(probabilities(nn.Sequential(last), nn.CrossEntropyLoss(), output, "binary"), wanted)


@pytest.mark.parametrize("loss", [nn.BCELoss(), nn.HingeEmbeddingLoss(margin=2.0), nn.BCEWithLogitsLoss()])
def test_the_classes_that_are_drawn_are_those_that_the_metrics_count(loss: nn.Module) -> None:
    x, y = torch.tensor([[0.1], [0.4], [0.6], [0.9]]), torch.tensor([[1.0], [0.0], [1.0], [1.0]])
    data = Data(Tensors(x, y), task="binary", classes=("no", "yes"))
    scores, labels = metric_values.as_scores(x, y, data, loss)
    found = classify(Trained(data, identity(), loss=loss), data.train)
    assert torch.equal(found.truth, labels)
    assert torch.equal(found.predicted, (scores > 0.5).long())


def test_targets_that_the_loss_leaves_out_are_not_drawn() -> None:
    x = torch.eye(3).repeat(2, 1)
    for ignored in (-100, 1):
        y = torch.tensor([0, 2, ignored, ignored, 0, 2])
        run = Trained(Data(Tensors(x, y), task="multiclass", classes=("a", "b", "c"), ignored=ignored), identity())
        texts = draw("confusion_matrix", run).axes[0].texts
        assert sum(int(t.get_text()) for t in texts) == 4
        assert [e.index for e in examples.choose_classes(run, "training", run.data.train).examples] == [1, 4]
        run.data.train.y[0] = ignored
        shown = Trained(run.data, nn.Sequential(nn.Conv1d(1, 1, 1)))
        assert feature_maps._target(shown.data, run.data.train.y[0]) == ", no class"


# -- examples --------------------------------------------------------------------------------------------------


def test_the_examples_shown_are_mistakes_the_surest_first(classified_digits: Trained) -> None:
    test = cast(Tensors, classified_digits.data.test)
    _, y, output = classified_digits.predict(test)
    chosen = examples.choose_classes(classified_digits, "test", test)
    sure, answer = output.softmax(1).max(1)
    wrong = torch.where(answer != y)[0].tolist()
    assert len(wrong) > 16
    assert [e.index for e in chosen.examples] == sorted(wrong, key=lambda i: -float(sure[i]))[:16]
    assert all(e.truth == str(int(y[e.index])) and e.predicted == str(int(answer[e.index])) for e in chosen.examples)
    figure = draw("examples", classified_digits)
    assert f"the surest 16 of {len(wrong)} (270 test examples)" in said(figure)
    shown = [image.get_array() for image in figure.axes[0].images]
    assert all(np.array_equal(image, test.x[e.index, 0]) for image, e in zip(shown, chosen.examples, strict=True))


def test_without_mistakes_the_least_certain_are_shown() -> None:
    run = table(3, ["a", "b", "c"], spread=5)
    chosen = examples.choose_classes(run, "validation", cast(Source, run.data.valid))
    sure = cast(Tensors, run.data.valid).x.softmax(1).max(1).values
    assert "No mistakes: the 16 least certain (60 validation examples)" in said(draw("examples", run))
    assert [float(sure[e.index]) for e in chosen.examples] == sorted(sure.tolist())[:16]


def test_examples_of_a_table_show_their_features() -> None:
    run = table(10, LONG)
    run.data.notes["features"] = ["$price$", "a feature with a very long name", "age", "bmi"]
    figure = draw("examples", run)
    assert r"\$price\$" in said(figure)
    assert not figure.axes[0].images


def test_the_largest_errors_come_first(fitted_line: Trained) -> None:
    _, y, output = fitted_line.predict(cast(Source, fitted_line.data.valid))
    chosen = examples.choose_numbers(fitted_line, "validation", cast(Source, fitted_line.data.valid))
    errors = (y - output).abs().flatten()
    assert [e.index for e in chosen.examples] == errors.argsort(descending=True)[:16].tolist()
    assert "Largest errors: 16 of 50 validation examples" in said(draw("examples", fitted_line))


def test_colour_images_and_images_with_numbers_to_predict_are_shown() -> None:
    x = torch.randn(20, 3, 6, 6)
    run = Trained(Data(Tensors(x, x.mean((1, 2, 3)).unsqueeze(1))), nn.Sequential(nn.Flatten(), nn.Linear(108, 1)))
    figure = draw("examples", run)
    assert len(figure.axes[0].images) == 16
    first = figure.axes[0].images[0].get_array()
    assert first.shape == (6, 6, 3)
    assert (first.min(), first.max()) == (0, 1)


# -- filters and feature_maps ----------------------------------------------------------------------------------


CONVOLUTIONS = {
    "1 channel": nn.Conv2d(1, 12, 3),
    "3 channels": nn.Conv2d(3, 20, 5),
    "100 kernels": nn.Conv2d(1, 100, 7),
    "one": nn.Conv2d(1, 1, 1),
    "9 channels": nn.Conv2d(9, 5, (3, 1)),
    "large": nn.Conv2d(1, 64, 40),
    "1-d": nn.Conv1d(1, 7, 5),
    "1-d, 12 channels": nn.Conv1d(12, 64, 3),
    "1-d, long": nn.Conv1d(2, 5, 99),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_filters_show_every_weight(case: str) -> None:
    convolution = CONVOLUTIONS[case]
    figure = draw("filters", Trained(digits(), nn.Sequential(nn.Flatten(), nn.Sequential(convolution))))
    weight = convolution.weight.detach()[:64, :8]
    [image] = figure.axes[0].images
    shown = np.asarray(image.get_array().compressed(), dtype=np.float32)
    assert set(shown.tolist()) == set(weight.flatten().tolist())
    low, high = image.get_clim()
    assert -low == high == pytest.approx(float(weight.abs().max()))
    assert ("64 of 100" in said(figure)) == (case == "100 kernels")
    assert "layer 1.0" in said(figure)


def test_filters_are_drawn_where_they_belong() -> None:
    convolution = nn.Conv2d(2, 3, 2)
    nn.init.zeros_(convolution.weight)
    with torch.no_grad():
        convolution.weight[1, 1] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    image = draw("filters", Trained(digits(), nn.Sequential(convolution))).axes[0].images[0].get_array()
    columns = image.shape[1] // 3
    middle = image[:, columns : 2 * columns]
    assert not image[:, :columns].any()
    assert not image[:, 2 * columns :].any()
    assert not middle[:, : columns // 2].any()
    assert [float(v) for v in np.unique(middle.compressed())] == [0, 1, 2, 3, 4]


def test_weights_that_are_not_finite_are_counted() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3))
    nn.init.constant_(cast(Tensor, model[0].weight), math.nan)
    assert "36 weights are not finite" in said(draw("filters", Trained(digits(), model)))


def test_feature_maps_are_the_layers_outputs(classified_digits: Trained) -> None:
    model = cast(nn.Sequential, classified_digits.model)
    x, _ = cast(Any, classified_digits.data.valid)[0]
    maps = dict(feature_maps.maps(model, x))
    assert list(maps) == ["0: Conv2d", "2: MaxPool2d", "4: Conv2d", "6: AdaptiveAvgPool2d"]
    model.eval()
    with torch.no_grad():
        assert torch.equal(maps["0: Conv2d"], model[:1](x.unsqueeze(0))[0])  # not what ReLU made of it in place
        assert torch.equal(maps["4: Conv2d"], model[:5](x.unsqueeze(0))[0])
    model.train()
    figure = draw("feature_maps", classified_digits)
    assert f"0: Conv2d, {_style.size((12, 8, 8))}, first 8 channels" in said(figure)
    assert len(figure.axes[0].images) == 1 + 4 * 8
    assert np.array_equal(figure.axes[0].images[3].get_array(), maps["0: Conv2d"][2])


@pytest.mark.parametrize("fails", [False, True])
def test_feature_maps_leave_the_model_as_it_was(fails: bool) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 if fails else 36, 10)
    )
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if fails:
        with pytest.raises(RuntimeError):
            feature_maps.maps(model, torch.rand(1, 8, 8))
    else:
        draw("feature_maps", Trained(digits(), model))
    assert [module.training for module in model.modules()] == [True, True, False, True, True, True]
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_feature_maps_of_signals_are_curves() -> None:
    model = nn.Sequential(
        nn.Conv1d(2, 12, 9), nn.ReLU(), nn.MaxPool1d(4), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 1)
    )
    x = torch.randn(5, 2, 128).cumsum(-1)
    figure = draw("feature_maps", Trained(Data(Tensors(x, x[:, 0, -1:])), model))
    assert not figure.axes[0].images
    assert f"0: Conv1d, {_style.size((12, 120))}, first 8 channels" in said(figure)
    assert "The grey line is 0" in said(figure)


def test_feature_maps_of_a_deep_network_stop_somewhere() -> None:
    model = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(30)), nn.Flatten(), nn.Linear(64, 10))
    assert "the first 24 of 30 layers" in said(draw("feature_maps", Trained(digits(), model)))


def test_feature_maps_fit_the_models_precision() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3)).double()
    assert feature_maps.maps(model, torch.rand(1, 8, 8))[0][1].shape == (2, 6, 6)
