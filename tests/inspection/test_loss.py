"""The curvature of a loss at any size: what is certain, what is not, and what the tables say of it."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import ntkscope as ntk
from ntkscope.inspection import loss as loss_module
from ntkscope.inspection import pairs
from ntkscope.kernels.loss.parts import divides
from ntkscope.kernels.module.making.prepare import PreparedModule
from ntkscope.report.numbers import judged, limit_of_steps
from ntkscope.training.second_derivative import SecondDerivativeError

N, C, CPU = 12, 4, torch.device("cpu")


def network(outputs=C):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, outputs)).double()


X = torch.randn(N, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.arange(N) % C


def inspected(loss="cross_entropy", targets=Y, model=None, **options):
    return ntk.inspect(model or network(), X, loss=loss, targets=targets, **options)


def top(loss="cross_entropy", targets=Y, rows=slice(None)):
    K = ntk.gauss_newton_kernel(network(), X[rows], targets[rows], loss=loss)
    return float(torch.linalg.eigvalsh(K.dense())[-1])


def test_the_largest_curvature_is_certain_above_a_thousand_rows():
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(101, 5, dtype=torch.float64, generator=generator)
    classes = torch.randint(0, 11, (101,), generator=generator)
    model = network(11)
    found = ntk.inspect(model, many, loss="cross_entropy", targets=classes).loss
    G = ntk.gauss_newton_kernel(model, many, classes).dense()
    assert found.rows == 1010
    assert found.largest.status is ntk.Status.OK
    assert found.largest.value == pytest.approx(float(torch.linalg.eigvalsh(G)[-1]), rel=1e-12)
    assert found.largest_stable_step_error < 1e-9 * found.largest_stable_step
    assert found.smallest is not None
    assert found.any_batch_step <= found.largest_stable_step


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_give_ends_that_hold_and_the_tables_say_so(monkeypatch, dtype):
    """The sum of the samples' own curvatures bounds λ_max where the trace leaves more."""
    monkeypatch.setattr(pairs, "_FLOPS", 0.0)
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(60, 5, dtype=torch.float64, generator=generator)
    classes = torch.randint(0, 11, (60,), generator=generator)
    report = ntk.inspect(
        network(11).to(dtype), many.to(dtype), loss="cross_entropy", targets=classes
    )
    found, exact = report.loss, ntk.gauss_newton_kernel(network(11), many, classes)
    truth = float(torch.linalg.eigvalsh(exact.dense())[-1])
    assert found.largest.lower <= truth * (1 + 1e-6)
    assert truth <= found.largest.upper * (1 + 1e-6)
    assert found.smallest is None
    assert found.spectrum is None
    assert found.any_batch_step <= found.largest_stable_step <= 2 / truth * (1 + 1e-6)
    bound = float(torch.linalg.matrix_norm(exact.own_blocks, ord=2).sum())
    assert found.largest.upper <= bound * (1 + 1e-4) < 0.5 * found.trace
    assert found.largest.status is ntk.Status.NOT_CONVERGED
    assert "(not converged)" in str(report)
    assert "for certain; the limit lies at or below" in " ".join(str(report).split())


def test_above_the_size_of_all_eigenvalues_the_largest_is_still_certain(monkeypatch):
    monkeypatch.setattr(pairs, "_ALL", 10)
    report = inspected()
    for end, least in ((report.loss.largest, top()), (report.training.largest, None)):
        status = end["status"] if isinstance(end, dict) else end.status.name
        assert status == "OK"
        assert least is None or end.value == pytest.approx(least, rel=1e-12)
    assert report.loss.smallest is None
    assert report.training.smallest is None
    K = ntk.empirical_ntk(network(), X, reduce="full").dense()
    limit = 2 / float(torch.linalg.eigvalsh(K)[-1])
    assert report.training.largest_stable_step == pytest.approx(limit, rel=1e-12)


def test_a_step_that_is_not_known_closely_is_printed_with_both_ends():
    assert limit_of_steps(0.1, 1e-9) == "below 0.1, at most 1e-09 short of the limit"
    assert limit_of_steps(0.1, 7.0) == "below 0.1 for certain; the limit lies at or below 7.1"
    assert "no limit is known" in limit_of_steps(2.8e304, math.inf)
    end = {"lower": 0.2, "value": 0.25, "upper": 13.0, "status": "NOT_CONVERGED"}
    assert judged(end) == "0.25 in [0.2, 13] (not converged)"
    noise = {"lower": -1e-20, "value": 1e-22, "upper": 2e-20, "status": "BELOW_NOISE"}
    assert judged(noise) == "0 ± 2e-20 (below rounding)"


