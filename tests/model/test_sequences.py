"""Layers of sequences and attention: numbers of plain torch, and padding that changes nothing."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._pytree import tree_leaves

from runner.model import recurrent, sequences
from runner.model.planning import plan
from runner.model.stack import Stack
from runner.settings.errors import ConfigError
from runner.settings.values import lookup

LENGTHS = torch.tensor([3, 7, 1, 5])
VALUES = torch.rand(4, 7, 8, generator=torch.Generator().manual_seed(1))
PADDED = {"values": VALUES, "lengths": LENGTHS}
CAUSAL = nn.Transformer.generate_square_subsequent_mask(7)
BEYOND = torch.arange(7) >= LENGTHS[:, None]


def meta(x: Any) -> Any:
    return {name: meta(one) for name, one in x.items()} if isinstance(x, dict) else x.to("meta")


def planned(layers: Any, x: Any = VALUES) -> Stack:
    return plan(layers, meta(x))


def built(layers: Any, x: Any = VALUES) -> nn.Module:
    """The model, with weights of seed 0."""
    stack = planned(layers, x)
    torch.manual_seed(0)
    return stack.make()


def seeded(make: Any) -> Any:
    torch.manual_seed(0)
    return make()


def encoder_layer(**arguments: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, **arguments)


LAYER = {"TransformerEncoderLayer": {"nhead": 2, "dim_feedforward": 16, "dropout": 0.0}}
DECODER = {"nhead": 2, "dim_feedforward": 16, "dropout": 0.0}


def argued(layer: dict[str, Any], **more: Any) -> dict[str, Any]:
    [(name, arguments)] = layer.items()
    return {name: {**arguments, **more}}


def decoded(layer: Any) -> Any:
    return lambda x: layer(x, x, tgt_mask=CAUSAL, tgt_is_causal=True)


PLAIN: list[tuple[Any, Any, Any]] = [
    (argued(LAYER), encoder_layer, lambda m: m),
    (argued(LAYER, mask="causal"), encoder_layer, lambda m: lambda x: m(x, CAUSAL, is_causal=True)),
    (
        {"TransformerEncoder": {"encoder_layer": LAYER, "num_layers": 2, "norm": "LayerNorm", "mask": "causal"}},
        lambda: nn.TransformerEncoder(encoder_layer(), 2, nn.LayerNorm(8), enable_nested_tensor=False),
        lambda m: lambda x: m(x, CAUSAL),
    ),
    (
        {"TransformerEncoder": {"encoder_layer": argued(LAYER, mask="causal", norm_first=True), "num_layers": 2}},
        lambda: nn.TransformerEncoder(encoder_layer(norm_first=True), 2, enable_nested_tensor=False),
        lambda m: lambda x: m(x, CAUSAL),
    ),
    (
        {"MultiheadAttention": {"num_heads": 2, "mask": "causal"}},
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        lambda m: lambda x: m(x, x, x, attn_mask=CAUSAL, is_causal=True, need_weights=False)[0],
    ),
    (
        {"TransformerDecoderLayer": {**DECODER, "mask": "causal", "from": ["input", "input"]}},
        lambda: nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True),
        decoded,
    ),
    (
        {
            "TransformerDecoder": {
                "decoder_layer": {"TransformerDecoderLayer": DECODER},
                "num_layers": 2,
                "norm": "LayerNorm",
                "mask": "causal",
                "from": ["input", "input"],
            }
        },
        lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True), 2, nn.LayerNorm(8)),
        decoded,
    ),
    (
        {
            "Transformer": {
                **DECODER,
                "num_encoder_layers": 1,
                "num_decoder_layers": 1,
                "mask": "causal",
                "from": ["input", "input"],
            }
        },
        lambda: nn.Transformer(8, 2, 1, 1, 16, 0.0, batch_first=True),
        decoded,
    ),
]


@pytest.mark.parametrize(("spec", "make", "call"), PLAIN)
@pytest.mark.parametrize("training", [True, False])
def test_attention_has_the_numbers_and_the_names_of_torchs(spec: Any, make: Any, call: Any, training: bool) -> None:
    ours, plain = built([spec]), seeded(make)
    assert [name.removeprefix("0.") for name in ours.state_dict()] == list(plain.state_dict())
    ours.train(training), plain.train(training)
    with torch.set_grad_enabled(training), warnings.catch_warnings():
        warnings.simplefilter("error")
        mine = ours(VALUES)
    with torch.set_grad_enabled(training):
        assert torch.equal(mine, call(plain)(VALUES))


@pytest.mark.parametrize(
    "spec",
    [
        [{"Mask": "causal"}, LAYER],
        [{"Mask": "causal"}, {"Residual": ["LayerNorm", {"MultiheadAttention": {"num_heads": 2}}]}],
        [{"Mask": "causal"}, {"Repeat": {"times": 2, "layers": [LAYER]}}],
        [{"TransformerEncoder": {"encoder_layer": LAYER, "num_layers": 2, "mask": "causal"}}],
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_causal_mask_hides_what_comes_later(spec: Any, training: bool) -> None:
    model, other = built(spec).train(training), VALUES.clone()
    other[:, 4:] = 9.0
    with torch.no_grad():
        assert torch.allclose(model(VALUES)[:, :4], model(other)[:, :4], atol=1e-6)
        assert not torch.allclose(model(VALUES)[:, 4:], model(other)[:, 4:], atol=1e-2)
        unmasked = built([LAYER]).train(training)  # the control: without a mask it is seen
        assert not torch.allclose(unmasked(VALUES)[:, :4], unmasked(other)[:, :4], atol=1e-2)


def test_a_mask_ends_with_its_stack_and_leaves_attention_to_others_alone() -> None:
    layers = {
        "first": {"Sequential": [{"Mask": "causal"}, LAYER]},
        "second": LAYER,
        "mask": {"Mask": "causal"},
        "cross": {"MultiheadAttention": {"num_heads": 2, "from": ["second", "first"]}},
        "own": {"MultiheadAttention": {"num_heads": 2}},
    }
    model = built(layers)
    masks = {
        name: part.mask for name, part in model.named_modules() if name not in ("", "mask") and hasattr(part, "mask")
    }
    assert masks == {"first.0": "causal", "first.1": "causal", "second": None, "cross": None, "own": "causal"}


SEQUENCES: list[list[Any]] = [
    [{"GRU": {"hidden_size": 5, "lengths": "lengths", "from": "values"}}, {"Select": 0}],
    [{"LSTM": {"hidden_size": 5, "lengths": "lengths", "from": "values", "bidirectional": True}}, {"Select": 0}],
    [{"RNN": {"hidden_size": 5, "lengths": "lengths", "from": "values", "nonlinearity": "relu"}}, {"Select": 0}],
    [argued(LAYER, lengths="lengths", **{"from": "values"})],
    [argued(LAYER, lengths="lengths", mask="causal", **{"from": "values"})],
    [{"TransformerEncoder": {"encoder_layer": LAYER, "num_layers": 2, "lengths": "lengths", "from": "values"}}],
    [{"MultiheadAttention": {"num_heads": 2, "lengths": "lengths", "from": "values"}}],
    [
        {
            "TransformerDecoderLayer": {
                **DECODER,
                "from": ["values", "values"],
                "lengths": "lengths",
                "memory_lengths": "lengths",
                "mask": "causal",
            }
        }
    ],
]
ENDS: list[list[Any]] = [
    [{"Mean": {"dim": 1, "lengths": "lengths"}}],
    [{"Sum": {"dim": 1, "lengths": "lengths"}}],
    [{"Last": {"lengths": "lengths"}}],
    ["First"],
]


@pytest.mark.parametrize("layers", SEQUENCES, ids=lambda layers: next(iter(layers[0])))
def test_an_exported_sequence_is_that_of_the_model_for_any_batch(layers: list[Any]) -> None:
    model = built([*layers, {"Mean": {"dim": 1, "lengths": "lengths"}}], PADDED).eval()
    batch = torch.export.Dim("batch")
    sizes = {name: {0: batch} for name in PADDED}
    with torch.no_grad():
        program = torch.export.export(model, (PADDED,), dynamic_shapes=(sizes,)).module()
        for size in (1, 3):
            some = {name: values[:size] for name, values in PADDED.items()}
            torch.testing.assert_close(program(some), model(some))


@pytest.mark.parametrize("state", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    "kind", [{"RNN": {"nonlinearity": "relu"}}, {"RNN": {}}, {"GRU": {"bias": False}}, {"LSTM": {}}]
)
def test_an_exported_recurrent_layer_gives_values_and_states(
    kind: dict[str, Any], bidirectional: bool, state: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(name, arguments)] = kind.items()
    layer = getattr(recurrent, name)(8, 5, 2, batch_first=True, bidirectional=bidirectional, **arguments)
    begun = torch.rand(2 * (1 + bidirectional), 4, 5)
    given = None if not state else (begun, begun + 1) if name == "LSTM" else begun
    known = layer(VALUES, LENGTHS, given)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(layer(VALUES, LENGTHS, given), known)


@pytest.mark.parametrize("end", ENDS, ids=str)
@pytest.mark.parametrize("layers", SEQUENCES, ids=lambda layers: next(iter(layers[0])))
@pytest.mark.parametrize("training", [True, False])
def test_padding_does_not_change_what_comes_out(layers: list[Any], end: list[Any], training: bool) -> None:
    model = built([*layers, *end], PADDED).train(training)
    other = {"values": VALUES.masked_fill(BEYOND[:, :, None], 50.0), "lengths": LENGTHS}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        out = model(PADDED)
        assert torch.equal(model(other), out)
        for row, length in enumerate(LENGTHS):  # nor does it do so where there is none
            alone = {"values": VALUES[row : row + 1, :length], "lengths": length[None]}
            assert torch.allclose(model(alone)[0], out[row], atol=1e-6)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_recurrent_layers_with_lengths_have_the_numbers_of_packed_sequences(kind: str) -> None:
    arguments = {"hidden_size": 5, "num_layers": 2, "lengths": "lengths", "from": "values"}
    ours = built([{kind: arguments}], PADDED)
    plain = seeded(lambda: getattr(nn, kind)(8, 5, 2, batch_first=True))
    values, state = ours(PADDED)
    packed, expected_state = plain(pack_padded_sequence(VALUES, LENGTHS, batch_first=True, enforce_sorted=False))
    assert torch.equal(values, pad_packed_sequence(packed, batch_first=True)[0])
    assert all(map(torch.equal, tree_leaves(state), tree_leaves(expected_state)))


def test_lengths_of_tokens_are_those_without_the_padding_at_their_end() -> None:
    tokens = torch.tensor([[4, 0, 2, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
    assert built(["Lengths"], tokens)(tokens).tolist() == [3, 5, 1]
    assert built([{"Lengths": {"padding": 1}}], tokens)(tokens).tolist() == [5, 1, 5]


def test_a_classifier_of_padded_tokens_is_told_in_yaml() -> None:
    tokens = torch.randint(1, 9, (4, 7)).masked_fill(BEYOND, 0)
    layers = {
        "lengths": "Lengths",
        "embed": {"Embedding": {"num_embeddings": 9, "embedding_dim": 8, "padding_idx": 0, "from": "input"}},
        "rnn": {"GRU": {"hidden_size": 5, "lengths": "lengths"}},
        "values": {"Select": 0},
        "last": {"Last": {"lengths": "lengths"}},
        "head": {"Linear": 3},
    }
    model = built(layers, tokens)
    state = model.rnn(model.embed(tokens), LENGTHS)[1][-1]
    assert torch.equal(model(tokens), model.head(state))


def test_positions_are_added() -> None:
    learned, drawn = built(["Positions"]), seeded(lambda: nn.Embedding(7, 8))
    assert torch.equal(learned(VALUES), VALUES + drawn.weight)
    longer = built([{"Positions": {"kind": "sinusoidal", "length": 100}}])
    table = longer(torch.zeros(1, 7, 8))[0]
    assert torch.allclose(table[5, 4:6], torch.tensor([5 / 10000**0.5]).sin().tolist()[0] * torch.tensor([1.0, 0]) +
                          torch.tensor([0, 1.0]) * (torch.tensor(5 / 10000**0.5)).cos())  # fmt: skip
    assert not longer.state_dict()


def test_means_columns_and_the_token_of_a_class() -> None:
    images = torch.rand(4, 2, 3, 5)
    assert torch.equal(built([{"Sum": [2, 3]}], images)(images), images.sum((2, 3)))
    assert torch.equal(built([{"Mean": [2, 3]}], images)(images), images.mean((2, 3)))
    assert torch.equal(built([{"Mean": {"dim": -1, "keepdim": True}}], images)(images), images.mean(-1, keepdim=True))
    assert torch.equal(built([{"Sum": [2, 3]}], images)(images), images.sum((2, 3)))
    assert torch.equal(built([{"Max": {"dim": -1, "keepdim": True}}], images)(images), images.amax(-1, keepdim=True))
    lengths = torch.tensor([5, 0, 2, 1])
    for layer, expected in ((sequences.Sum(), VALUES[2, :2].sum(0)), (sequences.Max(), VALUES[2, :2].amax(0))):
        assert torch.equal(layer(VALUES, lengths)[2], expected)
        assert not layer(VALUES, lengths)[1].any()
    table = torch.tensor([[1.0, 2.5, 3.0], [4.0, 5.5, 6.0]])
    assert built([{"Columns": [0, -1]}], table)(table).tolist() == [[1.0, 3.0], [4.0, 6.0]]
    assert built([{"Columns": {"columns": 2, "indices": True}}], table)(table).tolist() == [3, 6]
    model = built(["ClassToken"])
    assert torch.equal(model(VALUES)[:, 1:], VALUES)
    assert torch.equal(model(VALUES)[:, 0], model[0].weight.expand(4, 8))


class Packs(nn.Module):
    """A layer of one's own that looks at lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 5, batch_first=True)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        packed = pack_padded_sequence(x["values"], x["lengths"], batch_first=True, enforce_sorted=False)
        values, _ = self.rnn(packed)
        y: Tensor = pad_packed_sequence(values, batch_first=True)[0]
        return y


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.model.layers.Packs", Packs, raising=False)
    before = lookup.is_users
    monkeypatch.setattr(lookup, "is_users", lambda value: value is Packs or before(value))


