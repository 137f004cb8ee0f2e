"""The parts of a run: every preset, every optimizer and schedule of torch, precision, clipping, losses and ranges."""

import math
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from runner.data import Data, Tensors
from runner.settings import Trainer
from runner.settings.errors import ConfigError
from runner.settings.values import lookup
from runner.training.checking import agreement, targets
from runner.training.loop import State, train
from runner.training.parts import losses, metrics, optimizers, scheduling
from runner.training.parts.device import device
from runner.training.state import due
from runner.training.step import choose
from tests.conftest import settings
from tests.support import components

CONF = Path(__file__).parents[2] / "conf"


def presets(group: str) -> list[Any]:
    return [
        pytest.param(OmegaConf.to_object(OmegaConf.load(p)), id=p.stem) for p in sorted((CONF / group).glob("*.yaml"))
    ]


def model(outputs: int = 1, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4, bias=bias), nn.Tanh(), nn.Linear(4, outputs, bias=bias))


def batch(outputs: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(8, 3, generator=generator), torch.rand(8, outputs, generator=generator)


def stepped(optimizer: dict[str, Any], steps: int = 5, network: nn.Module | None = None, **trainer: Any) -> list[float]:
    """The losses of a few steps on one batch."""
    network, made = network or model(), Trainer(**trainer)
    where = torch.device("cpu")
    state = components.state(network, optimizer, made, where)
    x, y = (t.double() if made.precision == "fp64" else t for t in batch())
    return [step.loss.item() for step in train(state, [[(1.0, (x, y))]] * steps, choose(state))]


def rates(scheduler: dict[str, Any], steps: int, epochs: int = 1, lr: float = 1.0) -> list[float]:
    """The learning rate of each of `steps` steps, or epochs where the schedule goes by epochs."""
    optimizer = torch.optim.SGD(model().parameters(), lr=lr)
    schedule = components.schedule(scheduler, optimizer, epochs, steps, "min")
    found = []
    for _ in range(steps if schedule.interval == "step" else epochs):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.after_step()
        schedule.after_epoch()
        schedule.after_validation(1.0)
    return found


# Optimizers


@pytest.mark.parametrize("spec", presets("optimizer"))
def test_every_optimizer_preset_lowers_the_loss(spec):
    losses = stepped(spec)
    assert losses[-1] < losses[0]


#: SparseAdam is for sparse gradients; Muon for matrices only.
OPTIMIZERS = [name for name in lookup.known(optimizers.OPTIMIZER) if name != "SparseAdam"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_torch_steps_by_its_own_name(name):
    losses = stepped({"name": name, "lr": 0.01}, steps=10, network=model(bias=name != "Muon"))
    assert losses[-1] < losses[0]


def test_all_of_torchs_optimizers_are_known():
    theirs = {n for n, v in vars(torch.optim).items() if isinstance(v, type) and issubclass(v, torch.optim.Optimizer)}
    assert {*OPTIMIZERS, "SparseAdam"} == theirs - {"Optimizer"}


def test_the_optimizers_own_refusal_names_the_key():
    with pytest.raises(ConfigError, match=r"^optimizer.lr: -1 is out of range; expected a number above 0$"):
        components.optimizer({"name": "SGD", "lr": -1}, model())
    with pytest.raises(ConfigError, match=r"^optimizer: Nesterov momentum requires a momentum"):
        components.optimizer({"name": "SGD", "lr": 1, "nesterov": True}, model())


def test_frozen_parameters_are_left_out():
    network = model()
    network[0].weight.requires_grad = False
    [group] = components.optimizer({"name": "SGD", "lr": 1}, network).param_groups
    assert len(group["params"]) == 3


# Schedules


@pytest.mark.parametrize("spec", presets("scheduler"))
def test_every_scheduler_preset_moves_the_learning_rate(spec):
    steps, epochs = (50, 1) if spec["interval"] == "step" else (50, 50)
    assert len(set(rates(spec, steps, epochs))) > 1


PLAIN: dict[str, dict[str, Any]] = {
    "ConstantLR": {},
    "LinearLR": {},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {},
    "StepLR": {"step_size": 2},
    "MultiStepLR": {"milestones": [2, 4]},
    "CosineAnnealingLR": {},
    "CosineAnnealingWarmRestarts": {"T_0": 4},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 3},
    "OneCycleLR": {"max_lr": 1.0},
    "ReduceLROnPlateau": {"patience": 1},
    "WarmupCosineLR": {},
    "SequentialLR": {
        "schedulers": [{"LinearLR": {"start_factor": 0.1, "total_iters": 3}}, "CosineAnnealingLR"],
        "milestones": [3],
    },
    "ChainedScheduler": {"schedulers": {"a": {"name": "ExponentialLR", "gamma": 0.9}, "b": {"LinearLR": {}}}},
}
#: They want a function.
NOT_PLAIN = {"LambdaLR", "MultiplicativeLR"}


@pytest.mark.parametrize("name", PLAIN)
def test_every_scheduler_of_plain_arguments_is_had_by_its_own_name(name):
    cycles = {"cycle_momentum": False} if name in ("OneCycleLR", "CyclicLR") else {}
    assert len(set(rates({"name": name, **PLAIN[name], **cycles}, 12, 12))) > 1


def test_all_of_torchs_schedulers_are_known():
    assert set(lookup.known(scheduling.SCHEDULER)) == {*PLAIN, *NOT_PLAIN}


@pytest.mark.parametrize("name", sorted(NOT_PLAIN))
def test_a_scheduler_that_yaml_cannot_spell_says_what_it_needs(name):
    with pytest.raises(ConfigError, match=rf"^scheduler: {name} needs '"):
        scheduling.resolve({"name": name}, Trainer())


def test_the_length_of_the_training_is_filled_in():
    cosine = rates({"name": "CosineAnnealingLR"}, 40, epochs=8)
    assert cosine == pytest.approx([(1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)])
    by_step = rates({"name": "CosineAnnealingLR", "interval": "step"}, 40, epochs=8)
    assert by_step == pytest.approx([(1 + math.cos(math.pi * t / 40)) / 2 for t in range(40)])
    given = rates({"name": "CosineAnnealingLR", "T_max": 4}, 40, epochs=8)
    assert given[4] == pytest.approx(0, abs=1e-9)
    one_cycle = rates({"name": "OneCycleLR", "max_lr": 0.5, "pct_start": 0.25, "cycle_momentum": False}, 41)
    assert max(one_cycle) == pytest.approx(0.5, rel=1e-2)
    assert one_cycle.index(max(one_cycle)) in (9, 10)
    assert one_cycle[-1] == pytest.approx(0.5 / 25 / 1e4)


def test_schedules_one_after_another_are_torchs_own():
    spec = {"name": "SequentialLR", **PLAIN["SequentialLR"], "interval": "step"}
    optimizer = torch.optim.SGD(model().parameters(), lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)  # the rest of 12 steps
        expected, scheduler = [], torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [3])
        for _ in range(12):
            expected.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
    assert rates(spec, 12) == expected


