"""Keys of `data` that hold for any source are split off, and a source with a parameter of such a name keeps it."""

from typing import Any

from runner.data import Data
from runner.training.parts import data_options


def plain(points: int = 3) -> Data:
    raise NotImplementedError


def sampled(sample: int = 3) -> Data:
    raise NotImplementedError


def anything(**more: Any) -> Data:
    raise NotImplementedError


def test_options_are_no_arguments_of_the_source() -> None:
    arguments, options = data_options.split(plain, {"points": 2, "mixup": 0.2})
    assert arguments == {"points": 2}
    assert options.mixup == 0.2
    assert options.augment is None


def test_a_source_keeps_a_parameter_with_an_options_name() -> None:
    arguments, options = data_options.split(sampled, {"sample": 5, "mixup": 0.2})
    assert arguments == {"sample": 5}
    assert (options.sample, options.mixup) == (None, 0.2)


def test_keyword_arguments_of_any_name_get_no_options() -> None:
    arguments, options = data_options.split(anything, {"sample": "balanced", "other": 1})
    assert arguments == {"other": 1}
    assert options.sample == "balanced"
