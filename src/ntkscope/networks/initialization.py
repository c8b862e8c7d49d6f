"""Initializations by name: standard deviations β_l of the weights, as they are sampled.

A rule says which parameterization its paper has. In the other one its weights are converted, so that
the network is the same function at the start: "ntk" divides W_l by √n_{l−1} in the forward pass, so
β_l is √n_{l−1} times larger there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ntkscope._base.registry import Registry
from ntkscope._base.specs import Spec, parse_spec, reject_unknown_options
from ntkscope.activations.activation import Activation
from ntkscope.activations.expectation import second_moment

Widths = tuple[int | float, ...]
Parameterization = Literal["standard", "ntk"]
Option = float | tuple[str, ...]
GIVEN = "given"  # the weights were handed over, so no rule describes them


@dataclass(frozen=True)
class Setting:
    """What a rule is told: the network, and its own options with defaults filled in."""

    widths: Widths
    activation: Activation
    parameterization: str
    options: Mapping[str, float | str]

    @property
    def fan_in(self) -> tuple[float, ...]:
        """n_0, …, n_{L−1}."""
        return tuple(float(n) for n in self.widths[:-1])

    def number(self, option: str) -> float:
        return float(self.options[option])


Rule = Callable[[Setting], Sequence[float]]


@dataclass(frozen=True)
class Initialization:
    """A rule, and what others ask of it.

    Attributes
    ----------
    betas: β_1, …, β_L in the rule's own parameterization.
    options: name → the default of a positive number, or the words that it may be, the default first.
    parameterization: the one that ``betas`` are meant for; None where the rule knows both.
    paired: the doubled last hidden layer of Bombari et al. 2022, eq. 18.
    unit_output: whether these options make the last layer a random vector of norm 1.
    """

    betas: Rule
    options: Mapping[str, Option] = field(default_factory=dict)
    parameterization: Parameterization | None = None
    paired: bool = False
    unit_output: Callable[[Mapping[str, float | str]], bool] = lambda _: False

    def filled(self, spec: Spec) -> dict[str, float | str]:
        """The options of ``spec``, checked, with defaults. Raises ValueError naming the bad one."""
        reject_unknown_options("initialization", spec, self.options)
        found: dict[str, float | str] = {}
        for key, default in self.options.items():
            value = spec.options.get(key)
            what = f"initialization {spec.name!r}: {key}"
            if isinstance(default, tuple):
                value = default[0] if value is None else value
                if value not in default:
                    raise ValueError(f"{what} is {' or '.join(default)}, got {value!r}")
                found[key] = str(value)
                continue
            value = default if value is None else value
            if isinstance(value, (bool, str)) or not (math.isfinite(value) and value > 0):
                raise ValueError(f"{what} must be > 0, got {value!r}")
            found[key] = float(value)
        return found

    def conversion(self, n: int | float, parameterization: str) -> float:
        """What takes a weight behind n neurons from the rule's parameterization to another."""
        if self.parameterization in (None, parameterization):
            return 1.0
        return 1.0 / math.sqrt(n) if parameterization == "standard" else math.sqrt(n)


_RULES: Registry[Initialization] = Registry("initialization")


def register_initialization(
    name: str,
    betas: Rule,
    *,
    options: Mapping[str, Option] | None = None,
    parameterization: Parameterization | None = None,
) -> None:
    """Make ``name`` an initialization wherever one is named: in Python, TOML, on the command line.

    Parameters
    ----------
    name: without options, e.g. ``"orthodox"``.
    betas: takes a :class:`Setting`, returns the standard deviations β_1, …, β_L.
    options: name → default of a positive number, or a tuple of words, the default first.
    parameterization: which one ``betas`` are for; the other is converted to. None: the rule looks at
        ``Setting.parameterization`` itself.

    Raises
    ------
    ValueError
        For a name that is taken or that no settings file could hold.
    """
    _RULES.add(name, Initialization(betas, dict(options or {}), parameterization))


def names() -> tuple[str, ...]:
    """The registered names."""
    return _RULES.names()


def _unit(setting: Setting) -> list[float]:
    return [1.0 for _ in setting.fan_in]


def _fan_in(gain: float) -> Rule:
    def betas(setting: Setting) -> list[float]:
        ntk = setting.parameterization == "ntk"
        return [math.sqrt(gain) if ntk else math.sqrt(gain / n) for n in setting.fan_in]

    return betas


def _bombari(setting: Setting) -> list[float]:
    beta = setting.number("beta")
    return [beta / math.sqrt(n) for n in setting.fan_in[:-1]] + [beta]


def _bombari_paired(setting: Setting) -> list[float]:
    *hidden, last = _bombari(setting)
    return [*hidden, last * math.sqrt(setting.number("gamma"))]


def _unit_vector(options: Mapping[str, float | str]) -> bool:
    return options["v"] == "unit"


