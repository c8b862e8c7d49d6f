"""Networks and training states on disk: plain tensors and values, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ntkscope._base.files import whole
from ntkscope._base.saved import load_saved
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network

_FORMAT = "ntkscope-mlp-1"


def write(path: str | Path, content: dict[str, Any]) -> None:
    """Save ``content`` under ``path``; an interrupted write leaves the old file as it was."""
    with whole(path) as file:
        torch.save(content, file)


def read(path: str | Path, what: str) -> dict[str, Any]:
    """Load what ``write`` saved. Raises FileNotFoundError, or ValueError for another content."""
    if not Path(path).exists():
        raise FileNotFoundError(f"no {what} at {str(path)!r}")
    try:
        content = load_saved(path)
    except Exception as error:  # the unpickler's own errors come in many types
        raise ValueError(f"{str(path)!r} is no {what}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{str(path)!r} is no {what}: it holds a {type(content).__name__}")
    return content


def save_model(model: MLP, path: str | Path) -> None:
    """Save a network with its weights; :func:`load_model` gives the same bits back.

    Parameters
    ----------
    model: an :class:`MLP`.
    path: the file.

    Raises ValueError for a custom activation, which a file of numbers cannot hold.
    """
    if model.network.activation.custom:
        raise ValueError(
            f"activation {model.network.activation} is Python code and cannot be saved; "
            "save model.state_dict() and rebuild the network with your activation"
        )
    write(path, {"format": _FORMAT, **describe(model)})


def load_model(path: str | Path) -> MLP:
    """The network that :func:`save_model` wrote. Raises ValueError for any other file.

    Parameters
    ----------
    path: the file.

    Returns
    -------
    MLP with the weights that were saved, bit for bit.
    """
    content = read(path, "saved network")
    if content.get("format") != _FORMAT:
        raise ValueError(f"{str(path)!r} is no saved network: it lacks format {_FORMAT!r}")
    return rebuild(content)


def describe(model: MLP) -> dict[str, Any]:
    """Network and weights as plain values and tensors."""
    return {
        "network": model.network.to_dict(),
        "weights": [w.detach().cpu().clone() for w in model.weights],
        "biases": [b.detach().cpu().clone() for b in model.biases],
    }


def rebuild(content: dict[str, Any]) -> MLP:
    """The MLP that :func:`describe` described."""
    return MLP(Network(**content["network"]), content["weights"], content["biases"])
