"""What lies between two recorded runs: the causes that their records have, and where their numbers part."""

from typing import Any

from runner.tracking.read.difference import causes, code, deep, numbers, record, settings, surroundings, weights
from runner.tracking.read.difference.causes import LENGTH, MEASURED, NOTHING, NUMBERS, Cause
from runner.tracking.read.difference.record import Recorded

#: Keys of where weights to start from are.
WHENCE = ("model.start.run", "model.start.file", "model.start.checkpoint")
#: Examples of a part of the data whose digest is of all of them; of more it is of as many, evenly spread.
DIGESTED = 10_000


def between(uri: str, a: str, b: str, deeply: bool = False, used: str = "current") -> dict[str, Any]:
    """Return how two runs differ, as plain values.

    a, b: ids of runs. deeply: both are prepared again, to compare first weights and the outputs of the first batch.
    used: current or recorded, the user's own code in that.

    runs: the ids. records: of each id, name, experiment, status, steps. same: true if losses and weights are equal bit
    by bit over all of both trainings, false if not, null if that cannot be said. conclusion: a sentence.
    causes: what differs and may explain it, the most likely first: kind, key, a, b, words, effect, first, see `Cause`.
    consequences: what differs too, but follows from causes, whose keys are in `follows`. beside: what differs and
    changes no value of the training: names, files, what is measured.
    first_step: metric, step, a, b, relative, where the losses part, or else another metric; null if none does.
    first_layer: layer, tensor, a, b, largest, and of: of which weights or outputs; null if none is known to differ.
    numbers, weights, deep: see `numbers.part`, `weights.compare`, `deep.compare`.
    last: metric -> a, b, step_a, step_b, the last values. unknown: a line for each part that could not be compared.
    """
    unknown: list[str] = []
    one = record.read(uri, a, unknown, "A")
    other = one if a == b else record.read(uri, b, unknown, "B")
    found = [] if a == b else _causes(uri, one, other, unknown)
    values = numbers.part(one, other)
    trained = weights.compare(uri, one, other, unknown)
    made = deep.compare(uri, one, other, used, unknown) if deeply else None
    first = _first(values)
    loss = values["first"].get(numbers.LOSS)
    explaining = [c for c in found if not c.follows and c.effect not in (MEASURED, NOTHING)]
    ordered = causes.ordered(explaining, loss and loss["step"], loss and loss["relative"])
    same = _same(one, other, values, trained)
    return {
        "runs": [a, b],
        "records": [one.plain(), other.plain()],
        "same": same,
        "conclusion": _conclusion(one, other, same, ordered, values, trained, unknown),
        "causes": [cause.plain() for cause in ordered],
        "consequences": [cause.plain() for cause in found if cause.follows],
        "beside": [c.plain() for c in found if not c.follows and c.effect in (MEASURED, NOTHING)],
        "first_step": first,
        "first_layer": _first_layer(trained, made),
        "numbers": {name: value for name, value in values.items() if name != "last"},
        "weights": trained,
        "deep": made,
        "last": values["last"],
        "unknown": unknown,
    }


def _causes(uri: str, a: Recorded, b: Recorded, unknown: list[str]) -> list[Cause]:
    resumed = surroundings.of_continuing(a, b)
    found: list[Cause] = []
    if a.settings is not None and b.settings is not None:
        found = surroundings.without_continued(settings.differences(a.settings, b.settings), resumed)
        found = surroundings.of_places(found, a, b)
    found += [*resumed, *code.differences(uri, a, b, unknown)]
    started = surroundings.of_start(a, b)
    keys = {cause.key for cause in started}
    found = [cause for cause in found if cause.key.partition(".start")[0] != "model" or not keys & {"model.start"}]
    if a.tags.get("start.sha256") == b.tags.get("start.sha256") is not None:
        found = [_of_start(cause) if cause.key in WHENCE else cause for cause in found]
    found += started
    found += surroundings.of_data(a, b, found)
    found += surroundings.of_program(a, b)
    return found + surroundings.of_environment(a, b, found)


def _of_start(cause: Cause) -> Cause:
    """Return a cause of `model.start` that has led to the same weights."""
    return Cause(cause.kind, cause.key, cause.a, cause.b, f"{cause.words}; the weights are the same", NOTHING)


