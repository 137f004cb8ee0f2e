"""Metrics, plots and `predict` speak of what a model predicts, in whatever form its loss takes it."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from sklearn.metrics import accuracy_score, mean_absolute_error, r2_score, roc_auc_score
from torch import nn

from runner.data import Data, Tensors
from runner.model.predicted import columns
from runner.plots import examples, predicted_vs_true
from runner.training.parts import metric_values
from tests.support import components
from tests.support.command import runner

LOGARITHMS = [
    (nn.PoissonNLLLoss(), True),
    (nn.PoissonNLLLoss(log_input=False), False),
    (nn.KLDivLoss(reduction="batchmean"), True),
    (nn.KLDivLoss(reduction="batchmean", log_target=True), False),
    (nn.MSELoss(), False),
]


@pytest.mark.parametrize(("loss", "logs"), LOGARITHMS, ids=lambda v: type(v).__name__)
def test_numbers_are_measured_on_the_scale_of_the_targets(loss, logs):
    random = torch.Generator().manual_seed(0)
    output, y = torch.randn(40, 2, generator=random), torch.rand(40, 2, generator=random) * 3
    data = Data(Tensors(output, y), Tensors(output, y))
    said = output.exp() if logs else output
    made = components.made_metrics(["R2Score", "MeanAbsoluteError"], data, loss, output[:2], None)
    metric_values.watch(made, data, loss)(output, y)  # type: ignore[misc]
    found = metric_values.values(made)
    assert found["MeanAbsoluteError"] == pytest.approx(mean_absolute_error(y.numpy(), said.numpy()), rel=1e-5)
    assert found["R2Score"] == pytest.approx(r2_score(y.numpy(), said.numpy()), rel=1e-4)
    noted = {"task": "regression", "classes": [], "notes": {"targets": ["a", "b"]}}
    table = pandas.DataFrame(columns(nn.Linear(2, 2), loss, output, noted))
    assert np.allclose(table.to_numpy(), said.numpy())


class Drawn:
    """A subject whose model gives back its inputs."""

    name = title = "run"

    def __init__(self, x, y, loss):
        self.data, self.loss, self.model, self.history = Data(Tensors(x, y)), loss, nn.Identity(), {}

    def outputs(self, source):
        return source.y, source.x


def test_plots_of_numbers_show_what_is_predicted_and_not_its_logarithm():
    y = torch.tensor([[1.0], [2.0], [5.0], [9.0]])
    run = Drawn(y.log(), y, nn.PoissonNLLLoss())
    figure = predicted_vs_true.draw(run)
    assert "R² 1.000" in " ".join(text.get_text() for text in figure.texts)
    chosen = examples.choose_numbers(run, "training", run.data.train).examples
    assert max(float(example.measure.replace("\u2212", "-")) for example in chosen) < 1e-5


@pytest.mark.parametrize("last", ["Sigmoid", "Softmax"])
def test_a_model_that_ends_in_probabilities_is_measured_by_them(last):
    """As torchmetrics itself takes them, and as `predict` writes them."""
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(60, 3 if last == "Softmax" else 1, generator=random)
    model = nn.Sequential(nn.Identity(), nn.Softmax(1) if last == "Softmax" else nn.Sigmoid())
    output = model(logits)
    loss, task, classes = nn.BCEWithLogitsLoss(), "binary", "ab"
    y = torch.randint(0, 2, (60, 1), generator=random).float()
    if last == "Softmax":
        loss, task, classes = nn.CrossEntropyLoss(), "multiclass", "abc"
        y = torch.randint(0, 3, (60,), generator=random)
    data = Data(Tensors(logits, y), Tensors(logits, y), task=task, classes=tuple(classes))
    made = components.made_metrics(["Accuracy", {"AUROC": {}}], data, loss, output[:2], None)
    metric_values.watch(made, data, loss, model)(output, y)  # type: ignore[misc]
    found = metric_values.values(made)
    noted = {"task": task, "classes": list(classes), "notes": {}}
    table = pandas.DataFrame(columns(model, loss, output, noted))
    truth = [classes[int(i)] for i in y.flatten()]
    assert found["Accuracy"] == pytest.approx(accuracy_score(truth, table["predicted"]))
    shares = table.drop(columns="predicted").to_numpy()
    auc = roc_auc_score(truth, shares, multi_class="ovr") if last == "Softmax" else roc_auc_score(truth, shares[:, 1])
    assert found["AUROC"] == pytest.approx(auc, abs=1e-6)


def test_counts_from_training_to_prediction(workplace: Path):
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 2))
    frame = pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "n": random.poisson(np.exp(0.8 + 0.5 * x[:, 0]))})
    frame.to_csv(workplace / "counts.csv", index=False)
    words = "data=table data.path=counts.csv data.target=n data.task=regression data.valid=0 loss.name=PoissonNLLLoss"
    more = "metrics=[MeanAbsoluteError,R2Score] optimizer.lr=0.1 trainer.epochs=60 plots=[predicted_vs_true]"
    jobs = "hydra/launcher=vectorized optimizer.lr=0.1,0.11"
    done = runner(*words.split(), *more.split(), "model.layers=[{Linear: 1}]", cwd=workplace)
    runner("-m", *words.split(), *more.split()[:-3], "trainer.epochs=5", "plots=[]", *jobs.split(), cwd=workplace)
    runner("predict", done.run_id, "inputs=counts.csv", "output=p.csv", cwd=workplace)
    said = pandas.read_csv(workplace / "p.csv")["n"]
    assert said.min() > 0
    measured = runner("evaluate", done.run_id, "split=train", "data.test=0", cwd=workplace)
    figures = dict(word.split("=") for word in measured.last.split()[2:])
    assert float(figures["train/MeanAbsoluteError"]) == pytest.approx(mean_absolute_error(frame["n"], said), rel=1e-5)
    assert float(figures["train/R2Score"]) == pytest.approx(r2_score(frame["n"], said), rel=1e-4)
    one = runner("evaluate", done.run_id, "split=train", "data.test=0", "data.path=one.csv", cwd=workplace, code=2)
    assert "there is no 'one.csv'" in one.err
    frame[:1].to_csv(workplace / "one.csv", index=False)
    one = runner("evaluate", done.run_id, "split=train", "data.test=0", "data.path=one.csv", cwd=workplace, code=2)
    assert one.err.startswith("metrics[1]: R2Score cannot be had for regression data: Needs at least two samples")
    assert "Traceback" not in one.err
    alone = runner(
        *("evaluate", done.run_id, "split=train", "data.test=0", "data.path=one.csv", "metrics=[MeanAbsoluteError]"),
        cwd=workplace,
    )
    assert float(alone.last.rpartition("=")[2]) == pytest.approx(abs(frame["n"][0] - said[0]), rel=1e-5)
    same = runner("predict", done.run_id, "inputs=one.csv", "output=one.csv", "overwrite=true", cwd=workplace, code=2)
    assert "'one.csv' is the file of inputs too" in same.err


class Counts(nn.PoissonNLLLoss):
    """One's own."""


