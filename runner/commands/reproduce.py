"""The command `reproduce`: train a recorded run again and compare all values and weights."""

import contextlib
import dataclasses
from typing import TYPE_CHECKING

from runner.commands._result import Result, nothing
from runner.settings import Checkpoint, Settings, Trainer
from runner.settings.errors import ConfigError, full_message
from runner.settings.trust import terminal
from runner.training.machine.signals import Signals

if TYPE_CHECKING:
    from runner.tracking.read.lengthened import Part
    from runner.tracking.read.reproduction import Difference, Digests, Points
    from runner.training.events import Observer
    from runner.training.run import Run


#: Keys that a resumed run may have changed without a change of any value.
UNSEEN = (
    "checkpoint.",
    "data.path",
    "data.root",
    "data.x",
    "data.y",
    "plots",
    "tracking.",
    "trainer.time_limit",
    "trainer.workers",
)


def with_run(uri: str, run: str, *, code: str = "current") -> Result | int:
    """Train again and compare every recorded value and the weights' SHA-256; return 0 only if all are identical.

    On a device other than the CPU, a run without trainer.deterministic=true rounds differently each time: then 0 is
    returned too if every loss is within `reproduction.tolerance`.
    The tracking store is only read. An interrupted run is repeated up to its last recorded step, a pruned one up to the
    epoch after which it was pruned.
    code: current or recorded, for all of the user's own code.
    """
    from runner.settings.trust import record_reading
    from runner.tracking import recorded_code
    from runner.tracking.identity import TOGETHER
    from runner.tracking.read import lengthened, recall, reproduction, restoring
    from runner.training.state.checkpoint import CheckpointError

    run_id = recall.find_run(uri, run)
    status, tags, names = recall.facts(uri, run_id)
    settings = recall.settings(uri, run_id)
    recorded = recall.points(uri, run_id, reproduction.counted(names))
    _check(run_id, status, tags, settings, recorded)
    steps = max(recorded["train/loss"])
    terminal.put(f"run {run_id}, {status}, {steps:,} steps", *recorded_code.use(uri, run_id, code))
    with Signals() as signals:
        parts = lengthened.parts(settings, _drift(tags))
        first = parts[0].settings if parts else settings
        again = _prepared(first, tags, recall.text(uri, run_id, "environment.txt"), run_id)
        if other := restoring.other_files(again, recall.data(uri, run_id)):
            terminal.put(f"data: {record_reading.line(other)}")
        if many := record_reading.line(tags.get(TOGETHER))[:20]:
            terminal.put(
                f"it was one of {many} that were trained as one program (hydra/launcher=vectorized); trained alone,"
                " its last bits will differ, the more the more steps"
            )
        try:
            weights = _weights(uri, run_id, tags, again)
            digests = reproduction.Digests(again.model, {step for step, _ in weights.values()})
            ends: list[Observer] = [] if status == "FINISHED" else [reproduction.end(recorded, digests.steps)]
            if "sweep.pruned" in tags:
                pruned = record_reading.whole(tags["sweep.pruned"], f"the tag sweep.pruned of run {run_id}")
                ends.append(reproduction.Pruned(again, pruned))
            _train(again, parts, settings, signals, digests, *ends)
            averaged = _averaged(again)
        except CheckpointError as error:
            terminal.say(full_message(error))
            return 1
        finally:
            again.close()
    repeated = {name: dict(values) for name, values in again.history.items()}
    epoch = again.steps_per_epoch if "drift.trainer.epochs" in tags else None
    differences = reproduction.compare(recorded, repeated, status == "FINISHED", epoch)
    rounds = _products(settings.trainer) if _rounds(again) else ""
    return _report(run_id, recorded, differences, weights, digests, averaged, rounds)


def _drift(tags: dict[str, str]) -> dict[str, str]:
    """Return the changes of a run that was continued, by their keys."""
    return {key.removeprefix("drift."): value for key, value in tags.items() if key.startswith("drift.")}