def test_warmup_cosine_follows_its_formula():
    found = rates({"name": "WarmupCosineLR", "warmup": 0.2, "start": 0.1, "end": 0.05, "interval": "step"}, 50, lr=2)
    rise = [2 * (0.1 + 0.9 * t / 10) for t in range(10)]
    fall = [2 * (0.05 + 0.95 * (1 + math.cos(math.pi * t / 40)) / 2) for t in range(40)]
    assert found == pytest.approx(rise + fall)
    assert rates({"name": "WarmupCosineLR", "warmup": 5, "interval": "step"}, 20)[5] == 1
    assert rates({"name": "WarmupCosineLR", "warmup": 0, "interval": "step"}, 20)[0] == 1


def test_a_plateau_cuts_after_patience_validations_and_stands_still_without_one():
    optimizer = torch.optim.SGD(model().parameters(), lr=1.0)
    spec = {"name": "ReduceLROnPlateau", "patience": 2, "factor": 0.5}
    schedule = components.schedule(spec, optimizer, 20, 20, "max")
    seen = []
    for value in (0.1, 0.2, 0.2, None, None, 0.2, 0.2, 0.9):
        schedule.after_epoch()
        if value is not None:
            schedule.after_validation(value)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1, 1, 1, 1, 1, 1, 0.5, 0.5]
    assert schedule.scheduler.mode == "max"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "StepLR"}, "scheduler: "),
        (
            {"name": "StepLR", "step_size": 2, "interval": "batch"},
            "scheduler.interval: 'batch'",
        ),
        ({"name": "StepLR", "step_sise": 2}, "did you mean 'step_size'?"),
    ],
)
def test_a_wrong_schedule_is_answered_with_its_key(spec, message):
    with pytest.raises(ConfigError) as error:
        scheduling.resolve(spec, Trainer())
    assert message in str(error.value)


