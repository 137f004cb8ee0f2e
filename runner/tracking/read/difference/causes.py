"""Causes: what differs between two runs before any number does, and what such a difference can change."""

import dataclasses
from typing import Any

#: What a cause can change: the training's numbers; their last bits; nobody can say; when the training ends; what is
#: measured beside the training; nothing but names and files. In the order in which causes are named.
NUMBERS, ROUNDING, PERHAPS, LENGTH, MEASURED, NOTHING = (
    "numbers",
    "rounding",
    "perhaps",
    "length",
    "measured",
    "nothing",
)
EFFECTS = (NUMBERS, ROUNDING, PERHAPS, LENGTH, MEASURED, NOTHING)


@dataclasses.dataclass(frozen=True)
class Cause:
    """One difference of two records.

    kind: configuration, seed, weights, data, code, resumed, launcher, environment or record.
    key: what differs, such as optimizer.lr. a, b: its values; None: not there.
    words: the difference for a person. effect: one of EFFECTS. first: the first step whose loss it can change.
    follows: the keys of other causes that explain it; (): it stands for itself. diff: lines of changed code.
    """

    kind: str
    key: str
    a: Any
    b: Any
    words: str
    effect: str = NUMBERS
    first: int = 1
    follows: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return the cause as a plain value, without fields that are empty."""
        values = dataclasses.asdict(self)
        values |= {"follows": list(self.follows), "diff": list(self.diff)}
        return {name: value for name, value in values.items() if name not in ("follows", "diff") or value}


#: Beginnings of keys -> what they can change, and the first step whose loss they can change. The longest counts.
_EFFECTS = {
    "": (NUMBERS, 1),
    "tracking.": (NOTHING, 1),
    "sweep.": (NOTHING, 1),
    "checkpoint.": (NOTHING, 1),
    "plots": (NOTHING, 1),
    "metrics": (MEASURED, 1),
    "optimizer": (NUMBERS, 2),
    "scheduler": (NUMBERS, 2),
    "device": (ROUNDING, 1),
    "model.freeze": (NUMBERS, 2),
    "trainer.epochs": (LENGTH, 1),
    "trainer.steps": (LENGTH, 1),
    "trainer.time_limit": (LENGTH, 1),
    "trainer.patience": (LENGTH, 1),
    "trainer.min_delta": (LENGTH, 1),
    "trainer.monitor": (LENGTH, 1),
    "trainer.mode": (LENGTH, 1),
    "trainer.validate_every": (LENGTH, 1),
    "trainer.eval_batch_size": (MEASURED, 1),
    "trainer.train_metrics": (MEASURED, 1),
    "trainer.test_checkpoint": (MEASURED, 1),
    "trainer.average": (MEASURED, 1),
    "trainer.workers": (NOTHING, 1),
    "trainer.threads": (ROUNDING, 1),
    "trainer.graph": (ROUNDING, 1),
    "trainer.compile": (ROUNDING, 1),
    "trainer.deterministic": (ROUNDING, 1),
    "trainer.matmul_precision": (ROUNDING, 1),
    "trainer.channels_last": (ROUNDING, 1),
    "trainer.clip_norm": (NUMBERS, 2),
    "trainer.clip_value": (NUMBERS, 2),
}
#: Keys of the training's length, by which a schedule may go.
_LENGTHS = ("trainer.epochs", "trainer.steps")


def effect(key: str, scheduled: bool) -> tuple[str, int]:
    """Return what a key of the configuration can change, and the first step whose loss it can change.

    scheduled: one of the runs has a schedule, which may go by the length of the training, or by what is monitored.
    """
    known = max((start for start in _EFFECTS if key.startswith(start)), key=len)
    if scheduled and (known in _LENGTHS or known in ("trainer.monitor", "trainer.validate_every", "trainer.mode")):
        return NUMBERS, 2
    return _EFFECTS[known]


def ordered(causes: list[Cause], step: int | None, relative: float | None) -> list[Cause]:
    """Return causes, the most likely first.

    step: the first at which the losses part; None: they do not. relative: how far they are apart there.
    """
    is_rounding = relative is not None and relative < ROUNDED

    def place(cause: Cause) -> tuple[bool, int, int]:
        fits = step is None or (cause.first > 1) == (step > 1)
        by_effect = EFFECTS.index(cause.effect)
        if is_rounding and cause.effect in (NUMBERS, ROUNDING):
            by_effect = 1 - by_effect
        too_late = step is not None and cause.first > step
        return too_late and by_effect < EFFECTS.index(LENGTH), by_effect, int(not fits)

    return sorted(causes, key=place)


#: Two values so near, relative to the larger, are apart by rounding.
ROUNDED = 1e-5
