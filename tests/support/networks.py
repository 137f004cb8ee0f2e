"""Networks of recipes in experiments/, as one writes them in plain torch."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(width: int = 64, outputs: int = 10) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(64, width), nn.ReLU(), nn.Dropout(0.0)),
        *(nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.0)),
        nn.Linear(width, outputs),
    )


def cnn(width: int = 24, outputs: int = 10) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.1), nn.Linear(4 * width, outputs)),
    )


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.hidden = nn.Linear(64, 48), nn.Linear(64, 48), nn.Linear(96, 64)
        self.larger, self.digit = nn.Linear(64, 2), nn.Linear(48, 10)
        for layer in self.children():
            nn.init.xavier_uniform_(layer.weight, gain=1.4)
            nn.init.zeros_(layer.bias)

    def forward(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        left, right = self.left(x["left"].flatten(1)).relu(), self.right(x["right"].flatten(1)).relu()
        return self.larger(self.hidden(torch.cat([left, right], 1)).relu()), self.digit(left)


def pixels() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(24, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, 48, 3, padding=1), nn.ReLU()),
        *(nn.ConvTranspose2d(48, 24, 2, stride=2), nn.ReLU(), nn.Conv2d(24, 11, 1)),
    )


class Filtering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.pixel = nn.Embedding(200, 16), nn.Embedding(64, 16)
        self.body = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.body(torch.cat([self.image(x["image"]), self.pixel(x["pixel"])], 1))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.deep, self.up2 = nn.Conv2d(32, 32, 3, padding=1), nn.ConvTranspose2d(32, 32, 2, stride=2)
        self.conv4, self.up1 = nn.Conv2d(64, 16, 3, padding=1), nn.ConvTranspose2d(16, 16, 2, stride=2)
        self.conv5, self.mask = nn.Conv2d(33, 16, 3, padding=1), nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(x).relu()
        second = self.conv2(F.max_pool2d(first, 2)).relu()
        up = self.up2(self.deep(F.max_pool2d(second, 2)).relu())
        up = self.up1(self.conv4(torch.cat([up, second], 1)).relu())
        return self.mask(self.conv5(torch.cat([up, first, x], 1)).relu())


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 32, 2, stride=2)
        self.token = nn.Parameter(torch.empty(32).normal_(std=0.02))
        self.places = nn.Parameter(torch.randn(17, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(32), enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.patches(x).flatten(2).transpose(1, 2)
        steps = torch.cat([self.token.expand(len(x), 1, -1), steps], 1) + self.places
        return self.head(self.encoder(steps)[:, 0])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(32), nn.MultiheadAttention(32, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32))

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)
        h = self.norm1(x)
        x = x + self.attention(h, h, h, attn_mask=mask, is_causal=True, need_weights=False)[0]
        return x + self.mlp(x)


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(35, 32)
        self.places = nn.Parameter(torch.randn(32, 32))
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 35)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(x) + self.places))).transpose(1, 2)


class Letters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru, self.next = nn.Embedding(35, 32), nn.GRU(32, 96, batch_first=True), nn.Linear(96, 35)

    def forward(self, x: Tensor) -> Tensor:
        return self.next(self.gru(self.embed(x))[0]).transpose(1, 2)


class Tags(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.letters = nn.Embedding(27, 16)
        self.rnn, self.tag = nn.GRU(16, 32, batch_first=True, bidirectional=True), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        lengths = (x != 0).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(self.letters(x), lengths, True, enforce_sorted=False)
        each, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], True, total_length=x.shape[1])
        return self.tag(each).transpose(1, 2)


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.digit, self.parity = nn.Linear(64, 10), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"digit": self.digit(self.body(x)), "parity": self.parity(self.body(x))}


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
        self.decoder = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = self.encoder(x).chunk(2, 1)
        return self.decoder(mean + torch.randn_like(mean) * (variance / 2).exp()), mean, variance


class Ordinal(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(10, 1)
        self.first, self.steps = nn.Parameter(torch.tensor(-1.0)), nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        score = self.score(x)
        thresholds = self.first + torch.cat([torch.zeros(1), F.softplus(self.steps).cumsum(0)])
        edges = torch.cat([torch.zeros_like(score), torch.sigmoid(thresholds - score), torch.ones_like(score)], 1)
        return edges.diff(dim=1).clamp(min=1e-9).log()


def bounds() -> nn.Module:
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 3))
    model[2].bias.data = torch.tensor([90.0, 140.0, 210.0])
    return model


def frozen() -> nn.Module:
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)),
    )
    model[0].requires_grad_(False)
    return model


def conv(out: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(512, 32), nn.ReLU(), nn.Linear(32, out)),
    )


def lenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Upsample(size=28, mode="bilinear"), nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)),
    )


def line(*sizes: int, act: Any = nn.ReLU) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        return nn.Sequential(*(one for layer in layers[:-1] for one in (layer, act())), layers[-1])

    return make


def flat(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Flatten(), make())


def generator() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(16, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 256), nn.BatchNorm1d(256), nn.ReLU()),
        *(nn.Linear(256, 64), nn.Sigmoid()),
    )


def discriminator() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(64, 128), nn.LeakyReLU(0.2), nn.Dropout(0.4), nn.Linear(128, 64), nn.LeakyReLU(0.2)),
        *(nn.Dropout(0.4), nn.Linear(64, 1)),
    )
