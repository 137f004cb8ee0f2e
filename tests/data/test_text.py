"""A text becomes windows of tokens' numbers and the next one at each place; the vocabulary reads other texts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.text import Perplexity as OfLogits

from runner.data import _inputs
from runner.data._vocabulary import UNKNOWN, decode, encode, split_up
from runner.data.text import again, text
from runner.model.layers import Permute
from runner.settings.errors import ConfigError
from runner.training.parts.perplexity import Perplexity

WORDS = "the cat sat on the mat, and the dog sat on the cat. " * 8


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "a.txt").write_text(WORDS)
    return str(tmp_path / "a.txt")


@pytest.mark.parametrize("tokens", ["characters", "words"])
def test_targets_are_the_next_tokens_and_no_window_crosses_a_border(path: str, tokens: str) -> None:
    data = text(path, length=5, step=2, tokens=tokens)
    pieces = split_up(WORDS, tokens, lower=False)
    numbers = encode(pieces, data.notes, "")
    total = len(pieces)
    ends = [0, total - round(total * 0.15) - round(total * 0.15), total - round(total * 0.15), total]
    for part, low, high in zip((data.train, data.valid, data.test), ends, ends[1:], strict=False):
        part_numbers = numbers[low:high]
        for i in range(len(part)):
            x, y = part[i]
            assert torch.equal(x, part_numbers[2 * i : 2 * i + 5])
            assert torch.equal(y, part_numbers[2 * i + 1 : 2 * i + 6])
        assert 2 * len(part) + 5 + 1 > len(part_numbers) - 1  # no window is missing
    assert decode(numbers[:20], data.notes) == ("" if tokens == "characters" else " ").join(pieces[:20])


def test_a_limited_vocabulary_reads_the_rest_as_unknown(path: str) -> None:
    data = text(path, length=4, tokens="words", vocabulary=4)
    assert data.notes["vocabulary"][0] == UNKNOWN
    assert len(data.classes) == 4
    assert decode(encode(["the", "zebra"], data.notes, ""), data.notes) == f"the {UNKNOWN}"


def test_another_text_is_read_with_the_vocabulary_of_the_run(path: str, tmp_path: Path) -> None:
    data = text(path, length=5)
    noted = {"task": data.task, "classes": list(data.classes), "notes": data.notes}
    (tmp_path / "b.txt").write_text("the mat sat on the dog. " * 8)
    other = again(noted, path=str(tmp_path / "b.txt"), length=5)
    assert other.classes == data.classes
    (tmp_path / "c.txt").write_text("the zebra sat. " * 8)
    with pytest.raises(ConfigError, match="'z'"):
        again(noted, path=str(tmp_path / "c.txt"), length=5)
    with pytest.raises(ConfigError, match=r"^data.length: 7, and the model was trained with 5"):
        again(noted, path=str(tmp_path / "b.txt"), length=7)
    batches = torch.cat(list(_inputs.read(str(tmp_path / "b.txt"), noted).batches))
    assert batches.shape == (39, 5)
    assert decode(batches[-1], data.notes) == "dog. "


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 7), (6, 5, 3, 4)])
def test_perplexity_of_probabilities_is_that_of_logits(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    target = torch.arange(logits[:, 0].numel()).reshape(logits[:, 0].shape) % 5
    ours, theirs = Perplexity(), OfLogits()
    ours.update(logits.softmax(1), target)
    theirs.update(logits.reshape(6, 5, -1).transpose(1, 2), target.reshape(6, -1))
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-5)
    assert float(ours.compute()) == pytest.approx(float(nn.functional.cross_entropy(logits, target).exp()), rel=1e-5)


def test_permute_leaves_the_batch_first() -> None:
    x: Tensor = torch.arange(24).reshape(2, 3, 4)
    assert torch.equal(Permute([0, 2, 1])(x), x.permute(0, 2, 1))
    assert torch.equal(Permute([2, 1])(x), x.permute(0, 2, 1))
    with pytest.raises(ValueError, match="batch"):
        Permute([1, 0, 2])


def test_windows_of_a_part_that_is_too_short_are_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.length: 100 is more than the valid part allows"):
        text(path, length=100)
    assert np.isclose(len(text(path, length=100, valid=0, test=0).train), 4)