# Losses


@pytest.mark.parametrize("spec", presets("loss"))
def test_every_loss_preset_gives_its_own_number(spec):
    lookup.use_folder(CONF.parent / "experiments")
    loss = losses.build(spec)
    output, classes = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    numbers = torch.rand(6, 3)
    target = classes if spec["name"] == "CrossEntropyLoss" else numbers
    expected = {
        "MSELoss": (output - numbers).square().mean(),
        "L1Loss": (output - numbers).abs().mean(),
        "HuberLoss": nn.functional.huber_loss(output, numbers, delta=spec.get("delta", 1.0)),
        "SmoothL1Loss": nn.functional.huber_loss(output, numbers, delta=spec.get("beta", 1.0)) / spec.get("beta", 1.0),
        "experiments.losses.LogCosh": (output - numbers).cosh().log().mean(),
        "CrossEntropyLoss": -output.log_softmax(1)[range(6), classes].mean(),
        "BCEWithLogitsLoss": nn.functional.binary_cross_entropy(output.sigmoid(), numbers),
    }[spec["name"]]
    assert loss(output, target).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_schedule_is_silent_when_fp16_leaves_the_first_steps_out():
    """torch warns of a schedule that moves before the optimizer did, and warnings are errors here."""
    network = model()
    trainer = Trainer(precision="fp16")
    where = torch.device("cpu")
    state = components.state(network, {"name": "SGD", "lr": 0.1}, trainer, where)
    schedule = components.schedule({"name": "StepLR", "step_size": 1, "interval": "step"}, state.optimizer, 1, 3, "min")
    x, y = batch()
    for _ in train(state, [[(1.0, (x, 1e4 * y))]] * 3, choose(state)):
        schedule.after_step()
    assert state.optimizer.param_groups[0]["lr"] == pytest.approx(1e-4)


def test_any_loss_of_torch_is_had_by_its_own_name():
    for name in ("SmoothL1Loss", "PoissonNLLLoss", "KLDivLoss", "MultiMarginLoss", "torch.nn.SoftMarginLoss"):
        assert type(losses.build({"name": name})).__name__ == name.rpartition(".")[2]


def test_class_weights_are_a_list():
    loss = losses.build({"name": "CrossEntropyLoss", "weight": [1, 3]})
    output, target = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    assert loss(output, target).item() == pytest.approx((0.313262 * 1 + 1.313262 * 3) / 4, rel=1e-5)


def test_a_loss_that_gives_many_numbers_is_refused():
    with pytest.raises(ConfigError, match=r"^loss.reduction: 'none' gives no single number"):
        losses.build({"name": "MSELoss", "reduction": "none"})


def on_meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCEWithLogitsLoss"])
def test_a_loss_that_would_broadcast_is_refused(name):
    loss = losses.build({"name": name})
    with pytest.raises(ConfigError, match=r"the last layer gives \(N, 1\) and the targets have \(N,\)"):
        agreement.check_loss(loss, on_meta(2, 1), on_meta(2), 0)
    agreement.check_loss(loss, on_meta(2, 1), on_meta(2, 1), 0)


def test_a_loss_that_does_not_fit_the_data_is_refused():
    classes = on_meta(2, dtype=torch.int64)
    cross_entropy, mse = losses.build({"name": "CrossEntropyLoss"}), losses.build({"name": "MSELoss"})
    with pytest.raises(ConfigError, match="the last layer gives 3 numbers, and the data has 10 classes"):
        agreement.check_loss(cross_entropy, on_meta(2, 3), classes, 10)
    with pytest.raises(ConfigError, match="needs classes"):
        agreement.check_loss(cross_entropy, on_meta(2, 3), on_meta(2, 1), 0)
    with pytest.raises(ConfigError, match="try loss=cross_entropy"):
        agreement.check_loss(mse, on_meta(2), classes, 10)
    with pytest.raises(ConfigError, match="gives a tuple, expected a tensor"):
        agreement.check_loss(mse, (on_meta(2, 1), None), on_meta(2, 1), 0)
    agreement.check_loss(cross_entropy, on_meta(2, 10), classes, 10)