@pytest.mark.parametrize(
    ("last", "loss", "task"),
    [
        (nn.LogSigmoid(), nn.HuberLoss(), "binary"),
        (nn.Sigmoid(), nn.BCEWithLogitsLoss(), "binary"),
        (nn.Identity(), nn.HingeEmbeddingLoss(margin=2.0), "binary"),
        (nn.Softmax(1), nn.BCEWithLogitsLoss(), "multilabel"),
        (nn.LogSigmoid(), nn.BCEWithLogitsLoss(), "multilabel"),
        (nn.Identity(), nn.BCEWithLogitsLoss(), "multilabel"),
        (nn.Identity(), Counts(), "regression"),
        (nn.Identity(), nn.KLDivLoss(log_target=True), "regression"),
    ],
)
def test_metrics_are_shown_what_predict_writes(last: nn.Module, loss: nn.Module, task: str) -> None:
    wide = 1 if task == "binary" else 3
    model = nn.Sequential(nn.Identity(), last)
    output = model(torch.randn(20, wide, generator=torch.Generator().manual_seed(0)))
    data = Data(Tensors(output, output), task=task, classes=tuple("ab" if task == "binary" else "abc"))
    target = torch.zeros(20, wide) if task != "regression" else output
    scores, _ = metric_values.as_scores(output, target, data, loss, model)
    table = pandas.DataFrame(columns(model, loss, output, {"task": task, "classes": [*data.classes], "notes": {}}))
    written = table.drop(columns="predicted", errors="ignore").to_numpy()
    written = written[:, 1:] if task == "binary" else written
    torch.testing.assert_close(scores.reshape(20, wide), torch.tensor(written, dtype=torch.float32))
