"""The named initializations: standard deviations β_l of the weights, as they are sampled.

In the "ntk" parameterization the forward pass divides W_l by √n_{l-1} besides, so there the
fan-in rules ("he", "lecun") are √2 and 1: the effective weights are the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ntkscope._base.specs import Spec, parse_spec, reject_unknown_options, unknown
from ntkscope.activations.activation import Activation
from ntkscope.activations.hermite import second_moment

Widths = tuple[int | float, ...]
GIVEN = "given"  # the weights were handed over, so no rule describes them


@dataclass(frozen=True)
class Rule:
    """What an initialization needs to know: where it stands and its options."""

    widths: Widths
    activation: Activation
    ntk: bool
    options: dict[str, float]
    unit_output: bool = False

    @property
    def fan_in(self) -> tuple[float, ...]:
        return tuple(float(n) for n in self.widths[:-1])


def _unit(rule: Rule) -> list[float]:
    return [1.0 for _ in rule.fan_in]


def _fan_in(gain: float) -> Callable[[Rule], list[float]]:
    def betas(rule: Rule) -> list[float]:
        return [math.sqrt(gain) if rule.ntk else math.sqrt(gain / n) for n in rule.fan_in]

    return betas


def _bombari(rule: Rule) -> list[float]:
    beta = rule.options.get("beta", 1.0)
    return [beta / math.sqrt(n) for n in rule.fan_in[:-1]] + [beta]


def _bombari_paired(rule: Rule) -> list[float]:
    *hidden, last = _bombari(rule)
    return [*hidden, last * math.sqrt(rule.options.get("gamma", 1.0))]


def _banerjee(rule: Rule) -> list[float]:
    hidden = [nu0(rule.activation, rule.options.get("sigma0_sq", 1.0))] * (len(rule.fan_in) - 1)
    return [*hidden, 1.0 / math.sqrt(rule.fan_in[-1]) if rule.unit_output else 1.0]


def nu0(activation: Activation, sigma0_sq: float) -> float:
    """ν_0 = σ_0/√c_{φ,σ_0}, c = E φ(z)² for z ~ N(0, σ_0²); Banerjee et al. 2023, Theorem 4.1."""
    c = second_moment(activation, sigma0_sq)
    if c == 0:
        raise ValueError(f"banerjee2023: E φ² = 0 for {activation} at σ_0² = {sigma0_sq}")
    return math.sqrt(sigma0_sq / c)


_RULES: dict[str, Callable[[Rule], list[float]]] = {
    "unit": _unit,
    "he": _fan_in(2.0),
    "lecun": _fan_in(1.0),
    "bombari2022": _bombari,
    "bombari2022-paired": _bombari_paired,
    "banerjee2023": _banerjee,
}
_OPTIONS: dict[str, tuple[str, ...]] = {
    "bombari2022": ("beta",),
    "bombari2022-paired": ("beta", "gamma"),
    "banerjee2023": ("sigma0_sq", "v"),
}
NAMES: tuple[str, ...] = tuple(_RULES)


def check_init(init: str | Sequence[int | float], depth: int) -> str | tuple[float, ...]:
    """``init`` in its one form: a canonical name or a tuple of ``depth`` positive β_l.

    Raises ValueError for an unknown name or option, a wrong number of β_l, or one not positive.
    """
    if isinstance(init, str):
        if init == GIVEN:
            return GIVEN
        spec = parse_spec(init)
        if spec.name not in _RULES:
            raise ValueError(unknown("initialization", spec.name, _RULES))
        reject_unknown_options("initialization", spec, _OPTIONS.get(spec.name, ()))
        _numbers(spec)
        return str(spec)
    betas = tuple(float(b) for b in init)
    if len(betas) != depth:
        raise ValueError(
            f"init as a list needs one β_l a layer: got {len(betas)}, expected {depth}"
        )
    if any(not (math.isfinite(b) and b > 0) for b in betas):
        raise ValueError(f"every β_l must be positive and finite, got {list(betas)}")
    return betas


def _numbers(spec: Spec) -> dict[str, float]:
    numbers = {}
    for key, value in spec.options.items():
        if key == "v":
            if value not in ("unit", "gaussian"):
                raise ValueError(
                    f"initialization {spec.name!r}: v is unit or gaussian, got {value!r}"
                )
            continue
        if isinstance(value, (bool, str)) or not (math.isfinite(value) and value > 0):
            raise ValueError(f"initialization {spec.name!r}: {key} must be > 0, got {value!r}")
        numbers[key] = float(value)
    return numbers


def betas(
    init: str | tuple[float, ...], widths: Widths, activation: Activation, parameterization: str
) -> tuple[float, ...]:
    """β_1 … β_L. Raises ValueError where no rule is known (weights that were given)."""
    if not isinstance(init, str):
        return init
    if init == GIVEN:
        raise ValueError(
            "this network's weights were given, not sampled, so its β_l are not known; "
            "build a Network with init= to state them"
        )
    spec = parse_spec(init)
    rule = Rule(widths, activation, parameterization == "ntk", _numbers(spec), unit_output(init))
    return tuple(_RULES[spec.name](rule))


def is_paired(init: str | tuple[float, ...]) -> bool:
    """The doubled last hidden layer of Bombari et al. 2022, eq. 18."""
    return isinstance(init, str) and parse_spec(init).name == "bombari2022-paired"


def unit_output(init: str | tuple[float, ...]) -> bool:
    """Whether the last layer is a random vector of norm 1 (Banerjee et al. 2023, Prop. 5.1)."""
    if not isinstance(init, str):
        return False
    spec = parse_spec(init)
    return spec.name == "banerjee2023" and spec.options.get("v", "unit") == "unit"