def test_the_kernel_of_pairs_is_formed_by_memory_and_flops(monkeypatch):
    from ntkscope.kernels.empirical import prepare

    prepared = prepare(network(), X)
    assert pairs.pairs_of(prepared, N * C, CPU).formed
    assert not pairs.pairs_of(prepared, N * C, CPU, limit=1e3).formed
    monkeypatch.setattr(pairs, "_ALWAYS", 0)
    own = pairs.forming_flops(prepared.beside("full"))
    assert 0 < own < math.inf
    monkeypatch.setattr(pairs, "_FLOPS", float(N * C) ** 3 + own)
    assert pairs.pairs_of(prepared, N * C, CPU).small
    monkeypatch.setattr(pairs, "_ALL", N * C - 1)
    assert pairs.pairs_of(prepared, N * C, CPU).formed
    assert not pairs.pairs_of(prepared, N * C, CPU).small
    monkeypatch.setattr(pairs, "_FLOPS", float(N * C) ** 3 + 0.5 * own)
    assert not pairs.pairs_of(prepared, N * C, CPU).formed


WEIGHTS = torch.tensor([0.01, 1.0, 1.0, 2.0], dtype=torch.float64)


def test_no_batch_step_is_promised_of_a_mean_with_weights():
    weighted = nn.CrossEntropyLoss(weight=WEIGHTS)
    report = inspected(weighted)
    assert report.loss.any_batch_step is None
    assert "not known: CrossEntropyLoss is no mean" in " ".join(str(report).split())
    assert "is no mean of what it is on single samples" in report.to_html()
    assert report.to_dict()["loss"]["any_batch_step"] is None


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1), "cross_entropy"]
)
def test_any_batch_of_a_plain_mean_is_stable_below_its_step(loss):
    step = inspected(loss).loss.any_batch_step
    alone = max(top(loss, rows=slice(i, i + 1)) for i in range(N))
    assert step == pytest.approx(2 / alone, rel=1e-6)
    assert step <= 2 / alone


def test_which_losses_divide_into_samples():
    outputs, real = network()(X).detach(), torch.randn(N, C, dtype=torch.float64)
    per_sample = torch.linspace(1, 2, N, dtype=torch.float64)
    assert divides("mse", outputs, real)
    assert divides(F.mse_loss, outputs, real)
    assert divides(nn.MSELoss(reduction="sum"), outputs, real)
    assert divides(F.mse_loss, outputs, outputs)  # fitted, without a gradient
    assert not divides(nn.CrossEntropyLoss(weight=WEIGHTS), outputs, Y)
    assert not divides(F.cross_entropy, outputs, torch.where(Y == 2, -100, Y))
    assert not divides(lambda f, y: (per_sample * ((f - y) ** 2).sum(1)).sum(), outputs, real)
    balanced = nn.CrossEntropyLoss(weight=torch.full((C,), 3.0, dtype=torch.float64))
    assert divides(balanced, outputs, Y)


def test_weights_are_seen_where_every_sample_is_fitted():
    per_sample = torch.linspace(1, 2, N, dtype=torch.float64)

    def weighted(f, y):
        w = per_sample[: len(f)]
        return (w * ((f - y) ** 2).sum(1)).sum() / w.sum()

    real = torch.randn(N, C, dtype=torch.float64)
    assert not divides(weighted, real, real)


class _Distances(nn.Module):
    """torch.cdist has no second derivative."""

    def __init__(self):
        super().__init__()
        self.first, self.centres = nn.Linear(5, 4), nn.Parameter(torch.randn(C, 4))

    def forward(self, x):
        return -torch.cdist(self.first(x), self.centres)


def test_a_model_without_a_second_derivative_has_no_sharpness_and_the_reason():
    torch.manual_seed(0)
    report = inspected(model=_Distances().double())
    assert report.loss.sharpness is None
    assert "not implemented" in report.loss.missing["sharpness"]
    assert report.loss.largest.value > 0
    reason = "not known: the model has no second derivative"
    assert reason in " ".join(str(report).split())
    assert reason in report.to_html()
    assert inspected().loss.missing == {}


