"""Each command of the errata shows what its row says."""

import re
from pathlib import Path

import pytest

from ntkscope.cli.main import main
from ntkscope.statements.registry import find

TEXT = Path(__file__).parents[1].joinpath("docs/reference/errata.md").read_text()
COMMANDS = tuple(dict.fromkeys(re.findall(r"`ntkscope ([^`]+)`", TEXT)))
SMALL = "--data gaussian:N=12,d=20 --widths 20,50,9,1"
TANH = "--activation tanh --parameterization ntk --init banerjee2023"
LINEAR = "--activation identity --parameterization ntk --init banerjee2023"
BOMBARI = "--activation tanh --init bombari2022"

# statement and options → what the output must show, cells of a table separated by " | "
QUICK = {
    "karhadkar2024.shallow --data sphere:N=2,d=5 --widths 5,400,1 --seed 1": [
        "outcome: needs constant", "λ_min(K) = Ω(λ) | 1.029", "λ_min(K) = Ω(λ as printed) | 1.029",
        "| 4.197e+06 | 2.451e-07", "As printed it is 4.19702e+06 at δ = 1.37633",
    ],
    f"nguyen2021.eq-27 {SMALL}": ["outcome: holds: K_11 = ‖∇f(x_1)‖² by autograd: 135.3 = 135.3"],
    f"nguyen2021.eq-8 {SMALL}": ["outcome: holds", *(f"μ_{r} = 0 | " for r in (3, 5, 7))],
    f"nguyen2021.theorem-3.2 {SMALL}": [
        "outcome: needs constant", "λ_min(G^(2)) ≥ 2μ_2² λ_min(X^(*2)…)/max‖x‖^2",
        "min‖x‖^4 − (N−1)max|⟨x_i,x_j⟩|^2", "|⟨x_i,x_j⟩| ≤ dN^(−1/(r−0.5)), r = 6",
        "App. B drops the factor 2 of eq. 12 in eq. 36: the bound holds with 2μ_r²",
    ],
    f"nguyen2021.lemma-5.2 {SMALL}": [
        "outcome: promised 0", "multiplies the probabilities of dependent events",
    ],
    f"nguyen2021.eq-61 {SMALL}": [
        "outcome: needs constant", "max_i ‖Π_(l=1…2) W_lΣ_l(x_i)‖²",
        "max over all patterns of ‖Π_(l=1…2) W_lΣ_l‖²",
    ],
    f"nguyen2021.activation-patterns {SMALL}": [
        "outcome: needs constant", "ignores the depth", "≤ Σ log 2ΣC(n_l−1, j)",
    ],
    f"nguyen2021.lemma-c.2 {SMALL}": [
        "(E‖f_0‖)² ≥ ‖E f_0‖², both · n_1β_1²/2π | 15.514 | ≥ | 0.00992",
        "The induction has no base at k = 0",
    ],
    f"bombari2022.assumption-2.2 --data binary:N=8,d=1024 --widths 1024,2,1 {BOMBARI}": [
        "outcome: does not apply: not met: Assumption 2.2", "| 3.875 ±", "| 0.5948 ±",
    ],
    "bombari2022.theorem-3.1 --data gaussian:N=60,d=40 --widths 40,36,32,1 --activation tanh "
    "--init he": [
        "outcome: does not apply: not met: W_l ~ N(0, β²/n_(l-1)) for l < L and W_L ~ N(0, β_L²)",
        "λ_min(K) = Ω(β_L² n_(L-2) n_(L-1))",
    ],
    "bombari2022.loewner --data gaussian:N=60,d=40 --widths 40,40,40,1 --activation sigmoid "
    "--init bombari2022": [
        "outcome: identities only", "λ_min(K) ≥ λ_min(K_1 = K_(L-2)) | 0.12619 | ≥ | 0.0032253",
    ],
    f"bombari2022.theorem-3.2-projected --data gaussian:N=500,d=100 --widths 100,90,80,1 {BOMBARI}": [
        "outcome: holds: λ_min(JJᵀ) ≥ λ_min(F̃PF̃ᵀ ∘ B̃QB̃ᵀ): 33.96 ≥ 27.57",
    ],
    f"bombari2022.theorem-3.2 --data gaussian:N=500,d=100 --widths 100,90,80,1 {BOMBARI}": [
        "| 33.957 | ≥ | -1672 |", "| vacuous",
    ],
    f"banerjee2023.theorem-4.2 --data sphere:N=1,d=3 --widths 3,5000,1 {TANH}": [
        "outcome: missed as printed", "| 51/100 | 0.378 … 0.641 | 0.8992 | missed (erratum)",
    ],
    f"banerjee2023.repaired --data sphere:N=15,d=30 --widths 30,200,200,1 {TANH}": [
        "outcome: holds", "λ_min(K) ≥ c_0 λ_1, c_0 = 0.04352 (r = 1)",
    ],
    f"banerjee2023.lemma-4.3 --data sphere:N=1,d=3 --widths 3,200,200,1 {LINEAR}:sigma0_sq=10": [
        "outcome: missed as printed", "| 0/100 | 0.000 … 0.052 | 0.98 | missed (erratum)",
        "2 | 1 | 2.0833 | 0.25 | 0.87383", "max(8h_C²/c², 4h_C/c) ≤ √m (Lemma 4.2) | 1.2 | 14.142 | met",
    ],
    f"banerjee2023.theorem-4.1 --data sphere:N=1,d=3 --widths 3,200,200,1 {TANH}:sigma0_sq=10": [
        "outcome: missed as printed", "| 0/100 | 0.000 … 0.052 | 0.86 | missed (erratum)",
        "Printed c_0 = max_(r>1) c_0^{(1,r)}: ∞",
    ],
    f"banerjee2023.lemma-4.2 --data sphere:N=4,d=20 --widths 20,10,1 {LINEAR}:sigma0_sq=100": [
        "outcome: missed as printed", "as printed, over weights | 0/100", "| 0.92 | missed (erratum)",
        "max(8h_C²/c², 4h_C/c) ≤ √m (Lemma 4.2) | 0.08 | 3.1623 | met",
    ],
    f"banerjee2023.lemma-4.2 --data sphere:N=1,d=20 --widths 20,10,1 {LINEAR}:sigma0_sq=4": [
        "with ‖x‖² = c d, over weights | 79/100 | 0.667 … 0.884 | 0.98 | missed (erratum)",
        "With σ_0² h_C in place of h_C it reads 32 ≤ 3.162: not met",
    ],
    f"banerjee2023.lemma-4.2 --data sphere:N=15,d=30 --widths 30,150,150,1 {TANH}": [
        "outcome: does not apply: not met: max(8h_C²/c², 4h_C/c) ≤ √m (Lemma 4.2)",
        "(Lemma 4.2) | 5113.2 | 12.247 | not met",
    ],
    f"banerjee2023.lemma-4.3 --data sphere:N=10,d=20 --widths 20,40,40,1 {LINEAR}:sigma0_sq=10": [
        "outcome: promised 0", "1 − 2nΣ1/m_l = 0 as printed", "1 − 2nΣ1/m_l² = 0.975 is meant",
    ],
    f"banerjee2023.eq-10 --data sphere:N=15,d=30 --widths 30,200,200,1 {TANH}": [
        "outcome: needs constant: c = 0.1345", "λ_l = Ω(1) rests on λ_1 = Ω(1)",
        "at n = 1 its log n is 0 and v is not",
    ],
    f"banerjee2023.definition-4.1 --data sphere:N=4,d=3 --widths 3,8,1 {TANH}": [
        "outcome: violated as printed", "eq. 7 as printed, a = 2 | 0.16384 | ≤ | 0.00076714",
        "the weight e^(−x²/2a)/√(2πa) is missing",
    ],
    f"banerjee2023.eq-4 --data sphere:N=4,d=3 --widths 3,8,8,1 {TANH}": [
        "outcome: holds: max |JJᵀ − the sum| = 0 on 3 rows", "Eq. 4 prints W^(l') for its transpose",
    ],
    "banerjee2023.remark-4.6 --data sphere:N=15,d=30 --widths 30,200,1 --activation sigmoid "
    "--parameterization ntk --init banerjee2023": [
        "outcome: holds", "φ(0) = 0.5. Theorem 4.1 asks for 0",
    ],
    f"banerjee2023.remark-4.3 --data sphere:N=15,d=30 --widths 30,200,200,1 {TANH}": [
        "outcome: needs constant", "λ_min(K), v = v_0 = Ω(λ_1)", "λ_min(K), v = 1000 v_0 = Ω(λ_1)",
    ],
}  # fmt: skip

