"""Laws of the loop: parts are the whole, evaluation disturbs nothing, and whoever pulls decides."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.data import Batch
from runner.settings import Trainer
from runner.training.events import Step
from runner.training.loop import State, evaluate, train
from runner.training.parts import losses
from runner.training.parts.batches import grouped
from runner.training.state.checkpoint import digest
from runner.training.step import choose, plain

CPU = torch.device("cpu")


def examples(n: int, classes: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(n, 5, generator=generator, dtype=torch.float64)
    if classes:
        return x, torch.randint(classes, (n,), generator=generator)
    return x, torch.rand(n, 2, generator=generator, dtype=torch.float64)


def cut(batch: Batch, size: int) -> list[Batch]:
    return list(zip(batch[0].split(size), batch[1].split(size), strict=True))


def model(outputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, outputs)).double()


def trained(loss: nn.Module, stream: Any, network: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Losses and final weights."""
    cost = losses.cost(loss, Trainer(precision="fp64"), CPU)
    state = State(network, torch.optim.Adam(network.parameters(), lr=0.01), cost)
    found = [step.loss for step in train(state, stream, plain)]
    return found, [p.detach() for p in network.parameters()]


LOSSES = {
    "mean": (nn.MSELoss(), 0),
    "sum": (nn.MSELoss(reduction="sum"), 0),
    "classes": (nn.CrossEntropyLoss(), 3),
    "weighted classes": (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2]).double()), 3),
    "a class ignored": (nn.CrossEntropyLoss(ignore_index=1), 3),
    "smoothed": (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2]).double(), label_smoothing=0.1), 3),
}