def test_a_preconditioned_curvature_that_does_not_fit_is_an_error_and_one_without_derivative_a_reason(
    monkeypatch,
):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def raising(error):
        def sharpness_of(*_, gauss_newton=False, **__):
            raise error if gauss_newton else SecondDerivativeError("none")

        monkeypatch.setattr(loss_module, "sharpness_of", sharpness_of)

    raising(NotImplementedError("the derivative for 'f' is not implemented"))
    assert "'f'" in inspected(model=model, optimizer=optimizer).loss.missing["preconditioned"]
    raising(torch.OutOfMemoryError("out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        inspected(model=model, optimizer=optimizer)


def test_the_outputs_are_made_once_for_all_that_a_loss_asks_of_them(monkeypatch):
    made, outputs = [], PreparedModule.outputs
    monkeypatch.setattr(PreparedModule, "outputs", lambda self: made.append(1) or outputs(self))
    for loss in ("cross_entropy", F.cross_entropy):
        inspected(loss)
        assert len(made) == 1
        made.clear()


def test_every_row_has_a_name_of_its_own_and_says_that_it_is_linearised():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    text = str(inspected(model=model, optimizer=optimizer))
    rows = [line.split("  ")[0].strip() for line in text.splitlines()]
    assert rows.count("SGD step") == 1
    said = " ".join(text.split())
    assert "short of the limit (linearised)" in said
    assert "with batches of any size (linearised)" in said


class GPTLMHeadModel(nn.Module):
    """Scores of the next token, as Hugging Face's causal models return them."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 5), nn.Linear(5, 7)

    def forward(self, input_ids):
        return {"logits": self.head(torch.tanh(self.embedding(input_ids).cumsum(1)))}


def test_labels_that_are_the_tokens_themselves_are_said_to_be_unshifted():
    model = GPTLMHeadModel().double()
    ids = torch.arange(12).reshape(3, 4) % 7
    labels = ids.clone()
    labels[:, -1] = -100
    held = {"input_ids": ids, "labels": labels}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the card's warning is enough
        report = ntk.inspect(model, held, output="logits", loss="cross_entropy")
    assert any("scores the next token" in w for w in report.warnings)

    def tracked():
        tracker = ntk.Tracker(model, held, every=1, output="logits", loss="cross_entropy")
        tracker.step()
        tracker.step()

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ntk.gauss_newton_kernel(model, held, output="logits")
        ntk.sharpness(model, held, output="logits")
        tracked()
    unshifted = [w for w in said if "next token" in str(w.message)]
    assert len(unshifted) == 3
    assert {w.filename for w in unshifted} == {__file__}
    assert "targets=input_ids[:, 1:]" in str(unshifted[0].message)
    shifted = ntk.inspect(
        model, {"input_ids": ids}, output=lambda out: out["logits"][:, :-1],
        loss="cross_entropy", targets=ids[:, 1:],
    )  # fmt: skip
    assert not any("next token" in w for w in shifted.warnings)


def test_whole_numbers_are_no_missing_data():
    model = GPTLMHeadModel().double()
    data = {"input_ids": torch.arange(12).reshape(3, 4) % 7}
    report = ntk.inspect(model, data, output="logits", settings={"data": "tokens.npz"})
    assert "tokens.npz: N = 3, inputs 3×4 int64" in str(report)
    assert report.inputs == ["3×4 int64"]


def test_the_steps_of_several_outputs_name_their_kernel():
    report = ntk.inspect(network(), X)
    K = ntk.empirical_ntk(network(), X, reduce="full").dense()
    text, page = " ".join(str(report).split()), report.to_html()
    assert report.training.rows == N * C
    assert f"N·C = {N * C} rows" in text
    assert f"for all {N * C} outputs together" in page
    assert f"λ_max = {float(torch.linalg.eigvalsh(K)[-1]):.6f}"[:13] in text
    assert "everything else on this page is about the trace kernel" in page
    one = ntk.inspect(network(1), X)
    assert "of all pairs of outputs" not in str(one) + one.to_html()
    narrow = nn.Sequential(nn.Linear(5, 1), nn.Linear(1, C)).double()
    assert ntk.inspect(narrow, X).memorization.reason.startswith("N·C = 48 exceeds the 14")


class _Attention(nn.Module):
    """The scores of all keys move by the same with the keys' bias: its gradient is 0."""

    def __init__(self):
        super().__init__()
        self.last, self.key = nn.Linear(4, 1), nn.Parameter(torch.randn(4))

    def forward(self, x):
        scores = (x @ (x + self.key).mT).softmax(-1)
        return self.last(torch.tanh(scores @ x).mean(1))


def test_a_term_of_rounding_alone_is_no_number():
    torch.manual_seed(0)
    model = _Attention().double()
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    layer = next(layer for layer in ntk.inspect(model, x).layers if layer.name == "key")
    assert 0 < layer.trace < 1e-25
    assert layer.smallest_status == "BELOW_NOISE"
    assert layer.smallest < layer.smallest_error < 1e-24
