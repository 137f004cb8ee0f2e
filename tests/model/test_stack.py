"""Stacks of layers: what is inferred, what is checked, what is built, and what planning leaves alone."""

import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from runner.model.planning import plan
from runner.model.stack import Stack, classes
from runner.settings.errors import ConfigError


def planned(layers: Any, *shape: int, dtype: torch.dtype = torch.float32) -> Stack:
    return plan(layers, torch.empty((2, *shape), dtype=dtype, device="meta"))


def built(layers: Any, *shape: int) -> nn.Sequential:
    """The model, after it has been seen to give what was planned."""
    stack = planned(layers, *shape)
    model = stack.make().eval()
    output = model(torch.rand(2, *shape))
    assert output.shape == stack.output.shape
    assert output.dtype == stack.output.dtype
    assert stack.layers[-1].shape == output.shape[1:]
    assert sum(layer.parameters for layer in stack.layers) == sum(p.numel() for p in model.parameters())
    return model


def problem(layers: Any, *shape: int) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        planned(layers, *shape)
    return error.value


def test_a_list_is_numbered_and_a_mapping_keeps_its_names():
    layers = [{"Linear": 3}, "ReLU", {"Linear": {"out_features": 1, "bias": False}}]
    assert list(built(layers, 2).state_dict()) == ["0.weight", "0.bias", "2.weight"]
    named = dict(zip(("inside", "bend", "head"), layers, strict=True))
    assert list(built(named, 2).state_dict()) == ["inside.weight", "inside.bias", "head.weight"]


def test_a_layer_can_be_written_in_four_ways():
    for spec in (
        {"Linear": 3},
        {"Linear": {"out_features": 3}},
        {"name": "Linear", "out_features": 3},
        {"_target_": "torch.nn.Linear", "out_features": 3},
    ):
        [layer] = built([spec], 2)
        assert (type(layer), layer.in_features, layer.out_features) == (nn.Linear, 2, 3)


@pytest.mark.parametrize(
    ("spec", "shape", "inferred"),
    [
        ({"Linear": 4}, (3, 5), {"in_features": 5}),
        ({"Conv1d": {"out_channels": 4, "kernel_size": 3}}, (3, 9), {"in_channels": 3}),
        ({"Conv2d": {"out_channels": 4, "kernel_size": [3, 2]}}, (3, 9, 8), {"in_channels": 3}),
        ({"Conv3d": {"out_channels": 4, "kernel_size": 3}}, (3, 5, 6, 7), {"in_channels": 3}),
        ({"ConvTranspose1d": {"out_channels": 4, "kernel_size": 3, "stride": 2}}, (3, 9), {"in_channels": 3}),
        ({"ConvTranspose2d": {"out_channels": 4, "kernel_size": 3}}, (3, 9, 8), {"in_channels": 3}),
        ({"ConvTranspose3d": {"out_channels": 4, "kernel_size": 2}}, (3, 3, 4, 5), {"in_channels": 3}),
        ("BatchNorm1d", (7,), {"num_features": 7}),
        ("BatchNorm2d", (7, 4, 5), {"num_features": 7}),
        ("BatchNorm3d", (7, 3, 4, 5), {"num_features": 7}),
        ("InstanceNorm2d", (7, 4, 5), {"num_features": 7}),
        ({"GroupNorm": 4}, (8, 3, 3), {"num_channels": 8, "num_groups": 4}),
        ("LayerNorm", (5, 6), {"normalized_shape": (6,)}),
        ({"LayerNorm": [5, 6]}, (5, 6), {"normalized_shape": (5, 6)}),
        ("RMSNorm", (5, 6), {"normalized_shape": (6,)}),
        ({"TransformerEncoderLayer": {"nhead": 2, "batch_first": True}}, (5, 6), {}),
    ],
)
def test_sizes_that_are_left_out_follow_from_the_input(spec, shape, inferred):
    [layer] = built([spec], *shape)
    assert {name: getattr(layer, name) for name in inferred} == inferred


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_recurrent_layer_is_followed_by_select_and_last(kind):
    model = built([{kind: {"hidden_size": 5, "batch_first": True}}, {"Select": 0}, "Last", {"Linear": 1}], 7, 3)
    assert model[0].input_size == 3
    x = torch.rand(2, 7, 3)
    assert torch.equal(model(x), model[3](model[0](x)[0][:, -1]))


def test_a_tuple_is_answered_with_select():
    error = problem([{"LSTM": 5}, {"Linear": 1}], 7, 3)
    assert error.key == "model.layers[1].Linear"
    assert "Select: 0" in str(error)


