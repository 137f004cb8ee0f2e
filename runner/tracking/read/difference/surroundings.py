"""Differences of what was around two runs: data, first weights, machine, versions, and how they came to their end."""

import re
from typing import Any

from runner.settings.trust import secrets
from runner.settings.values.tags import letters
from runner.tracking import environment
from runner.tracking.read import drift
from runner.tracking.read.difference import causes, settings
from runner.tracking.read.difference.causes import NOTHING, NUMBERS, PERHAPS, ROUNDING, Cause
from runner.tracking.read.difference.record import Recorded

#: Facts of an environment that change no number, or that are told elsewhere.
_LEFT_OUT = ("runner.command", "runner.overrides", "git commit", "git.state", "git changes", "runner", "runner-torch")
#: Facts of a machine, beside the packages.
_MACHINE = (
    "runner.version",
    "python",
    "torch",
    "threads",
    "device",
    "cuda",
    "cudnn",
    "tf32",
    "cpu",
    "host",
    "platform",
)
#: Facts of the environment -> the key of the configuration that explains another value.
_EXPLAINED = {"threads": "trainer.threads", "device": "device", "tf32": "trainer.matmul_precision"}
#: Other packages that are named, of those that differ.
MOST = 5
#: Beginnings of keys that decide what the data are.
_OF_DATA = ("data", "loss", "trainer.precision", "trainer.debug", "trainer.limit_batches", "trainer.channels_last")
#: The tag of a run that was trained as one program with others: the number of them all.
TOGETHER = "sweep.together"
_DRIFT = re.compile(r"^(.*?) -> (.*) after step (\d+)$")


def of_data(a: Recorded, b: Recorded, known: list[Cause]) -> list[Cause]:
    """Return causes for other data. known: causes so far, some of which may explain them."""
    if a.data is None or b.data is None:
        return []
    was, now = a.data.get("sha256") or {}, b.data.get("sha256") or {}
    apart = [part for part in dict.fromkeys([*was, *now]) if was.get(part) != now.get(part)]
    sizes = [run.get("examples") or {} for run in (a.data, b.data)]
    found = []
    if apart:
        each = ", ".join(f"{part} ({_sizes(sizes, part)})" for part in apart)
        same = [part for part in was if part not in apart]
        words = f"other examples: {each}{'; the same: ' if same else ''}{', '.join(same)}"
        found.append(Cause("data", "data", was, now, words, follows=_explaining(a, b, known)))
    files = [run["notes"].get("files") for run in (a.data, b.data)]
    if files[0] != files[1] and None not in files:
        words = "the files of the dataset are others"
        found.append(Cause("data", "data files", files[0], files[1], words, follows=("data",) if apart else ()))
    for name in ("classes", "task"):
        if a.data[name] != b.data[name]:
            words = f"{settings.text(a.data[name])} -> {settings.text(b.data[name])}"
            follows = ("data",) if apart else _explaining(a, b, known)
            found.append(Cause("data", f"data {name}", a.data[name], b.data[name], words, PERHAPS, follows=follows))
    return found


def _sizes(sizes: list[dict[str, int]], part: str) -> str:
    """Return how many examples a part has: 120 in both, or 120 -> 100."""
    return " -> ".join(dict.fromkeys(f"{of[part]:,}" if part in of else "none" for of in sizes))


def _explaining(a: Recorded, b: Recorded, known: list[Cause]) -> tuple[str, ...]:
    """Return the keys of causes by which the data may be others: its keys, and code of the user's own that reads it."""
    names = [str(run.settings.data.get("name", "")) for run in (a, b) if run.settings]
    keys = [c.key for c in known if c.key.startswith(_OF_DATA) and c.kind == "configuration" and c.effect != NOTHING]
    if any("." in name for name in names):
        keys += [c.key for c in known if c.kind in ("code", "seed") and c.effect == NUMBERS]
    return tuple(keys)


def of_start(a: Recorded, b: Recorded) -> list[Cause]:
    """Return causes for other weights to start from, and for other runs that the user's own code has loaded."""
    found = []
    names = {name for run in (a, b) for name in run.tags if name == "start.sha256" or name.startswith("loaded.")}
    for name in sorted(names):
        one, other = a.tags.get(name), b.tags.get(name)
        if one != other:
            key = "model.start" if name == "start.sha256" else name
            words = " -> ".join(
                _started(run.tags) if key == "model.start" else str(run.tags.get(name)) for run in (a, b)
            )
            found.append(Cause("weights", key, one, other, words))
    return found


