"""Diabetes: scikit-learn's real table of 442 patients (Efron, Hastie, Johnstone & Tibshirani 2004)."""

from typing import Any

import torch

from runner.data import Data, Tensors
from runner.data._bundled import bundled
from runner.data._parts import divide, parts
from runner.data._tables.encoding import moments, scale

FEATURES = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"]


def diabetes(valid: float = 0.15, test: float = 0.15, seed: int = 0) -> Data:
    """Read the patients: x as float32 of shape (N, 10), with mean 0 and standard deviation 1 over the training part.

    y: float32 of shape (N, 1), the disease's progression after one year, 25 to 346, not standardized.
    valid, test: fractions of the 442 patients.
    seed: chooses which patients go where; it is not the run's seed.
    Raises ConfigError when a fraction is outside [0, 1) or nothing is left to train on.
    """
    return _data(valid, test, seed)


def again(noted: dict[str, Any], **arguments: Any) -> Data:
    """Read the patients for the model of a recorded run: standardized by its training part, which may be another.

    noted: what the run has noted of its data. arguments: those of `diabetes`.
    """
    return _data(**{"valid": 0.15, "test": 0.15, "seed": 0, **arguments}, notes=noted["notes"])


def _data(valid: float, test: float, seed: int, notes: dict[str, Any] | None = None) -> Data:
    rows, target = bundled("load_diabetes", "diabetes_data_raw.csv.gz", "diabetes_target.csv.gz", scaled=False)
    indices = parts(len(rows), valid, test, seed)
    if notes is None or notes.get("features") != FEATURES:
        mean, std = moments(rows[indices[0].numpy()])
        notes = {"features": list(FEATURES), "mean": mean, "std": std, "target": "progression"}
    examples = Tensors(scale(rows, notes), torch.from_numpy(target).float().unsqueeze(1))
    return Data(*divide(examples, indices), notes=notes)
