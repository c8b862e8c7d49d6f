"""`ntkscope inspect` as a user types it, right and wrong."""

import json
import os
import subprocess
import sys

import pytest

from ntkscope.cli.main import main

GOOD = ["inspect", "--data", "gaussian:N=30,d=5", "--widths", "5,40,30,1"]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_tables_files_and_the_settings_that_repeat_it(capsys, tmp_path):
    out = str(tmp_path / "first")
    code, text, _ = run(capsys, *GOOD, "--seed", "3", "--out", out)
    assert code == 0
    assert "λ_min" in text
    assert "report.html" in text
    first = json.loads((tmp_path / "first" / "result.json").read_text())
    code, text, _ = run(
        capsys,
        "inspect",
        "--config",
        f"{out}/settings.toml",
        "--json",
        "--out",
        str(tmp_path / "b"),
    )
    assert code == 0
    again = json.loads(text)
    assert again["spectrum"] == first["spectrum"]
    assert again["settings"]["seed"] == 3


def test_options_override_the_config(capsys, tmp_path):
    config = tmp_path / "run.toml"
    config.write_text('data = "gaussian:N=10,d=5"\nwidths = [5, 9, 1]\nactivation = "tanh"\n')
    _, text, _ = run(capsys, "inspect", "--config", str(config), "--widths", "5,7,1", "--json")
    record = json.loads(text)
    assert record["network"]["widths"] == [5, 7, 1]
    assert record["network"]["activation"] == "tanh"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspect"], ["--data is needed"]),
        (["inspect", "--data", "gaussian:N=9,d=2"], ["--widths"]),
        (["inspekt"], ["did you mean 'inspect'"]),
        ([*GOOD, "--activation", "rellu"], ["did you mean 'relu'"]),
        ([*GOOD, "--activation", "leaky_relu:alpha=x"], ["must be a number"]),
        ([*GOOD, "--init", "hee"], ["did you mean 'he'"]),
        ([*GOOD, "--init", "1,2"], ["one β_l a layer"]),
        ([*GOOD, "--seed", "x"], ["--seed"]),
        ([*GOOD, "--dtype", "float16"], ["float64 or float32"]),
        ([*GOOD, "--device", "tpu"], ["use cpu"]),
        ([*GOOD, "--reduce", "max"], ["reduce"]),
        ([*GOOD, "--wdths", "1"], ["--wdths"]),
        (["inspect", "--data", "gaussian:N=30,d=5", "--widths", "5,x,1"], ["got 'x'"]),
        (["inspect", "--data", "gaussian:N=30,d=5", "--widths", "4,9,1"], ["the network takes 4"]),
        (
            ["inspect", "--data", "gaussian:N=30,d=5", "--widths", "5,inf,1"],
            ["no common wide limit"],
        ),
        (
            [
                *("inspect", "--data", "gaussian:N=30,d=5", "--widths", "5,inf,1"),
                *("--init", "unit", "--dtype", "float32"),
            ],
            ["infinite widths is made in float64"],
        ),
        (["inspect", "--data", "gaussian:N=1,d=5", "--widths", "5,9,1"], ["at least 2"]),
        (["inspect", "--data", "nope.npy", "--widths", "5,9,1"], ["no file"]),
        (["inspect", "--config", "nope.toml"], ["no settings file"]),
        ([*GOOD, "--out", "/proc/nope/out"], ["/proc/nope"]),
    ],
)
def test_bad_input_is_one_line_and_code_2(capsys, arguments, words):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert err.startswith("ntkscope: ")
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in out + err
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("width = 3", "did you mean 'widths'"),
        ("data = ", "is no TOML"),
        ('data = "digits"\nwidths = "64,2,1"\nseed = "x"', "seed"),
    ],
)
def test_bad_settings_files(capsys, tmp_path, content, word):
    (tmp_path / "run.toml").write_text(content)
    code, _, err = run(capsys, "inspect", "--config", str(tmp_path / "run.toml"))
    assert code == 2
    assert word in err


def test_too_large_is_refused_before_it_is_tried(capsys):
    code, _, err = run(capsys, "inspect", "--data", "gaussian:N=200000,d=2", "--widths", "2,4,1")
    assert code == 2
    assert "GB" in err


def test_a_full_disk_leaves_nothing(capsys, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run(capsys, *GOOD, "--out", str(tmp_path / "out"))
    assert code == 2
    assert "No space left" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_help_is_quick_and_does_not_import_torch():
    code = (
        "import sys; from ntkscope.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "inspect" in done.stdout
    helped = subprocess.run(
        [sys.executable, "-m", "ntkscope", "inspect", "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert helped.returncode == 0
    assert "--widths" in helped.stdout


def test_width_limit_adds_the_limiting_kernel(capsys, tmp_path):
    code, text, _ = run(
        capsys, *GOOD, "--activation", "gelu", "--width-limit", "--out", str(tmp_path)
    )
    assert code == 0
    assert "limiting λ_min" in text
    assert "The infinite-width limit" in (tmp_path / "report.html").read_text()
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["settings"]["width_limit"] is True
    assert record["extra"]["width_limit"]["convergence"]["exponent"] < 0


def test_the_loss_that_is_trained(capsys):
    digits = ["inspect", "--data", "digits:N=12", "--widths", "64,20,10", "--loss"]
    code, text, _ = run(capsys, *digits, "cross_entropy", "--json")
    assert code == 0
    assert json.loads(text)["loss"]["rows"] == 12 * 9
    code, text, _ = run(capsys, *digits, "mse", "--json")  # of one-hot rows
    assert (code, json.loads(text)["loss"]["rows"]) == (0, 12 * 10)
    cancer = ["inspect", "--data", "breast_cancer:N=12", "--widths", "30,8,1", "--loss"]
    code, _, error = run(capsys, *cancer, "cross_entropy")
    assert (code, "take the loss binary_cross_entropy" in error) == (2, True)
    code, text, _ = run(capsys, *cancer, "binary_cross_entropy")
    assert (code, "binary cross-entropy" in text) == (0, True)
    code, _, error = run(capsys, *GOOD, "--loss", "mse")
    assert (code, "needs labels" in error) == (2, True)
