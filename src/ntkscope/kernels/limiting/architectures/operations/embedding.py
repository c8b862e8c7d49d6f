"""Embeddings: rows of a table, independent for different tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ntkscope.kernels.limiting.architectures.graph import CHANNELS, Law, Layout
from ntkscope.kernels.limiting.architectures.operation import Operation, Passed, State
from ntkscope.kernels.limiting.architectures.pairs import Pairing
from ntkscope.kernels.limiting.architectures.reading import Call, Made, reads


@dataclass(frozen=True, eq=False)
class Embedding(Operation):
    """S → β² [tokens equal], T → [tokens equal] where the table is learned."""

    table_variance: float
    learned: bool
    ntk: bool
    kind = "embedding"
    fresh = True

    def variance(self, inputs: list[Tensor], entries: list[Tensor]) -> Tensor:
        del entries
        return inputs[0] * self.table_variance

    def propagate(self, inputs: list[State], at: Pairing) -> Passed:
        del at
        seen = inputs[0].plain()
        tangent = None
        if self.learned:
            tangent = (1.0 - seen.distance).mul_(self.table_variance if self.ntk else 1.0)
        return Passed(seen.distance * self.table_variance, tangent)

    def describe(self) -> str:
        return f"embedding, β² = {self.table_variance:.3g}"


@reads(
    F.embedding,
    names="input weight padding_idx max_norm norm_type scale_grad_by_freq sparse",
    defaults={"padding_idx": None, "max_norm": None, "scale_grad_by_freq": False},
)
def _read_embedding(call: Call) -> Made:
    tokens, weight = call["input"], call.parameter(call["weight"])
    if weight is None:
        raise call.refuse("its table is not a parameter of the model")
    if call["padding_idx"] is not None:
        raise call.refuse("its padding row is not drawn as the others are; leave padding_idx out")
    if call["max_norm"] is not None or call["scale_grad_by_freq"]:
        raise call.refuse("max_norm and scale_grad_by_freq change the table by the data")
    if call.node(tokens) is not None or tokens.ndim < 2:
        raise call.refuse(f"its tokens have the shape {tuple(tokens.shape)}")
    k = tokens.ndim - 1
    places = tuple((a,) for a in range(k))
    call.enter_as(tokens, Layout(1, tuple(tokens.shape[1:]), places))
    layout = Layout(call.out.shape[-1], tuple(tokens.shape[1:]), (*places, (CHANNELS,)))
    operation = Embedding(weight.variance, weight.learned, call.ntk)
    return Made(operation, (tokens,), layout, Law.GAUSSIAN, origin=True)
