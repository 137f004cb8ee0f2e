"""Laws of augmentation: the same pictures whatever the batch, workers and process; in training only."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from runner.data import Data, Tensors
from runner.settings import Model, Settings, Trainer
from runner.settings.errors import ConfigError
from runner.training.augment import batched, draws, transforms
from runner.training.augment.augment import Augment
from runner.training.drive import drive
from runner.training.prepare import prepare
from runner.training.run import Run
from tests.support import torchvision_here

pytestmark = pytest.mark.vision
tv_tensors = torchvision_here.module("torchvision.tv_tensors")
v2 = torchvision_here.module("torchvision.transforms.v2")

KEYS = draws.keys(3, 5, torch.arange(40))
PICTURES = torch.rand(40, 3, 12, 10, generator=torch.Generator().manual_seed(0))
MASKS = torch.randint(0, 4, (40, 12, 10), generator=torch.Generator().manual_seed(1))
LIST = [
    {"RandomCrop": {"size": [12, 10], "padding": 2}},
    "RandomHorizontalFlip",
    {"ColorJitter": {"brightness": 0.4}},
    {"RandomRotation": 20},
    {"RandomErasing": {"p": 0.7}},
    {"torch.nn.Dropout": {"p": 0.2}},
]


def test_an_example_is_changed_as_it_is_alone() -> None:
    augment = Augment(transforms.resolve(transforms.entries(LIST)), moves={})
    whole, _ = augment(PICTURES, MASKS, KEYS)
    order = torch.randperm(40)
    parts = [augment(PICTURES[i], MASKS[i], KEYS[i])[0] for i in torch.split(order, 7)]
    assert torch.equal(torch.cat(parts), whole[order])
    assert not torch.equal(whole, PICTURES)


def test_another_epoch_and_another_seed_give_other_pictures() -> None:
    augment = Augment(transforms.resolve(transforms.entries(LIST[:2])), moves={})
    results = [augment(PICTURES, MASKS, draws.keys(*where, torch.arange(40)))[0] for where in ((3, 5), (3, 6), (4, 5))]
    assert not any(torch.equal(one, other) for one, other in zip(results, results[1:] + results[:1], strict=True))


def params(transform: Any, key: Tensor) -> list[dict[str, Any]]:
    """Return what torchvision's transform would be given for each example, of the draws of its batched version."""
    if isinstance(transform, v2.RandomCrop):
        rows = 12 + sum(transform.padding[2:]) - transform.size[0] + 1
        columns = 10 + sum(transform.padding[:2]) - transform.size[1] + 1
        left, right, top, bottom = transform.padding
        places = zip(draws.below(key, 0, rows).tolist(), draws.below(key, 1, columns).tolist(), strict=True)
        size = {"height": transform.size[0], "width": transform.size[1]}
        common = {"needs_crop": True, "needs_pad": True, "padding": [left, top, right, bottom], **size}
        return [{**common, "top": t, "left": c} for t, c in places]
    low, high = transform.brightness
    factors = (low + draws.uniform(key, 0) * (high - low)).tolist()
    none = dict.fromkeys(("contrast_factor", "saturation_factor", "hue_factor"))
    return [{"fn_idx": torch.arange(4), "brightness_factor": factor, **none} for factor in factors]


@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomCrop([12, 10], padding=[1, 2, 3, 0]),
        v2.RandomCrop([7, 9], padding=2, padding_mode="reflect", fill=0),
        v2.RandomCrop([12, 10], padding=3, fill=1),
        v2.ColorJitter(brightness=0.7),
    ],
    ids=repr,
)
@pytest.mark.parametrize("kind", [torch.float32, torch.uint8], ids=str)
def test_a_batch_is_what_torchvision_makes_of_each_example(transform: Any, kind: torch.dtype) -> None:
    pictures = PICTURES if kind == torch.float32 else PICTURES.mul(255).to(kind)
    whole = batched.find(transform)
    assert whole is not None
    x, [mask] = whole(transform, pictures, [tv_tensors.Mask(MASKS)], KEYS)
    for i, drawn in enumerate(params(transform, KEYS)):
        assert torch.equal(x[i], transform.transform(pictures[i], drawn))
        if isinstance(transform, v2.RandomCrop):
            assert torch.equal(mask[i], transform.transform(tv_tensors.Mask(MASKS[i]), drawn))