def _check(run_id: str, status: str, tags: dict[str, str], settings: Settings, recorded: "Points") -> None:
    from runner.settings.trust import record_reading
    from runner.tracking.read import lengthened
    from runner.tracking.read.recall import DROPPED

    if status in ("RUNNING", "SCHEDULED"):
        raise ConfigError("", f"run {run_id} is {status}; wait for its end")
    if not settings.trainer.trains:
        raise ConfigError("", f"run {run_id} trained nothing (trainer.epochs=0), so that there is nothing to repeat")
    changed = [
        record_reading.line(f"{key}: {value}")
        for key, value in _drift(tags).items()
        if not key.startswith((*UNSEEN, *lengthened.KEYS))
    ]
    if changed:
        raise ConfigError(
            "", f"run {run_id} was continued with changes ({'; '.join(changed)}); no single training repeats it"
        )
    has_checkpoint = "checkpoint.last.step" in tags or DROPPED in tags  # without one the losses are compared
    if not recorded.get("train/loss") or not has_checkpoint:
        raise ConfigError("", f"run {run_id} is {status} and has no loss or no checkpoint; there is nothing to compare")


def _prepared(settings: Settings, tags: dict[str, str], environment: str, name: str) -> "Run":
    """Prepare the run with the recorded threads and device, as far as this machine has them."""
    from runner.settings import loaded, random_state
    from runner.tracking import environment as recorded_environment
    from runner.tracking.read import reproduction, restoring
    from runner.training.checking import cost
    from runner.training.prepare import prepare

    # The tags hold the number of threads that was used; the configuration may be null.
    threads = random_state.tagged(tags) or random_state.recorded(settings.trainer, tags)
    trainer = dataclasses.replace(settings.trainer, time_limit=None)
    device = _device(tags.get("device", settings.device))
    settings = dataclasses.replace(settings, device=device, trainer=trainer, plots=[], checkpoint=Checkpoint())
    settings = dataclasses.replace(settings, model=restoring.started(settings.model, tags))
    with loaded.as_recorded(tags):
        again = prepare(settings, name, threads)
    differences = recorded_environment.differences(environment, again.device)
    terminal.put(*differences or ["versions, device and git commit are as recorded"])
    usual = cost.threads(settings, again.stack, cost.batch_size(settings, again.data), again.device)
    if threads and threads != usual:
        terminal.put(f"threads: set to {threads} as recorded; here it would be {usual}")
    if _rounds(again):
        terminal.put(
            f"device {again.device} without trainer.deterministic=true: every training rounds differently;"
            f" {reproduction.words(_products(trainer))}"
        )
    return again


def _rounds(run: "Run") -> bool:
    """Return whether the device may add numbers in another order each time."""
    return run.device.type != "cpu" and not run.settings.trainer.deterministic


def _products(trainer: Trainer) -> str:
    """Return the precision that products have, as of `trainer.precision`."""
    return "bf16" if trainer.matmul_precision in ("high", "medium") else trainer.precision


def _device(recorded: str) -> str:
    """Return the recorded device if this machine has it, or else auto."""
    from runner.training.parts.device import device

    try:
        return str(device((recorded.split() or ["auto"])[0]))
    except ConfigError:
        return "auto"


def _weights(uri: str, run_id: str, tags: dict[str, str], again: "Run") -> dict[str, tuple[int, str]]:
    """Return checkpoint name -> (its step, the SHA-256 of its tensors)."""
    from runner.model import stack
    from runner.settings.trust import record_reading
    from runner.tracking.read import checkpoints
    from runner.training.state import checkpoint

    weights = {}
    for name in ("last", "best", *again.average.checkpoints):
        key = f"checkpoint.{name}.step"
        if key in tags:
            state = checkpoints.weights(uri, run_id, name, stack.classes(again.stack))
            weights[name] = (
                record_reading.whole(tags[key], f"the tag {key} of run {run_id}"),
                checkpoint.digest(state),
            )
    return weights