def _banerjee(setting: Setting) -> list[float]:
    hidden = nu0(setting.activation, setting.number("sigma0_sq"))
    last = 1.0 / math.sqrt(setting.fan_in[-1]) if _unit_vector(setting.options) else 1.0
    return [*[hidden] * (len(setting.fan_in) - 1), last]


def nu0(activation: Activation, sigma0_sq: float) -> float:
    """ν_0 = σ_0/√c_{φ,σ_0}, c = E φ(z)² for z ~ N(0, σ_0²); Banerjee et al. 2023, Theorem 4.1."""
    c = second_moment(activation, sigma0_sq)
    if c == 0:
        raise ValueError(f"banerjee2023: E φ² = 0 for {activation} at σ_0² = {sigma0_sq}")
    return math.sqrt(sigma0_sq / c)


for _name, _entry in {
    "unit": Initialization(_unit),
    "he": Initialization(_fan_in(2.0)),
    "lecun": Initialization(_fan_in(1.0)),
    "bombari2022": Initialization(_bombari, {"beta": 1.0}, "standard"),
    "bombari2022-paired": Initialization(
        _bombari_paired, {"beta": 1.0, "gamma": 1.0}, "standard", paired=True
    ),
    "banerjee2023": Initialization(
        _banerjee, {"sigma0_sq": 1.0, "v": ("unit", "gaussian")}, "ntk", unit_output=_unit_vector
    ),
}.items():
    _RULES.add(_name, _entry)


def check_init(init: str | Sequence[int | float], depth: int) -> str | tuple[float, ...]:
    """``init`` in its one form: a canonical name or a tuple of ``depth`` positive β_l.

    Raises ValueError for an unknown name or option, a wrong number of β_l, or one not positive.
    """
    if isinstance(init, str):
        if init == GIVEN:
            return GIVEN
        spec = parse_spec(init)
        _RULES.get(spec.name).filled(spec)
        return str(spec)
    betas = tuple(float(b) for b in init)
    if len(betas) != depth:
        raise ValueError(
            f"init as a list needs one β_l a layer: got {len(betas)}, expected {depth}"
        )
    if any(not (math.isfinite(b) and b > 0) for b in betas):
        raise ValueError(f"every β_l must be positive and finite, got {list(betas)}")
    return betas


def _find(init: str | tuple[float, ...]) -> tuple[Initialization, dict[str, float | str]] | None:
    """The rule and its options; None for numbers and for weights that were given."""
    if not isinstance(init, str) or init == GIVEN:
        return None
    spec = parse_spec(init)
    rule = _RULES.get(spec.name)
    return rule, rule.filled(spec)


def betas(
    init: str | tuple[float, ...], widths: Widths, activation: Activation, parameterization: str
) -> tuple[float, ...]:
    """β_1 … β_L, converted to ``parameterization`` where the rule is for the other one.

    Raises ValueError where no rule is known (weights that were given), where the conversion scales
    with an infinite width, and for a rule that does not give one positive number a layer.
    """
    if not isinstance(init, str):
        return init
    found = _find(init)
    if found is None:
        raise ValueError(
            "this network's weights were given, not sampled, so its β_l are not known; "
            "build a Network with init= to state them"
        )
    rule, options = found
    setting = Setting(widths, activation, parameterization, options)
    own = rule.betas(setting)
    if len(own) != len(widths) - 1:
        raise ValueError(
            f"initialization {init!r} gave {len(own)} standard deviations for {len(widths) - 1} "
            "layers; its function must return one a layer"
        )
    return tuple(
        _converted(init, rule, float(b), n, parameterization)
        for b, n in zip(own, setting.fan_in, strict=True)
    )


def _converted(init: str, rule: Initialization, beta: float, n: float, wanted: str) -> float:
    factor = rule.conversion(n, wanted)
    if factor == 1.0:
        return beta
    if math.isfinite(n):
        return beta * factor
    raise ValueError(
        f"initialization {init!r} is for the {rule.parameterization!r} parameterization, and in "
        f"{wanted!r} its weights scale with an infinite width; use "
        f"parameterization={rule.parameterization!r}, or 'lecun'"
    )


def is_paired(init: str | tuple[float, ...]) -> bool:
    """The doubled last hidden layer of Bombari et al. 2022, eq. 18."""
    found = _find(init)
    return found is not None and found[0].paired


def unit_output(init: str | tuple[float, ...]) -> bool:
    """Whether the last layer is a random vector of fixed norm (Banerjee et al. 2023, Prop. 5.1)."""
    found = _find(init)
    return found is not None and found[0].unit_output(found[1])


def output_norm(
    init: str | tuple[float, ...], n: int | float, parameterization: str
) -> float | None:
    """The norm of the last layer behind n neurons where it is fixed: 1 in the rule's own form."""
    found = _find(init)
    if found is None or not found[0].unit_output(found[1]):
        return None
    return found[0].conversion(n, parameterization)