@pytest.mark.parametrize("transform", [v2.RandomHorizontalFlip(0.3), v2.RandomVerticalFlip(0.3)], ids=repr)
def test_flipped_are_those_below_p_and_their_masks(transform: Any) -> None:
    x, [mask] = batched.flip(transform, PICTURES, [tv_tensors.Mask(MASKS)], KEYS)
    certain = type(transform)(p=1.0)
    chosen = draws.uniform(KEYS, 0) < 0.3
    assert 0 < chosen.sum() < 40
    for i, one in enumerate(chosen.tolist()):
        assert torch.equal(x[i], certain(PICTURES[i]) if one else PICTURES[i])
        assert torch.equal(mask[i], certain(tv_tensors.Mask(MASKS[i])) if one else MASKS[i])


def test_erased_is_a_box_of_the_size_that_was_asked_for() -> None:
    transform = v2.RandomErasing(p=0.5, scale=(0.1, 0.3), ratio=(0.5, 2.0), value=7)
    many = torch.arange(2000)
    x, _ = batched.erase(transform, torch.rand(2000, 1, 16, 16), [], draws.keys(0, 0, many))
    boxes = [(one[0] == 7).nonzero() for one in x if (one == 7).any()]
    assert 0.45 < len(boxes) / 2000 < 0.55
    for places in boxes:
        height, width = (places.amax(0) - places.amin(0) + 1).tolist()
        assert len(places) == height * width
        assert 0.07 < height * width / 256 < 0.36
        assert 0.3 < height / width < 3.2


def test_draws_are_uniform_and_of_no_generator() -> None:
    before = torch.get_rng_state()
    values = draws.uniform(draws.keys(0, 0, torch.arange(20_000)), 0)
    assert torch.equal(torch.get_rng_state(), before)
    counts = torch.histc(values, 20, 0, 1)
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 50  # chi-squared with 19 degrees of freedom
    assert abs(float(torch.corrcoef(torch.stack([values[1:], values[:-1]]))[0, 1])) < 0.03


class OnDisk(torch.utils.data.Dataset[Any]):
    """The examples of tensors, one at a time."""

    def __init__(self, source: Tensors) -> None:
        self.source, self.labels = source, source.y.tolist()

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        return self.source.x[index], self.source.y[index]


def made(trainer: dict[str, Any] | None = None, loss: Any = None, **data: Any) -> Run:
    settings = Settings(
        data={"name": "digits", "valid": 0.7, "test": 0.2, **data},
        model=Model(["Flatten", {"Linear": 10}]),
        loss=loss or {"name": "CrossEntropyLoss"},
        optimizer={"name": "SGD", "lr": 0.1},
        scheduler=None,
        trainer=Trainer(**{"epochs": 2, "batch_size": 40, **(trainer or {})}),
    )
    return prepare(settings, "augmented")


def steps(run: Run) -> list[Any]:
    return [(x.clone(), y.clone()) for parts in run.batches() for _, (x, y) in parts]


def same(one: list[Any], other: list[Any]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for first, second in pairs for a, b in zip(first, second, strict=True))


KINDS = [
    {"augment": [*LIST[1:2], {"RandomCrop": {"size": 8, "padding": 1}}, {"RandomRotation": 5}]},
    {"mixup": 0.2},
    {"cutmix": 1.0, "mixup": 0.2, "augment": LIST[1:2]},
    {"sample": "balanced", "augment": LIST[1:2]},
]