@pytest.mark.parametrize("total", [256, 150], ids=["even", "ragged"])
@pytest.mark.parametrize("kind", LOSSES)
def test_accumulating_four_batches_of_16_equals_one_of_64(kind, total):
    """150 = 2 * 64 + 22: the last step has a batch of 16 and one of 6, whose shares differ."""
    loss, classes = LOSSES[kind]
    data = examples(total, classes)
    four = trained(loss, grouped(iter(cut(data, 16)), 4, loss), model(classes or 2))
    one = trained(loss, grouped(iter(cut(data, 64)), 1, loss), model(classes or 2))
    assert len(four[0]) == len(one[0]) == -(-total // 64)
    for a, b in zip([*four[0], *four[1]], [*one[0], *one[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * float(max(b.abs().max(), 1)))


def test_equal_shares_would_not_do():
    """The control: with a quarter for each batch the ragged step above comes out differently."""
    loss, data = nn.MSELoss(), examples(150)
    wrong = ([(1 / len(group), batch) for _, batch in group] for group in grouped(iter(cut(data, 16)), 4, loss))
    values, _ = trained(loss, wrong, model())
    right, _ = trained(loss, grouped(iter(cut(data, 64)), 1, loss), model())
    assert [abs(a - b) < 1e-12 for a, b in zip(values, right, strict=True)] == [True, True, False]


@pytest.mark.parametrize("size", [7, 64, 150])
@pytest.mark.parametrize("kind", LOSSES)
def test_evaluating_in_batches_equals_one_big_batch(kind, size):
    loss, classes = LOSSES[kind]
    data, network = examples(150, classes), model(classes or 2)
    found = evaluate(network, cut(data, size), losses.cost(loss, Trainer(), CPU), weigh=losses.weigh(loss))
    with torch.no_grad():
        whole = loss(network(data[0]), data[1])
    assert found.dim() == 0
    assert not found.requires_grad
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=0)


def test_evaluating_shows_every_output_in_order_and_changes_nothing():
    network = nn.Sequential(nn.Linear(5, 2), nn.BatchNorm1d(2), nn.Dropout(0.5)).double()
    data, seen = examples(20), []
    before, random = digest(network.state_dict()), torch.get_rng_state()
    for mode in (True, False):
        network.train(mode)
        evaluate(network, cut(data, 6), losses.cost(nn.MSELoss(), Trainer(), CPU), lambda *pair: seen.append(pair))
        assert network.training is network[1].training is network[2].training is mode
    assert digest(network.state_dict()) == before
    assert torch.equal(torch.get_rng_state(), random)
    network.eval()
    torch.testing.assert_close(torch.cat([output for output, _ in seen[:4]]), network(data[0]))
    assert torch.equal(torch.cat([target for _, target in seen[:4]]), data[1])


def test_training_is_that_of_a_loop_written_by_hand():
    data, network, loss = examples(64), model(), nn.MSELoss()
    values, weights = trained(loss, grouped(iter(cut(data, 16)), 1, loss), network)
    by_hand = model()
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.01)
    for (x, y), found in zip(cut(data, 16), values, strict=True):
        optimizer.zero_grad()
        value = loss(by_hand(x), y)
        assert torch.equal(value.detach(), found)
        value.backward()
        optimizer.step()
    for a, b in zip(weights, by_hand.parameters(), strict=True):
        assert torch.equal(a, b)


def test_lbfgs_reaches_the_least_squares_solution():
    x, y = examples(50)
    network = nn.Linear(5, 2).double()
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=100, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )
    state = State(network, optimizer, losses.cost(nn.MSELoss(), Trainer(), CPU))
    steps = list(train(state, [[(1.0, (x, y))]] * 6, choose(state)))
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(50, 1)], 1), y).solution
    torch.testing.assert_close(network.weight.detach(), solution[:5].T, rtol=0, atol=2e-6)
    torch.testing.assert_close(network.bias.detach(), solution[5], rtol=0, atol=2e-6)
    assert [step.step for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[5].loss < steps[0].loss


def running(pulled: list[int], batches: int = 10) -> tuple[State, Any]:
    """Training whose batches note when they are asked for."""

    def stream() -> Any:
        for i in range(batches):
            pulled.append(i)
            yield [(1.0, examples(4))]

    network = model()
    cost = losses.cost(nn.MSELoss(), Trainer(), CPU)
    state = State(network, torch.optim.SGD(network.parameters(), lr=0.1), cost)
    return state, train(state, stream(), plain)


def test_nothing_happens_before_the_first_pull_and_after_the_last():
    pulled: list[int] = []
    state, steps = running(pulled)
    before = digest(state.model.state_dict())
    assert (pulled, state.step) == ([], 0)
    for expected in (1, 2, 3):
        step = next(steps)
        assert isinstance(step, Step)
        assert step.step == state.step == len(pulled) == expected
    paused = digest(state.model.state_dict())
    assert paused != before
    steps.close()
    assert (len(pulled), state.step, digest(state.model.state_dict())) == (3, 3, paused)


def test_a_step_stands_still_while_it_is_looked_at():
    state, steps = running([])
    next(steps)
    paused = digest(state.model.state_dict())
    evaluate(state.model, [examples(8)], losses.cost(nn.MSELoss(), Trainer(), CPU))
    assert digest(state.model.state_dict()) == paused
    assert state.model.training
    next(steps)
    assert digest(state.model.state_dict()) != paused


def test_training_ends_with_its_batches_and_can_be_continued():
    state, steps = running([], batches=3)
    assert [step.step for step in steps] == [1, 2, 3]
    more = train(dataclasses.replace(state, step=3), [[(1.0, examples(4))]], plain)
    assert [step.step for step in more] == [4]


def test_a_loss_has_no_graph_behind_it():
    _, steps = running([])
    assert next(steps).loss.grad_fn is None


def test_an_optimizer_that_clears_gradients_in_its_own_way_is_asked_to():
    class Careful(torch.optim.SGD):
        cleared = 0

        def zero_grad(self, set_to_none: bool = True) -> None:
            self.cleared += 1
            super().zero_grad(set_to_none)

    network = model()
    batch, cost = examples(4), losses.cost(nn.MSELoss(), Trainer(precision="fp64"), CPU)
    state = State(network, Careful(network.parameters(), lr=0.1), cost)
    list(train(state, [[(1.0, batch)]] * 3, plain))
    assert state.optimizer.cleared == 3


def test_gradients_do_not_add_up_from_step_to_step():
    network, batch = model(), examples(4)
    cost = losses.cost(nn.MSELoss(), Trainer(precision="fp64"), CPU)
    state = State(network, torch.optim.SGD(network.parameters(), lr=0.0), cost)
    for _ in train(state, [[(1.0, batch)]] * 2, plain):
        found = [parameter.grad.clone() for parameter in network.parameters()]
    fresh = model()
    cost(fresh, batch)[0].backward()
    assert all(torch.equal(a, b.grad) for a, b in zip(found, fresh.parameters(), strict=True))
