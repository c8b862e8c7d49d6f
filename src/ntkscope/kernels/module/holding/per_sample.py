"""Per-sample gradients of any model: by ``vmap`` where it takes the model, by a loop elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import vjp, vmap

from ntkscope.kernels.module.reading.plain import flat, gradient_rows
from ntkscope.kernels.module.reading.subject import Inputs, Parameters, Subject, take

_PIECE = 64e6  # bytes of gradients that one vmap leaves: larger ones leave the caches sooner
_LEAST = 8  # samples in it


@dataclass(frozen=True, eq=False)
class PerSample:
    """∂f_c(x_i)/∂p for the ``outputs`` c of ``subject``. ``batched``: whether vmap takes the model."""

    subject: Subject
    outputs: tuple[int, ...]
    batched: bool

    def gradients(self, own: Parameters, inputs: Inputs) -> dict[str, Tensor]:
        """For each parameter (n, C, P).

        By vmap, if autograd's gradients of a sample of each piece agree; one by one otherwise. Some
        batching rules fail or return wrong gradients only where sizes happen to agree (torch's for
        PReLU), so a trial on other samples says nothing about these.
        """
        if not self.batched:
            return self.looped(own, inputs)
        n = len(inputs[0])
        step = self._piece(own, n)
        made = {name: p.new_empty(n, len(self.outputs), p.numel()) for name, p in own.items()}
        verified = set()
        try:
            for i in range(0, n, step):
                part = take(inputs, slice(i, min(i + step, n)))
                for name, g in self.vmapped(own, part).items():
                    if g.shape[1:] != made[name].shape[1:] or len(g) != len(part[0]):
                        return self.looped(own, inputs)
                    made[name][i : i + step] = g
                if len(part[0]) not in verified and self._sums_differ(made, own, part, i):
                    return self.looped(own, inputs)
                verified.add(len(part[0]))
        except RuntimeError:
            return self.looped(own, inputs)
        return made

    def _piece(self, own: Parameters, n: int) -> int:
        each = sum(p.numel() * p.element_size() for p in own.values()) * len(self.outputs)
        return min(n, max(_LEAST, int(_PIECE / each)))

    def _sums_differ(
        self, made: dict[str, Tensor], own: Parameters, part: Inputs, place: int
    ) -> bool:
        """Of the first sample of ``part``, which lies at ``place``: Σ_c r_c ∂f_c/∂p for random r."""
        generator = torch.Generator().manual_seed(place)
        kind = next(iter(own.values()))
        r = torch.randn(len(self.outputs), generator=generator, dtype=torch.float64).to(kind)
        with self.subject.autograd() as (leaves, run):
            single = run(take(part, slice(0, 1)))[0]
            plain: Sequence[Tensor | None] = [None] * len(own)
            if single.requires_grad:
                weighted = single[list(self.outputs)] @ r
                plain = torch.autograd.grad(weighted, [leaves[n] for n in own], allow_unused=True)
        return any(
            bool(
                difference_of(
                    r @ made[name][place], kind.new_zeros(()) if g is None else flat(g).detach()
                )
            )
            for name, g in zip(own, plain, strict=True)
        )

    def vmapped(self, own: Parameters, inputs: Inputs) -> dict[str, Tensor]:
        """Of all samples at once."""
        basis = self._basis(inputs)

        def of_sample(sample: Inputs) -> Parameters:
            pull = vjp(lambda p: self.subject(p, tuple(t[None] for t in sample))[0], own)[1]
            return vmap(lambda e: pull(e)[0])(basis)

        with warnings.catch_warnings():  # vmap warns where it falls back on a loop of its own
            warnings.simplefilter("ignore")
            made = vmap(of_sample)(inputs)
        return {name: g.detach().reshape(len(g), len(self.outputs), -1) for name, g in made.items()}

    def _basis(self, inputs: Inputs) -> Tensor:
        total = self.subject({}, take(inputs, slice(0, 1))).shape[1]
        subject, count = self.subject, len(self.outputs)
        basis = torch.zeros(count, total, dtype=subject.dtype, device=subject.device)
        basis[torch.arange(count), list(self.outputs)] = 1.0
        return basis

    def looped(self, own: Parameters, inputs: Inputs) -> dict[str, Tensor]:
        """Plain autograd on one sample and output at a time."""
        n, C = len(inputs[0]), len(self.outputs)
        made = {name: p.new_empty(n, C, p.numel()) for name, p in own.items()}
        with self.subject.autograd() as (leaves, run):
            chosen = {name: leaves[name] for name in own}
            for i in range(n):
                single = run(take(inputs, slice(i, i + 1)))[0]
                for name, gradient in gradient_rows(single, chosen, self.outputs).items():
                    made[name][i] = gradient
        return made


def difference_of(made: Tensor, plain: Tensor) -> float:
    """The largest, where it exceeds half of the digits; 0 otherwise."""
    difference = float((made - plain).abs().max())
    slack = torch.finfo(plain.dtype).eps ** 0.5 * float(plain.abs().max())
    return 0.0 if difference <= slack else difference


def batching_fails(
    subject: Subject, names: Sequence[str], inputs: Inputs, outputs: tuple[int, ...]
) -> str:
    """Why vmap cannot take this model, tried on three samples and two outputs; empty where it can."""
    part = take(inputs, slice(0, 3))
    own = {name: subject.parameters[name] for name in names}
    trial = PerSample(subject, outputs[:2], True)
    try:
        made = trial.vmapped(own, part)
    except (RuntimeError, NotImplementedError, TypeError, IndexError, AttributeError) as error:
        return str(error).strip().splitlines()[0][:120] or type(error).__name__
    for name, plain in trial.looped(own, part).items():
        if made[name].shape != plain.shape:
            return f"vmap's gradients of {name} have another shape than autograd's"
        difference = difference_of(made[name], plain)
        if difference:
            return f"vmap's gradients of {name} differ from autograd's by {difference:.2g}"
    return ""
