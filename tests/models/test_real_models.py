"""Models of other libraries, small and with random weights: the kernel of each is the oracle's, or refused."""

import importlib
import logging
import warnings

import pytest
import torch

import ntkscope as ntk
from oracles import graph_models, image_models, module_ntk, token_models

CASES = {**image_models.CASES, **token_models.CASES, **graph_models.CASES}
TOLERANCE = 1e-11  # of the kernel's largest entry, float64
ROUNDED = 1e-6  # the same where the model rounds to float32 inside, which is said

pytestmark = pytest.mark.slow


class Called(torch.nn.Module):
    """The model as a function of tensors by place, with the outputs picked; a batch of one twice over
    where torch differentiates one alone wrongly."""

    def __init__(self, model, case, names):
        super().__init__()
        self.model, self.case, self.names = model, case, names

    def forward(self, *tensors):
        n = len(tensors[0])
        if not self.case.alone:
            tensors = [torch.cat([t, t]) for t in tensors]
        named = dict(zip(self.names, tensors, strict=True)) if self.names else {}
        out = self.model(**named) if named else self.model(*tensors)
        pick = self.case.output
        picked = pick(out) if callable(pick) else out if pick is None else out[pick]
        return picked[:n]


def built(case):
    for package in case.needs:
        try:
            importlib.import_module(package)
        except (ImportError, RuntimeError) as error:  # a build for another torch raises the latter
            pytest.skip(f"{package}: {error}")
    logging.disable(logging.WARNING)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, X = case.make()
    model = model.double().eval()
    cast = lambda t: t.double() if t.is_floating_point() else t  # noqa: E731
    return model, {k: cast(v) for k, v in X.items()} if isinstance(X, dict) else cast(X)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_a_real_model_has_its_kernel_or_is_refused(name):
    case = CASES[name]
    model, X = built(case)
    if case.refused:
        with pytest.raises((TypeError, ValueError), match=case.refused):
            ntk.empirical_ntk(model, X, output=case.output)
        return
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        K = ntk.empirical_ntk(model, X, output=case.output)
    rounded = any("rounds to torch.float32" in str(w.message) for w in said)
    names = tuple(X) if isinstance(X, dict) else ()
    tensors = tuple(X.values()) if isinstance(X, dict) else (X,)
    expected = module_ntk.kernel(module_ntk.jacobian(Called(model, case, names), *tensors))
    error = float((K.dense() - expected).abs().max() / expected.abs().max())
    assert error <= (ROUNDED if rounded else TOLERANCE)


def test_there_are_enough_of_them():
    assert len(CASES) >= 60
