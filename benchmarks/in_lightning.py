"""The jobs of the benchmarks, written for Lightning."""

from typing import Any

import lightning
from torch import Tensor


class Module(lightning.LightningModule):
    """A prepared run's model, loss, optimizer and schedule; the loss of every step is logged."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.model, self.loss, self.run = run.model, run.loss, run
        self.classes = run.data.task != "regression"

    def training_step(self, batch: Any, index: int) -> Tensor:
        """Return the loss of a batch and log it."""
        loss: Tensor = self.loss(self.model(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        """Log loss and accuracy of a batch of the validation data."""
        output = self.model(batch[0])
        self.log("valid/loss", self.loss(output, batch[1]))
        if self.classes:
            self.log("valid/Accuracy", (output.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        """Return the run's optimizer and schedule."""
        scheduler = self.run.schedule.scheduler
        return ([self.run.state.optimizer], [scheduler] if scheduler is not None else [])
