"""A share of the random configurations that are trained by `runner` and by a plain torch script."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from tests.against_torch import plain, refused
from tests.against_torch.compare import BOTH_REFUSE, BUGS, LISTED, OTHER, SAME, Outcome, compare

PARTS, EACH = 4, 20


def outcomes(part: int, folder: Path) -> dict[int, Outcome]:
    return {seed: compare(seed, folder) for seed in range(part * EACH, (part + 1) * EACH)}


@pytest.mark.parametrize("part", range(PARTS))
def test_a_random_configuration_trains_as_plain_torch_does(part: int, tmp_path: Path) -> None:
    found = outcomes(part, tmp_path)
    assert {seed: outcome for seed, outcome in found.items() if outcome.kind in BUGS} == {}
    kinds = Counter(outcome.kind for outcome in found.values())
    assert kinds[SAME] > EACH / 4, "too few are trained to tell anything"
    assert sum(outcome.exact for outcome in found.values()) >= 0.9 * kinds[SAME]
    assert set(kinds) <= {SAME, BOTH_REFUSE, LISTED}


def test_what_is_recorded_is_the_same(tmp_path: Path, store: str) -> None:
    """The whole of a run, MLflow and all."""
    kinds = [compare(seed, tmp_path, store).kind for seed in range(900, 906)]
    assert SAME in kinds
    assert not set(kinds) & set(BUGS)


def test_targets_of_a_dataset_with_indices_are_in_double_precision_too(tmp_path: Path) -> None:
    assert compare(7073, tmp_path).kind == SAME


def test_other_weights_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    train = plain.train
    seed = next(seed for seed in range(100) if compare(seed, tmp_path).kind == SAME)
    monkeypatch.setattr(plain, "train", lambda case: train(dataclasses.replace(case, seed=case.seed + 1)))
    assert compare(seed, tmp_path).kind == OTHER


def test_every_row_of_the_docs_names_words_of_a_message() -> None:
    """Each is looked for in the sources, so that a row of a message that is gone fails."""
    sources = "\n".join(path.read_text() for path in (Path(__file__).parents[2] / "runner").rglob("*.py"))
    other = ("No positive samples", "No negative samples", "Expected argument")  # torchmetrics' own words
    assert len(refused.table()) >= 15
    for words in refused.table():
        assert words in sources or words in other, f"{words!r} is in no message"


def test_a_message_that_is_in_no_row_has_no_reason() -> None:
    assert refused.reason("trainer.epochs: -1 is out of range") is None
    assert refused.reason("plots[0]: 'fit' cannot be drawn: it needs numbers") == "A plot that the task does not have"