def test_two_classes_become_numbers_for_bce():
    two = Tensors(torch.rand(4, 3), torch.tensor([0, 1, 1, 0]))
    data = Data(two, two, None, "binary", ("no", "yes"))
    fitted = targets.fit(data, nn.BCEWithLogitsLoss())
    assert fitted.train.y.tolist() == [[0.0], [1.0], [1.0], [0.0]]
    assert fitted.valid.y.dtype == torch.float32
    assert (fitted.test, fitted.task, fitted.classes) == (None, "binary", ("no", "yes"))
    assert targets.fit(data, nn.CrossEntropyLoss()) is data


# What the trainer wants of a step


def test_clip_norm_cuts_the_gradient_to_its_length():
    network = model()
    before = [p.detach().clone() for p in network.parameters()]
    stepped({"name": "SGD", "lr": 1.0}, steps=1, network=network, clip_norm=0.01)
    moved = torch.cat([(p - b).flatten() for p, b in zip(network.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-4)


def test_clip_value_cuts_each_element():
    network = model()
    before = [p.detach().clone() for p in network.parameters()]
    stepped({"name": "SGD", "lr": 1.0}, steps=1, network=network, clip_value=0.02)
    moved = torch.cat([(p - b).flatten() for p, b in zip(network.parameters(), before, strict=True)])
    assert moved.abs().max().item() == pytest.approx(0.02, rel=1e-4)


def test_without_clipping_the_step_is_longer():
    """The control: the two tests above must be able to fail."""
    network = model()
    before = [p.detach().clone() for p in network.parameters()]
    stepped({"name": "SGD", "lr": 1.0}, steps=1, network=network)
    moved = torch.cat([(p - b).flatten() for p, b in zip(network.parameters(), before, strict=True)])
    assert moved.norm().item() > 0.05
    assert moved.abs().max().item() > 0.03


@pytest.mark.parametrize("fused", [False, True])
def test_fp16_clips_true_gradients_and_not_scaled_ones(fused):
    """The first step overflows at the scaler's first scale, and is left out. A fused optimizer is handed the scale."""
    network = model()
    before = [p.detach().clone() for p in network.parameters()]
    stepped({"name": "SGD", "lr": 1.0, "fused": fused}, steps=2, network=network, clip_norm=0.01, precision="fp16")
    moved = torch.cat([(p - b).flatten() for p, b in zip(network.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_precisions_train_alike_but_not_with_the_same_bits():
    by_precision = {p: stepped({"name": "SGD", "lr": 0.1}, steps=6, precision=p) for p in losses.DTYPES}
    by_precision["fp16"] = by_precision["fp16"][1:]  # without the step that overflows the first scale
    assert len({tuple(found[:5]) for found in by_precision.values()}) == 4
    for precision, tolerance in (("fp32", 1e-6), ("bf16", 0.02), ("fp16", 0.005)):
        assert by_precision[precision][:5] == pytest.approx(by_precision["fp64"][:5], rel=tolerance), precision


@pytest.mark.parametrize(
    ("precision", "inside"),
    [("fp32", torch.float32), ("fp64", torch.float64), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_precision_is_that_of_the_layers_and_losses_are_exact_enough(precision, inside):
    network, trainer = model(), Trainer(precision=precision)
    seen = []
    network[0].register_forward_hook(lambda *given: seen.append(given[2].dtype))
    state = components.state(network, {"name": "SGD", "lr": 0.1}, trainer, torch.device("cpu"))
    x, y = (t.double() if precision == "fp64" else t for t in batch())
    loss, output = state.cost(state.model, (x, y))
    assert seen == [inside]
    assert loss.dtype == output.dtype == (torch.float64 if precision == "fp64" else torch.float32)
    assert {p.dtype for p in network.parameters()} == {loss.dtype}


# Ranges


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", -1),
        ("workers", -1),
        ("validate_every", 0),
        ("accumulate", 0),
        ("batch_size", 0),
        ("patience", 0),
        ("threads", 0),
        ("clip_norm", 0),
        ("clip_norm", -1.0),
        ("clip_value", 0.0),
        ("clip_norm", math.nan),
        ("mode", "maximum"),
        ("precision", "fp8"),
        ("compile", 3),
    ],
)
def test_a_setting_out_of_its_range_is_refused(key, value):
    with pytest.raises(ConfigError) as error:
        components.without_data(settings(**{key: value}))
    assert error.value.key == f"trainer.{key}"


def test_settings_within_their_ranges_are_accepted():
    components.without_data(settings())
    components.without_data(
        settings(epochs=0, batch_size=1, patience=1, clip_norm=0.1, compile="eager", every="3 steps")
    )


@pytest.mark.parametrize(
    ("every", "means"),
    [
        (None, (0, "epochs")),
        (1, (1, "epochs")),
        ("2 epochs", (2, "epochs")),
        ("1 epoch", (1, "epochs")),
        ("100 steps", (100, "steps")),
        ("0.5 minutes", (0.5, "minutes")),
    ],
)
def test_checkpoint_every_is_a_number_and_a_unit(every, means):
    found = due.read(every)
    assert (found.number, found.unit) == means


@pytest.mark.parametrize(
    "every", [0, -1, "often", "2 hours", "0.5 steps", True, "", "inf", "nan", "nan minutes", "inf steps"]
)
def test_checkpoint_every_refuses_the_rest(every):
    with pytest.raises(ConfigError, match=r"^checkpoint.every: "):
        components.without_data(settings(every=every))


def test_what_lbfgs_cannot_do_is_refused():
    for changes in ({"accumulate": 2}, {"precision": "fp16"}, {"clip_norm": 1.0}, {"clip_value": 1.0}):
        with pytest.raises(ConfigError, match=r"^optimizer.name: LBFGS works without"):
            components.without_data(settings(optimizer={"name": "LBFGS"}, **changes))


def test_devices_are_checked():
    assert device("cpu").type == "cpu"
    assert device("auto").type in ("cpu", "cuda", "mps")
    for wrong in ("gpu", "cpu:1", "cuda:99", "xpu", "meta"):
        with pytest.raises(ConfigError, match=r"^device: "):
            device(wrong)


def test_a_state_counts_from_zero():
    network = model()
    assert (
        State(
            network, torch.optim.SGD(network.parameters()), losses.cost(nn.MSELoss(), Trainer(), torch.device("cpu"))
        ).step
        == 0
    )


WITHOUT_DYNAMO = """
import sys
import torch
from runner.settings.torch_private import spare_dynamo

def train(optimizer, **arguments):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    made = optimizer(model.parameters(), **arguments)
    for _ in range(5):
        made.zero_grad()
        model(torch.ones(4, 3)).square().mean().backward()
        made.step()
    return model.weight.detach().clone()

kinds = [(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}), (torch.optim.Adam, {"lr": 0.1}), (torch.optim.AdamW, {})]
for kind, _ in kinds:
    spare_dynamo(kind)
spared = [train(kind, **arguments) for kind, arguments in kinds]
assert "torch._dynamo" not in sys.modules
print([w.tolist() for w in spared])
"""


def test_sparing_dynamo_changes_no_weight() -> None:
    import subprocess
    import sys

    plain = WITHOUT_DYNAMO.replace("    spare_dynamo(kind)", "    pass").replace(
        'assert "torch._dynamo" not in sys.modules', 'assert "torch._dynamo" in sys.modules'
    )
    spared, told = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for code in (WITHOUT_DYNAMO, plain)
    )
    assert spared == told


class Unfit:
    """Finds torchmetrics as beside a torchvision of another build: importing it fails."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "torchmetrics":
            raise RuntimeError("operator torchvision::nms does not exist")


def test_metrics_that_cannot_be_imported_are_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics.resolve(["Accuracy"])
    monkeypatch.delitem(sys.modules, "torchmetrics")
    monkeypatch.setattr(sys, "meta_path", [Unfit(), *sys.meta_path])
    expected = (
        "metrics: torchmetrics cannot be imported: operator torchvision::nms does not exist; it imports torchvision:"
        " install that and torch from the same index, or uninstall torchvision"
    )
    with pytest.raises(ConfigError) as error:
        metrics.resolve(["Accuracy", "F1Score"])
    assert str(error.value) == expected
    assert metrics.resolve([]) == []
