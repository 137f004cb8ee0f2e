"""Boxes move as torchvision moves them, one by one and many at once, alone and among several targets."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from runner.data import Data, Tensors, nests
from runner.settings import Model, Settings, Trainer
from runner.settings.errors import ConfigError
from runner.training.augment import batched, draws, moving, transforms
from runner.training.augment.augment import Augment
from runner.training.augment.moving import Boxes, Masks
from runner.training.prepare import prepare
from runner.training.run import Run
from runner.training.subject import Subject
from tests.support import torchvision_here
from tests.support.on_disk import OnDisk

pytestmark = pytest.mark.vision
tv_tensors = torchvision_here.module("torchvision.tv_tensors")
v2 = torchvision_here.module("torchvision.transforms.v2")

N, HEIGHT, WIDTH = 40, 12, 10
KEYS = draws.keys(3, 5, torch.arange(N))
PICTURES = torch.rand(N, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
MASKS = torch.randint(0, 4, (N, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1))


def drawn(shape: tuple[int, ...], form: str) -> Tensor:
    """Return boxes of a format within the pictures, (*shape, 4)."""
    generator = torch.Generator().manual_seed(2)
    one, other = (torch.rand(*shape, 2, generator=generator) * torch.tensor([WIDTH, HEIGHT]) for _ in range(2))
    low, high = torch.minimum(one, other), torch.maximum(one, other)
    parts = {"xyxy": (low, high), "xywh": (low, high - low), "cxcywh": ((low + high) / 2, high - low)}
    return torch.cat(parts[form], -1)


def boxed(y: Tensor, form: str) -> Any:
    return tv_tensors.BoundingBoxes(y.reshape(-1, 4), format=form.upper(), canvas_size=(HEIGHT, WIDTH))


def torchvisions(transform: Any, key: Tensor) -> list[dict[str, Any]]:
    """Return what torchvision's transform would be given for each example, of the draws of its batched version."""
    if not isinstance(transform, v2.RandomCrop):
        return [{"chosen": one} for one in (draws.uniform(key, 0) < transform.p).tolist()]
    left, right, top, bottom = transform.padding or (0, 0, 0, 0)
    height, width = transform.size
    down, across = HEIGHT + top + bottom - height + 1, WIDTH + left + right - width + 1
    places = zip(draws.below(key, 0, down).tolist(), draws.below(key, 1, across).tolist(), strict=True)
    common = {"needs_crop": down * across > 1, "needs_pad": transform.padding is not None, "height": height}
    return [{**common, "width": width, "padding": [left, top, right, bottom], "top": t, "left": c} for t, c in places]


@pytest.mark.parametrize("form", moving.FORMATS)
@pytest.mark.parametrize("shape", [(N,), (N, 3)], ids=["one", "three"])
@pytest.mark.parametrize(
    "transform",
    [
        v2.RandomHorizontalFlip(0.4),
        v2.RandomVerticalFlip(0.4),
        v2.RandomCrop([12, 10], padding=[1, 2, 3, 0]),
        v2.RandomCrop([7, 5]),
        v2.RandomCrop([12, 10]),
    ],
    ids=repr,
)
def test_boxes_of_a_batch_are_torchvisions_of_each_example(transform: Any, shape: tuple[int, ...], form: str) -> None:
    whole, y, kind = batched.find(transform), drawn(shape, form), Boxes(form)
    assert whole is not None
    x, [moved, mask] = whole(
        transform, PICTURES, [kind.wrapped(y, (HEIGHT, WIDTH)), Masks().wrapped(MASKS, (HEIGHT, WIDTH))], KEYS
    )
    boxes, certain = kind.unwrapped(moved, y), type(transform)(1.0) if hasattr(transform, "p") else transform
    changed = 0
    for i, params in enumerate(torchvisions(transform, KEYS)):
        example = tv_tensors.Image(PICTURES[i]), boxed(y[i], form), tv_tensors.Mask(MASKS[i])
        if params.get("chosen", True):
            example = tuple(certain.transform(one, params) for one in example)
        assert torch.equal(x[i], example[0])
        assert torch.equal(boxes[i].reshape(-1, 4), example[1])
        assert torch.equal(mask[i], example[2])
        changed += int(not torch.equal(boxes[i], y[i]))
    assert changed or transform.__dict__.get("padding", 0) is None


@pytest.mark.parametrize("form", moving.FORMATS)
def test_boxes_one_by_one_are_torchvisions_from_the_same_generator(form: str) -> None:
    transform, y = v2.RandomAffine(degrees=20, translate=(0.2, 0.2)), drawn((N, 2), form)
    spec = [{"RandomAffine": {"degrees": 20, "translate": [0.2, 0.2]}}]
    augment = Augment(transforms.resolve(transforms.entries(spec)), {"box": Boxes(form)})
    x, moved = augment(PICTURES, {"box": y, "label": MASKS[:, 0, 0]}, KEYS)
    assert torch.equal(moved["label"], MASKS[:, 0, 0])
    for i, start in enumerate(draws.starts(draws.derived(KEYS, 0))):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(start)
            picture, boxes = transform(tv_tensors.Image(PICTURES[i]), boxed(y[i], form))
        assert torch.equal(x[i], picture)
        assert torch.equal(moved["box"][i], boxes)


def test_a_box_that_is_cut_off_stays_as_an_empty_one_at_the_edge() -> None:
    augment = Augment(transforms.resolve(transforms.entries([{"RandomCrop": {"size": [4, 4]}}])), {"": Boxes()})
    _, moved = augment(PICTURES, torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(N, 4), KEYS)
    assert moved.shape == (N, 4)
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 4
    assert bool(((moved[:, 2:] - moved[:, :2]) == 0).any())


