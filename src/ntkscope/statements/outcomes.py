"""The words for what a finding, a statement and a sweep come to, with a sentence each.

Terminal, page, JSON, LaTeX, sweeps and the docs' glossary all take them from here.
"""

from __future__ import annotations

from enum import StrEnum


class _Worded(StrEnum):
    """A word that is shown, and in ``sentence`` what it means."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> _Worded:
        made = str.__new__(cls, word)
        made._value_ = word
        made.sentence = sentence
        return made


class HypothesisState(_Worded):
    """What this instance says of a condition of the paper."""

    MET = "met", "The condition holds on this instance."
    NOT_MET = "not met", "The condition fails, so the statement does not apply to this instance."
    NEEDS_CONSTANT = (
        "needs constant",
        "The paper hides the condition's constant: shown is the one that this instance would need.",
    )
    UNKNOWN = "cannot be tested by a sample", "Neither the sample nor what is known decides it."


class ClaimOutcome(_Worded):
    """What an inequality or identity with explicit constants comes to on this instance."""

    HOLDS = "holds", "It stands within the errors of both sides, and could have failed here."
    VIOLATED = "violated", "It fails by more than the errors of both sides."
    FAILS_HERE = (
        "fails on this draw",
        "It is promised with a probability only and fails on this draw: the event decides.",
    )
    VACUOUS = "vacuous", "Its bound says nothing here, such as λ_min ≥ 0 or ‖·‖ ≤ ∞."
    BELOW_ROUNDING = (
        "below rounding",
        "The rounding error of the sides is as large as the sides, so it could not have failed.",
    )
    OPEN = (
        "open",
        "Monte-Carlo error, a pre-activation on a kink or a number that is none leaves it undecided.",
    )


class EventOutcome(_Worded):
    """What trials say of an event's probability; the 99% Clopper-Pearson interval decides."""

    REACHED = "reached", "The interval lies at or above the probability that is promised."
    MISSED = "missed", "The interval lies below the probability that is promised."
    OPEN = "open", "The interval contains the promised probability: more trials would decide."
    PROMISED_NOTHING = "promised 0", "The promised probability is 0 or less: nothing can miss it."
    NO_NUMBER = "promised no number", "The promise hides a constant: the rate is shown alone."


class ConstantOutcome(_Worded):
    """What an order Ω, O or Θ with a hidden constant comes to on this instance."""

    NEEDS_CONSTANT = (
        "needs constant",
        "It asks for the constant shown; one instance cannot refuse it.",
    )
    CONTRADICTED = (
        "contradicted for every c > 0",
        "The measured number is exactly 0 (or on the wrong side of it), whatever the constant.",
    )
    BELOW_ROUNDING = "below rounding", "The measured number cannot be told from 0."
    VACUOUS = (
        "vacuous",
        "The expression is 0 or ∞, or what is bounded above is 0, so that the bound says nothing here.",
    )
    OPEN = "open", "Monte-Carlo error or a number that is none leaves the constant unknown."


class Outcome(_Worded):
    """What a statement comes to on one instance: the outcome of its conclusion."""

    DOES_NOT_APPLY = "does not apply", "A hypothesis is not met; what was computed is shown."
    VIOLATED = "violated", "A step or a conclusion with explicit constants fails."
    VIOLATED_AS_PRINTED = (
        "violated as printed",
        "What fails is known not to hold as the paper prints it, and stands in the errata.",
    )
    MISSED = "missed", "An event is rarer than promised."
    MISSED_AS_PRINTED = "missed as printed", "An event is rarer than promised, as the errata say."
    HOLDS = "holds", "The conclusion (of a lemma: its steps) stands, and could have failed here."
    VACUOUS = "vacuous", "The conclusion says nothing on this instance."
    BELOW_ROUNDING = "below rounding", "Rounding leaves nothing of the conclusion to be tested."
    REACHED = "reached", "The event is as frequent as promised."
    PROMISED_NOTHING = "promised 0", "The promised probability is 0 or less."
    NO_NUMBER = "promised no number", "The promised probability hides a constant."
    NEEDS_CONSTANT = "needs constant", "The conclusion hides a constant: shown is the one needed."
    CONTRADICTED = "contradicted for every c > 0", "No constant makes the conclusion true here."
    IDENTITIES = "identities only", "Only identities of linear algebra were met: no evidence."
    OPEN = "open", "Monte-Carlo error, too few trials or a missing number leaves it undecided."

    @property
    def bad(self) -> bool:
        """Whether something that must not fail failed."""
        return self in (Outcome.VIOLATED, Outcome.MISSED, Outcome.CONTRADICTED)


class Trend(_Worded):
    """What a conclusion's constant does over a sweep inside the theorem's regime."""

    CONSISTENT = "consistent", "The claimed exponent lies in the 95% interval of the fit."
    APPROACHED = (
        "approached",
        "The claimed exponent lies outside the interval, and the larger half of the sizes is nearer "
        "to it than the whole, by more than both intervals.",
    )
    CONTRADICTED = (
        "contradicted",
        "The claimed exponent lies outside the interval, and the larger half is no nearer to it.",
    )
    OPEN = "open", "No power law can be fitted, or the sweep does not vary the expression."


GLOSSARY: dict[str, type[_Worded]] = {
    "Hypotheses": HypothesisState,
    "Steps and conclusions with explicit constants": ClaimOutcome,
    "Events": EventOutcome,
    "Conclusions up to a constant": ConstantOutcome,
    "Statements": Outcome,
    "Sweeps": Trend,
}
