"""Text of a recorded language model: each next token is drawn from what the model gives for the last place."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from runner.data import _vocabulary
from runner.model import host
from runner.settings.errors import ConfigError, brief
from runner.training.carrying import Memory


@dataclass(frozen=True)
class Draw:
    """The rule by which tokens are drawn.

    temperature: divides the logits; 0 takes the likeliest token. top_k: only among the k likeliest; None: all.
    """

    temperature: float = 1.0
    top_k: int | None = None

    def one(self, logits: Tensor, generator: torch.Generator) -> int:
        """Return the number of a token. logits: one for each token, of shape (tokens,)."""
        if self.temperature == 0:
            return int(logits.argmax())
        logits = logits.double() / self.temperature
        if self.top_k is not None:
            least = logits.topk(min(self.top_k, len(logits))).values[-1]
            logits = logits.masked_fill(logits < least, float("-inf"))
        return int(torch.multinomial(logits.softmax(0), 1, generator=generator))


@dataclass
class Language:
    """A model that gives logits for the next token at each place of a window, or for the last place alone.

    model: in evaluation mode; takes int64 of shape (1, tokens). notes: of its data, with `vocabulary` and `tokens`.
    window: tokens that it was trained on at once. carries: its recurrent layers keep their state between windows.
    """

    model: nn.Module
    notes: dict[str, Any]
    window: int
    carries: bool = False

    @torch.no_grad()
    def generate(self, prompt: str, length: int, draw: Draw, seed: int) -> str:
        """Return `prompt` with `length` drawn tokens behind it. Raises ConfigError for a prompt that it cannot read."""
        generator = torch.Generator().manual_seed(seed)
        given = self._read(prompt)
        numbers = given or [int(torch.randint(len(self.notes["vocabulary"]), (), generator=generator))]
        memory = Memory(self.model)
        memory.active, new = self.carries, numbers
        while len(numbers) < len(given) + length:
            # A model that carries its state has seen all before; another one sees a window at a time.
            seen = new if self.carries else numbers[-self.window :]
            new = [draw.one(self._logits(torch.tensor([seen])), generator)]
            numbers = numbers + new
        return prompt + self._text(prompt, numbers[len(given) :])

    def _read(self, prompt: str) -> list[int]:
        pieces = _vocabulary.split_up(prompt, self.notes["tokens"], self.notes["lower"])
        numbers: list[int] = host.numbers(_vocabulary.encode(pieces, self.notes, "prompt"))
        return numbers

    def _text(self, prompt: str, numbers: list[int]) -> str:
        text = _vocabulary.decode(torch.tensor(numbers, dtype=torch.int64), self.notes)
        apart = prompt and self.notes["tokens"] != "characters" and not prompt[-1].isspace()
        return f" {text}" if apart else text

    def _logits(self, x: Tensor) -> Tensor:
        """Return the logits of the next token: the model gives (1, vocabulary, tokens), or (1, vocabulary)."""
        count, seen = len(self.notes["vocabulary"]), x.shape[1]
        try:
            output = self.model(x)
        except Exception as error:
            least = f"it was trained on windows of {self.window}"
            why = f"the model takes no {seen} tokens ({brief(error)}); {least}, give a prompt of that many"
            raise ConfigError("prompt", why) from error
        if output.dim() == 3 and output.shape[1] >= count:
            return output[0, :count, -1]  # type: ignore[no-any-return]
        if output.dim() == 2 and output.shape[1] >= count:
            return output[0, :count]  # type: ignore[no-any-return]
        raise ConfigError(
            "run",
            f"its model gives {tuple(output.shape)} for (1, {seen}) tokens; expected (1, {count}, {seen}), a number for"
            f" each token of the vocabulary at each place, or (1, {count}) for the next one",
        )