def test_sizes_may_be_unequal_between_transforms() -> None:
    spec = ["RandomZoomOut", "RandomHorizontalFlip", {"Resize": {"size": [HEIGHT, WIDTH]}}]
    augment = Augment(transforms.resolve(transforms.entries(spec)), {"": Boxes()})
    y = drawn((N,), "xyxy")
    x, moved = augment(PICTURES, y, KEYS)
    assert x.shape == PICTURES.shape
    for i in (0, 7):
        alone, box = augment(PICTURES[i : i + 1], y[i : i + 1], KEYS[i : i + 1])
        assert torch.equal(alone[0], x[i])
        assert torch.equal(box[0], moved[i])
    with pytest.raises(ConfigError, match="unequal size"):
        Augment(transforms.resolve(transforms.entries(spec[:2])), {"": Boxes()})(PICTURES, y, KEYS)


# -- what is asked for --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "targets", "expected"),
    [
        ("boxes", "", {"": Boxes()}),
        ({"boxes": "XYWH"}, "", {"": Boxes("xywh")}),
        ({"BoundingBoxes": {"format": "CXCYWH"}}, "", {"": Boxes("cxcywh")}),
        ({"box": "boxes", "label": "nothing"}, "box label", {"box": Boxes()}),
        ({"box": {"boxes": "xywh"}}, "box label", {"box": Boxes("xywh")}),
        ({"boxes": "boxes"}, "boxes label", {"boxes": Boxes()}),
        ({"boxes": {"boxes": "xywh"}}, "boxes label", {"boxes": Boxes("xywh")}),
        ({"box": "boxes"}, "box mask", {"box": Boxes(), "mask": Masks()}),  # classes of places are masks by themselves
        ({"0": "boxes"}, "0 1", {"0": Boxes()}),
        ("nothing", "box mask", {}),
        (None, "box label", {}),
    ],
)
def test_targets_move_as_they_are_asked_to(spec: Any, targets: str, expected: dict[str, Any]) -> None:
    parts = {"box": drawn((N,), "xywh").abs(), "boxes": drawn((N, 2), "xywh"), "mask": MASKS, "label": MASKS[:, 0, 0]}
    y: Any = {name: parts[name] for name in targets.split() if name in parts} or parts["box"]
    y = (parts["box"], parts["label"]) if targets == "0 1" else y
    assert moving.moves(moving.read(spec), Data(Tensors(PICTURES, y))) == expected


# -- runs ---------------------------------------------------------------------------------------------------------


def localiser(**data: Any) -> Run:
    settings = Settings(
        data={"name": "experiments.placed_digits.placed", "canvas": 12, "valid": 0.85, "test": 0.1, **data},
        model=Model(["Flatten"], outputs={"digit": [{"Linear": 10}], "box": [{"Linear": 4}]}),
        loss={"digit": "CrossEntropyLoss", "box": "SmoothL1Loss"},
        optimizer={"name": "SGD", "lr": 0.1},
        scheduler=None,
        plots=["augmented"],
        trainer=Trainer(epochs=2, batch_size=20),
    )
    return prepare(settings, "placed")


MOVED = [{"RandomCrop": {"size": 12, "padding": 2}}, {"RandomRotation": 5}]
ASKED = {"augment": MOVED, "augment_target": {"box": "boxes"}}


def test_a_localiser_goes_on_and_reads_from_files_with_the_same_boxes() -> None:
    run = localiser(**ASKED)
    whole = [batch for parts in run.batches() for _, batch in parts]
    for x, y in whole:  # the ink of the moved digit is within its moved box
        for picture, (left, top, right, bottom) in zip(x, y["box"].tolist(), strict=True):
            rows, columns = (picture[0] > 0.5).nonzero().unbind(1)
            assert not len(rows) or (left - 1 <= int(columns.min()) and int(columns.max()) + 1 <= right + 1)
            assert not len(rows) or (top - 1 <= int(rows.min()) and int(rows.max()) + 1 <= bottom + 1)
    run.state.step = run.steps_per_epoch + 1
    later = [batch for parts in run.batches() for _, batch in parts]
    assert all(map(same, later, whole[run.state.step :]))
    plain, seen = Subject(run).treated(3, 2)
    assert torch.equal(plain[0].boxes, run.data.train[0][1]["box"][None])  # type: ignore[index,arg-type]
    for x, y in whole[: run.steps_per_epoch]:
        for picture, box in zip(x, y["box"], strict=True):
            for one in seen[0]:
                if one is not None and torch.equal(one.picture, picture):
                    assert torch.equal(one.boxes, box[None])  # type: ignore[arg-type]
    run.state.step = 0
    run.data = replace(run.data, train=OnDisk(run.data.train))
    assert all(map(same, [batch for parts in run.batches() for _, batch in parts], whole))
    run.close()


def same(one: Any, other: Any) -> bool:
    return all(map(torch.equal, nests.leaves(tuple(one)), nests.leaves(tuple(other))))


def refusal(y: Tensor, spec: Any, task: str = "regression") -> str:
    data = Data(Tensors(PICTURES, y), task=task, classes=("a", "b") if task != "regression" else ())
    with pytest.raises(ConfigError) as caught:
        moving.check_values(moving.moves(moving.read(spec), data), data)
    return str(caught.value)


def test_boxes_of_another_shape_type_format_or_unit_are_refused() -> None:
    right = drawn((N,), "xyxy")
    assert "these targets have shape [3]" in refusal(right[:, :3], "boxes")
    assert "these targets are int64" in refusal(right.long(), "boxes")
    assert "these targets are classes" in refusal(right, "boxes", "multilabel")
    assert "which ends before it begins" in refusal(drawn((N, 2), "xywh") * torch.tensor([1, 1, 0.1, 0.1]), "boxes")
    assert "shares of the picture" in refusal(right / 100, "boxes")
