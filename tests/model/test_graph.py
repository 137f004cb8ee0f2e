"""Layers that read earlier outputs by name, inputs and outputs by name, first weights and ties: as plain torch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.model import whole
from runner.model.graph import Graph
from runner.model.planning import plan
from runner.model.stack import Stack
from runner.settings import Model
from runner.settings.errors import ConfigError
from runner.training.checking import cost

UNET: dict[str, Any] = {
    "conv1": {"Conv2d": {"out_channels": 4, "kernel_size": 3, "padding": 1}},
    "relu1": "ReLU",
    "down": {"MaxPool2d": 2},
    "conv2": {"Conv2d": {"out_channels": 8, "kernel_size": 3, "padding": 1}},
    "up": {"ConvTranspose2d": {"out_channels": 4, "kernel_size": 2, "stride": 2}},
    "skip": {"Concat": ["up", "relu1"]},
    "mask": {"Conv2d": {"out_channels": 1, "kernel_size": 1}},
}


class UNet(nn.Module):
    """The same, as one writes it in plain torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.mask = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x).relu()
        deep = self.up(self.conv2(nn.functional.max_pool2d(first, 2)))
        return self.mask(torch.cat([deep, first], 1))


class Text(nn.Module):
    """Two inputs and two outputs, with a head that is tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Linear(64, 6)
        self.word = nn.Embedding(5, 4)
        self.body = nn.Linear(10, 4)
        self.next = nn.Linear(4, 5, bias=False)
        self.size = nn.Linear(4, 1)
        self.next.weight = self.word.weight
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, gain=0.5)
                if module.bias is not None:
                    nn.init.constant_(module.bias, 0.1)

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        both = self.body(torch.cat([self.image(x["image"].flatten(1)), self.word(x["word"])], 1))
        return {"next": self.next(both), "size": self.size(both)}


TEXT = Model(
    inputs={"image": ["Flatten", {"Linear": 6}], "word": {"Embedding": {"num_embeddings": 5, "embedding_dim": 4}}},
    layers={"body": {"Linear": 4}},
    outputs={
        "next": {"Linear": {"out_features": 5, "bias": False, "weight": {"tie": "word.weight"}}},
        "size": {"Linear": 1},
    },
    init={"Linear": {"xavier_uniform_": {"gain": 0.5}}, "Linear.bias": {"constant_": 0.1}},
)  # fmt: skip


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty((2, *shape), dtype=dtype, device="meta")


def steps(model: nn.Module, batches: list[Any], loss: Any) -> list[float]:
    """Losses of a training, by Adam."""
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.01), []
    for x in batches:
        optimizer.zero_grad()
        value = loss(model(x))
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def test_a_unet_trains_as_the_same_module_in_plain_torch_to_the_last_digit():
    torch.manual_seed(3)
    theirs = UNet()
    torch.manual_seed(3)
    ours = plan(UNET, meta(1, 8, 8)).make()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    batches = [torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    assert steps(ours, batches, lambda y: y.square().mean()) == steps(theirs, batches, lambda y: y.square().mean())
    theirs.load_state_dict(ours.state_dict())
    assert torch.equal(theirs(batches[0]), ours(batches[0]))


def test_two_inputs_two_outputs_ties_and_init_train_as_in_plain_torch():
    torch.manual_seed(4)
    theirs = Text()
    torch.manual_seed(4)
    stack = whole.planned(TEXT, {"image": meta(1, 8, 8), "word": meta(dtype=torch.int64)})
    ours: Any = stack.make()
    assert ours.next.weight is ours.word.weight
    assert sum(layer.parameters for layer in stack.layers) == sum(p.numel() for p in ours.parameters())
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    generator = torch.Generator().manual_seed(0)
    batches = [
        {"image": torch.rand(3, 1, 8, 8, generator=generator), "word": torch.randint(5, (3,), generator=generator)}
        for _ in range(4)
    ]

    def loss(output: dict[str, Tensor]) -> Tensor:
        return output["next"].logsumexp(1).mean() + output["size"].square().mean()

    # The order of the layers is the one in which they are drawn, and the same in both.
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    assert steps(ours, batches, loss) == steps(theirs, batches, loss)
    assert ours.double().next.weight is ours.word.weight


def test_a_layer_that_is_an_earlier_one_trains_as_one_module_called_twice():
    class Siamese(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU())
            self.head = nn.Linear(6, 1)

        def forward(self, x: dict[str, Tensor]) -> Tensor:
            y: Tensor = self.head(torch.cat([self.left(x["left"]), self.left(x["right"])], 1))
            return y

    model = Model(
        inputs={"left": [{"Linear": 3}, "BatchNorm1d", "ReLU"], "right": {"tie": "left"}},
        layers={"head": {"Linear": 1}},
    )
    torch.manual_seed(1)
    theirs = Siamese()
    torch.manual_seed(1)
    stack = whole.planned(model, {"left": meta(4), "right": meta(4)})
    ours: Any = stack.make()
    assert ours.right is ours.left
    assert sum(layer.parameters for layer in stack.layers) == sum(p.numel() for p in theirs.parameters())
    batches = [{"left": torch.rand(5, 4), "right": torch.rand(5, 4)} for _ in range(3)]
    assert steps(ours, batches, lambda y: y.square().mean()) == steps(theirs, batches, lambda y: y.square().mean())
    assert torch.equal(ours.eval()(batches[0]), theirs.eval()(batches[0]))


def test_a_model_with_one_input_by_name_is_called_with_it_or_with_all():
    model = Model(inputs={"state": []}, layers=[{"Linear": 2}])
    stack = whole.called_by_loss(model, {"action": meta(3), "state": meta(4)})
    ours, state = stack.make(), torch.rand(5, 4)
    assert torch.equal(ours(state), ours({"action": torch.rand(5, 3), "state": state}))


def test_inputs_may_be_a_tuple_and_their_names_are_references():
    model = Model(
        inputs={"left": [{"Linear": 3}], "right": None},
        layers={
            "pair": {"Bilinear": {"out_features": 5, "from": ["left", "right"]}},
            "sum": {"Add": ["pair", "right"]},
        },
    )
    ours = whole.planned(model, (meta(4), meta(5))).make()
    left, right = torch.rand(2, 4), torch.rand(2, 5)
    assert torch.equal(ours((left, right)), ours.pair(ours.left(left), right) + right)


def test_a_concat_with_a_dimension_brings_inputs_together_and_heads_may_read_any_layer():
    model = Model(
        inputs=["a", "b"],
        layers=[{"Concat": {"dim": 2}}, {"Linear": 3}],
        outputs={
            "last": [],
            "both": {"From": 0},
            "wide": [{"Linear": 7}, "ReLU"],
            "beside": {"Linear": 5, "from": "a"},
            "named": {"name": "Linear", "out_features": 6},
        },
    )
    stack = whole.planned(model, {"a": meta(4, 1), "b": meta(4, 2)})
    assert {name: tuple(one.shape[1:]) for name, one in stack.output.items()} == {
        "last": (4, 3), "both": (4, 3), "wide": (4, 7), "beside": (4, 5), "named": (4, 6),
    }  # fmt: skip


def test_attention_reads_three_and_items_of_tuples_have_references():
    stack = plan(
        {
            "values": {"Linear": 4},
            "attention": {"torch.nn.MultiheadAttention": {"num_heads": 2, "from": ["input", "values", "values"]}},
            "sum": {"Add": ["attention.0", "input"]},
        },
        meta(3, 4),
    )
    x = torch.rand(2, 3, 4)
    ours = stack.make().eval()
    values = ours.values(x)
    assert torch.equal(ours(x), ours.attention(x, values, values)[0] + x)


def test_outputs_are_let_go_of_after_their_last_reader():
    model = plan(UNET, meta(1, 8, 8)).make()
    assert isinstance(model, Graph)
    assert model._frees["down"] == []  # relu1 is read by `skip`
    assert set(model._frees["skip"]) == {"relu1", "up"}


def test_a_stack_without_references_stays_a_plain_sequential_and_a_part_of_a_graph_cannot_be_cut_out():
    assert type(plan([{"Linear": 3}], meta(2)).make()) is nn.Sequential
    with pytest.raises(TypeError):
        plan(UNET, meta(1, 8, 8)).make()[:3]


def test_references_work_in_stacks_inside_of_layers():
    inside = {"a": {"Linear": 3}, "b": "Tanh", "c": {"Multiply": ["a", "b", "input"]}}
    stack = plan(
        {"twice": {"Repeat": {"times": 2, "layers": inside}}, "once": {"Residual": {"layers": inside}}}, meta(3)
    )
    ours: Any = stack.make()
    x = torch.rand(2, 3)
    y = ours.twice[0](x)
    assert torch.equal(y, ours.twice[0].a(x) * ours.twice[0].a(x).tanh() * x)
    assert ours(x).shape == (2, 3)


def test_check_counts_what_own_modules_and_attention_do():
    stack = plan([{"TransformerEncoderLayer": {"nhead": 1, "dim_feedforward": 8}}, {"Linear": 4}], meta(2, 2))
    encoder, linear = stack.layers
    assert cost.counted(encoder) == 2 * (12 + 4 + 32) + 2 * 2 * 2 * 2
    assert cost.counted(linear) == cost.multiply_adds(linear) == 2 * 2 * 4


def test_repeat_takes_one_layer_as_residual_does():
    stack: Stack = plan([{"Repeat": {"times": 2, "layers": {"Linear": 3}}}], meta(3))
    assert stack.layers[0].parameters == 2 * 12


def test_a_right_parallel_is_not_reported_behind_a_wrong_layer():
    branches = {"Parallel": {"branches": [[{"Linear": 4}], "Tanh", {"Linear": 3}]}}
    with pytest.raises(ConfigError) as error:
        plan(["Lineer", branches], meta(5))
    assert "branches" not in str(error.value)


def tied(path: str) -> dict[str, Any]:
    """A layer's weight is that of another one."""
    return {"layers": {"a": {"Linear": 3}, "b": {"Linear": {"out_features": 2, "weight": {"tie": path}}}}}