def _averaged(again: "Run") -> dict[str, dict[int, str]]:
    """Return the digests of averaged weights: checkpoint name -> their step -> SHA-256; {} where none are averaged."""
    from runner.training.state import checkpoint

    digests = dict[str, dict[int, str]]()
    for name in again.average.checkpoints:
        with again.weights(name):
            digests[name] = {again.state.step: checkpoint.digest(again.model.state_dict())}
        if (best := again.best.weights) is not None:
            digests["best"] = {again.best.step: checkpoint.digest(best)}
    return digests


def _train(again: "Run", parts: list["Part"], settings: Settings, signals: Signals, *observers: "Observer") -> None:
    """Train to the end; first the parts that were trained with another length. settings: of the last one."""
    from runner.tracking import screen, training_screen
    from runner.tracking.read import lengthened
    from runner.tracking.read.reproduction import Reached
    from runner.training.drive import drive
    from runner.training.machine import garbage

    garbage.usual()
    with contextlib.suppress(Reached):
        for number, part in enumerate(parts, 1):
            with contextlib.suppress(lengthened.Ended):
                drive(again, *observers, stop=lengthened.end(again, part, signals.stop))
            lengthened.go_on(again, part, parts[number].settings if number < len(parts) else settings)
        with contextlib.closing(training_screen.watching(screen.console(), again.length, again.state.step)) as watch:
            drive(again, watch, *observers, stop=signals.stop)


def _report(
    run_id: str,
    recorded: "Points",
    differences: list["Difference"],
    weights: dict[str, tuple[int, str]],
    digests: "Digests",
    averaged: dict[str, dict[int, str]],
    rounds: str,
) -> Result:
    """Print how the repeated run compares, and return it.

    weights: checkpoint name -> (step, SHA-256). rounds: the precision of a run whose losses need only be close, or "".
    """
    from runner.tracking.read import reproduction

    shares = {d: reproduction.share(d, recorded, rounds) for d in differences} if rounds else {}
    for name, values in recorded.items():
        wrong = [d for d in differences if d.name == name]
        within = f", at most {max(map(shares.__getitem__, wrong)):.2g} of what is allowed" if rounds and wrong else ""
        compared = f"{len(wrong):,} differ{within}" if wrong else "identical"
        terminal.put(f"{name}: {len(values):,} values, {compared}")
    others = []
    for name, (step, sha256) in weights.items():
        repeated = averaged.get(name, digests.taken).get(step, "none")
        others += [name] * (repeated != sha256)
        terminal.put(
            f"weights {name}, step {step:,}: {sha256[:16]}..."
            f" {'identical' if repeated == sha256 else f'is {repeated[:16]}'}"
        )
    total = sum(map(len, recorded.values()))
    close = bool(rounds) and max(shares.values(), default=0.0) <= 1
    verdict = "identical" if not differences and not others else "close" if close else "different"
    first = next((d for d in differences if not rounds or shares[d] > 1), None)
    details = None
    if verdict == "identical":
        last = weights["last"][1] if "last" in weights else "none"  # of a sweep that has not kept them
        terminal.put(f"reproduce {run_id} identical values={total} weights={last}")
    else:
        apart = f"values={len(differences)}/{total} weights={','.join(others) or 'none'}"
        if verdict == "different" and first:
            details = {"metric": first.name, "step": first.step, "recorded": first.recorded, "found": first.repeated}
            both = f"recorded={first.recorded!r} found={first.repeated!r}"
            apart += f" first={first.name} step={first.step} {both}"
        terminal.put(f"reproduce {run_id} {verdict} {apart}")
    plain = {"run": run_id, "verdict": verdict, "values": total, "different": len(differences), "first": details}
    plain |= {"weights": {name: sha256 for name, (_, sha256) in weights.items()}, "different_weights": others}
    return Result(plain, nothing, int(verdict == "different"))