SLOW = {
    "nguyen2021.lemma-5.4 --data gaussian:N=12,d=4 --widths 4,24,1": [
        "outcome: violated as printed", "F_1, r = 1 | -11.602 | ≥ | 0 | -11.6 | violated (erratum)",
        *(f"F_1, r = {r} | {left} | ≥ | 0 | {slack} | fails on this draw"
          for r, left, slack in ((2, "-26.385", "-26.4"), (3, "-185.08", "-185"), (4, "-1523.4", "-1.52e+03"))),
        *(f"(FFᵀ)^{r} ⪰ (F̃F̃ᵀ)^{r}, layer 1, over data and weights | {n}/100 |"
          for r, n in ((1, 0), (2, 0), (3, 2), (4, 8))),
    ],
    "nguyen2021.lemma-5.4 --data gaussian:N=40,d=50 --widths 50,800,1": [
        "F_1, r = 1 | -80.59", "violated (erratum)",
        *(f"(FFᵀ)^{r} ⪰ (F̃F̃ᵀ)^{r}, layer 1, over data and weights | {n}/100 |"
          for r, n in ((1, 0), (2, 100), (3, 100), (4, 100))),
    ],
    "nguyen2021.lemma-5.4-projection --data gaussian:N=12,d=4 --widths 4,24,1": [
        "outcome: needs constant", "max|AAᵀ − ÃPÃᵀ − (Aμ̂)(Aμ̂)ᵀ|, F_1",
    ],
    "nguyen2021.eq-20 --data gaussian:N=30,d=60 --widths 60,600,1": [
        "outcome: needs constant: c = 0.9791", "| 100/100 |", "the product ends at L−1",
    ],
    f"nguyen2021.theorem-4.1 {SMALL} --init 1,1,0.1": [
        "§1 takes the argmin of β_l over [L−1], §4 over [L]; it is taken over [L] here",
        "for a wide layer before the smallest β_l; there is none here",
    ],
    f"nguyen2021.eq-58 {SMALL}": [
        "writes ‖h‖_Lip where its right sides are those of ‖h‖²_Lip", "‖h_(0→3)‖²_Lip, lower",
    ],
    f"banerjee2023.theorem-4.2 --data sphere:N=15,d=30 --widths 30,200,200,1 {TANH}": [
        *(f"2 | {r} | {least} | {printed} |"
          for r, least, printed in ((1, "0.27454", "0.014506"), (2, "0", "0"), (3, "0.0089422", "7.3825e-06"), (4, "0", "0"))),
    ],
    f"banerjee2023.tradeoff --data sphere:N=50,d=60 --widths 60,300,300,1 {TANH}": [
        "outcome: violated as printed: γ ≤ 1 at σ_0² = 0.0625", "4.232 ≤ 1",
        "0.0625 | -0.32519 | 0.036032 | -31.864", "1 | 0.0033656 | 0.035671", "20 | 0.15555 | 0.027747",
    ],
}  # fmt: skip


