"""Attention: torch's layers by their own names, with two arguments more, `mask: causal` and `lengths`.

They take the batch first. A step of an input with `mask: causal` sees itself and those before it; `lengths` are as in
`runner.model.sequences`. In evaluation torch computes some of them in one piece, whose last digits are others.
"""

import inspect
import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn

from runner.model.sequences import beyond

CAUSAL = "causal"


def _with_mask(kind: type[nn.Module], **further: Any) -> inspect.Signature:
    """Return the signature of torch's class with `mask`, and with further arguments, given with their defaults."""
    # Transformer's d_model has a default; here it follows from the input.
    own = inspect.signature(kind, eval_str=True)
    word = inspect.Parameter("mask", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Literal["causal"] | None)
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=type(default))
        for name, default in further.items()
    ]
    theirs = [one.replace(default=one.empty) if one.name == "d_model" else one for one in own.parameters.values()]
    return own.replace(parameters=[*theirs, word, *more])


class Mask(nn.Module):
    """Sets `mask` of all attention layers after it in its stack, and inside of those: `Mask: causal`.

    The sequence goes through as it is. Attention to another sequence, as of a decoder to its memory, is not masked.
    """

    def __init__(self, mask: Literal["causal"] = "causal") -> None:
        super().__init__()
        self.mask = mask

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x


