"""`python -m tests.against_torch COUNT [FIRST_SEED]`: exits 1 if one of so many cases has come to something else.

One in a hundred is recorded in MLflow as well, as the command does.
"""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.against_torch.compare import BUGS, LISTED, SAME, compare


def main(count: int, first: int = 0) -> int:
    kinds: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    exact, began = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/mlflow.db"
        for seed in range(first, first + count):
            outcome = compare(seed, Path(folder), store if seed % 100 == 0 else "")
            kinds[outcome.kind] += 1
            exact += outcome.exact
            if outcome.kind == LISTED:
                reasons[outcome.text] += 1
            if outcome.kind in BUGS:
                print(f"seed {seed}: {outcome.kind}: {outcome.text}", flush=True)
    for kind, number in kinds.most_common():
        print(f"{number:6} {kind}" + (f", {exact} of them to the last bit" if kind == SAME else ""))
    for text, number in reasons.most_common():
        print(f"       {number:6} {text}")
    print(f"{time.monotonic() - began:.0f} s; to see one again: python -m tests.against_torch 1 SEED")
    return int(any(kinds[kind] for kind in BUGS))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:] or ["100"])))
