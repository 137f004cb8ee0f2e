"""Models of other packages by their names: made without weights, and nothing but models."""

import importlib.util
import socket
from typing import Any

import pytest
import torch
from torch import nn

from runner.model import hub
from runner.model.planning import plan
from runner.settings.errors import ConfigError

PACKAGES = {name: importlib.util.find_spec(name) is not None for name in hub.PACKAGES}
BERT = {
    "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "max_position_embeddings": 8, "num_labels": 3,
}  # fmt: skip


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not PACKAGES[package], reason=f"{package} is not installed")


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty((2, *shape), dtype=dtype, device="meta")


def made(spec: Any, x: Any) -> nn.Sequential:
    torch.manual_seed(0)
    return plan(spec, x).make()


def refused(spec: Any) -> str:
    with pytest.raises(ConfigError) as error:
        plan([spec], meta(3, 16, 16))
    return str(error.value)


@pytest.mark.vision
def test_a_model_of_torchvision_is_the_one_that_its_function_makes():
    ours = made([{"name": "torchvision.models.shufflenet_v2_x0_5", "num_classes": 4}], meta(3, 32, 32))
    import torchvision

    torch.manual_seed(0)
    theirs = torchvision.models.shufflenet_v2_x0_5(num_classes=4)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.vision
def test_a_module_of_torchvision_is_a_layer_whose_sizes_follow():
    layer = {"name": "torchvision.ops.Conv2dNormActivation", "out_channels": 4}
    assert made([layer, {"torchvision.ops.Permute": [0, 2, 3, 1]}], meta(3, 8, 8))[0][0].in_channels == 3


@pytest.mark.vision
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"torchvision.models.shufflenet_v2_x0_5": {"weights": "DEFAULT"}}, "model.start"),
        ({"torchvision.models.resnet81": {}}, "did you mean 'resnet18'"),
        ({"torchvision.models.list_models": {}}, "neither a module class nor a function"),
        ({"torchvision.io.read_file": {"path": "x"}}, "neither a module class nor a function"),
        ({"torchvision.models.segmentation.os.system": "true"}, "has no 'os'"),
    ],
)
def test_what_is_no_model_of_torchvision_or_loads_something_is_refused(spec, words):
    assert words in refused(spec)


def test_the_network_is_away_while_a_model_is_made_and_for_this_thread_alone():
    with hub._without_network("x"), pytest.raises(OSError, match="the network"), socket.socket() as one:
        one.connect(("127.0.0.1", 9))
    with pytest.raises(ConnectionRefusedError), socket.socket() as one:  # without it the socket is asked
        one.connect(("127.0.0.1", 9))


@pytest.mark.skipif(PACKAGES["timm"], reason="timm is installed")
def test_a_package_that_is_missing_is_named_with_its_extra():
    assert "pip install 'runner-torch[hub]'" in refused({"timm.create_model": "resnet18"})


@needs("timm")
def test_a_model_of_timm_takes_the_channels_of_its_input():
    spec = {"timm.create_model": {"model_name": "resnet10t", "num_classes": 4}}
    ours = made([spec], meta(1, 32, 32))
    assert ours(torch.rand(2, 1, 32, 32)).shape == (2, 4)
    assert "model.start" in refused({"timm.create_model": {"model_name": "resnet10t", "pretrained": True}})
    assert "names files" in refused({"timm.create_model": "hf-hub:timm/resnet10t"})


@needs("transformers")
def test_a_class_of_transformers_is_made_from_its_config_and_takes_a_dict_by_names():
    x = {"input_ids": meta(6, dtype=torch.int64), "attention_mask": meta(6, dtype=torch.int64)}
    spec = [{"name": "transformers.BertForSequenceClassification", "config": BERT}, {"Select": "logits"}]
    stack = plan(spec, x)
    assert stack.layers[0].reads == {"input_ids": "input.input_ids", "attention_mask": "input.attention_mask"}
    ones = {name: torch.ones(2, 6, dtype=torch.int64) for name in x}
    assert stack.make().eval()(ones).shape == (2, 3)
    assert "model.start" in refused({"name": "transformers.BertModel.from_pretrained"})