class MultiheadAttention(nn.MultiheadAttention):
    """torch's layer, which attends to its own input where it has one, and gives its values alone.

    One input is query, key and value; of two the second is key and value.
    need_weights: return (values, weights), as torch does, with the weights' mean over all heads.
    lengths, of `forward`: those of the keys.
    """

    BESIDE = ("lengths",)
    __signature__ = _with_mask(nn.MultiheadAttention, need_weights=False)

    def __init__(self, *args: Any, mask: str | None = None, need_weights: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **{"batch_first": True, **kwargs})
        self.mask, self.need_weights = mask, need_weights

    def forward(  # type: ignore[override]
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        lengths: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Any:
        """Return values of shape (N, length, embed_dim), and with `need_weights` the weights, (N, length, keys)."""
        key = query if key is None else key
        value = key if value is None else value
        _check(query, key, value)
        causal = self.mask is not None and attn_mask is None
        if causal:
            attn_mask = later(query, key)
        if lengths is not None:
            key_padding_mask = padding(key, lengths, attn_mask)
        values, weights = super().forward(
            query, key, value, key_padding_mask, self.need_weights, attn_mask, is_causal=causal
        )
        return (values, weights) if self.need_weights else values


class _Layer(nn.Module):
    """A layer of torch's with `mask`, which takes the batch first."""

    def __init__(self, *args: Any, mask: str | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **{"batch_first": True, **kwargs})
        self.mask = mask


class _Decoding(nn.Module):
    """A decoder of torch's with lengths. `mask` is of the self-attention."""

    BESIDE = ("lengths", "memory_lengths")

    def forward(
        self, tgt: Tensor, memory: Tensor, *, lengths: Any = None, memory_lengths: Any = None, **masks: Any
    ) -> Tensor:
        """Return values of the first input's shape. masks: as torch's class takes them."""
        _check(tgt, memory)
        masks = _masks(self, tgt, memory, lengths, memory_lengths, masks)
        return super().forward(tgt, memory, **masks)  # type: ignore[no-any-return]


class TransformerEncoderLayer(_Layer, nn.TransformerEncoderLayer):
    """torch's layer: self-attention and two linear layers, each with a shortcut and a norm."""

    BESIDE = ("lengths",)
    __signature__ = _with_mask(nn.TransformerEncoderLayer)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Return values of the input's shape, (N, length, d_model)."""
        _check(src)
        if self.mask is not None and src_mask is None:
            src_mask, is_causal = later(src, src), True
        if lengths is not None:
            src_key_padding_mask = padding(src, lengths, src_mask)
        return super().forward(src, src_mask, src_key_padding_mask, is_causal)


class TransformerDecoderLayer(_Decoding, _Layer, nn.TransformerDecoderLayer):  # type: ignore[misc]
    """torch's layer: self-attention, attention to a memory, and two linear layers: `from: [x, memory]`.

    lengths, memory_lengths, of `forward`: those of the two inputs.
    """

    __signature__ = _with_mask(nn.TransformerDecoderLayer)


class TransformerEncoder(nn.TransformerEncoder):
    """torch's stack of `num_layers` copies of a layer, which begin with the same weights, and a norm at its end.

    enable_nested_tensor: false, where torch has true: it warns of being a prototype, and gives zeros for padding.

        TransformerEncoder: {encoder_layer: {TransformerEncoderLayer: {nhead: 4}}, num_layers: 2, mask: causal}
    """

    BESIDE = ("lengths",)
    __signature__ = _with_mask(nn.TransformerEncoder)

    def __init__(
        self,
        encoder_layer: nn.Module,
        num_layers: int,
        norm: nn.Module | None = None,
        enable_nested_tensor: bool = False,
        mask_check: bool = True,
        mask: str | None = None,
    ) -> None:
        super().__init__(_alone(encoder_layer), num_layers, norm and _alone(norm), enable_nested_tensor, mask_check)
        self.mask = mask

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Return values of the input's shape, (N, length, d_model)."""
        _check(src)
        if self.mask is not None and mask is None:
            mask, is_causal = later(src, src), True
        if lengths is not None:
            src_key_padding_mask = padding(src, lengths, mask)
        return super().forward(src, mask, src_key_padding_mask, is_causal)


class TransformerDecoder(_Decoding, nn.TransformerDecoder):  # type: ignore[misc]
    """torch's stack of `num_layers` copies of a layer that read one memory: `from: [x, memory]`."""

    __signature__ = _with_mask(nn.TransformerDecoder)

    def __init__(
        self, decoder_layer: nn.Module, num_layers: int, norm: nn.Module | None = None, mask: str | None = None
    ) -> None:
        super().__init__(_alone(decoder_layer), num_layers, norm and _alone(norm))
        self.mask = mask


class Transformer(nn.Transformer):
    """torch's encoder and decoder, `from: [source, target]`, both (N, length, d_model). `mask` is of the target.

    src_lengths, tgt_lengths, of `forward`: those of the two inputs.
    """

    BESIDE = ("src_lengths", "tgt_lengths")
    __signature__ = _with_mask(nn.Transformer)

    def __init__(self, *args: Any, mask: str | None = None, **kwargs: Any) -> None:
        with warnings.catch_warnings():  # that nested tensors, which are not used, could not be
            warnings.simplefilter("ignore", UserWarning)
            super().__init__(*args, **{"batch_first": True, **kwargs})
        if isinstance(self.encoder, nn.TransformerEncoder):
            self.encoder.enable_nested_tensor = self.encoder.use_nested_tensor = False
        self.mask = mask

    def forward(  # type: ignore[override]
        self, src: Tensor, tgt: Tensor, *, src_lengths: Any = None, tgt_lengths: Any = None, **masks: Any
    ) -> Tensor:
        """Return values of the target's shape. masks: as torch's module takes them."""
        _check(src, tgt)
        masks = _masks(self, tgt, src, tgt_lengths, src_lengths, masks)
        if src_lengths is not None:
            masks["src_key_padding_mask"] = masks["memory_key_padding_mask"]
        return super().forward(src, tgt, **masks)


#: Layers that `Mask: causal` is for.
MASKED = (
    MultiheadAttention, TransformerEncoderLayer, TransformerEncoder, TransformerDecoderLayer, TransformerDecoder,
    Transformer,
)  # fmt: skip


def later(query: Tensor, key: Tensor) -> Tensor:
    """Return what is added to attention before its softmax: -inf for the keys after a step; shape (steps, keys)."""
    return torch.full((query.shape[1], key.shape[1]), -torch.inf, dtype=query.dtype, device=query.device).triu(1)


def padding(key: Tensor, lengths: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mask of keys that are padding, of shape (N, keys) and the other mask's type, as torch wants it."""
    hidden = beyond(key, lengths)
    if mask is None or mask.dtype == torch.bool:
        return hidden
    return torch.zeros(hidden.shape, dtype=mask.dtype, device=mask.device).masked_fill(hidden, -torch.inf)


def _masks(layer: Any, tgt: Tensor, memory: Tensor, lengths: Any, memory_lengths: Any, masks: dict[str, Any]) -> Any:
    """Return a decoder's masks: those given, and those of its own."""
    if layer.mask is not None and masks.get("tgt_mask") is None:
        masks.update(tgt_mask=later(tgt, tgt), tgt_is_causal=True)
    if lengths is not None:
        masks["tgt_key_padding_mask"] = padding(tgt, lengths, masks.get("tgt_mask"))
    if memory_lengths is not None:
        masks["memory_key_padding_mask"] = padding(memory, memory_lengths, masks.get("memory_mask"))
    return masks


def _check(*inputs: Tensor) -> None:
    """Refuse what torch takes for one sequence, whose steps are then the examples, which would see each other."""
    if any(x.dim() != 3 for x in inputs):
        raise ValueError("expected (N, length, features)")
    if any(not x.is_floating_point() for x in inputs):
        raise ValueError("expected numbers with a decimal point; put an Embedding before it")


def _alone(stack: Any) -> Any:
    """Return the one layer of a stack, by the name that torch's state_dict has for it."""
    if not isinstance(stack, nn.Sequential):
        return stack
    if len(stack) != 1:
        raise ValueError(f"expected one layer, found {len(stack)}; put several into one Sequential")
    return stack[0]
