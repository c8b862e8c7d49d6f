"""train, memorize and width on the command line, right and wrong input."""

import json

import numpy as np
import pytest

from ntkscope.cli.main import main
from ntkscope.training.checkpoints import load_model


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    out, err = capsys.readouterr()
    return ended.value.code, out, err


DIGITS = ("--data", "digits:classes=0,1,N=30", "--widths", "64,16,16,1")


def test_train_writes_its_page(capsys, tmp_path):
    code, out, err = run(
        capsys, "train", *DIGITS, "--init", "bombari2022-paired", "--steps", "40",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert code == 0, err
    assert "gamma=235929600.0" in out  # d³N² = 64³·30²
    assert "condition 21" in out
    record = json.loads((tmp_path / "result.json").read_text())
    assert len(record["loss"]) == 41
    assert record["loss"][0] == 15.0  # F(θ_0) = 0 and labels ±1
    assert record["predicted_loss"] == pytest.approx(record["loss"], rel=1e-5)
    page = (tmp_path / "report.html").read_text()
    assert "Observed and predicted loss" in page
    assert page.count('<svg class="chart"') == 4
    assert load_model(tmp_path / "network.pt").network.paired


def test_train_resumes_from_its_folder(capsys, tmp_path):
    common = ("train", *DIGITS, "--out", str(tmp_path), "--json", "--checkpoint-every", "5")
    assert run(capsys, *common, "--steps", "10")[0] == 0
    code, out, _ = run(capsys, *common, "--steps", "20", "--resume")
    assert code == 0
    whole = run(capsys, "train", *DIGITS, "--json", "--steps", "20")[1]
    assert json.loads(out)["loss"] == json.loads(whole)["loss"]


def test_train_puts_the_wide_layer_at_each_position(capsys, tmp_path):
    code, out, _ = run(
        capsys, "train", *DIGITS, "--wide", "32", "--steps", "5", "--out", str(tmp_path)
    )
    assert code == 0
    assert "64-32-16-1" in out
    assert "64-16-32-1" in out
    assert "wide layer 2" in (tmp_path / "report.html").read_text()


def test_train_warns_and_stops_when_the_step_is_too_large(capsys):
    code, out, err = run(
        capsys, "train", *DIGITS, "--activation", "tanh", "--steps", "3000", "--eta",
        "lambda_max:fraction=40", "--activation", "identity",
    )  # fmt: skip
    assert code == 0
    assert "exceeds the stability limit" in err
    assert "diverged" in out


def test_memorize_answers_and_builds(capsys, tmp_path):
    code, out, err = run(capsys, "memorize", *DIGITS, "--out", str(tmp_path))
    assert code == 0, err
    assert "any 30 real labels can be fitted" in out
    assert load_model(tmp_path / "network.pt").network.widths == (64, 32, 32, 1)
    assert json.loads((tmp_path / "result.json").read_text())["memorization"]["reached"]
    assert "The construction" in (tmp_path / "report.html").read_text()
    code, out, _ = run(capsys, "memorize", *DIGITS, "--certificate-only", "--json")
    assert code == 0
    assert json.loads(out)["fits"] is True


def test_memorize_ends_with_1_when_it_cannot(capsys):
    code, out, _ = run(
        capsys, "memorize", "--data", "gaussian:N=50,d=2", "--widths", "2,4,1",
        "--targets", "random",
    )  # fmt: skip
    assert code == 1
    assert "50 samples, 12 parameters" in out


def test_width_finds_one_and_says_when_there_is_none(capsys, tmp_path):
    base = ("width", "--data", "sphere:N=20,d=6", "--activation", "tanh", "--depth", "2")
    code, out, err = run(capsys, *base, "--target-lambda-min", "0.01", "--out", str(tmp_path))
    assert code == 0, err
    assert "meet the goal" in out
    assert "What the theorems ask for" in (tmp_path / "report.html").read_text()
    assert run(capsys, *base, "--steps-to", "1e-2", "--steps", "100000", "--json")[0] == 0
    code, out, _ = run(capsys, *base, "--target-lambda-min", "1e6")
    assert code == 1
    assert "even the limiting kernel" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", *DIGITS, "--resume"), "need --out"),
        (("train", *DIGITS, "--targets", "sign"), "did you mean 'signs'"),
        (("train", "--data", "sphere:N=5,d=4", "--widths", "4,3,1"), "without labels"),
        (
            ("train", "--data", "digits:N=30", "--widths", "64,4,1", "--targets", "signs"),
            "two classes",
        ),
        (("train", *DIGITS, "--optimizer", "adamw"), "did you mean 'adam'"),
        (("memorize", *DIGITS, "--tol", "-1"), "tol must be positive"),
        (("width", "--data", "sphere:N=5,d=4"), "give one goal"),
        (("width", "--data", "sphere:N=5,d=4", "--depth", "1", "--steps-to", "0.1"), "at least 2"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_contradictory_rows_are_named(capsys, tmp_path):
    path = tmp_path / "data.csv"
    table = np.array([[1, 2, 0], [3, 4, 1], [1, 2, 5]])
    np.savetxt(path, table, delimiter=",", header="a,b,y", comments="")
    code, _, err = run(capsys, "memorize", "--data", f"{path}:y=y", "--widths", "2,20,1")
    assert code == 2
    assert "rows 0 and 2 (0 ≠ 5)" in err