def test_a_size_that_is_written_down_is_checked():
    assert built([{"Linear": {"in_features": 2, "out_features": 1}}], 2)[0].in_features == 2
    error = problem({"head": {"Linear": {"in_features": 5, "out_features": 1}}}, 2)
    assert error.key == "model.layers.head.Linear.in_features"
    assert "5 does not fit: the input has shape (N, 2), so it must be 2" in str(error)
    assert problem([{"BatchNorm2d": 16}], 3, 8, 8).key == "model.layers[0].BatchNorm2d.num_features"


# Containers


def test_sequential_nests_as_a_list_and_as_a_mapping():
    inner = [{"Linear": 4}, {"Sequential": ["ReLU", {"Linear": 3}]}]
    assert list(built([{"Sequential": inner}], 2).state_dict()) == [
        "0.0.weight",
        "0.0.bias",
        "0.1.1.weight",
        "0.1.1.bias",
    ]
    model = built({"body": {"Sequential": {"first": {"Linear": 4}, "second": "ReLU"}}, "head": {"Linear": 1}}, 2)
    assert list(model.state_dict()) == ["body.first.weight", "body.first.bias", "head.weight", "head.bias"]


def test_residual_adds_its_input():
    model = built([{"Residual": [{"Linear": 4}, "Tanh"]}], 4)
    x = torch.rand(2, 4)
    assert torch.equal(model(x), torch.tanh(model[0].layers[0](x)) + x)


def test_residual_adds_its_shortcut():
    model = built({"block": {"Residual": {"layers": [{"Linear": 3}], "shortcut": {"Linear": 3}}}}, 5)
    x = torch.rand(2, 5)
    block = model.block
    assert torch.equal(model(x), block.layers(x) + block.shortcut(x))
    assert list(model.state_dict())[::2] == ["block.layers.0.weight", "block.shortcut.0.weight"]


def test_residual_refuses_another_shape():
    error = problem([{"Residual": [{"Linear": 3}]}], 5)
    assert error.key == "model.layers[0].Residual"
    assert "the layers give (3,) and the shortcut (5,)" in str(error)


def test_repeat_has_parameters_of_its_own_each_time():
    model = built([{"Repeat": {"layers": [{"Linear": 4}, "ReLU"], "times": 3}}], 2)
    weights = [layer[0].weight for layer in model[0]]
    assert [tuple(w.shape) for w in weights] == [(4, 2), (4, 4), (4, 4)]
    assert not torch.equal(weights[1], weights[2])


@pytest.mark.parametrize("times", [0, -1, 2.5, "many", True, None])
def test_repeat_wants_a_whole_number_of_times(times):
    error = problem([{"Repeat": {"layers": ["ReLU"], "times": times}}], 2)
    assert error.key == "model.layers[0].Repeat.times"


def test_parallel_concatenates_or_sums_its_branches():
    conv = {"Conv2d": {"out_channels": 2, "kernel_size": 1}}
    branches = [conv, ["ReLU", conv]]
    x = torch.rand(2, 3, 4, 4)
    cat = built([{"Parallel": branches}], 3, 4, 4)
    a, b = cat[0].branches
    assert torch.equal(cat(x), torch.cat([a(x), b(x)], 1))
    total = built([{"Parallel": {"branches": branches, "combine": "sum"}}], 3, 4, 4)
    a, b = total[0].branches
    assert torch.allclose(total(x), a(x) + b(x))


def test_parallel_refuses_to_sum_different_shapes():
    error = problem([{"Parallel": {"branches": [{"Linear": 2}, {"Linear": 3}], "combine": "sum"}}], 5)
    assert "the branches give (2,), (3,)" in str(error)
    error = problem([{"Parallel": {"branches": ["ReLU"], "combine": "mean"}}], 5)
    assert error.key == "model.layers[0].Parallel.combine"


def test_containers_nest_in_each_other():
    block = {"Residual": [{"Repeat": {"layers": [{"Linear": 4}, "ReLU"], "times": 2}}]}
    model = built([{"Linear": 4}, {"Parallel": [block, {"Sequential": [{"Linear": 2}]}]}, {"Linear": 1}], 3)
    assert model[2].in_features == 6
    assert [layer.target.__name__ for layer in planned([block], 4).layers[0].inner()] == [
        "Repeat", "Linear", "ReLU", "Linear", "ReLU"
    ]  # fmt: skip


