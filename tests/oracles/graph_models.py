"""Graph networks of torch_geometric: node features of many samples on one graph."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from oracles.real_models import Case

CASES: dict[str, Case] = {}
_NODES, _EDGES = 5, torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 3, 0]])


class OnGraph(nn.Module):
    """Two layers on node features (n, nodes, d), the nodes' mean, two outputs."""

    def __init__(self, first: nn.Module, second: nn.Module, dense: bool) -> None:
        super().__init__()
        self.first, self.second, self.head = first, second, nn.Linear(6, 2)
        adjacency = torch.zeros(1, _NODES, _NODES)
        adjacency[0, _EDGES[0], _EDGES[1]] = 1
        self.register_buffer("edges", adjacency if dense else _EDGES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.first(x, self.edges))
        return self.head(torch.tanh(self.second(y, self.edges)).mean(1))


def _add(kind: str, dense: bool = False, wrap: bool = False) -> None:
    def make() -> tuple[nn.Module, Any]:
        layer = getattr(importlib.import_module("torch_geometric.nn"), kind)
        layers = [layer(nn.Linear(a, b)) if wrap else layer(a, b) for a, b in ((4, 8), (8, 6))]
        return OnGraph(*layers, dense), torch.randn(3, _NODES, 4)

    CASES[f"torch_geometric {kind}"] = Case(("torch_geometric",), make)


for _kind in ("GCNConv", "SAGEConv", "GraphConv", "TAGConv", "LEConv", "ClusterGCNConv"):
    _add(_kind)
_add("GINConv", wrap=True)
for _kind in ("DenseGCNConv", "DenseSAGEConv", "DenseGraphConv"):
    _add(_kind, dense=True)
