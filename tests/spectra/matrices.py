"""Symmetric matrices with known eigenvalues, and random ones of every difficulty."""

from __future__ import annotations

import numpy as np
import torch

from ntkscope.kernels.hadamard import Factor, HadamardKernel, Term


def prescribed(eigenvalues, seed: int = 0) -> torch.Tensor:
    """QΛQᵀ with a random orthogonal Q; its eigenvalues are Λ to about n·u·max|Λ|."""
    values = np.asarray(eigenvalues, dtype=np.float64)
    n = len(values)
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    K = (Q * values) @ Q.T
    return torch.from_numpy((K + K.T) / 2)


def random_kernel(rng: np.random.Generator, n: int, dtype: torch.dtype) -> HadamardKernel:
    """A Hadamard kernel of two or three terms with random factors, sometimes of low rank."""

    def factor() -> Factor:
        width = int(rng.integers(1, n + 2))
        return Factor.symmetric(torch.from_numpy(rng.normal(size=(n, width))).to(dtype))

    terms = [Term("both", factor(), factor()), Term("features", factor(), None, 0.5)]
    if rng.random() < 0.5:
        terms.append(Term("signals", None, factor(), float(rng.random())))
    return HadamardKernel(terms)


KINDS = ("graded", "cluster", "low rank", "indefinite", "near duplicates", "diagonal", "plain")


def random_matrix(rng: np.random.Generator, n: int, kind: str) -> torch.Tensor:
    """A symmetric matrix of the kind, its condition number and its scale drawn at random."""
    span = rng.uniform(0, 16)
    values = 10.0 ** -(span * rng.random(n))
    if kind == "cluster":
        values[: max(1, n // 2)] = values.min() * (1 + 1e-9 * rng.random())
    elif kind == "indefinite":
        values[0] = -(10.0 ** -rng.uniform(0, 18))
    if kind == "low rank":
        F = rng.integers(-3, 4, size=(n, max(1, n - 1))).astype(float)
        K = F @ F.T
    elif kind == "near duplicates":
        F = rng.normal(size=(n, n + 2))
        F[-1] = F[0] + 10.0 ** -rng.uniform(3, 16) * rng.normal(size=n + 2)
        K = F @ F.T
    elif kind == "diagonal":
        K = np.diag(values)
    elif kind == "plain":
        F = rng.normal(size=(n, 2 * n))
        K = F @ F.T
    else:
        K = prescribed(values, int(rng.integers(1 << 30))).numpy()
    return torch.from_numpy((K + K.T) / 2 * 2.0 ** int(rng.integers(-40, 41)))
