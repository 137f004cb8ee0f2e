"""Laws of captured steps, of stacked dropout and of the memory forecast, for tests/gpu.py."""

import json
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.gpu import Place

#: Trainings whose step is captured, each with what may go wrong in one: of 3 epochs and 20 batches, the last ragged.
CAPTURED = {
    "fp32": ("experiments=digits_mlp",),
    "dropout": ("experiments=digits_mlp", "model.knobs.dropout=0.2"),
    "convolutions": ("experiments=digits_cnn",),
    "BatchNorm": ("experiments=digits_cnn", "+model.layers.norm={BatchNorm1d: {}}"),
    "bf16": ("experiments=digits_cnn", "trainer.precision=bf16"),
    "accumulated": ("experiments=digits_mlp", "trainer.accumulate=3"),
    "clipped": ("experiments=digits_mlp", "trainer.clip_norm=0.1"),
    "a rate for each step": ("experiments=digits_mlp", "scheduler.interval=step"),
    "without a last batch": ("experiments=digits_mlp", "trainer.drop_last=true"),
    "all examples at once": ("experiments=digits_mlp", "trainer.batch_size=null", "trainer.epochs=60"),
}
COMMON = ("trainer.epochs=3", "plots=[]", "trainer.threads=1", "trainer.deterministic=true")


def captured(place: "Place") -> str:
    """A step that is captured and replayed has the losses and weights of the step as it is, to the last bit."""
    steps = 0
    for name, words in CAPTURED.items():
        runs = {
            graph: place.trained(*words[:1], *COMMON, *words[1:], f"trainer.graph={graph}").run_id
            for graph in ("true", "false")
        }
        losses, others = (place.points(run, "train/loss") for run in runs.values())
        assert losses == others, f"{name}: other losses, first at step {_first(losses, others)}"
        assert place.digest(runs["true"]) == place.digest(runs["false"]), f"{name}: other weights"
        told = place.tags(runs["true"]).get("step", "")
        if place.device == "cuda":
            assert told.startswith("captured"), f"{name}: {told}"
        steps += len(losses)
    return f"{len(CAPTURED)} trainings, {steps} steps identical"


def _first(losses: dict[int, float], others: dict[int, float]) -> int | None:
    return next((step for step, loss in losses.items() if others.get(step) != loss), None)


def diverged(place: "Place") -> str:
    """A loss that is not finite ends a captured training at the step at which it ends the other."""
    words = ("experiments=linear_regression", "optimizer.lr=30", "trainer.epochs=300", "plots=[]", "trainer.threads=1")
    found = {}
    for graph in ("true", "false"):
        run_id = place.trained(*words, f"trainer.graph={graph}", code=1).run_id
        found[graph] = place.tags(run_id)["runner.status_reason"], place.points(run_id, "train/loss")
    (reason, points), other = found["true"], found["false"]
    assert reason == other[0], f"captured: {reason}; as it is: {other[0]}"
    assert "train/loss is" in reason, reason
    assert list(points) == list(other[1]), f"{len(points)} losses, and {len(other[1])}"
    return reason


def resumed_captured(place: "Place") -> str:
    """A captured training that goes on from a checkpoint has the weights of one that was not interrupted."""
    words = ("experiments=digits_cnn", "scheduler=null", *COMMON[1:], "trainer.graph=true")
    whole = place.trained(*words, "trainer.epochs=6").run_id
    part = place.trained(*words, "trainer.epochs=3").run_id
    done = place.runner("resume", part, "trainer.epochs=6")
    assert done.last.split()[2] == "FINISHED", done.out
    assert place.digest(part) == place.digest(whole), "other weights"
    assert place.points(part, "train/loss") == place.points(whole, "train/loss"), "other losses"
    return f"{len(place.points(whole, 'train/loss'))} steps identical"


def dropped(place: "Place") -> str:
    """Jobs of a stacked sweep with dropout are those of each alone."""
    from tests.gpu import losses_of

    words = (
        *("-m", "experiments=digits_mlp", "model.knobs.dropout=0.2", "trainer.epochs=2", "trainer.precision=fp64"),
        *("optimizer.lr=0.003,0.001", "seed=0,1", "trainer.deterministic=true", "plots=[]", "sweep.plots=false"),
    )
    found = {}
    for launcher in ("basic", "vectorized"):
        done = place.trained(*words, f"hydra/launcher={launcher}")
        if launcher == "vectorized":
            assert "jobs 0-3 are trained as one program" in done.out, done.out
        found[launcher] = losses_of(place, done.run_id)
    apart = max(
        abs(a - b) / max(1, abs(a))
        for one, other in zip(*found.values(), strict=True)
        for a, b in zip(one, other, strict=True)
    )
    assert apart <= 1e-10, f"{apart:.2g} apart"
    return f"at most {apart:.1g} apart"


def forecast(place: "Place") -> str:
    """The memory of ten trainings is within 15% of the forecast."""
    from tests.support.command import HANGS, _context

    if place.device.startswith("pretend"):
        return "not tried: its memory is the processor's"
    process = _context.Process(target=_forecast_all, args=(place.device, str(place.folder), place.env))
    process.start()
    process.join(HANGS)
    found = json.loads((place.folder / "forecast.json").read_text())
    assert process.exitcode == 0, found.get("error")
    wrong = {name: ratio for name, ratio in found.items() if not 0.85 <= ratio <= 1.15}
    assert not wrong, f"forecast / measured: {wrong} of {found}"
    return f"{len(found)} trainings, forecast / measured {min(found.values()):.2f} to {max(found.values()):.2f}"


def _forecast_all(device: str, folder: str, env: dict[str, str]) -> None:
    """Write forecast / measured of every training."""
    os.chdir(folder)
    os.environ.update(env)
    found: dict[str, Any] = {}
    try:
        from tests.training.test_forecast import TRAININGS, forecast_and_measured, training

        for name in TRAININGS:
            settings = training(name)
            settings.device = device
            settings.trainer.batch_size = settings.trainer.batch_size and 1024  # what libraries take matters less then
            expected, measured = forecast_and_measured(settings)
            found[name] = expected / measured
    except BaseException:
        found["error"] = traceback.format_exc()
        raise
    finally:
        Path("forecast.json").write_text(json.dumps(found))


LAWS = [captured, diverged, resumed_captured, dropped, forecast]