@pytest.mark.parametrize("data", KINDS, ids=str)
def test_a_run_that_goes_on_and_workers_give_the_same_batches(data: dict[str, Any]) -> None:
    run = made(**data)
    whole = steps(run)
    run.state.step = 6  # within the second epoch
    assert same(steps(run), whole[6:])
    for workers in (0, 2):
        other = made({"workers": 0}, **data)
        other.settings.trainer.workers = workers
        other.data = replace(other.data, train=OnDisk(other.data.train))  # type: ignore[arg-type]
        assert same(steps(other), whole)
        other.close()
    run.close()


def test_each_epoch_has_pictures_of_its_own_in_one_batch_too() -> None:
    run = made({"batch_size": None}, augment=LIST[1:2])
    first, second = steps(run)
    assert not torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    run.close()


@pytest.mark.parametrize("data", KINDS, ids=str)
def test_only_training_sees_it(data: dict[str, Any]) -> None:
    plain = made()
    run = made({"monitor": "train/loss"}, **data)
    for part in (run.data.train, run.data.valid):
        seen = run.readers.whole(part, True)  # type: ignore[arg-type]
        expected = plain.readers.whole(plain.data.train if part is run.data.train else plain.data.valid, True)  # type: ignore[arg-type]
        assert same(list(seen), list(expected))
    plain.close()
    run.close()


def test_a_run_without_it_has_the_readers_and_bits_of_before() -> None:
    run = made()
    assert type(run.readers).__name__ == "Readers"
    assert not run.parts.treatment
    run.close()


def test_captured_steps_have_the_numbers_of_others() -> None:
    values = []
    for graph in (True, False):
        run = made({"graph": graph, "epochs": 4}, augment=LIST[1:2], mixup=0.3)
        drive(run)
        values.append(list(run.history["train/loss"]))
        if graph:
            assert run.step.captured  # type: ignore[attr-defined]
        run.close()
    assert values[0] == values[1]


def test_shares_of_classes_add_up_to_one() -> None:
    run = made(mixup=1.0)
    for x, y in steps(run):
        assert y.shape == (len(x), 10)
        assert torch.allclose(y.sum(1), torch.ones(len(y)))
    run.close()


@pytest.mark.parametrize(
    ("entry", "keys"),
    [
        ({"MixUp": {"alpha": 0.4, "num_classes": 10}}, {"mixup": 0.4}),
        ("v2.CutMix", {"cutmix": 1.0}),
        ({"RandomChoice": [{"MixUp": 0.4}, "CutMix"]}, {"mixup": 0.4, "cutmix": 1.0}),
    ],
)
def test_mixing_in_the_list_is_that_of_the_keys(entry: Any, keys: dict[str, float]) -> None:
    one, other = made(augment=["RandomHorizontalFlip", entry]), made(augment=["RandomHorizontalFlip"], **keys)
    assert same(steps(one), steps(other))
    one.close()
    other.close()


def test_views_are_others_with_each_call_and_the_same_of_the_same_seed() -> None:
    import runner

    views, before = runner.augment(["RandomHorizontalFlip", {"RandomRotation": 20}]), PICTURES.clone()
    torch.manual_seed(3)
    one, two = views(PICTURES), views(PICTURES)
    torch.manual_seed(3)
    assert torch.equal(views(PICTURES), one)
    assert not torch.equal(one, two)
    assert torch.equal(PICTURES, before)


def test_normalizing_in_a_layer_is_torchvisions() -> None:
    from runner.model.layers import Normalize

    given = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    assert torch.equal(Normalize(**given)(PICTURES), v2.Normalize(**given)(PICTURES))


@pytest.mark.parametrize("size", [5, [12, 10], [7, 3], [11, 10]])
def test_the_middle_of_pictures_is_torchvisions(size: Any) -> None:
    from runner.model.layers import CenterCrop

    assert torch.equal(CenterCrop(size)(PICTURES), v2.CenterCrop(size)(PICTURES))


def test_several_transforms_in_a_mapping_are_those_of_a_list() -> None:
    one = transforms.entries({"RandomHorizontalFlip": {"p": 0.3}, "RandomErasing": {"value": "random"}})
    two = transforms.entries([{"RandomHorizontalFlip": 0.3}, {"RandomErasing": {"value": "random"}}])
    results = [Augment(transforms.resolve(found), moves={})(PICTURES, MASKS, KEYS)[0] for found in (one, two)]
    assert torch.equal(*results)