MINE = """
from typing import Optional
from torch import nn

class Gated(nn.Module):
    '''An argument that is annotated as a module is a stack of its own.'''
    def __init__(self, inside: nn.Module, gate: Optional[nn.Module] = None, slope: float = 1.0):
        super().__init__()
        self.inside, self.gate, self.slope = inside, gate, slope

    def forward(self, x):
        y = self.slope * self.inside(x)
        return y if self.gate is None else y * self.gate(x).sigmoid()

def halved(features: int) -> nn.Module:
    return nn.Linear(features, features // 2)

def nothing():
    return 3
"""


def test_the_users_container_is_given_stacks(experiments: Path):
    (experiments / "mine.py").write_text(MINE)
    inside = [{"Linear": 3}, "ReLU"]
    model = built([{"experiments.mine.Gated": {"inside": inside, "gate": {"Linear": 3}, "slope": 2.0}}], 5)
    x = torch.rand(2, 5)
    gated = model[0]
    assert torch.equal(model(x), 2 * gated.inside(x) * gated.gate(x).sigmoid())
    assert built([{"experiments.mine.Gated": inside}], 5)[0].gate is None
    error = problem([{"experiments.mine.Gated": {"inside": [{"Linear": {"out_features": "x"}}]}}], 5)
    assert error.key == "model.layers[0].experiments.mine.Gated.inside[0].Linear.out_features"


def test_the_users_function_may_make_a_layer(experiments: Path):
    (experiments / "mine.py").write_text(MINE)
    assert built([{"experiments.mine.halved": 6}], 6)[0].out_features == 3
    assert "returned int, expected a torch module" in str(problem(["experiments.mine.nothing"], 6))


# Given parameters


def test_parameters_can_be_given():
    [layer] = built([{"Linear": {"out_features": 2, "weight": [[1, 2, 3], [4, 5, 6]], "bias": [0.5, -0.5]}}], 3)
    assert layer.weight.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert layer.bias.tolist() == [0.5, -0.5]
    assert layer.weight.requires_grad


def test_one_number_fills_a_parameter_and_dimensions_of_one_may_be_left_out():
    [layer] = built([{"Linear": {"out_features": 1, "weight": [1, 2, 3], "bias": 0.25}}], 3)
    assert layer.weight.tolist() == [[1, 2, 3]]
    assert layer.bias.tolist() == [0.25]
    kernel = [[1, 0], [0, -1]]
    [layer] = built([{"Conv2d": {"out_channels": 1, "kernel_size": 2, "weight": kernel, "bias": False}}], 1, 4, 4)
    assert layer.weight.tolist() == [[kernel]]
    assert layer.bias is None


def test_given_parameters_reach_nested_layers():
    model = built([{"Residual": [{"Linear": {"out_features": 2, "weight": 0.0, "bias": 1}}]}], 2)
    assert torch.equal(model(torch.tensor([[3.0, 4.0]])), torch.tensor([[4.0, 5.0]]))


@pytest.mark.parametrize(
    ("given", "key", "message"),
    [
        ({"weight": [[1, 2]]}, "weight", "the values have shape (1, 2), expected (2, 3)"),
        ({"weight": [[1, 2], [3, 4], [5, 6]]}, "weight", "the values have shape (3, 2), expected (2, 3)"),
        ({"weight": [[1, 2], [3]]}, "weight", "not a grid of numbers"),
        ({"bias": [1, 2, 3]}, "bias", "the values have shape (3,), expected (2,)"),
        ({"bias": ["a", "b"]}, "bias", "not a grid of numbers"),
        ({"weigth": [[1]]}, "weigth", "takes no argument 'weigth'; did you mean 'weight'?"),
        ({"out_feature": 3}, "out_feature", "'out_features'"),
    ],
)
def test_given_parameters_must_fit(given, key, message):
    error = problem([{"Linear": {"out_features": 2, **given}}], 3)
    assert error.key == f"model.layers[0].Linear.{key}"
    assert message in str(error)


# Mistakes


def test_a_shape_error_is_told_with_the_shapes_up_to_it():
    layers = {"conv": {"Conv2d": {"out_channels": 4, "kernel_size": 5}}, "flat": "Flatten", "pool": {"MaxPool2d": 2}}
    error = problem(layers, 1, 8, 8)
    assert error.key == "model.layers.pool.MaxPool2d"
    assert "takes inputs of shape (N, C, H, W), found 2 dimensions: (2, 64)" in str(error)
    assert error.__notes__ == ["  model.layers.conv.Conv2d  ->  (N, 4, 4, 4)", "  model.layers.flat  ->  (N, 64)"]


