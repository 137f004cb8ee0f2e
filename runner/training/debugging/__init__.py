"""Runs that are looked into while an experiment is made: `trainer.debug`, set by debug=fast and the like."""

import importlib
from typing import TYPE_CHECKING

from runner.training.debugging.undebugged import Undebugged

if TYPE_CHECKING:
    from runner.settings import Trainer

#: Values of `trainer.debug`. All but `fast` are files of this folder with a class `Debugging`.
KINDS = ("fast", "overfit", "profile", "anomaly")
#: Those that need to see what happens within a step, which is not captured then.
WITHIN = ("profile", "anomaly")


def chosen(trainer: "Trainer") -> Undebugged:
    """Return what looks into a run of these settings; for a real run, and for `fast`, that is nothing."""
    if trainer.debug in (None, "fast"):
        return Undebugged()
    return importlib.import_module(f"{__name__}.{trainer.debug}").Debugging()  # type: ignore[no-any-return]