def test_mixing_is_torchvisions_with_the_same_share() -> None:
    from runner.training.augment.mixing import Mix

    y = torch.arange(40) % 4
    for mix, theirs in ((Mix(0.4, None, 4), v2.MixUp(num_classes=4)), (Mix(None, 1.0, 4), v2.CutMix(num_classes=4))):
        x, shares = mix((PICTURES, y), 0, 1, 2)
        share = float(shares[0].max()) if shares[0].argmax() == y[0] else float(shares[0].min())
        if isinstance(theirs, v2.MixUp):
            drawn = {"lam": share, "labels": y, "batch_size": 40}
            expected, targets = theirs.transform(PICTURES, drawn), theirs.transform(y, drawn)
            assert torch.allclose(x, expected)
            assert torch.allclose(shares, targets)
        else:
            other = (x != PICTURES).any(1).float().mean((1, 2))
            assert torch.allclose(1 - other, torch.full((40,), share))


def test_loss_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    run = made(loss={"name": "CrossEntropyLoss", "weight": "balanced"})
    y = run.data.train.y.numpy()  # type: ignore[union-attr]
    expected = compute_class_weight("balanced", classes=np.arange(10), y=y)
    assert torch.allclose(run.loss.weight, torch.tensor(expected, dtype=torch.float32))  # type: ignore[arg-type]
    run.close()


def test_balanced_samples_have_all_classes_alike() -> None:
    from runner.training.augment import balance

    classes = torch.cat([torch.zeros(900), torch.ones(100)]).long()
    order = balance.order(classes, seed=0, epoch=0)
    assert 0.45 < float(classes[order].float().mean()) < 0.55
    assert not torch.equal(order, balance.order(classes, seed=0, epoch=1))
    numbers = balance.numbered(order, 1000)
    assert len(numbers.unique()) == len(order)
    assert torch.equal(numbers % 1000, order)


def test_masks_move_along_and_numbers_stay() -> None:
    data = Data(Tensors(PICTURES, MASKS), task="multiclass", classes=("a", "b", "c", "d"))
    from runner.training.augment import treatment
    from runner.training.parts.data_options import DataOptions

    asked = treatment.resolve(DataOptions(augment=["RandomHorizontalFlip", {"RandomRotation": 30}]))
    augment = treatment.augmenter(asked, data)
    x = MASKS[:, None].float()
    moved, masks = augment(x, MASKS, KEYS)
    assert torch.equal(moved[:, 0], masks.float())  # a picture of the mask itself moves as the mask does
    floats = replace(data, train=Tensors(PICTURES, torch.rand(40, 1, 12, 10)), task="regression", classes=())
    with pytest.raises(ConfigError, match="augment_target"):
        treatment.augmenter(asked, floats)


def test_functions_of_ones_own_take_the_target_if_they_name_it(tmp_path: Path) -> None:
    from runner.settings.values.lookup import use_folder

    (tmp_path / "noise_of_mine.py").write_text(
        "import torch\n\ndef noise(x, std=0.1):\n    return x + std * torch.randn_like(x)\n\n"
        "def both(x, y, by):\n    return x.flip(-1), y + by\n"
    )
    use_folder(tmp_path)
    spec = [{"experiments.noise_of_mine.noise": {"std": 0.5}}, {"experiments.noise_of_mine.both": {"by": 2}}]
    bounds = transforms.resolve(transforms.entries(spec))
    x, y = Augment(bounds, moves={})(PICTURES, MASKS, KEYS)
    again, _ = Augment(bounds, moves={})(PICTURES[5:6], MASKS[5:6], KEYS[5:6])
    assert torch.equal(y, MASKS + 2)
    assert torch.equal(again, x[5:6])
    assert 0.4 < float((x.flip(-1) - PICTURES).std()) < 0.6
