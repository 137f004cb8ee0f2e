"""A run's checkpoints in its store: which are there, which tags name them, and which are deleted for newer ones."""

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from runner.settings import CHECKPOINTS
from runner.settings.trust import record_reading
from runner.tracking.store import artifacts, stores
from runner.tracking.store.transfer import Patience
from runner.tracking.write.journal import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Checkpoints:
    """The checkpoints of one run.

    asks: the store may have some already; False: it is a new run, which has none.
    """

    def __init__(self, client: "MlflowClient", run_id: str, patience: Patience, asks: bool) -> None:
        self.client, self.run_id, self.patience = client, run_id, patience
        # name -> checkpoints in the store, newest first; the store is asked for those of a name that is not here
        self._present: dict[str, list[dict[str, Any]]] = {} if asks else {name: [] for name in CHECKPOINTS}
        self._obsolete: list[str] = []  # places that are to be deleted

    def forget(self) -> None:
        """Have the store asked again for what it has: a call has failed, or it has refused the tags."""
        self._present = {}

    def holds(self, entry: Entry) -> bool:
        """Return whether tags of the run name the checkpoint of an entry."""
        return any(checkpoint["place"] == entry["to"] for checkpoint in self._of(entry["name"]))

    def add(self, entry: Entry, sizes: dict[str, int], is_there: bool = False) -> tuple[dict[str, str], list[str]]:
        """Add a checkpoint whose files were sent. Returns the run's tags that name it, and the places to delete then.

        The tags also name the checkpoints before it, as many as the run keeps.
        sizes: bytes of each file. is_there: it is known that the store has them.
        Raises OSError if the store does not have them all.
        """
        name, place = entry["name"], entry["to"]
        if not is_there and not artifacts.holds(self.client, self.run_id, place, sizes, self.patience):
            raise OSError(f"{place} is not whole in the store after it was sent")
        own = {"place": place, "step": entry["step"], "sha256": entry["sha256"]}
        present = [own, *(checkpoint for checkpoint in self._of(name) if checkpoint["place"] != place)]
        present.sort(key=lambda checkpoint: -int(checkpoint["step"]))
        self._present[name], older = present[: entry["keep"]], present[entry["keep"] :]
        newest = present[0]
        values = {
            "": newest["place"],
            ".step": str(newest["step"]),
            ".sha256": json.dumps(newest["sha256"]),
            ".kept": json.dumps(self._present[name]),
        }
        tags = {f"checkpoint.{name}{key}": value for key, value in values.items()}
        return tags, [checkpoint["place"] for checkpoint in older]

    def _of(self, name: str) -> list[dict[str, Any]]:
        """Return the checkpoints of this name that the run's tags name and that are there, newest first."""
        if name not in self._present:
            tags = self.client.get_run(self.run_id).data.tags
            form = rf"checkpoints/{re.escape(name)}-\d+"  # a store may not name other places, which would be deleted
            self._present[name] = [
                checkpoint
                for checkpoint in record_reading.checkpoints(tags, name)
                if re.fullmatch(form, checkpoint["place"])
                and artifacts.holds(
                    self.client,
                    self.run_id,
                    checkpoint["place"],
                    dict.fromkeys(checkpoint["sha256"]),
                    self.patience,
                )
            ]
        return self._present[name]

    def delete(self, places: list[str]) -> None:
        """Delete checkpoints that no tag names any more. If the store refuses to, they stay, and do no harm.

        Raises errors that may not come again another time; the next call deletes what is left then.
        """
        self._obsolete = list(dict.fromkeys([*self._obsolete, *places]))
        named = {checkpoint["place"] for present in self._present.values() for checkpoint in present}
        while self._obsolete:
            if self._obsolete[0] not in named:
                stores.refusal(partial(artifacts.delete, self.client, self.run_id, self._obsolete[0], self.patience))
            del self._obsolete[0]
