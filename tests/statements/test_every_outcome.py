"""Every statement on instances at the edge: nothing "holds" that could not have failed, nothing crashes."""

import pytest

import ntkscope as ntk
from ntkscope.statements.instance import Instance
from ntkscope.statements.outcomes import ClaimOutcome, Outcome
from ntkscope.statements.registry import papers, statements

NETWORKS = {
    "nguyen2021": ("relu", "he", "standard", ntk.data.Gaussian),
    "bombari2022": ("tanh", "bombari2022", "standard", ntk.data.Gaussian),
    "banerjee2023": ("tanh", "banerjee2023", "ntk", ntk.data.Sphere),
    "karhadkar2024": ("relu", "he", "ntk", ntk.data.Sphere),
    "fanwang2020": ("tanh", "lecun", "ntk", ntk.data.Sphere),
}
# (d, widths, N, rows that repeat the first)
EDGES = {
    "duplicated row": ((5, 12, 12, 1), 8, 1),
    "more samples than parameters": ((2, 2, 2, 1), 16, 0),
    "one sample": ((5, 12, 12, 1), 1, 0),
    "one input": ((1, 12, 12, 1), 4, 0),
    "one hidden layer": ((5, 16, 1), 8, 0),
    "five hidden layers": ((5, 10, 10, 10, 10, 10, 1), 6, 0),
}
SINGULAR = ("duplicated row", "more samples than parameters")


def instance(paper, edge):
    widths, N, repeated = EDGES[edge]
    activation, init, parameterization, law = NETWORKS[paper]
    distribution = law(widths[0])
    X = distribution.sample(N, 0)
    X[1 : 1 + repeated] = X[0]
    net = ntk.Network(list(widths), activation, init, parameterization)
    return Instance(net, X, distribution=distribution, samples=64, trials=3)


def decided_by(verdict):
    """What the outcome "holds" rests on: the conclusions, of a lemma the steps."""
    certain = [c for c in verdict.conclusions if c.promised is None]
    chosen = certain or verdict.conclusions or [c for c in verdict.steps if not c.tautology]
    return [c for c in chosen if c.outcome is ClaimOutcome.HOLDS]


def about_least_eigenvalue(claim):
    """λ_min of K, or of JJᵀ, from below."""
    return claim.relation == "≥" and claim.name.startswith(("λ_min(K)", "λ_min(JJᵀ)", "K ⪰"))


def audit(verdict, singular):
    for claim in verdict.claims:
        if claim.outcome is ClaimOutcome.HOLDS:
            size = max(abs(claim.left.value), abs(claim.right.value), claim.scale)
            assert claim.allowance < size, claim
            assert claim.slack >= -claim.allowance - 6 * claim.spread, claim
            assert not (claim.concludes and claim.tautology), claim
            assert not (singular and claim.concludes and about_least_eigenvalue(claim)), claim
    if verdict.outcome is Outcome.HOLDS:
        assert decided_by(verdict), verdict.id
    if singular:
        for constant in verdict.constants:
            if constant.concludes and constant.order == "Ω" and constant.name == "λ_min(K)":
                # nan where what it is measured against is lost as well
                assert not constant.value.value > constant.value.error


@pytest.mark.slow
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("paper", NETWORKS)
def test_statements_at_the_edge(paper, edge):
    found = instance(paper, edge)
    for statement in statements(paper):
        audit(statement.check(found), edge in SINGULAR)


# too dear for every run: sectors, ascents over the spectral ball, sweeps over σ_0²
_DEAR = ("lemma-6.1", "eq-58", "eq-59", "eq-61", "theorem-6.2", "activation-patterns", "tradeoff",
         "definition-5.1", "proposition-5.1", "gamma", "ladder", "lemma-5.4", "lemma-5.4-projection",
         "lemma-5.5", "lemma-4.3", "theorem-4.1", "eq-20")  # fmt: skip


@pytest.mark.parametrize("edge", SINGULAR)
@pytest.mark.parametrize("paper", NETWORKS)
def test_a_singular_kernel_confirms_no_bound_on_it(paper, edge):
    found = instance(paper, edge)
    for statement in statements(paper):
        if statement.number not in _DEAR:
            audit(statement.check(found), True)


def test_every_paper_has_a_network_here():
    assert set(NETWORKS) == {p.key for p in papers() if p.statements and p.key != "beyond"}
