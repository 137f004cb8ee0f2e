"""Private names of Optuna stand in one file; a release that moves one fails here, with its number."""

import re
from pathlib import Path

import optuna
import pytest

from runner.sweeps.search import cmaes

FILE = "sweeps/search/cmaes.py"
#: The release that the file was written for.
RELEASE = "5.0"
WHERE = f"optuna {optuna.__version__} does not have it as optuna {RELEASE} had; see runner/{FILE}"
#: A private module or name of the library, or a private field of its trials, studies and samplers.
PRIVATE = re.compile(r"optuna(\.\w+)*\._\w|\._(trial_id|study_id|stop_flag|with_margin)\b|study\._storage")


@pytest.mark.parametrize("name", cmaes.NAMES)
def test_the_sampler_has_the_private_methods(name: str) -> None:
    assert name in vars(optuna.samplers.CmaEsSampler), WHERE


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_sampler_says_whether_it_has_a_margin() -> None:
    assert vars(optuna.samplers.CmaEsSampler(with_margin=True)).get("_with_margin") is True, WHERE


def test_the_transform_of_the_search_space_takes_the_same_arguments() -> None:
    from optuna._transform import _SearchSpaceTransform

    space = {"a": optuna.distributions.FloatDistribution(-1, 3)}
    transform = _SearchSpaceTransform(space, transform_step=True, transform_0_1=True)
    assert list(transform.transform({"a": 1.0})) == [0.5], WHERE


def test_no_other_file_uses_private_names() -> None:
    package = Path(cmaes.__file__).parents[2]
    files = {str(path.relative_to(package)): path.read_text() for path in package.rglob("*.py")}
    assert [name for name, text in files.items() if PRIVATE.search(text)] == [FILE]
