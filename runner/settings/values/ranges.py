"""Ranges of numbers: of settings, and of arguments of torch's classes."""

import math
from dataclasses import dataclass
from typing import Any

from runner.settings.errors import Problems


@dataclass(frozen=True)
class Range:
    """A range from `low` to `high`; an open end leaves the end itself out."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Return whether a value lies within; True for what is no number, which its type refuses."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True  # typed and signatures refuse it
        low = value > self.low if self.open_low else value >= self.low
        high = value < self.high if self.open_high else value <= self.high
        return low and high and math.isfinite(value)

    def __str__(self) -> str:
        noun = "a whole number" if self.whole else "a number"
        low = f"above {self.low:g}" if self.open_low else f"of at least {self.low:g}"
        if math.isinf(self.high):
            return f"{noun} {low}"
        return f"{noun} {low} and {'below' if self.open_high else 'at most'} {self.high:g}"


POSITIVE = Range(0, open_low=True)
NOT_NEGATIVE = Range(0)
SHARE = Range(0, 1)
BELOW_1 = Range(0, 1, open_high=True)
BETWEEN = Range(0, 1, open_low=True, open_high=True)
FRACTION = Range(0, 1, open_low=True)
COUNT = Range(1, whole=True)
#: Layers in one of torch's layers that makes copies of what it holds.
COPIES = Range(1, 1000, whole=True)
#: torch counts in 32 bits in many a place, and crashes in some of them.
LARGEST = 2**31 - 1
FROM_0 = Range(0, whole=True)

LAYER = {
    "dilation": COUNT,
    "dim_feedforward": COUNT,
    "dropout": SHARE,
    "embedding_dim": COUNT,
    "eps": NOT_NEGATIVE,
    "groups": COUNT,
    "hidden_size": COUNT,
    "in_channels": COUNT,
    "in_features": COUNT,
    "kernel_size": COUNT,
    "momentum": SHARE,
    "nhead": COUNT,
    "num_embeddings": COUNT,
    "num_groups": COUNT,
    "num_heads": COUNT,
    "num_layers": COPIES,
    "num_parameters": COUNT,
    "out_channels": COUNT,
    "out_features": COUNT,
    "output_padding": FROM_0,
    "output_size": COUNT,
    "p": SHARE,
    "proj_size": FROM_0,
    "scale_factor": POSITIVE,
    "size": COUNT,
    "stride": COUNT,
    "times": COUNT,
}
OPTIMIZER = {
    "alpha": SHARE,
    "betas": BELOW_1,
    "dampening": SHARE,
    "eps": NOT_NEGATIVE,
    "etas": POSITIVE,
    "history_size": COUNT,
    "initial_accumulator_value": NOT_NEGATIVE,
    "lr": POSITIVE,
    "lr_decay": NOT_NEGATIVE,
    "max_eval": COUNT,
    "max_iter": COUNT,
    "momentum": SHARE,
    "momentum_decay": NOT_NEGATIVE,
    "ns_steps": COUNT,
    "rho": SHARE,
    "tolerance_change": NOT_NEGATIVE,
    "tolerance_grad": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
}
SCHEDULER = {
    "T_0": COUNT,
    "T_max": COUNT,
    "T_mult": COUNT,
    "base_lr": POSITIVE,
    "cooldown": FROM_0,
    "div_factor": POSITIVE,
    "end": NOT_NEGATIVE,
    "end_factor": SHARE,
    "epochs": COUNT,
    "eta_min": NOT_NEGATIVE,
    "factor": BETWEEN,
    "final_div_factor": POSITIVE,
    "gamma": POSITIVE,
    "max_lr": POSITIVE,
    "milestones": FROM_0,
    "min_lr": NOT_NEGATIVE,
    "patience": FROM_0,
    "pct_start": BETWEEN,
    "power": NOT_NEGATIVE,
    "start": NOT_NEGATIVE,
    "start_factor": FRACTION,
    "step_size": COUNT,
    "steps_per_epoch": COUNT,
    "threshold": NOT_NEGATIVE,
    "total_iters": COUNT,
    "total_steps": COUNT,
    "warmup": NOT_NEGATIVE,
}
DATA = {
    "horizon": COUNT,
    "length": COUNT,
    "seed": Range(0, 2**63 - 1, whole=True),
    "step": COUNT,
    "window": COUNT,
}
LOSS = {
    "beta": NOT_NEGATIVE,
    "delta": POSITIVE,
    "eps": NOT_NEGATIVE,
    "label_smoothing": SHARE,
}
PRUNER = {
    "factor": Range(2, whole=True),
    "min_epochs": COUNT,
    "startup": COUNT,
    "warmup": FROM_0,
}
TRAINER = {
    "accumulate": COUNT,
    "batch_size": COUNT,
    "clip_norm": POSITIVE,
    "clip_value": POSITIVE,
    "epochs": FROM_0,
    "eval_batch_size": COUNT,
    "min_delta": NOT_NEGATIVE,
    "patience": COUNT,
    "steps": COUNT,
    "threads": Range(1, 4096, whole=True),
    "workers": Range(0, 1024, whole=True),
}


def check(target: Any, arguments: dict[str, Any], table: dict[str, Range], key: str) -> None:
    """Raise ConfigError for every number outside of its range; of a list, every number counts.

    target: the class or function of the arguments. Only torch's and ours use the same names for the same things.
    """
    problems = Problems()
    comparable = str(getattr(target, "__module__", "")).partition(".")[0] in ("torch", "runner")
    for name, value in arguments.items() if comparable else ():
        if name not in table or (name == "p" and "Dropout" not in target.__name__):
            continue
        if table is not LAYER and isinstance(value, list | tuple) and not all(map(_is_number, value)):
            problems.add(f"{key}.{name}", f"{value!r} is not a list of numbers")
            continue
        for number in value if isinstance(value, list | tuple) else [value]:
            if not table[name].holds(number):
                problems.add(f"{key}.{name}", f"{number!r} is out of range; expected {table[name]}")
                break
            if table[name].whole and math.isinf(table[name].high) and isinstance(number, int) and number > LARGEST:
                problems.add(f"{key}.{name}", f"{number!r} is too large; expected at most {LARGEST:,}")
                break
    problems.raise_all()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
