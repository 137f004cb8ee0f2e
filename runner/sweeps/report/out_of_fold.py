"""Out-of-fold predictions: the outputs of the runs of all folds, each for the examples that it was not trained on."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runner.sweeps.report.table import SEED, Combination, Row
from runner.tracking.store import artifacts

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Artifacts of the parent run: the outputs, and the place of each example among all of the source, in rising order.
PREDICTIONS, INDICES = "oof_predictions.npy", "oof_indices.npy"
#: Those of a run: the outputs for its validation part, and the places of its examples.
OUTPUTS, PLACES = "predictions.npy", "fold_indices.npy"


def write(client: "MlflowClient", one: Combination, folder: Path) -> str:
    """Write the predictions of all folds of a combination into `folder`. Returns why there are none; "" if there are.

    Of several seeds they are those of the first.
    Raises whatever the store raises.
    """
    outputs, places = [], []
    for row in _of_one_seed(one):
        pair = [_read(client, row.run_id, name) for name in (OUTPUTS, PLACES)]
        if any(array is None for array in pair):
            return f"job {row.number} has not kept its predictions"
        outputs.append(pair[0])
        places.append(pair[1])
    index = np.concatenate(places)
    if len(np.unique(index)) < len(index) or len({output.shape[1:] for output in outputs}) > 1:
        return "the folds' predictions are not of different examples, or not of one shape"
    order = index.argsort()
    np.save(folder / PREDICTIONS, np.concatenate(outputs)[order], allow_pickle=False)
    np.save(folder / INDICES, index[order], allow_pickle=False)
    return ""


def _of_one_seed(one: Combination) -> list[Row]:
    first = one.rows[0].overrides.get(SEED)
    return [row for row in one.rows if row.overrides.get(SEED) == first]


def _read(client: "MlflowClient", run_id: str, name: str) -> Any:
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        path = artifacts.fetch(client, run_id, name, folder)
        return None if path is None else np.load(path, allow_pickle=False)