@pytest.mark.parametrize(
    ("layers", "key", "message"),
    [
        ([{"Linaer": 1}], "model.layers[0].Linaer", "'Linear'"),
        (["Linear"], "model.layers[0]", "'out_features'"),
        ([{"Linear": "ten"}], "model.layers[0].Linear.out_features", "'ten'"),
        ([{"Linear": -1}], "model.layers[0].Linear.out_features", "-1"),
        ([{"ReLU": None, "Tanh": None}], "model.layers[0]", "expected one layer, found 2: ReLU, Tanh"),
        ([{}], "model.layers[0]", "expected a layer such as"),
        ([3], "model.layers[0]", "expected a layer such as"),
        ({"a.b": "ReLU"}, "model.layers.a.b", "cannot contain a dot"),
        (3, "model.layers", "3"),
        ([{"Flatten": {"start": 1}}], "model.layers[0].Flatten.start", "did you mean 'start_dim'?"),
        ([{"name": "torch.load", "f": "x"}], "model.layers[0]", "is not a layer"),
    ],
)
def test_a_mistake_is_answered_with_its_key(layers, key, message):
    error = problem(layers, 3)
    assert error.key == key
    assert message in str(error)


# All of torch.nn

ACTIVATIONS = [n for n in nn.modules.activation.__all__ if n not in ("MultiheadAttention", "Threshold", "Softmax2d")]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_had_by_its_bare_name(name):
    spec: Any = {name: {"dim": 1}} if name in ("Softmax", "LogSoftmax", "Softmin") else name
    [layer] = built([spec], 6)
    assert type(layer) is getattr(nn, name)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ({"Threshold": {"threshold": 0.1, "value": 20}}, (6,)),
        ("Softmax2d", (3, 4, 4)),
        ({"MaxPool2d": 2}, (3, 4, 4)),
        ({"AvgPool1d": 2}, (3, 4)),
        ({"AdaptiveAvgPool2d": [1, 1]}, (3, 4, 4)),
        ({"AdaptiveAvgPool2d": 1}, (3, 4, 4)),
        ({"Unflatten": {"dim": 1, "unflattened_size": [2, 3]}}, (6,)),
        ({"Flatten": {"start_dim": 2}}, (3, 4, 4)),
        ({"Upsample": {"scale_factor": 2, "mode": "nearest"}}, (3, 4, 4)),
        ({"PixelShuffle": 2}, (4, 3, 3)),
        ({"ZeroPad2d": [1, 0, 1, 0]}, (3, 4, 4)),
        ({"Dropout": 0.5}, (3,)),
        ("Identity", (3,)),
        ({"LocalResponseNorm": 2}, (3, 4, 4)),
    ],
)
def test_other_layers_take_their_own_arguments(spec, shape):
    assert len(built([spec], *shape)) == 1


def test_embedding_begins_with_whole_numbers():
    stack = planned(
        [{"Embedding": {"num_embeddings": 10, "embedding_dim": 4}}, "Flatten", {"Linear": 2}], 3, dtype=torch.int64
    )
    assert stack.make()(torch.tensor([[1, 2, 9]])).shape == (1, 2)


# What planning leaves alone


def test_planning_takes_no_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stack = planned([{"Linear": 20_000}, "ReLU", {"Linear": 10}], 20_000)
    assert classes(stack) == [nn.Linear, nn.ReLU, nn.Sequential]
    assert stack.layers[0].parameters == 20_000 * 20_001
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000, "of 1.6 GB, in KB"
    assert stack.output.is_meta


def test_planning_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    planned([{"Linear": 4}, {"Dropout": 0.5}, "RReLU", {"Residual": [{"Linear": 4}]}, "BatchNorm1d"], 3)
    assert torch.equal(before, torch.get_rng_state())


def test_the_weights_follow_from_the_seed_alone():
    def weights(plans: int) -> list[Tensor]:
        for _ in range(plans):
            stack = planned({"a": {"Linear": 4}, "b": {"Linear": 2}}, 3)
        torch.manual_seed(7)
        return list(stack.make().state_dict().values())

    torch.manual_seed(7)
    by_hand = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for one, two, three in zip(weights(1), weights(3), by_hand.state_dict().values(), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


def test_a_stack_can_be_made_many_times():
    stack = planned([{"Linear": 2}], 3)
    assert stack.make()[0].weight is not stack.make()[0].weight


def test_classes_are_all_that_the_model_is_made_of():
    layers = [{"TransformerEncoderLayer": {"nhead": 2, "batch_first": True}}, {"Residual": [{"Linear": 6}, "GELU"]}]
    stack = planned(layers, 5, 6)
    assert set(classes(stack)) == {type(module) for module in stack.make().modules()}
    assert {nn.GELU, nn.LayerNorm, nn.MultiheadAttention, nn.Identity} <= set(classes(stack))
