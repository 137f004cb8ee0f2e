"""What people run on a GPU, on a pretended device: tests/support/pretend.py. Its laws are those of tests/gpu.py."""

import ast
import functools
import json
import math
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from runner.model import host
from runner.settings import memory
from runner.settings.errors import ConfigError, OutOfMemory
from runner.tracking.read import reproduction
from runner.tracking.read.reproduction import Difference
from runner.training.parts import components
from runner.training.parts import device as devices
from runner.training.subject import Subject
from tests import gpu
from tests.support import pretend
from tests.support.command import _context
from tests.support.experiments import KINDS, here

RUNNER = Path(__file__).parents[2] / "runner"


@pytest.fixture
def place(workplace: Path) -> gpu.Place:
    """Where commands have the pretended device."""
    (workplace / "experiments").mkdir()
    (workplace / "experiments/ends.py").write_text(gpu.LAYERS)
    return gpu.Place("pretend", workplace, pretend.environment(workplace / "site"))


# One place

#: Calls that bring a tensor's numbers to the host.
LEAVES = ("cpu", "numpy", "item", "tolist", "asarray", "array", "from_numpy", "__array__")
#: Files whose tensors are on the host, and why.
ON_THE_HOST = {
    "data/": "a source reads files; what it gives is moved afterwards",
    "plots/": "a plot is shown what subject.Subject gives",
    "sweeps/report/plots/": "figures of the store, no tensors",
    "model/explain/": "the arithmetic is NumPy's; host.array brings it",
    "tracking/read/export/": "a model that load.load has made on the host",
    "commands/predict.py": "a model that load.load has made on the host",
    "tracking/read/logged_model.py": "a copy of the model on the host",
    "training/state/packing.py": "only of tensors on the processor; host.content brings the others",
    "training/state/history.py": "Python's own arrays; host.content brings the tensors",
    "api/words.py": "values of a call in Python, each read once",
    "sweeps/search/cmaes.py": "values of trials, no tensors",
    "training/vectorized/blocks.py": "numbers of steps, no tensors",
    "training/vectorized/schedules.py": "settings of optimizers, no tensors",
    "training/checking/fitting.py": "the data as the source gives them",
    "training/checking/target_values.py": "the data as the source gives them",
    "training/checking/targets.py": "the data as the source gives them",
    "commands/check.py": "the data as the source gives them",
    "model/predicted.py": "outputs of a model that load.load has made on the host, or of a plot's subject",
    "training/state/generators.py": "states of generators, which torch keeps on the host",
}


