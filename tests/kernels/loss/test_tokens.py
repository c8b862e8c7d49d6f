"""The cross-entropy of tokens: scores (N, T, C), classes (N, T), and −100 where none counts."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ntkscope as ntk
from oracles.gauss_newton import gauss_newton, hessian

N, T, C = 4, 3, 5
LABELS = torch.tensor([[0, 1, 2], [-100, 4, 4], [3, -100, -100], [1, 0, 2]])


class Tagger(nn.Module):
    """Tokens that see those before them."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(7, 4), nn.Linear(4, C)

    def forward(self, input_ids):
        return self.head(torch.tanh(self.words(input_ids).cumsum(dim=1)))


def setting():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tagger().double()
    return model, torch.arange(N * T).reshape(N, T) % 7


def by_token(scores, labels):
    return F.cross_entropy(scores.reshape(N * T, C), labels.flatten())


class Flat(nn.Module):
    """The same with one axis of outputs, for the oracles."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).flatten(1)


@pytest.mark.parametrize("labels", [LABELS, LABELS.clamp_min(0)], ids=["ignored", "all"])
def test_the_eigenvalues_are_those_of_the_gauss_newton_matrix_of_tokens(labels):
    model, ids = setting()
    K = ntk.gauss_newton_kernel(model, {"input_ids": ids, "labels": labels})
    count = int((labels >= 0).sum())
    assert K.shape == (count * (C - 1),) * 2
    assert K.labels == ("token", "direction")
    G = torch.linalg.eigvalsh(gauss_newton(Flat(model), (ids,), labels, by_token)).flip(0)
    found = torch.linalg.eigvalsh(K.dense()).flip(0)
    bar = K.forming_error() + 1e-13 * float(G[0])
    least = min(len(G), len(found))
    assert float((G[:least] - found[:least]).abs().max()) <= bar
    assert float(torch.cat([G[least:], found[least:]]).abs().max()) <= bar
    assert K.at.value == pytest.approx(float(by_token(model(ids), labels).detach()), rel=1e-13)


def test_parts_and_products_agree_with_the_matrix():
    model, ids = setting()
    K = ntk.gauss_newton_kernel(model, ids, LABELS)
    dense = K.dense()
    v = torch.randn(len(K), 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    close = {"rtol": 1e-12, "atol": 1e-15}
    assert torch.allclose(K @ v, dense @ v, **close)
    assert torch.allclose(K.diagonal(), dense.diagonal(), **close)
    assert torch.allclose(K.tile([1, 9, 30], slice(3, 20)), dense[[1, 9, 30], 3:20], **close)
    parts = sum(K.term(term.name).dense() for term in K.terms)
    assert torch.allclose(parts, dense, **close)
    lazy = ntk.gauss_newton_kernel(model, ids, LABELS, general=True, max_memory=1e6)
    assert torch.allclose(lazy @ v, dense @ v, **close)


def test_a_token_weighs_as_a_sample_of_its_own():
    """One token a sample is the cross-entropy of samples, ignored ones left out."""
    model, ids = setting()
    kept = LABELS[:, 0] >= 0
    one = ntk.gauss_newton_kernel(model, ids[:, :1], LABELS[:, :1])
    plain = ntk.gauss_newton_kernel(
        model, ids[kept][:, :1], LABELS[kept, 0], output=lambda out: out[:, 0]
    )
    assert torch.allclose(one.dense(), plain.dense(), rtol=1e-12, atol=1e-15)
    samples = ntk.gauss_newton_kernel(model, ids[:, :1], LABELS[:, 0], output=lambda out: out[:, 0])
    assert samples.labels == ("sample", "direction")
    assert torch.equal(samples.dense(), one.dense())


def test_probabilities_of_tokens():
    model, ids = setting()
    soft = torch.softmax(torch.linspace(-1, 1, N * T * C, dtype=torch.float64).reshape(N, T, C), -1)
    found = torch.linalg.eigvalsh(ntk.gauss_newton_kernel(model, ids, soft).dense())[-1]
    G = gauss_newton(
        Flat(model), (ids,), soft,
        lambda f, y: F.cross_entropy(f.reshape(N * T, C), y.reshape(N * T, C)),
    )  # fmt: skip
    assert float(found) == pytest.approx(float(torch.linalg.eigvalsh(G)[-1]), rel=1e-12)


def test_sharpness_and_inspection_count_tokens():
    model, ids = setting()
    H = torch.linalg.eigvalsh(hessian(Flat(model), (ids,), LABELS, by_token))[-1]
    for chunk in (None, 3):
        found = ntk.sharpness(model, ids, LABELS, tol=1e-7, chunk_size=chunk)
        assert found.value == pytest.approx(float(H), rel=1e-6)
    report = ntk.inspect(model, {"input_ids": ids, "labels": LABELS}, loss="cross_entropy")
    loss, K = report.loss, ntk.gauss_newton_kernel(model, ids, LABELS)
    assert loss.unit == "token"
    blocks = K.dense().reshape(9, C - 1, 9, C - 1)
    steepest = max(float(torch.linalg.matrix_norm(blocks[k, :, k], ord=2)) for k in range(9))
    assert loss.any_batch_step == pytest.approx(2 / (9 * steepest), rel=1e-6)
    assert "largest curvature of one token" in report.to_html()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS[:, 0], r"\(4, 3\) classes or \(4, 3, 5\) probabilities.*classes last"),
        (torch.full_like(LABELS, -100), "every target is -100"),
        (LABELS.clamp_min(-1), "class -1"),
        (LABELS + 2, "class -98"),
        (LABELS + 0.5, "fractions"),
        (torch.ones(N, T, C) / 4, "sum 1"),
    ],
)
def test_labels_that_do_not_fit_tokens(labels, words):
    model, ids = setting()
    with pytest.raises(ValueError, match=words):
        ntk.gauss_newton_kernel(model, ids, labels)


def test_a_vocabulary_of_fifty_thousand_words():
    """No matrix of C² numbers: λ_max, its edge and the trace of the Gauss-Newton matrix from products."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 3), nn.Linear(3, 50_000, bias=False)).double()
    ids, words = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[7, 49_999], [-100, 5]])
    found = ntk.sharpness(
        model, ids, words, gauss_newton=True, params="0.weight", tol=1e-8, max_products=20
    )
    # J of the embeddings is W: G has the blocks Wᵀ(diag p − p pᵀ)W/3 of the tokens that count
    table, W = (p.detach() for p in model.parameters())
    blocks = []
    for token in (1, 2, 4):
        p = torch.softmax(table[token] @ W.T, dim=0)
        mean = p @ W
        blocks.append((W * p[:, None]).T @ W / 3 - torch.outer(mean, mean) / 3)
    G = torch.block_diag(*blocks)
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(G)[-1]), rel=1e-7)
    low, high = found.edge_interval
    assert low * (1 - 1e-12) <= 2 / float(torch.linalg.eigvalsh(G)[-1]) <= high * (1 + 1e-12)
    assert abs(found.trace.value - float(G.trace())) <= 4 * found.trace.stderr
    with pytest.raises(MemoryError, match=r"100000 outputs of one sample.*gauss_newton=True"):
        ntk.gauss_newton_kernel(model, ids, words)