def _first(values: dict[str, Any]) -> dict[str, Any] | None:
    """Return the first step at which the losses part; of losses that do not, that of the first other metric."""
    first = values["first"]
    name = numbers.LOSS if numbers.LOSS in first else min(first, key=lambda name: first[name]["step"], default=None)
    return None if name is None else {"metric": name, **first[name]}


def _first_layer(trained: dict[str, Any] | None, made: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the first layer that is known to differ: in first weights, in its first output, or in last weights."""
    for name, of in (("first_weights", "first weights"), ("outputs", "outputs of the first batch")):
        if made and made[name]["first"]:
            return {**made[name]["first"], "of": of, "step": 0}
    if trained and trained["first"]:
        return {**trained["first"], "of": f"checkpoint {trained['checkpoint']}", "step": trained["step"]}
    return None


def _same(a: Recorded, b: Recorded, values: dict[str, Any], trained: dict[str, Any] | None) -> bool | None:
    """Return whether two trainings were the same; None if that cannot be said."""
    if a.run_id == b.run_id:
        return True
    if values["first"] or a.steps != b.steps or (trained is not None and not trained["identical"]):
        return False
    losses = [run.points.get(numbers.LOSS, {}).keys() for run in (a, b)]
    is_whole = "RUNNING" not in (a.status, b.status) and bool(losses[0]) and losses[0] == losses[1]
    return True if trained is not None and is_whole else None


def _conclusion(
    a: Recorded,
    b: Recorded,
    same: bool | None,
    found: list[Cause],
    values: dict[str, Any],
    trained: dict[str, Any] | None,
    unknown: list[str],
) -> str:
    if a.run_id == b.run_id:
        return "both are the same run"
    loss, likely = values["first"].get(numbers.LOSS), [c for c in found if c.effect != LENGTH]
    if same:
        return f"the same training, bit by bit: losses of {a.steps:,} steps and the weights after them"
    if values["common"] == 0:
        return "no step has a recorded loss in both runs, so their numbers cannot be compared"
    if loss is None:
        return _as_far(a, b, values, trained)
    where = f"the losses part at step {loss['step']:,}"
    if likely:
        more = f", or another of {len(likely)} causes" if len(likely) > 1 else ""
        return f"{where}; the likely cause is {likely[0].key}{more}"
    if unknown:
        return f"{where}; nothing that could be compared differs before, and not all could be"
    return f"{where}, and all recorded causes are equal: {_outside(a, b)}"


def _as_far(a: Recorded, b: Recorded, values: dict[str, Any], trained: dict[str, Any] | None) -> str:
    """Return the conclusion about runs whose losses do not part."""
    equal = f"the losses of all {values['common']:,} common steps are equal, bit by bit"
    if a.steps != b.steps:
        longer, steps = ("A", a.steps - b.steps) if a.steps > b.steps else ("B", b.steps - a.steps)
        return f"{equal}; {longer} has {steps:,} more"
    if values["first"]:
        name = min(values["first"], key=lambda name: values["first"][name]["step"])
        return f"{equal}; {name} differs from step {values['first'][name]['step']:,} on"
    if trained is None:
        return f"{equal}; the weights could not be compared"
    return f"{equal}; the weights after step {trained['step']:,} differ"


def _outside(a: Recorded, b: Recorded) -> str:
    """Return what can make runs differ that no record has."""
    settings = a.settings
    devices = {run.tags.get("device", "cpu") for run in (a, b)} - {"cpu"}
    if devices and settings and not settings.trainer.deterministic:
        return f"{devices.pop()} rounds differently each time; trainer.deterministic=true forbids it"
    sizes = [size for run in (a, b) if run.data for size in (run.data.get("examples") or {}).values()]
    large = (
        "; of data with more than 10,000 examples the digest is of a part" if max(sizes, default=0) > DIGESTED else ""
    )
    return (
        "code draws numbers that no seed decides, or reads the time, the machine, or a file that no record"
        f" has{large}; runner reproduce {b.run_id[:8]} shows whether it does so again"
    )


__all__ = ["NUMBERS", "between"]
