"""Recipes of experiments/ beside pages of plain torch: the losses of the first steps are the same to the last digit."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from runner.training.prepare import prepare
from runner.training.run import Run
from tests.support import composing, networks
from tests.support.networks import line, mlp
from tests.support.resumed import trained

#: Steps that are compared, and batches of an epoch.
STEPS, BATCHES = 8, 3


@dataclass
class Page:
    """A script of plain torch: a model, a loss of (model, x, y), an optimizer, and a schedule.

    every: the steps after which the schedule moves on.
    """

    model: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Any, Any], Tensor]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None
    every: int = BATCHES

    def train(self, run: Run, steps: int = STEPS, after: Callable[[nn.Module], None] = lambda model: None) -> Any:
        """Return the model and the losses of some steps with the data of `run`. after: is called after each."""
        torch.manual_seed(run.settings.seed)
        model, losses = self.model(), []
        optimizer = self.optimizer(model)
        schedule = self.schedule and self.schedule(optimizer)
        model.train()
        for step, (x, y) in enumerate(itertools.islice(itertools.cycle(batches(run, "train")), steps), 1):
            optimizer.zero_grad()
            loss = self.loss(model, x, y)
            loss.backward()
            optimizer.step()
            after(model)
            if schedule is not None and step % self.every == 0:
                schedule.step()
            losses.append(loss.item())
        return model, losses

    @torch.no_grad()
    def evaluate(self, model: nn.Module, run: Run, size: int | None = None) -> float:
        """Return the loss of the validation data in batches of the training's size, or of another one."""
        model.eval()
        values = [(self.loss(model, x, y).item(), len(y)) for x, y in batches(run, "valid", size)]
        return sum(loss * many for loss, many in values) / sum(many for _, many in values)


def batches(run: Run, part: str, size: int | None = None) -> list[Any]:
    """Return the batches of a part of the run's data, in its order."""
    source: Any = getattr(run.data, part)
    size = size or run.settings.trainer.batch_size or len(source)

    def cut(nest: Any, rows: slice) -> Any:
        if isinstance(nest, dict):
            return {name: cut(one, rows) for name, one in nest.items()}
        return tuple(cut(one, rows) for one in nest) if isinstance(nest, tuple) else nest[rows]

    rows = [slice(first, first + size) for first in range(0, len(source), size)]
    return [(cut(source.x, each), cut(source.y, each)) for each in rows]


