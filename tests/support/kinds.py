"""Sources, layers, losses and a step of the studies in tests/whole/kinds.yaml, where they are `experiments.kinds`."""

import contextlib
import io
import os
import signal
import sqlite3
import struct
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from runner.data import Data, Tensors


def files(folder: Path) -> None:
    """Write the files that the studies read."""
    rng = np.random.default_rng(0)
    (folder / "text.txt").write_text("the cat sat on the mat, and the dog sat on the log. " * 8)
    days = [f"2024-{1 + day // 28:02}-{1 + day % 28:02},{rng.normal() + day:.3f},{day % 7}" for day in range(60)]
    (folder / "days.csv").write_text("\n".join(["day,sales,weekday", *days]))
    rows = [f"{['red', 'blue', 'grey'][i % 3]},{'' if i % 5 == 0 else i / 10},{i % 7}.5,{i % 2}" for i in range(30)]
    (folder / "rows.csv").write_text("\n".join(["colour,size,weight,label", *rows]))
    np.save(folder / "x.npy", rng.normal(size=(30, 4)).astype(np.float32))
    np.save(folder / "y.npy", np.arange(30) % 3)
    np.savez(folder / "labels.npz", x=rng.normal(size=(30, 4)), y=rng.integers(0, 2, (30, 3)))
    torch.manual_seed(1)
    torch.save({"body.weight": torch.randn(6, 4), "body.bias": torch.zeros(6)}, folder / "weights.pt")
    for shard in range(2):
        with tarfile.open(folder / f"train-{shard:03}.tar", "w") as archive:
            for i in range(15 * shard, 15 * shard + 15):
                for ending, content in (("npy", _npy(rng.normal(size=4))), ("cls", b"%d" % (i % 3))):
                    member = tarfile.TarInfo(f"{i:04}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))

    place = folder / "FashionMNIST" / "raw"
    place.mkdir(parents=True)
    for part, count in (("train", 32), ("t10k", 8)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes()
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        (place / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + pixels)
        (place / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels)


def _npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(values, dtype=np.float32))
    return file.getvalue()


def stop(run: Any) -> Figure:
    """Draw nothing; where KILLED is set, end this process as a failing machine does, once it has left a checkpoint."""
    while "KILLED" in os.environ:
        with contextlib.closing(sqlite3.connect("mlflow.db")) as store:
            if store.execute("select 1 from tags where key = 'checkpoint.last.step'").fetchone():
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
    return Figure()


# Data


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _parts(x: Any, y: Any, **known: Any) -> Data:
    """Return 20 examples to train on, and 10 for validation."""

    def part(nest: Any, rows: slice) -> Any:
        return {name: one[rows] for name, one in nest.items()} if isinstance(nest, dict) else nest[rows]

    return Data(*(Tensors(part(x, rows), part(y, rows)) for rows in (slice(0, 20), slice(20, 30))), **known)


def pictures() -> Data:
    """Return images (N, 2, 4, 4) of three classes, of which one has half of them."""
    return _parts(_drawn(30, 2, 4, 4), torch.arange(30) % 4 % 3, classes=("cat", "dog", "owl"))


def masks() -> Data:
    """Return images (N, 2, 4, 4) with a class for each pixel."""
    x = _drawn(30, 2, 4, 4)
    return _parts(x, (x.sum(1) > 0).long(), classes=("paper", "ink"))


def soft() -> Data:
    """Return points (N, 4) with shares of three classes."""
    return _parts(_drawn(30, 4), _drawn(30, 3, seed=1).softmax(1), task="regression")


def pairs() -> Data:
    """Return two inputs (N, 3) by name with two targets, their sum and its sign."""
    x = {"one": _drawn(30, 3), "other": _drawn(30, 3, seed=1)}
    total = (x["one"] + x["other"]).sum(1, keepdim=True)
    y = {"sum": total, "sign": (total[:, 0] > 0).long()}
    return _parts(x, y, task={"sum": "regression", "sign": "classification"})


def line() -> Data:
    """Return points x (N, 1) and exp(-x)."""
    x = torch.linspace(0, 2, 30).unsqueeze(1)
    return _parts(x, torch.exp(-x))


def tokens() -> Data:
    """Return six tokens of eight, and which of them count."""
    drawn = torch.randint(1, 9, (30, 6), generator=torch.Generator().manual_seed(0))
    x = {"input_ids": drawn, "attention_mask": torch.ones(30, 6, dtype=torch.int64)}
    return _parts(x, drawn[:, 0] % 2, classes=("odd", "even"))


class Points(Dataset[Any]):
    """Pairs of four numbers and a class."""

    classes = ("a", "b", "c")

    def __init__(self, count: int) -> None:
        self.x = _drawn(count, 4).numpy()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.x[index], index % 3


def dataset() -> Data:
    """Return a dataset that is read as needed."""
    return Data(Points(20), valid=Points(10))


class Stream(IterableDataset[Any]):
    """Pairs of three numbers and one, which come in their order."""

    def __iter__(self) -> Iterator[Any]:
        for i in range(20):
            yield _drawn(3, seed=i), np.full(1, float(i % 5))


def stream() -> Data:
    """Return a stream of 20 examples."""
    return Data(Stream(), valid=_parts(_drawn(30, 3), torch.ones(30, 1)).valid, length=20)


class Lists(Dataset[Any]):
    """Pairs of one to six tokens and whether these are many."""

    classes = ("few", "many")

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return list(range(1, index % 6 + 2)), int(index % 6 > 2)


def ragged() -> Data:
    """Return lists of unequal length."""
    return Data(Lists(20), valid=Lists(10))


def lazy_shards() -> Data:
    """Return shards that are read as needed, as large ones are."""
    from runner.data import _held
    from runner.data.shards import shards

    before, _held.MOST = _held.MOST, 0
    try:
        return shards("train-{000..001}.tar", test=0)
    finally:
        _held.MOST = before


# Layers, losses and a step


def jitter(x: Tensor, std: float = 0.1) -> Tensor:
    """Return an example with noise on it."""
    return x + std * torch.randn_like(x)


class Code(nn.Module):
    """A dict of what four numbers are, read from two that are drawn, and of the draw's mean and spread."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(2, 4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        mean, spread = self.encoder(x).chunk(2, 1)
        code = mean + torch.randn_like(mean) * spread.exp() if self.training else mean
        return {"image": self.decoder(code), "mean": mean, "spread": spread}


def elbo(output: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
    """Return a loss and its parts."""
    distance = (output["image"] - target).square().mean()
    kl = (output["mean"] ** 2 + (2 * output["spread"]).exp() - 2 * output["spread"]).mean()
    return {"loss": distance + 0.1 * kl, "distance": distance, "kl": kl}


def codes() -> Data:
    """Return four numbers that are their own targets."""
    return _parts(_drawn(30, 4), _drawn(30, 4))


def residual(model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return what is left of u' = -u and u(0) = 1."""
    t = batch[0].detach().requires_grad_()
    u = model(t)
    (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
    return {"loss": ((slope + u) ** 2).mean() + ((model(0 * t[:1]) - 1) ** 2).mean(), "slope": slope.mean()}


def fooling(judged: Tensor, real: Tensor) -> Tensor:
    """Return the generator's loss."""
    return nn.functional.softplus(-judged).mean()


def adversarial(state: Any, parts: Any) -> dict[str, Tensor]:
    """Take a step of the critic, then one of the generator."""
    model, losses = state.model, {}
    for name in ("critic", "generator"):
        state.optimizers[name].zero_grad()
        for share, (noise, real) in parts:
            drawn = model.generator(noise + 0.1 * torch.randn_like(noise))
            loss = nn.functional.softplus(-model.critic(drawn)).mean()
            if name == "critic":
                loss = nn.functional.softplus(-model.critic(real)).mean() - loss
            (share * loss).backward()
            losses[name] = losses.get(name, 0) + share * loss.detach()
        state.optimizers[name].step()
    return {"loss": losses["generator"], "critic": losses["critic"]}