def test_a_layer_that_looks_at_numbers_is_planned_on_two_examples(packs: None) -> None:
    before = torch.random.get_rng_state()
    stack = planned(["Packs", {"Mean": 1}], PADDED)
    assert stack.layers[0].shape == (7, 5)
    assert stack.output.shape == (4, 5)
    assert stack.output.is_meta
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([{"TransformerEncoderLayer": {"nhead": 3}}], "d_model = 8 is not divisible by nhead = 3"),
        ([{"MultiheadAttention": 3}], "embed_dim = 8 is not divisible by num_heads = 3"),
        ([LAYER, {"Mask": "causal"}, {"Linear": 3}], "no layer comes after it in its stack that it masks"),
        ([{"Flatten": {}}, LAYER], "expected (N, length, features)"),
        ([{"Flatten": {}}, {"GRU": 3}], "(N, length, features)"),
        ([{"GRU": {"hidden_size": 3, "lengths": "nowhere"}}], "'nowhere' is no earlier layer"),
        ([{"Positions": {"length": 3}}], "the input has 7 steps, and there are 3 places"),
        ([{"RepeatVector": 2}], "expected (N, features)"),
        ([{"Flatten": {}}, {"TimeDistributed": [{"Linear": 2}]}], "expected (N, length, features)"),
        ([{"Mean": 0}], "dim=0 must name dimensions after the batch"),
        ([{"Mean": -3}], "counts the batch"),
        ([{"Columns": [0, 8]}], "there is no column 8"),
        ([{"TransformerEncoder": {"encoder_layer": [LAYER, LAYER], "num_layers": 2}}], "expected one layer, found 2"),
        ([LAYER, {"Mean": {"dim": 1, "lengths": "input"}}], "expected one whole number for each example"),
        ([{"TransformerDecoderLayer": {"nhead": 2}}], "takes more than one input"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(layers: Any, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        planned(layers)
    assert words in str(error.value)


def test_a_causal_convolution_sees_no_later_step_and_a_repeated_vector_is_every_step() -> None:
    x = torch.rand(2, 3, 9)
    conv = built([{"CausalConv1d": {"out_channels": 4, "kernel_size": 3, "dilation": 2}}], x)
    later = x.clone()
    later[:, :, 5:] = 0
    assert conv(x).shape == (2, 4, 9)
    assert torch.equal(conv(x)[:, :, :5], conv(later)[:, :, :5])
    assert not torch.equal(conv(x)[:, :, 5:], conv(later)[:, :, 5:])
    assert torch.equal(built([{"RepeatVector": 2}], x[:, 0])(x[:, 0]), torch.stack([x[:, 0]] * 2, 1))


def test_layers_at_each_step_are_those_of_the_steps_alone():
    frames = torch.rand(4, 3, 2, 6, 6)
    layers = [{"Conv2d": {"out_channels": 5, "kernel_size": 3}}, "BatchNorm2d", "ReLU", "Flatten", {"Linear": 7}]
    model = built([{"TimeDistributed": layers}, {"GRU": 3}, {"Select": 0}, "Last"], frames).eval()
    steps = model[0](frames)
    assert model(frames).shape == (4, 3)
    assert torch.allclose(steps, torch.stack([model[0].layers(frames[:, t]) for t in range(3)], 1), atol=1e-6)