def adam(lr: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.Adam(model.parameters(), lr=lr)


def adamw(lr: float) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.AdamW(model.parameters(), lr=lr)


def sgd(lr: float, **more: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: torch.optim.SGD(model.parameters(), lr=lr, **more)


def of(criterion: nn.Module) -> Callable[[nn.Module, Any, Any], Tensor]:
    return lambda model, x, y: criterion(model(x), y)


CE, BCE, MSE = of(nn.CrossEntropyLoss()), of(nn.BCEWithLogitsLoss()), of(nn.MSELoss())


def cosine(epochs: int) -> Callable[[torch.optim.Optimizer], Any]:
    return lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, epochs)


def two_questions(model: nn.Module, x: Any, y: Any) -> Tensor:
    larger, digit = model(x)
    return F.cross_entropy(larger, y["larger"]) + 0.5 * F.cross_entropy(digit, y["left_digit"])


def two_tasks(model: nn.Module, x: Any, y: Any) -> Tensor:
    output = model(x)
    return F.cross_entropy(output["digit"], y["digit"]) + 0.5 * F.cross_entropy(output["parity"], y["parity"])


def elbo(model: nn.Module, x: Any, y: Any) -> Tensor:
    image, mean, variance = model(x)
    kl = 0.5 * (mean**2 + variance.exp() - 1 - variance).sum(1).mean()
    return ((image - y) ** 2).sum(1).mean() + 0.3 * kl


def info_nce(model: nn.Module, x: Any, y: Any) -> Tensor:
    one, other = (F.normalize(model(view), dim=1) for view in x)
    return F.cross_entropy(one @ other.T / 0.2, torch.arange(len(one)))


def residual(model: nn.Module, x: Any, y: Any) -> Tensor:
    t = x.clone().requires_grad_()
    u = model(t)
    (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
    return ((slope + u) ** 2).mean() + ((model(torch.zeros(1, 1)) - 1) ** 2).mean()


def pinball(model: nn.Module, x: Any, y: Any) -> Tensor:
    share, error = torch.tensor([0.1, 0.5, 0.9]), y - model(x)
    return torch.maximum(share * error, (share - 1) * error).mean()


def groups(model: Any) -> torch.optim.Optimizer:
    heads = [{"params": [model[8].weight], "lr": 3e-3}, {"params": [model[8].bias], "lr": 3e-3, "weight_decay": 0}]
    bare = [*model[1].parameters(), model[4].bias, *model[5].parameters()]
    others = [{"params": [model[4].weight]}, {"params": bare, "weight_decay": 0}]
    return torch.optim.AdamW([*others, *heads], lr=1e-3, weight_decay=0.1)


def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
    return lr_scheduler.OneCycleLR(optimizer, [0.01, 0.01, 0.03, 0.03], 20 * BATCHES, cycle_momentum=False)


def warmup(optimizer: torch.optim.Optimizer) -> Any:
    """Rise from a hundredth for 40 of 400 steps, then fall along half a cosine."""

    def factor(step: int) -> float:
        return 0.01 + 0.99 * step / 40 if step < 40 else (1 + math.cos(math.pi * (step - 40) / 360)) / 2

    return lr_scheduler.LambdaLR(optimizer, factor)


def up_and_down(optimizer: torch.optim.Optimizer) -> Any:
    return lr_scheduler.OneCycleLR(optimizer, 0.01, 10 * BATCHES, cycle_momentum=False)


PAGES = {
    "decay": Page(line(1, 16, 1, act=nn.Tanh), residual, adam(0.02)),
    "diabetes": Page(line(10, 1), MSE, sgd(0.05)),
    "digit_pairs": Page(networks.Pairs, two_questions, adam(0.005)),
    "digit_pixels": Page(networks.pixels, CE, adam(0.005), cosine(12)),
    "digit_properties": Page(lambda: networks.cnn(outputs=4), BCE, adam(0.005)),
    "digits_cnn": Page(networks.cnn, CE, adam(0.005), cosine(30)),
    "digits_completed": Page(networks.Filtering, MSE, adam(0.005)),
    "digits_contrastive": Page(line(64, 64, 16), info_nce, adam(0.003)),
    "digits_groups": Page(networks.frozen, CE, groups, one_cycle, every=1),
    "digits_lenet": Page(networks.lenet, CE, adam(0.001), up_and_down, every=1),
    "digits_mlp": Page(lambda: mlp(128), CE, adam(0.003), cosine(30)),
    "digits_steps": Page(mlp, CE, adamw(0.003), warmup, every=1),
    "digits_tasks": Page(networks.TwoHeads, two_tasks, adam(0.003)),
    "digits_transfer": Page(lambda: networks.conv(10), CE, adam(0.003)),
    "digits_vae": Page(networks.VAE, elbo, adam(0.003)),
    "digits_vit": Page(networks.ViT, CE, adamw(0.003), cosine(12)),
    "iris_folds": Page(line(4, 16, 3), CE, adam(0.01)),
    "linear_regression": Page(line(1, 1), MSE, sgd(0.5)),
    "losses": Page(line(1, 1), of(nn.HuberLoss()), sgd(0.1), cosine(500), every=1),
    "ordinal": Page(networks.Ordinal, CE, adam(0.02)),
    "quantiles": Page(networks.bounds, pinball, adam(0.01)),
    "save_and_load": Page(networks.cnn, CE, adam(0.005)),
    "sonnet_words": Page(networks.Tags, CE, adam(0.01)),
    "sonnets": Page(networks.Letters, CE, adam(0.01)),
    "sonnets_gpt": Page(networks.GPT, CE, adamw(0.005), cosine(10)),
    "sunspots": Page(networks.flat(line(22, 32, 1)), of(nn.L1Loss()), adam(0.01)),
    "unet_digits": Page(networks.UNet, BCE, adam(0.005)),
}


def started(name: str) -> Run:
    """Prepare a recipe with some batches of its data in their order."""
    words = f"experiments={name}", f"trainer.limit_batches={BATCHES}", "trainer.shuffle=false", "trainer.threads=1"
    with composing.hydra():
        return prepare(composing.settings(*words, "plots=[]", "device=cpu"), "page")


def ours(run: Run) -> list[float]:
    """Train, before anything else has drawn, and return the losses of the first steps."""
    try:
        return [loss for _, loss in trained(run, until=STEPS)["losses"]]
    finally:
        run.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_recipe_has_the_losses_of_plain_torch(name: str) -> None:
    run = started(name)
    assert ours(run) == PAGES[name].train(run)[1]


def test_balanced_weights_are_counted_in_the_training_data() -> None:
    run = started("imbalanced")
    counts = run.data.train.y.bincount()
    loss = of(nn.CrossEntropyLoss(weight=counts.sum() / (2 * counts)))
    assert ours(run) == Page(lambda: mlp(16, 2), loss, adam(0.003)).train(run)[1]


def test_a_contrastive_loss_is_validated_in_batches_of_the_trainings_size() -> None:
    """It is of a whole batch: 16 of 16 pairs are more easily told apart than 48 of 48."""
    run, page = started("digits_contrastive"), PAGES["digits_contrastive"]
    ours(run)
    model, _ = page.train(run, BATCHES)
    _, validated = run.history["valid/loss"][0]
    assert validated == pytest.approx(page.evaluate(model, run), rel=1e-6)
    assert page.evaluate(model, run, 48) > validated + 1


def test_averaged_weights_are_torchs_and_are_validated() -> None:
    run = started("digits_average")
    page = Page(mlp, CE, sgd(0.1, momentum=0.9, nesterov=True))
    averages: list[AveragedModel] = []

    def average(model: nn.Module) -> None:
        averages[:] = averages or [AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))]
        averages[0].update_parameters(model)

    validated = [page.evaluate(page.train(run, steps, average) and averages.pop(), run) for steps in (3, 6)]
    assert ours(run) == page.train(run)[1]
    assert [value for _, value in run.history["valid/loss"]][:2] == pytest.approx(validated, rel=1e-6)


def test_a_gan_has_both_losses_of_plain_torch() -> None:
    run = started("gan_digits")
    losses = ours(run)
    torch.manual_seed(0)
    generator, discriminator = networks.generator(), networks.discriminator()
    steps = {
        network: torch.optim.Adam(network.parameters(), lr=lr, betas=(0.5, 0.999))
        for network, lr in ((generator, 0.002), (discriminator, 0.001))
    }
    both = []
    for noise, real in itertools.islice(itertools.cycle(batches(run, "train")), STEPS):
        drawn = generator(torch.randn_like(noise)).detach()
        judging = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(drawn)).mean()
        take(steps[discriminator], judging)
        fooling = F.softplus(-discriminator(generator(torch.randn_like(noise)))).mean()
        take(steps[generator], fooling)
        both.append((fooling.item(), judging.item()))
    assert losses == [loss for loss, _ in both]
    assert [value for _, value in run.history["train/discriminator"]][:STEPS] == [loss for _, loss in both]


def take(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take a step, with gradients of this loss alone."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
