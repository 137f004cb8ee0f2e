"""The arithmetic of layers, worked by hand and compared with torch."""

from runner.model.explain.arguments import impossible_arguments
from runner.model.explain.choice import Choice, NoSuchElement, NoSuchLayer, spread
from runner.model.explain.impossible import impossible
from runner.model.explain.parts import TOLERANCE, Disagreement, Element, Explained
from runner.model.explain.step import Stage, TrainingStep, reason_not_worked, training_step
from runner.model.explain.walk import explain, predict, work

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
    "reason_not_worked",
    "spread",
    "training_step",
    "work",
]
