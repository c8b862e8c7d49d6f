"""Real models, small and with random weights: what they need, how they are built, what is expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Case:
    """make: the model and its samples. output: as ``empirical_ntk`` takes it. refused: what is said
    where the model has no kernel, a pattern; empty where its kernel is exact. alone: whether torch
    differentiates a batch of one rightly."""

    needs: tuple[str, ...]
    make: Callable[[], tuple[torch.nn.Module, Any]]
    output: Any = None
    refused: str = ""
    alone: bool = True


def images(n: int = 3, shape: tuple[int, ...] = (3, 32, 32)) -> torch.Tensor:
    return torch.randn(n, *shape)


def token_ids(n: int = 3, length: int = 6, words: int = 20) -> torch.Tensor:
    return torch.randint(2, words, (n, length))


def padded(n: int = 4, length: int = 6, words: int = 20) -> dict[str, torch.Tensor]:
    """Token ids with a mask: the first sample is whole, the others end in padding."""
    lengths = torch.tensor([length, *torch.randint(2, length, (n - 1,)).tolist()])
    mask = (torch.arange(length) < lengths[:, None]).long()
    return {"input_ids": token_ids(n, length, words) * mask, "attention_mask": mask}
