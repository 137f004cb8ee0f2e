"""Words of sonnets and what they are backwards, letter by letter."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from runner.data import Data

#: Numbers before those of the letters: padding, and the beginning and the end of a word.
BEGIN, END, LETTERS = 1, 2, 3


class Backwards(Dataset[Any]):
    """Items ({"source": a word, "target": begin and its letters backwards}, these letters and the end)."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.words)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        """Return a word's numbers, int64 of (its length,), and one more of what is written and what is to be."""
        source = torch.tensor([ord(letter) - ord("a") + LETTERS for letter in self.words[index]])
        turned = source.flip(0)
        target = torch.cat([torch.tensor([BEGIN]), turned])
        return {"source": source, "target": target}, torch.cat([turned, torch.tensor([END])])


def words(path: str = str(Path(__file__).parent / "data/sonnets.txt"), most: int = 1200) -> Data:
    """Return different words of a text: 70 % of them to train on, 15 % each to validate and to test."""
    text = "".join(letter if "a" <= letter <= "z" else " " for letter in Path(path).read_text().lower())
    found = sorted({word for word in text.split() if len(word) > 2})
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))[:most].tolist()
    chosen, first, second = [found[i] for i in order], int(0.7 * len(order)), int(0.85 * len(order))
    return Data(Backwards(chosen[:first]), Backwards(chosen[first:second]), Backwards(chosen[second:]))
