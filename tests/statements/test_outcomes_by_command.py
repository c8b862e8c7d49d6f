"""What `ntkscope check` says where a weaker scheme of verdicts would have said "holds"."""

import json

import pytest

from ntkscope.cli.main import main

TANH = "--activation tanh --parameterization ntk --init banerjee2023"
LINEAR = "--activation identity --parameterization ntk --init banerjee2023"
BOMBARI = "--activation tanh --init bombari2022"


@pytest.fixture
def check(capsys):
    """The records of a command line."""

    def run(line):
        with pytest.raises(SystemExit) as stop:
            main(["check", *line.split(), "--json"])
        assert not stop.value.code
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def outcomes(check):
    return lambda line: [record["outcome"] for record in check(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # promised with probability 0, and met never or always
        ("nguyen2021.lemma-5.2 --data gaussian:N=60,d=10 --widths 10,80,12,1", ["promised 0"]),
        # the laws are known and the constants are not
        (
            f"bombari2022.assumption-2.5 --data gaussian:N=1,d=5 --widths 5,8,8,1 {BOMBARI}",
            ["needs constant"],
        ),
        (
            f"banerjee2023.lemma-4.2 banerjee2023.theorem-4.1 banerjee2023.theorem-4.2 --trials 20 "
            f"--data sphere:N=50,d=60 --widths 60,40,40,1 {TANH}",
            ["does not apply"] * 3,
        ),
        # every printed condition is met, and the lemma fails
        (
            f"banerjee2023.lemma-4.2 --data sphere:N=4,d=20 --widths 20,10,1 {LINEAR}:sigma0_sq=100",
            ["missed as printed"],
        ),
        # the inequality that is run is Weyl's
        (
            f"bombari2022.loewner --data gaussian:N=20,d=10 --widths 10,12,12,1 {BOMBARI}",
            ["identities only"],
        ),
        # the construction, and not a step relative to the weights' size
        *(
            (f"nguyen2021.corollary-4.2 --data gaussian:N=12,d=5 --widths {widths}", ["holds"])
            for widths in ("5,16,1 --init 1e4,1e-4", "5,16,8,1 --init 1e3,1e-3,1")
        ),
        (
            "nguyen2021.lemma-5.3 --data gaussian:N=12,d=5 --widths 5,16,8,1 "
            "--init 1e30,1e-30,1e5",
            ["holds"],
        ),
    ],
)  # fmt: skip
def test_outcomes(outcomes, line, expected):
    assert outcomes(line) == expected


def test_no_conclusion_on_a_singular_kernel_holds(check):
    """More samples than parameters: λ_min(K) is 0 and no bound on it is evidence."""
    records = check(
        "nguyen2021.theorem-4.1 nguyen2021.theorem-5.1 nguyen2021.lemma-5.4-projection "
        "nguyen2021.lemma-5.5 nguyen2021.corollary-4.2 nguyen2021.eq-42 bombari2022.theorem-3.1 "
        "--data sphere:N=40,d=3 --widths 3,4,4,1 --samples 128 --trials 4"
    )
    assert "holds" not in {r["outcome"] for r in records}
    for record in records:
        for c in record["constants"]:
            if c["name"].startswith("λ_min(K)") and c["order"] == "Ω":
                assert c["constant"] in (0, "nan")  # nan: against 0 within rounding
                assert c["outcome"] in ("contradicted for every c > 0", "vacuous", "open")


def test_a_duplicated_row_leaves_nothing_of_theorem_3_1(tmp_path, check):
    import numpy as np

    X = np.random.default_rng(0).standard_normal((20, 10))
    X[1] = X[0]
    np.save(tmp_path / "twice.npy", X)
    (record,) = check(
        f"bombari2022.theorem-3.1 --data {tmp_path / 'twice.npy'} --widths 10,30,20,1 {BOMBARI}"
    )
    assert record["outcome"] == "below rounding"
    lower = [c for c in record["constants"] if c["order"] == "Ω"]
    assert lower
    assert all(abs(c["constant"]) <= c["constant_error"] for c in lower)


def test_a_known_law_meets_no_hypothesis_by_its_name(check):
    small, latent = (
        check(f"bombari2022.assumption-2.1 bombari2022.assumption-2.2 --data {data} "
              f"--widths 100,8,8,1 {BOMBARI}")
        for data in ("sphere:N=20,d=100,radius=0.001", "generated:N=20,d=100,latent=1")
    )  # fmt: skip
    (second,) = [c for c in small[0]["constants"] if c["name"] == "E‖x‖²"]
    assert second["outcome"] == "needs constant"
    assert second["constant"] == pytest.approx(1e-8)
    (hypothesis,) = latent[1]["hypotheses"]
    assert hypothesis["state"] == "needs constant"
    assert hypothesis["constant"] > 100


def test_a_negative_bound_is_vacuous_and_what_rounding_covers_does_not_hold(check):
    records = check(
        "nguyen2021.lemma-3.1 nguyen2021.theorem-3.2 nguyen2021.lemma-5.3 nguyen2021.lemma-5.4 "
        "--data binary:N=40,d=3 --widths 3,20,20,1 --activation erf --samples 256 --trials 5"
    )
    claims = [c for r in records for c in r["inequalities"]]
    assert "below rounding" in {c["outcome"] for c in claims}
    for c in claims:
        if c["relation"] == "≥" and c["right"] < -c["allowance"] and not c["name"].endswith("≥ 0"):
            assert c["outcome"] == "vacuous"
    sides = [
        c for c in claims
        if c["outcome"] == "holds" and not c["name"].startswith(("max|", "‖√G"))  # of the size of K
    ]  # fmt: skip
    assert sides
    assert all(max(abs(c["left"]), abs(c["right"])) > c["allowance"] for c in sides)


@pytest.mark.parametrize(
    ("widths", "seed", "true"), [("2,1,1,1", 269, "0"), ("2,2,5,1", 43, "0.2208752")]
)
def test_an_exact_lipschitz_constant_counts_no_impossible_piece(
    widths, seed, true, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["lipschitz", "--widths", widths, "--init", "he", "--seed", str(seed)])
    last = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()][-1]
    assert last[0] == "3"
    assert last[1].startswith(true)
    assert ("±" in last) == (true != "0")
    assert "exact:" in last


def test_a_prediction_that_float64_cannot_resolve_says_so(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["predict", *["--widths", "5,inf,inf,1", "--activation", "tanh", "--init", "lecun", "--parameterization", "ntk", "--samples", "1000", "--data", "gaussian"]])  # fmt: skip
    assert not stop.value.code
    assert "not to be relied on" in capsys.readouterr().out
