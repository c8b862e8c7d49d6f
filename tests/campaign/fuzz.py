"""Strings near the grammars and bytes near the file formats: refused in words, and soon."""

from __future__ import annotations

import io
import random
import signal
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ntkscope._base.specs import parse_spec
from ntkscope.activations.registry import activation
from ntkscope.data.loaders import load_array
from ntkscope.data.registry import distribution
from ntkscope.experiments.design.expansion import expand
from ntkscope.experiments.design.expressions import evaluate, fill
from ntkscope.experiments.design.settings import read_settings

_SECONDS = 30
REFUSALS = (ValueError, TypeError, OSError, MemoryError, ImportError)
_PIECES = [
    "(", ")", "[", "]", "{", "}", "*", "**", "//", "%", "+", "-", ",", ":", "=", ".", "<", "==", "!",
    " and ", " or ", " not ", " in ", " if ", " else ", "lambda x: x", "__class__", "N", "d", "1e308",
    "9" * 60, "0", "-1", "nan", "inf", "1j", "'", '"', "\\", "\0", "\n", "é", "💥", "True", "None",
    "min", "max", "sqrt", "log", "round", "#", ";", "@", "~", "1_000", "0x1F", "\u0661",
]  # fmt: skip
EXPRESSIONS = [
    "8*N", "d**2", "N if N > d else 2*d", "max(N, d) // 2", "sqrt(N*d)", "N <= 2000 and d < 10",
    "round(N**0.5)", "[d, 8, 1]", "log(N)/d", "(((N+1)*2)-3)%7",
]  # fmt: skip
SPECS = [
    "gaussian:N=6,d=4", "sphere:radius=2", "leaky_relu:alpha=0.1", "softplus:beta=1", "relu",
    "cube:centered=true", "generated:kind=gan,depth=2", "slurm:jobs=4,cores=8,memory=4GB",
]  # fmt: skip
SETTINGS = """\
name = "small"
measure = ["lambda_min"]
seeds = 2
data = "gaussian:N={N},d={d}"
grid = { d = [4], N = { start = 4, stop = 8, num = 2 } }
network = { widths = ["d", "2*N", 1], activation = "relu", init = "he" }
plot = { x = "N" }
fit = [{ x = "N", expected = 1.0 }]
"""
VARIABLES = {"N": 50, "d": 4}


def _mutated(draw: random.Random, text: str) -> str:
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(text))
        match draw.randrange(5):
            case 0:
                text = text[:at] + draw.choice(_PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + draw.randint(1, 4) :]
            case 2:
                end = at + draw.randint(1, 8)
                text = text[:end] + text[at:end] * draw.randint(1, 40) + text[end:]
            case 3:
                text = (
                    text[:at]
                    + chr(draw.choice([0, 7, 27, 127, 0x202E, 0x661, 0x1F4A5]))
                    + text[at:]
                )
            case _:
                other = draw.choice([*EXPRESSIONS, *SPECS])
                text = text[:at] + other + text[at:]
    return text


def _damaged(draw: random.Random, content: bytes) -> bytes:
    made = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(made)) if made else 0
        match draw.randrange(4):
            case 0:
                made[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                del made[at : at + draw.randint(1, 40)]
            case 2:
                made[at:at] = bytes(draw.randrange(256) for _ in range(draw.randint(1, 8)))
            case _:
                made = made[:at]
    return bytes(made)


def _files() -> dict[str, bytes]:
    X = np.arange(24.0).reshape(6, 4)
    npy, npz = io.BytesIO(), io.BytesIO()
    np.save(npy, X)
    np.savez(npz, X=X, y=X[:, 0])
    csv = "a,b,c\n" + "\n".join(",".join(map(str, row)) for row in X[:, :3])
    found = {"x.npy": npy.getvalue(), "x.npz": npz.getvalue(), "x.csv": csv.encode()}
    import torch

    pt = io.BytesIO()
    torch.save({"X": torch.from_numpy(X)}, pt)
    return found | {"x.pt": pt.getvalue()}


FILES = _files()


def _settings(text: str) -> Any:
    return expand(read_settings(tomllib.loads(text)))


GRAMMARS: dict[str, tuple[list[str], Callable[[str], Any]]] = {
    "expression": (EXPRESSIONS, lambda text: evaluate(text, VARIABLES)),
    "template": (["gaussian:N={N},d={d}", "{2*N}"], lambda text: fill(text, VARIABLES)),
    "spec": (SPECS, parse_spec),
    "activation": (SPECS, activation),
    "data law": (SPECS, lambda text: distribution(text, 4)),
    "settings": ([SETTINGS], _settings),
}


def once(draw: random.Random) -> tuple[str, list[str]]:
    """One string or file drawn; what it was, and what is wrong with how it was taken."""
    if draw.random() < 0.6:
        name = draw.choice(list(GRAMMARS))
        seeds, read = GRAMMARS[name]
        text = _mutated(draw, draw.choice(seeds))
        return f"{name} {text!r}", _tried(lambda: read(text))
    name = draw.choice(list(FILES))
    content = _damaged(draw, FILES[name])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        return f"{name} {content[:400]!r}", _tried(lambda: load_array(str(path)))


def _tried(read: Callable[[], object]) -> list[str]:
    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    try:
        read()
    except TimeoutError:
        return [f"no end after {_SECONDS} s"]
    except tomllib.TOMLDecodeError:
        return []
    except REFUSALS as error:
        return [] if str(error) else ["a refusal without a word"]
    except Exception as error:  # what a user would see as a traceback
        return [f"{type(error).__name__}: {error}"]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return []
