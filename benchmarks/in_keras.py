"""The nets of two experiments written for Keras 3, `python -m benchmarks.in_keras SPEC`, for benchmarks/peers.py.

KERAS_BACKEND, torch or jax, is read when Keras is imported: one process for each. SPEC, JSON: experiment, epochs,
batch_size, evaluated (examples of a batch of the validation), lr, betas, width, dropout, threads, and data, a file of
NumPy's with x, y, valid_x and valid_y.
"""

import gc
import json
import math
import sys
import time
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks import worker


def main() -> None:
    """Compile a net, and train it whenever it is asked for."""
    spec = json.loads(sys.argv[1])
    if keras.config.backend() == "torch":
        import torch

        torch.set_num_threads(spec["threads"])
    with np.load(spec["data"]) as there:
        data = {name: there[name] for name in there.files}
    training = Training(spec, data)
    worker.serve(training.train)


class Net(keras.Sequential):
    """A net that measures its metrics in validations alone, as the runner does; Keras does so in each step, too."""

    steps = False

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """Take a step; what is traced or called meanwhile knows of it."""
        self.steps = True
        try:
            return super().train_step(*args, **kwargs)
        finally:
            self.steps = False

    def compute_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return loss and metrics, of a step the loss alone."""
        if self.steps:
            return {metric.name: metric.result() for metric in self.metrics if metric.name == "loss"}
        return super().compute_metrics(*args, **kwargs)  # type: ignore[no-any-return]


class Training:
    """A compiled net with its data. Each training begins with the same weights, and compiles nothing twice."""

    def __init__(self, spec: dict[str, Any], data: dict[str, np.ndarray]) -> None:
        keras.utils.set_random_seed(0)
        # Each backend has the layout that suits it; the weights are the same in number, and drawn alike.
        self.channels = "channels_first" if keras.config.backend() == "torch" else "channels_last"
        keras.config.set_image_data_format(self.channels)
        self.spec = spec
        self.x, self.valid_x = (self._laid_out(data[name]) for name in ("x", "valid_x"))
        self.y, self.valid_y = data["y"], data["valid_y"]
        self.model = Net([keras.Input(self.x.shape[1:]), *NETS[spec["experiment"]](spec)])
        one, two = spec["betas"]
        self.model.compile(
            keras.optimizers.Adam(spec["lr"], one, two, epsilon=1e-8),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        self.first = self.model.get_weights()

    def _laid_out(self, x: np.ndarray) -> np.ndarray:
        return x if self.channels == "channels_first" else np.ascontiguousarray(np.moveaxis(x, 1, -1))

    def train(self) -> dict[str, Any]:
        """Return the seconds of `fit` from the first weights, and the last validation."""
        self.model.set_weights(self.first)
        if self.model.optimizer.built:
            for variable in self.model.optimizer.variables:
                variable.assign(np.zeros(variable.shape))
            self.model.optimizer.learning_rate.assign(self.spec["lr"])
        gc.collect()
        begun, cpu = time.perf_counter(), time.process_time()
        history = self.model.fit(
            self.x,
            self.y,
            batch_size=self.spec["batch_size"],
            epochs=self.spec["epochs"],
            validation_data=(self.valid_x, self.valid_y),
            validation_batch_size=self.spec["evaluated"],
            shuffle=True,
            verbose=0,
            callbacks=[keras.callbacks.LearningRateScheduler(self._rate)],
        ).history
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        return {
            "seconds": seconds,
            "cpu": cpu,
            "loss": history["val_loss"][-1],
            "accuracy": history["val_accuracy"][-1],
        }

    def _rate(self, epoch: int, rate: float) -> float:
        """Return the learning rate of an epoch, as CosineAnnealingLR has it."""
        return self.spec["lr"] * (1 + math.cos(math.pi * epoch / self.spec["epochs"])) / 2  # type: ignore[no-any-return]


def _drawn(inputs: int) -> dict[str, Any]:
    """Return initializers of weights and bias that draw as torch's layers do. inputs: of one number of the output."""
    scale = 1 / math.sqrt(inputs)
    return {
        "kernel_initializer": keras.initializers.RandomUniform(-scale, scale),
        "bias_initializer": keras.initializers.RandomUniform(-scale, scale),
    }


def _mlp(spec: dict[str, Any]) -> list[Any]:
    """Return the layers of conf/model/mlp.yaml."""
    net, inputs = [layers.Flatten()], 64
    for _ in range(2):
        net += [layers.Dense(spec["width"], activation="relu", **_drawn(inputs)), layers.Dropout(spec["dropout"])]
        inputs = spec["width"]
    return [*net, layers.Dense(10, **_drawn(inputs))]


def _cnn(spec: dict[str, Any]) -> list[Any]:
    """Return the layers of conf/model/digits_cnn.yaml."""
    net, channels = [], 1
    for _ in range(2):
        drawn = _drawn(9 * channels)
        net += [layers.Conv2D(spec["width"], 3, padding="same", activation="relu", **drawn), layers.MaxPooling2D(2)]
        channels = spec["width"]
    return [*net, layers.Flatten(), layers.Dropout(spec["dropout"]), layers.Dense(10, **_drawn(4 * channels))]


NETS = {"digits_mlp": _mlp, "digits_cnn": _cnn}

if __name__ == "__main__":
    main()
