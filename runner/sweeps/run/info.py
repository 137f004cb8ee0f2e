"""The facts about a sweep, which its process hands to the processes of its jobs."""

from dataclasses import dataclass


@dataclass
class SweepInfo:
    """The facts about a sweep that all its jobs receive."""

    parent: str  # id of the parent run
    study: str  # the experiments file, or `runner`
    metric: str  # what jobs are ranked by
    uri: str
    process: str = ""  # the sweep's process, as in the tag of the parent run
    mode: str = "min"  # which values of the metric are better: min | max
    over_seeds: bool = False  # jobs are compared by their means over seeds, which are known at the end alone