INSIDE = {"layers": {"a": "ReLU", "b": {"Residual": [{"Add": ["a", "input"]}]}}}
TIE = "model.layers.b.Linear.weight.tie"
INIT = {"a": {"Linear": 3}, "norm": "LayerNorm", "b": {"Linear": {"out_features": 2, "weight": [[1, 2, 3], [4, 5, 6]]}}}


@pytest.mark.parametrize(
    ("init", "filled"),
    [
        ({"Linear": "zeros_"}, ["a.weight"]),  # what is given in the layer stays
        ({"*.bias": "ones_", "b.bias": "zeros_"}, ["a.bias", "norm.bias", "b.bias"]),
        ({"a": {"weight": "eye_", "bias": {"uniform_": [-1, 1]}}}, ["a.weight", "a.bias"]),
        ({"LayerNorm.*": {"constant_": 2}}, ["norm.weight", "norm.bias"]),
    ],
)
def test_init_fills_what_its_keys_name(init, filled):
    stack = whole.planned(Model(layers=INIT, init=init), meta(4))
    assert [start.name for start in stack.start] == filled
    stack.make()


@pytest.mark.parametrize(
    ("model", "key", "word"),
    [
        ({"layers": {"a": {"Linear": 3}, "b": {"Add": ["a", "aa"]}}}, "model.layers.b.Add", "did you mean 'a'"),
        ({"layers": {"a": {"Concat": ["input", "b"]}, "b": "ReLU"}}, "model.layers.a.Concat", "comes later"),
        (INSIDE, "model.layers.b.Residual.layers[0].Add", "outside of this stack"),
        ({"layers": [{"Linear": 3}, {"Select": 0}]}, "model.layers[1].Select", "was a tuple meant"),
        ({"layers": [{"Bilinear": 3}]}, "model.layers[0].Bilinear", "`from: [left, right]`"),
        ({"layers": [{"Linear": 3, "from": "input.x"}]}, "model.layers[0].Linear.from", "no item 'x'"),
        (tied("a.weight"), TIE, "(3, 4)"),
        (tied("a.weigth"), TIE, "did you mean 'a.weight'"),
        ({"layers": {"a": {"Linear": 4}, "b": {"tie": "c"}}}, "model.layers.b.tie", "no earlier layer"),
        ({"layers": {"a": {"Linear": 4}, "b": {"tie": "a", "bias": False}}}, "model.layers.b.bias", "beside tie"),
        ({"layers": {"a": {"Linear": 3}, "b": {"tie": "a"}}}, "model.layers.b", "cannot take an input of shape (N, 3)"),
        ({"layers": INIT, "init": {"Linaer": "zeros_"}}, "model.init.Linaer", "did you mean 'Linear'"),
        ({"layers": INIT, "init": {"norm": "xavier_uniform_"}}, "model.init.norm", "cannot fill norm.weight"),
        ({"layers": INIT, "init": {"Linear": "xavier_uniform"}}, "model.init.Linear", "did you mean 'xavier_uniform_'"),
        ({"layers": INIT, "init": {"Linear": {"normal_": 0.02}}}, "model.init.Linear.normal_", "by their names"),
        ({"layers": INIT, "outputs": ["aa"]}, "model.outputs[0]", "did you mean 'a'"),
        ({"layers": INIT, "outputs": {"a": {"Linear": 2}}}, "model.outputs.a", "rename one"),
        ({"layers": INIT, "inputs": {"x": [], "y": []}}, "model.inputs", "the data gives one tensor"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_with_its_key_and_the_remedy(model, key, word):
    with pytest.raises(ConfigError) as error:
        whole.planned(Model(**model), meta(4))
    assert error.value.key == key
    assert word in str(error.value)
