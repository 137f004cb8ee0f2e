"""Digits as a graph of neighbours, after Kipf and Welling 2017, https://arxiv.org/abs/1609.02907."""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from runner.data import Data, Tensors
from runner.data.digits import digits


def graph(nodes: int = 600, labelled: int = 40, neighbours: int = 8) -> Data:
    """Return one example, the whole graph; of the nodes, so many have a label in training, as many in validation.

    x: features (1, nodes, 64) and adjacency (1, nodes, nodes), normalized. y: (1, nodes), -100 for no label in a part.
    """
    source = digits(flat=True).train
    pixels, y = source.x[:nodes], source.y[:nodes]
    unit = normalize(pixels)
    near = (unit @ unit.T).topk(neighbours + 1).indices  # each is the nearest to itself
    edges = torch.zeros(nodes, nodes).scatter(1, near, 1.0)
    edges = edges.maximum(edges.T)
    roots = edges.sum(1).rsqrt()
    x = {"features": pixels[None], "adjacency": (roots[:, None] * edges * roots)[None]}

    def part(begin: int, end: int) -> Tensors:
        labels = torch.full((1, nodes), -100)
        labels[0, begin:end] = y[begin:end]
        return Tensors(x, labels)

    return Data(part(0, labelled), part(labelled, 2 * labelled), part(2 * labelled, nodes))


class Neighbours(nn.Module):
    """Features of a node and its neighbours, each by the same weights: (N, nodes, in) becomes (N, nodes, out)."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Return the sums over neighbours, each times its edge."""
        y: Tensor = adjacency @ self.linear(x)
        return y