def _started(tags: dict[str, str]) -> str:
    if "start.sha256" not in tags:
        return "from random weights"
    whose = f"run {tags['start.run'][:8]}, {tags.get('start.checkpoint', 'best')}" if "start.run" in tags else "a file"
    return f"from weights {tags['start.sha256'][:12]} of {whose}"


def of_continuing(a: Recorded, b: Recorded) -> list[Cause]:
    """Return causes for what was changed while a run was continued; its key is that of the configuration."""
    found = []
    scheduled = any(run.settings is not None and bool(run.settings.scheduler) for run in (a, b))
    for name in sorted({name for run in (a, b) for name in run.tags if name.startswith("drift.")} - {"drift.code"}):
        one, other = a.tags.get(name), b.tags.get(name)
        if one == other:
            continue
        key = name.removeprefix("drift.")
        effect, first = causes.effect(key, scheduled)
        sides = [(side, text) for side, text in (("A", one), ("B", other)) if text]
        steps = [int(match[3]) for _, text in sides for part in text.split("; ") if (match := _DRIFT.match(part))]
        words = "; ".join(f"{side} was continued with {secrets.masked(text)}" for side, text in sides)
        found.append(Cause("resumed", key, one, other, words, effect, min(steps, default=0) + first))
    return found


def without_continued(found: list[Cause], resumed: list[Cause]) -> list[Cause]:
    """Return causes of the configuration without those that are nothing but the end of a run that was continued."""
    changed = {cause.key: cause for cause in resumed}
    kept = []
    for cause in found:
        later = changed.get(letters(cause.key))
        if later is None:
            kept.append(cause)
            continue
        first = [_before(text, value) for text, value in ((later.a, cause.a), (later.b, cause.b))]
        if first[0] != first[1]:
            kept.append(cause)
    return kept


def _before(text: str | None, value: Any) -> str:
    """Return how a value was first written: before `text`, the tag about its change, if there is one."""
    match = _DRIFT.match(text.split("; ")[0]) if text else None
    return match[1] if match else repr(value)


def of_program(a: Recorded, b: Recorded) -> list[Cause]:
    """Return a cause for runs of which one was trained as one program with others."""
    one, other = a.tags.get(TOGETHER), b.tags.get(TOGETHER)
    if one == other:
        return []
    words = " -> ".join(f"as one program with {n} in all" if n else "alone" for n in (one, other))
    return [Cause("launcher", "hydra/launcher", one, other, words, ROUNDING)]


def of_environment(a: Recorded, b: Recorded, known: list[Cause]) -> list[Cause]:
    """Return causes for another machine, other versions and packages, and for those of the times of continuing."""
    found = []
    keys = {cause.key for cause in known}
    for side, run in (("A", a), ("B", b)):
        before = {**(run.environment or {})}
        for step, facts in sorted(run.later.items()):
            apart = [k for k in environment.DECISIVE if k in before and before.get(k) != facts.get(k)]
            if apart and "trainer.threads" not in keys:
                words = ", ".join(f"{k} {before[k]} -> {facts.get(k, 'none')}" for k in apart)
                words = f"{side} was continued after step {step} with {words}"
                found.append(
                    Cause("environment", f"continued after step {step}", None, None, words, ROUNDING, step + 1)
                )
    sides = [{**(run.environment or {}), **{k: v for k, v in run.tags.items() if k in _MACHINE}} for run in (a, b)]
    if a.environment is None or b.environment is None:
        sides = [{k: v for k, v in side.items() if k in _MACHINE} for side in sides]
    others = []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        one, other = (side.get(name) for side in sides)
        if one == other or name in _LEFT_OUT:
            continue
        words = f"{one or 'none'} -> {other or 'none'}"
        key = _EXPLAINED.get(name, "")
        follows = (key,) if key in keys else ()
        if name in environment.DECISIVE:
            found.append(Cause("environment", name, one, other, words, ROUNDING, follows=follows))
        elif name in ("host", "platform"):
            found.append(Cause("environment", name, one, other, words, NOTHING))
        else:
            others.append(f"{name} {words}")
    if others:
        more = f" and {len(others) - MOST} more" if len(others) > MOST else ""
        words = f"{', '.join(others[:MOST])}{more}"
        found.append(Cause("environment", "packages", None, others, words, PERHAPS))
    return found


def of_places(found: list[Cause], a: Recorded, b: Recorded) -> list[Cause]:
    """Return causes of the configuration; other places of the same data change nothing."""
    if a.data is None or b.data is None or not a.data.get("sha256") or a.data["sha256"] != b.data.get("sha256"):
        return found
    return [
        Cause(c.kind, c.key, c.a, c.b, f"{c.words}; the data are the same", NOTHING) if c.key in drift.PLACES else c
        for c in found
    ]
