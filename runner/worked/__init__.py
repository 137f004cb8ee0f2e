"""The arithmetic of layers, worked by hand and compared with torch."""

from runner.worked.arguments import impossible_arguments
from runner.worked.choice import Choice, NoSuchElement, NoSuchLayer, spread
from runner.worked.impossible import impossible
from runner.worked.parts import TOLERANCE, Disagreement, Element, Explained
from runner.worked.step import Stage, TrainingStep, training_step, untold
from runner.worked.walk import explain, predict, work

__all__ = [
    "TOLERANCE",
    "Choice",
    "Disagreement",
    "Element",
    "Explained",
    "NoSuchElement",
    "NoSuchLayer",
    "Stage",
    "TrainingStep",
    "explain",
    "impossible",
    "impossible_arguments",
    "predict",
    "spread",
    "training_step",
    "untold",
    "work",
]