def leaving(source: str) -> list[str]:
    """The calls in a module that bring tensors to the host, as `line: name`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name, first = node.func.attr, (node.args or [None])[0]
            of_numpy = isinstance(node.func.value, ast.Name) and node.func.value.id == "np"
            moves = name == "to" and isinstance(first, ast.Constant) and first.value == "cpu"
            ours = isinstance(node.func.value, ast.Name) and node.func.value.id == "host"
            if moves or (name in LEAVES and not ours and (of_numpy or name not in ("array", "from_numpy"))):
                found.append(f"{node.lineno}: {name}")
    return found


def test_a_tensor_leaves_its_device_in_one_place() -> None:
    wrong, files = {}, sorted(RUNNER.rglob("*.py"))
    assert files
    for path in files:
        name = str(path.relative_to(RUNNER))
        if name != "model/host.py" and not name.startswith(tuple(ON_THE_HOST)) and (found := leaving(path.read_text())):
            wrong[name] = found
    assert wrong == {}, "through runner/model/host.py, or with the reason in ON_THE_HOST"


@pytest.mark.parametrize(
    "call", ["x.cpu()", "x.detach().cpu().numpy()", "loss.item()", "np.asarray(y)", "self.a.tolist()", "x.to('cpu')"]
)
def test_a_call_that_brings_a_tensor_elsewhere_is_seen(call: str) -> None:
    assert leaving(f"def f():\n    return {call}\n")
    assert not leaving("host.array(x)\nx.to(device)\nhost.number(loss)\n")


# What it refuses. The device is a process's for good, and `device=auto` would find it: never in this one.


def _told(work: Callable[[], Any], answers: Any) -> None:
    try:
        pretend.register()
        answers.put(("", work()))
    except BaseException:
        answers.put((traceback.format_exc(), None))


def elsewhere(work: Callable[[], Any]) -> Any:
    """What `work` gives in a process that has the pretended device."""
    answers = _context.SimpleQueue()
    process = _context.Process(target=_told, args=(work, answers))
    process.start()
    error, found = answers.get()
    process.join()
    assert not error, error
    return found


def _refusals() -> dict[str, str]:
    import numpy as np

    from runner.training.parts.metric_values import as_scores

    x, host_x = torch.ones(3, 2).to("pretend"), torch.ones(3, 2)
    generator = torch.Generator()
    tried: dict[str, Callable[[], Any]] = {
        "numpy": lambda: x.numpy(),
        "asarray": lambda: np.asarray(x),
        "array": lambda: np.array([*x]),
        "plus": lambda: x + host_x,
        "plus the other way round": lambda: host_x + x,
        "in place": lambda: host_x.add_(x),
        "a number of the host in place": lambda: torch.zeros(()).add_(x.sum()),
        "product": lambda: host_x.mT @ x,
        "cat": lambda: torch.cat([x, host_x]),
        "stack": lambda: torch.stack([host_x, x]),
        "index of the device": lambda: host_x[x[:, 0] > 0],
        "loss": lambda: torch.nn.functional.mse_loss(x, host_x),
        "layer": lambda: torch.nn.Linear(2, 1)(x),
        "metric": lambda: torch.eq(x.argmax(1), host_x.argmax(1)),
        "where": lambda: torch.where(x > 0, x, host_x),
        "generator": lambda: torch.rand(3, device="pretend", generator=generator),
    }
    found = {}
    for name, work in tried.items():
        try:
            found[name] = f"gives {work()}"
        except (TypeError, RuntimeError) as error:
            found[name] = str(error)
    _allowed(x, host_x, as_scores)
    return found


def _allowed(x: torch.Tensor, host_x: torch.Tensor, as_scores: Any) -> None:
    """What a GPU allows: transfers, numbers without dimensions, indices of the host, reading."""
    assert (x.device.type, str(x.device)) == ("pretend", "pretend:0")
    assert torch.equal(host.tensor(x), host_x)
    assert (x + torch.tensor(1.0)).device.type == "pretend"
    assert sum([x.sum()], torch.zeros(())).device.type == "pretend"
    assert x[torch.tensor([0, 2])].shape == (2, 2)
    assert x.tolist() == host_x.tolist()
    assert float(x.sum()) == 6.0
    assert host.array(x.bfloat16()).dtype == "float32"
    assert host.numbers(x * 2) == [2.0] * 6
    assert host.content(x) == host.content(host_x)


def test_the_pretended_device_refuses_what_a_gpu_refuses() -> None:
    found = elsewhere(_refusals)
    assert not {name: said for name, said in found.items() if said.startswith("gives")}
    assert found["numpy"].startswith("can't convert pretend:0 device type tensor to numpy. Use Tensor.cpu()")


def _states() -> list[Any]:
    """(losses, weights) of a small training on each device: layers, their gradients, and the optimizer."""
    found = []
    for device in ("cpu", "pretend"):
        for optimizer in ("SGD", "Adam", "RMSprop", "Adagrad"):
            torch.manual_seed(0)
            layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
            model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(36, 3))
            x, y = torch.randn(8, 1, 8, 8), torch.arange(8) % 3
            model, x, y = model.to(device), x.to(device), y.to(device)
            chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01)
            losses = []
            for _ in range(4):
                chosen.zero_grad()
                loss = torch.nn.functional.cross_entropy(model(x), y)
                loss.backward()
                chosen.step()
                losses.append(loss.item())
            found.append((losses, [host.tensor(p).tolist() for p in model.state_dict().values()]))
    return found


def test_its_arithmetic_is_the_processors() -> None:
    found = elsewhere(_states)
    assert found[:4] == found[4:]
    assert found[0] != found[1]


def _draws() -> list[bool]:
    torch.manual_seed(3)
    module = torch.get_device_module("pretend")
    state, before = module.get_rng_state(), torch.get_rng_state()
    x = torch.ones(50, device="pretend")
    one = torch.nn.functional.dropout(x)
    other = torch.nn.functional.dropout(x)
    module.set_rng_state(state)
    again = torch.nn.functional.dropout(x)
    return [torch.equal(one, again), torch.equal(one, other), torch.equal(before, torch.get_rng_state())]


def test_it_draws_from_a_generator_of_its_own() -> None:
    assert elsewhere(_draws) == [True, False, True]


# The laws of tests/gpu.py


@pytest.mark.parametrize("names", KINDS)
def test_every_experiment_ends_with_its_plots_and_with_the_processors_numbers(
    names: Any, place: gpu.Place, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Torch has the cell of a GRU for the processor and for CUDA alone.
    recurrent = ("sonnet_words", "sonnets", "sunspots", "backwards")
    monkeypatch.setattr(gpu, "EXPERIMENTS", [path.stem for path in here(names) if path.stem not in recurrent])
    ended = gpu.experiments(place)
    assert ended.startswith(f"{len(gpu.EXPERIMENTS)} FINISHED with ")
    there = json.loads((place.folder / "experiments.json").read_text())
    # They draw from the device's own generator: for dropout, or as an autoencoder does.
    drawing = (
        *("digit_properties", "digits_cnn", "digits_cnn_wide", "digits_mlp", "digits_vae", "gan_digits"),
        *("digits_diffusion", "digits_graph", "save_and_load"),
    )
    same = [name for name in gpu.EXPERIMENTS if there[name]["metrics"] and name not in drawing]
    assert "digits_lenet" in same
    assert len(same) > 8
    numbers = []
    for device, env in (("cpu", {}), (place.device, place.env)):
        at = gpu.Place(device, place.folder / device.replace(":", "-") / "numbers", env)
        at.folder.mkdir(parents=True)
        shutil.copy(empty_store, at.folder / "mlflow.db")
        # Torch's own optimizer steps on both: fused ones, which devices have else, round in another way.
        trained = gpu.trained_all(at, same, "plots=[]", "trainer.graph=null")
        numbers.append({name: trained[name]["metrics"] for name in same})
    # Attention has a kernel of its own on the processor, and sums in another order.
    attends = [numbers[at].pop("sonnets_gpt", {}) for at in (0, 1)]
    assert attends[0] == pytest.approx(attends[1], rel=1e-5)
    assert numbers[0] == numbers[1]


#: Laws that take long here, or that the pretended device does not keep.
NOT_HERE = ("experiments", "compiled", "captured", "resumed_captured", "dropped")


@pytest.mark.parametrize("law", [law for law in gpu.LAWS if law.__name__ not in NOT_HERE], ids=lambda law: law.__name__)
def test_what_holds_on_a_gpu_holds_here(law: Callable[[gpu.Place], str], place: gpu.Place) -> None:
    assert law(place)


# Planted faults: what forgets the transfer fails here, as it does on a GPU.


def _ended(fault: str) -> str:
    """How a small training on the device ends with a fault in the code; "" if by itself."""
    import torchmetrics

    from runner.training.drive import drive
    from runner.training.prepare import prepare
    from tests.conftest import settings

    if fault == "plots are shown the device's data":
        Subject.data = property(lambda self: self.run.data)  # type: ignore[assignment]
    if fault == "predictions stay on the device":
        host.tensor = lambda value: value.detach()
    if fault == "metrics stay on the host":
        torchmetrics.Metric.to = lambda self, *_: self  # type: ignore[method-assign]
    if fault == "batches stay on the host":
        object.__setattr__(components, "device", lambda name: torch.device("pretend:0"))
        from runner.training.parts.placement import Placement

        Placement.source = lambda self, source: source  # type: ignore[method-assign]
        Placement.moved = lambda self, stream: stream  # type: ignore[method-assign]
    chosen = settings(
        device="pretend",
        data={"name": "digits"},
        layers=[{"Conv2d": {"out_channels": 2, "kernel_size": 5}}, "Flatten", {"Linear": 10}],
        loss={"name": "CrossEntropyLoss"},
        plots=["loss_curve", "confusion_matrix", "examples", "filters", "feature_maps"],
        metrics=[{"Accuracy": {"average": "macro"}}],
        epochs=1,
        batch_size=400,
    )
    run = prepare(chosen, "test")
    try:
        drive(run)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        run.close()
    return ""


FAULTS = {
    "": "",
    "plots are shown the device's data": "TypeError: can't convert pretend:0 device type tensor to numpy",
    "predictions stay on the device": "RuntimeError: Expected all tensors to be on the same device",
    "metrics stay on the host": "RuntimeError: ",
    "batches stay on the host": "RuntimeError: Input type (torch.FloatTensor) and weight type (",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_forgotten_transfer_is_caught(fault: str) -> None:
    assert elsewhere(functools.partial(_ended, fault)).startswith(FAULTS[fault])
    if not fault:
        assert elsewhere(functools.partial(_ended, fault)) == ""


# Which device is meant


def _devices() -> list[str]:
    found = []
    for name in ("auto", "pretend", "pretend:0", "cpu", "cuda", "pretend:1", "meta", "xyz"):
        try:
            found.append(str(devices.device(name)))
        except ConfigError as error:
            found.append(str(error))
    return found


def test_a_device_is_any_accelerator_that_torch_knows() -> None:
    auto, named, first, cpu, *wrong = elsewhere(_devices)
    assert (auto, named, first, cpu) == ("pretend:0", "pretend:0", "pretend:0", "cpu")
    assert wrong[0] == "device: 'cuda' is not on this machine; device=auto takes what is there"
    assert wrong[1] == "device: 'pretend:1' is not on this machine; device=auto takes what is there"
    assert all(told.endswith("is not one of auto, cpu, cuda, cuda:0, mps") for told in wrong[2:])


# How close is close


@pytest.mark.parametrize(
    ("step", "apart", "precision", "share"),
    [
        (1, 1e-3, "fp32", 0.5),  # the first ten steps: 1e-3 of the largest, which is 2
        (10, 1e-3, "fp32", 0.5),
        (100, 1e-2, "fp32", 0.5),  # 1e-4 a step
        (10**6, 0.1, "fp32", 1.0),  # never more than a twentieth
        (1, 1e-2, "bf16", 0.5),  # ten times as much where products have few bits
    ],
)
def test_a_loss_may_be_as_far_off_as_rounding_grows(step: int, apart: float, precision: str, share: float) -> None:
    recorded = {"train/loss": {0: 2.0, step: 1.0}}
    found = Difference("train/loss", step, 1.0, 1.0 + apart)
    assert reproduction.share(found, recorded, precision) == pytest.approx(share)


@pytest.mark.parametrize(
    ("name", "then", "now", "share"),
    [
        ("lr", 0.1, 0.2, math.inf),
        ("epoch", 1.0, 2.0, math.inf),
        ("train/loss", 1.0, None, math.inf),
        ("train/loss", None, 1.0, math.inf),
        ("valid/loss", 1.0, math.nan, math.inf),
        ("valid/Accuracy", 0.9, 0.8, 0.0),
    ],
)
def test_what_rounding_does_not_explain(name: str, then: float | None, now: float | None, share: float) -> None:
    assert reproduction.share(Difference(name, 1, then, now), {name: {1: 1.0}}, "fp32") == share


# Memory


def short(error: BaseException, batch: int | None = 64) -> str:
    """What a person reads of an error in a training."""

    class Run:
        settings = type(
            "Settings", (), {"trainer": type("Trainer", (), {"batch_size": batch, "eval_batch_size": None})}
        )
        data = type("Data", (), {"train": range(1500)})

    @memory.explained
    def train(run: Any) -> None:
        raise error

    with pytest.raises(type(error) if not memory.is_short(error) else OutOfMemory) as caught:  # type: ignore[arg-type]
        train(Run)
    return str(caught.value)


CUDA = (
    "CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 512.00 MiB"
    " is free. Process 12 has 78 GiB memory in use."
)


def test_memory_that_is_short_is_told_with_the_setting_that_decides() -> None:
    said = short(torch.OutOfMemoryError(CUDA))
    assert said.startswith("trainer.batch_size=64: CUDA out of memory. Tried to allocate 1.00 GiB; ")
    assert "trainer.batch_size=32" in said
    assert "trainer.accumulate=2" in said
    assert short(torch.OutOfMemoryError(CUDA), None).startswith(
        "trainer.batch_size=null (all 1,500 examples at once): "
    )


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried",
        "MPS backend out of memory (MPS allocated: 5 GB)",
    ],
)
def test_other_devices_have_other_words_for_it(text: str) -> None:
    assert short(RuntimeError(text)).startswith("trainer.batch_size=64: ")


def test_another_error_is_left_alone() -> None:
    assert (
        short(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) == "mat1 and mat2 shapes cannot be multiplied"
    )


# What reproduce says on a device whose sums differ


@pytest.mark.parametrize(
    ("noise", "code", "word"), [("1e-7", 0, "close"), ("0.5", 1, "different")], ids=["rounding", "more than rounding"]
)
def test_reproduce_tells_rounding_from_more(noise: str, code: int, word: str, place: gpu.Place) -> None:
    place.env["PRETEND_NOISE"] = noise
    run_id = place.trained("experiments=digits_cnn", "trainer.epochs=1", "plots=[]", "trainer.threads=1").run_id
    done = place.runner("reproduce", run_id, code=code)
    assert done.last.startswith(f"reproduce {run_id} {word} values=")
    assert "device pretend:0 without trainer.deterministic=true: every training rounds differently" in done.out
    assert (
        "losses may be apart by 0.001 of the largest recorded in the first 10 steps, later by 0.0001 a step" in done.out
    )
