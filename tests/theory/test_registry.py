"""The registry against the list of what each paper's part must hold."""

import ntkscope as ntk

NGUYEN = (
    ["assumption-2.1", "assumption-2.2", "eq-4", "eq-5", "eq-8"]
    + ["eq-19", "eq-20", "eq-21", "eq-26", "eq-27", "eq-28"]
    + ["lemma-3.1", "theorem-3.2", "theorem-4.1", "corollary-4.2", "lemma-4.3", "theorem-5.1"]
    + ["lemma-5.2", "lemma-5.3", "lemma-5.4", "lemma-5.5", "lemma-6.1", "theorem-6.2"]
    + [f"lemma-c.{n}" for n in range(1, 7)]
    + ["eq-42", "eq-58", "eq-59", "eq-60", "eq-61"]  # of the first arXiv version
    + ["lemma-f.2", "lemma-f.3", "activation-patterns", "ladder"]
)


def test_every_statement_of_nguyen_is_there():
    assert {s.id for s in ntk.statements("nguyen2021")} == {f"nguyen2021.{n}" for n in NGUYEN}
    assert len(NGUYEN) == 38


def test_every_nguyen_statement_names_its_inequality():
    assert all(s.level2 for s in ntk.statements("nguyen2021"))
