"""The arithmetic of layers, worked by hand and compared with torch."""

from runner.worked.arguments import impossible_arguments
from runner.worked.impossible import impossible
from runner.worked.parts import TOLERANCE, Disagreement, Element, Explained
from runner.worked.step import Stage, TrainingStep, training_step
from runner.worked.walk import explain, predict, spread, work

__all__ = [
    "TOLERANCE",
    "Disagreement",
    "Element",
    "Explained",
    "Stage",
    "TrainingStep",
    "explain",
    "impossible",
    "impossible_arguments",
    "predict",
    "spread",
    "training_step",
    "work",
]
