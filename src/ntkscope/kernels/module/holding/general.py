"""The way that needs no knowledge of the layers: per-sample gradients and products by torch.func.

``vmap`` over samples where the model allows it, one sample at a time where it does not (values
read in the forward pass, operations without a batching rule). Gradients are made for a group of
parameters and a chunk of samples at a time, contracted, and dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.func import jvp, vjp
from torch.nn.attention import SDPBackend, sdpa_kernel

from ntkscope.kernels.module.holding.per_sample import PerSample
from ntkscope.kernels.module.holding.triangle import add_upper, mirror
from ntkscope.kernels.module.reading.modes import ordinary, with_gradients
from ntkscope.kernels.module.reading.plain import differences, summed_gradients
from ntkscope.kernels.module.reading.subject import Inputs, Parameters, Subject, take

# whether derivatives agree, by parameters and by the inputs of rows and columns
Agreed = dict[tuple[frozenset[str], int, int], bool]


@dataclass(frozen=True, eq=False)
class General:
    """Per-sample gradients of ``subject`` for the rows and columns of a kernel.

    outputs: which ones. full: keep their pairs apart. batched: whether vmap works; otherwise
    ``reason`` says why not. budget: bytes for gradients at a time. checked: hold products against autograd
    before the first one. agree: what that found.
    """

    subject: Subject
    inputs: tuple[Inputs, Inputs]
    outputs: tuple[int, ...]
    full: bool
    batched: bool
    reason: str
    budget: float
    chunk: int | None = None
    checked: bool = True
    agree: Agreed = field(default_factory=dict)

    @property
    def symmetric(self) -> bool:
        return self.inputs[0] is self.inputs[1]

    @property
    def lead(self) -> int:
        """Rows of the kernel for one sample."""
        return len(self.outputs) if self.full else 1

    @property
    def samples(self) -> tuple[int, int]:
        return len(self.inputs[0][0]), len(self.inputs[1][0])

    @property
    def T(self) -> General:
        return replace(self, inputs=self.inputs[::-1])

    def side(self, which: int) -> General:
        """The rows (0) or the columns (1) with themselves."""
        return replace(self, inputs=(self.inputs[which],) * 2)

    def select(self, rows: slice | Tensor, cols: slice | Tensor) -> General:
        """The same for some of the samples."""
        left = take(self.inputs[0], rows)
        same = self.symmetric and _same(rows, cols)
        right = left if same else take(self.inputs[1], cols)
        return replace(self, inputs=(left, right), agree={})

    @with_gradients
    def gradients(self, names: Sequence[str], side: int, rows: slice) -> dict[str, Tensor]:
        """For each parameter (n, C, P) at samples ``rows``.

        Raises ValueError where a gradient is not finite.
        """
        part = take(self.inputs[side], rows)
        own = {name: self.subject.parameters[name] for name in names}
        made = PerSample(self.subject, self.outputs, self.batched).gradients(own, part)
        for name, gradient in made.items():
            # a finite sum has finite summands, and takes one reading
            if not bool(torch.isfinite(gradient.sum()) or torch.isfinite(gradient).all()):
                raise ValueError(
                    f"the gradients of {name} are NaN or infinite on these data; check for a "
                    "division by zero or the root of zero in the forward pass"
                )
        return made

    def add(self, names: Sequence[str], out: Tensor) -> None:
        """Add the kernel of ``names`` to ``out``: all parts, of a symmetric kernel too."""
        N, M = self.samples
        for group, step in self._groups(names):
            for i in range(0, N, step):
                here = slice(i, min(i + step, N))
                left = self._flat(self.gradients(group, 0, here))
                if self.symmetric:
                    self._add_products(out, left, left, i, i)
                for j in range(here.stop if self.symmetric else 0, M, self._beside(step)):
                    there = slice(j, min(j + self._beside(step), M))
                    right = self._flat(self.gradients(group, 1, there))
                    self._add_products(out, left, right, i, j)
                    del right
                del left
        if self.symmetric:
            mirror(out)

    def _add_products(
        self, out: Tensor, left: list[Tensor], right: list[Tensor], i: int, j: int
    ) -> None:
        """Into the block of ``out`` that begins at samples (i, j); upper panels of one with itself."""
        rows = slice(i * self.lead, i * self.lead + len(left[0]))
        cols = slice(j * self.lead, j * self.lead + len(right[0]))
        for a, b in zip(left, right, strict=True):
            if a is b:
                add_upper(out[rows, cols], a, a)
            else:
                out[rows, cols].addmm_(a, b.T)

    def _beside(self, step: int) -> int:
        """Samples on the other side of a block of ``step``.

        A loop makes each sample's gradients again for every block, so its blocks are few and long.
        """
        return step if self.batched else max(1, step // 8)

    def _groups(self, names: Sequence[str]) -> list[tuple[list[str], int]]:
        """Parameters to differentiate together, and samples at a time, within the budget.

        All samples at once when the gradients of one parameter at a time fit, else blocks of
        samples, whose gradients are made again for each pair of blocks. A loop pays a pass for
        each sample and group: it takes all parameters in one group where that makes fewer.
        """
        N = max(self.samples)
        room = self.budget * (0.75 if not self.batched else 0.5 if self.symmetric else 0.25)
        each = len(self.outputs) * self.subject.dtype.itemsize
        sizes = {n: self.subject.parameters[n].numel() * each for n in names}
        limit = N if self.chunk is None else min(N, self.chunk)
        if limit < N:
            return [(list(names), limit)]
        together = [(list(names), self._fitting(names, sizes, room))]
        apart: list[tuple[list[str], int]] = []
        group: list[str] = []
        for name in names:
            if group and N * sum(sizes[n] for n in (*group, name)) > room:
                apart.append((group, self._fitting(group, sizes, room)))
                group = []
            group.append(name)
        apart.append((group, self._fitting(group, sizes, room)))
        fewer = not self.batched and self._passes(together) < self._passes(apart)
        return together if fewer else apart

    def _passes(self, groups: Sequence[tuple[Sequence[str], int]]) -> int:
        """Samples passed through the model by :meth:`add`, each as often as it is."""
        N, M = self.samples
        total = 0
        for _, step in groups:
            for i in range(0, N, step):
                rest = N - i if self.symmetric else min(step, N - i) + M
                total += rest
        return total

    def seconds(self, names: Sequence[str]) -> float:
        """What the gradients behind :meth:`add` will take, from timing one and a few samples.

        Their products are not counted.
        """
        groups = self._groups(names)
        group, step = max(groups, key=lambda g: len(g[0]))
        few = min(8, step, *self.samples)
        self.gradients(group, 0, slice(0, 1))  # the first pass pays for what later ones reuse
        several = _clock(lambda: self.gradients(group, 0, slice(0, few)))
        if few == 1 or not self.batched:
            return several / few * self._passes(groups)
        one = _clock(lambda: self.gradients(group, 0, slice(0, 1)))
        each = max(0.0, several - one) / (few - 1)
        N, M = self.samples
        blocks = [(-(-N // s), -(-M // s)) for _, s in groups]
        calls = sum(n * (n + 1) // 2 if self.symmetric else n * (m + 1) for n, m in blocks)
        return each * self._passes(groups) + max(0.0, one - each) * calls

    def _fitting(self, group: Sequence[str], sizes: dict[str, int], room: float) -> int:
        return max(1, min(max(self.samples), int(room / sum(sizes[n] for n in group))))

    def _flat(self, made: dict[str, Tensor]) -> list[Tensor]:
        return [g.flatten(0, 1) if self.full else g.flatten(1) for g in made.values()]

    def diagonal(self, names: Sequence[str]) -> Tensor:
        """K_ii of the parameters ``names``."""
        N = self.samples[0]
        total = torch.zeros(N * self.lead, dtype=self.subject.dtype, device=self.subject.device)
        for group, step in self._groups(names):
            for i in range(0, N, step):
                for g in self._flat(self.gradients(group, 0, slice(i, min(i + step, N)))):
                    total[i * self.lead : i * self.lead + len(g)] += torch.linalg.vecdot(g, g)
        return total

    @with_gradients
    def apply(self, names: Sequence[str], V: Tensor, chunk: int) -> Tensor:
        """K V by a backward and a forward derivative for each column (and output): no Jacobian.

        Models that vmap refuses, that have no forward derivative, or whose derivatives disagree (a hook, a
        gradient that follows from the batch) take their per-sample gradients instead.
        """
        V = ordinary(V)
        own = {name: self.subject.parameters[name] for name in names}
        if not self.batched or not self._has_derivatives(own, chunk):
            return self._apply_by_gradients(names, V)
        columns = []
        for v in V.T:
            weights = v.reshape(self.samples[1], self.lead)
            if self.full:
                columns.append(self._product(own, list(self.outputs), weights, chunk).reshape(-1))
                continue
            parts = [self._product(own, [o], weights, chunk)[:, 0] for o in self.outputs]
            columns.append(torch.stack(parts).sum(0))
        return torch.stack(columns, dim=1)

    def _product(self, own: Parameters, outputs: list[int], v: Tensor, chunk: int) -> Tensor:
        """J (Jᵀ v) for v: (M, len(outputs)) → (N, len(outputs))."""
        return self._pushed(own, outputs, self._pulled(own, outputs, v, 1, chunk), chunk)

    def _pulled(
        self, own: Parameters, outputs: list[int], v: Tensor, side: int, chunk: int
    ) -> Parameters:
        """Jᵀ v of one side's samples."""
        core = {name: torch.zeros_like(p) for name, p in own.items()}
        for i in range(0, self.samples[side], chunk):
            rows = slice(i, i + chunk)
            pull = vjp(self._outputs_of(take(self.inputs[side], rows), outputs), own)[1]
            for name, gradient in pull(v[rows].contiguous())[0].items():
                core[name] += gradient
        return core

    def _pushed(self, own: Parameters, outputs: list[int], core: Parameters, chunk: int) -> Tensor:
        """J core of the rows."""
        done = []
        for i in range(0, self.samples[0], chunk):
            run = self._outputs_of(take(self.inputs[0], slice(i, i + chunk)), outputs)
            with sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward derivative
                done.append(jvp(run, (own,), (core,))[1])
        return torch.cat(done)

    def _outputs_of(self, inputs: Inputs, outputs: list[int]) -> Callable[[Parameters], Tensor]:
        return lambda parameters: self.subject(parameters, inputs)[:, outputs]

    def _has_derivatives(self, own: Parameters, chunk: int) -> bool:
        names, sides = frozenset(own), (id(self.inputs[0]), id(self.inputs[1]))
        for (known, *others), agreed in self.agree.items():
            # sums of random weights agree where each parameter's do
            if tuple(others) == sides and (known == names or (agreed and names < known)):
                return agreed
        found = self._has_forward_derivative(own)
        agreed = found and (not self.checked or self._agree(own, chunk))
        self.agree[(names, *sides)] = agreed
        return agreed

    def _agree(self, own: Parameters, chunk: int) -> bool:
        """Whether Jᵀ v is plain autograd's in other batches, and u·(J w) = (Jᵀ u)·w for random u, v."""
        outputs, (N, M) = list(self.outputs), self.samples
        generator = torch.Generator().manual_seed(0)
        u, v = (
            torch.randn(n, len(outputs), generator=generator, dtype=torch.float64).to(
                dtype=self.subject.dtype, device=self.subject.device
            )
            for n in (N, M)
        )
        core, eps = self._pulled(own, outputs, v, 1, chunk), torch.finfo(u.dtype).eps
        others = min(M, max(2, -(-2 * M // chunk)))  # of another size
        plain = {name: torch.zeros_like(w).flatten() for name, w in core.items()}
        for k in range(others):
            part = take(self.inputs[1], slice(k, M, others))
            for name, g in summed_gradients(self.subject, part, outputs, v[k::others], [*own])[
                1
            ].items():
                plain[name] += g
        if differences({name: w.flatten() for name, w in core.items()}, plain, eps):
            return False
        pushed, pulled = (
            self._pushed(own, outputs, core, chunk),
            self._pulled(own, outputs, u, 0, chunk),
        )
        terms = [float((pulled[name] * w).sum()) for name, w in core.items()]
        scale = float(u.norm() * pushed.norm()) + sum(map(abs, terms))
        return abs(float((u * pushed).sum()) - sum(terms)) <= eps**0.5 * scale

    def _has_forward_derivative(self, own: Parameters) -> bool:
        run = self._outputs_of(take(self.inputs[0], slice(0, 1)), [0])
        try:
            with sdpa_kernel(SDPBackend.MATH):
                jvp(run, (own,), (own,))
        except (RuntimeError, NotImplementedError):
            return False
        return True

    def _apply_by_gradients(self, names: Sequence[str], V: Tensor) -> Tensor:
        out = V.new_zeros(self.samples[0] * self.lead, V.shape[1])
        for group, step in self._groups(names):
            core: list[Tensor] | None = None
            for i in range(0, self.samples[1], step):
                made = self._flat(self.gradients(group, 1, slice(i, i + step)))
                rows = slice(i * self.lead, i * self.lead + len(made[0]))
                parts = [g.T @ V[rows] for g in made]
                core = parts if core is None else [a + b for a, b in zip(core, parts, strict=True)]
            assert core is not None
            for i in range(0, self.samples[0], step):
                if not (self.symmetric and step >= self.samples[0]):
                    made = self._flat(self.gradients(group, 0, slice(i, i + step)))
                rows = slice(i * self.lead, i * self.lead + len(made[0]))
                for g, c in zip(made, core, strict=True):
                    out[rows] += g @ c
        return out


def _same(rows: slice | Tensor, cols: slice | Tensor) -> bool:
    if isinstance(rows, slice) or isinstance(cols, slice):
        return rows == cols if type(rows) is type(cols) else False
    return torch.equal(rows, cols)


def _clock(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