def cells(text):
    """The output with one line a row, its cells separated by " | "."""
    rows = [re.sub(r"\s*[│┃]\s*", " | ", line).strip(" |") for line in text.splitlines()]
    return re.sub(r"[ \t]+", " ", "\n".join(rows))


@pytest.mark.parametrize(
    ("command", "shown"),
    [*QUICK.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in SLOW.items())],
)
def test_a_command_shows_what_its_row_says(command, shown, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit) as stop:
        main(["check", *command.split()])
    assert not stop.value.code
    text = cells(capsys.readouterr().out)
    for phrase in shown:
        assert phrase in text


def test_every_command_of_the_errata_is_run():
    assert "…`" not in TEXT
    assert " … " not in " ".join(COMMANDS)
    checked = {c.removeprefix("check ") for c in COMMANDS if c.startswith("check ")}
    assert checked == {*QUICK, *SLOW}
    for command in COMMANDS:
        verb, name, *_ = command.split()
        if verb == "falsify":
            find(name)
        else:
            assert verb in ("check", "reproduce")


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.startswith("falsify ")], ids=lambda c: c.split()[1]
)
def test_what_the_errata_call_proved_is_refuted_in_balls(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--trials", "40", "--seconds", "20"])
    assert not stop.value.code
    assert ": refuted in ball arithmetic" in capsys.readouterr().out
