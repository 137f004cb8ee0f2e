"""Lines of sonnets without their spaces, and where each word began: experiments/sonnet_words.yaml."""

from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from runner.data import Data, Tensors

#: The class of places that no letter is at, which CrossEntropyLoss leaves out.
NOTHING = -100


def lines(path: str = str(Path(__file__).parent / "data/sonnets.txt")) -> Data:
    """Return x, the letters of a line by numbers from 1, filled up with 0, (N, length), and y, 1 where a word begins.

    The last tenth of the lines is the test, the tenth before it validates.
    """
    letters, begins = [], []
    for line in Path(path).read_text(encoding="utf-8").lower().splitlines():
        words = ["".join(sign for sign in word if sign.isascii() and sign.isalpha()) for word in line.split()]
        if joined := "".join(words):
            letters.append(torch.tensor([ord(letter) - ord("a") + 1 for letter in joined]))
            begins.append(torch.tensor([int(place == 0) for word in words for place in range(len(word))]))
    x, y = pad_sequence(letters, True), pad_sequence(begins, True, NOTHING)
    tenth = len(x) // 10
    cuts = [slice(0, -2 * tenth), slice(-2 * tenth, -tenth), slice(-tenth, None)]
    return Data(*(Tensors(x[cut], y[cut]) for cut in cuts), classes=("within", "begin"))
