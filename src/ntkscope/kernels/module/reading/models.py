"""Any model as a subject."""

from __future__ import annotations

from typing import Any

from torch import nn

from ntkscope.kernels.module.reading.interface import Interface
from ntkscope.kernels.module.reading.modes import with_gradients
from ntkscope.kernels.module.reading.of_function import of_function
from ntkscope.kernels.module.reading.of_module import of_module
from ntkscope.kernels.module.reading.parameters import check_parameters
from ntkscope.kernels.module.reading.subject import Subject


@with_gradients
def make_subject(model: Any, params: Any, interface: Interface) -> Subject:
    """Take an ``nn.Module``, or a callable (params, X), and the parameters to differentiate.

    Raises TypeError for other models or parameters, ValueError where none is left to differentiate.
    """
    if isinstance(model, nn.DataParallel):
        raise ValueError("the model is spread over devices; pass model.module instead")
    if isinstance(model, nn.Module):
        model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
        subject = of_module(model, params, interface)
    elif isinstance(model, type):
        raise TypeError(
            f"model is the class {model.__name__}; give an instance, {model.__name__}(...)"
        )
    elif callable(model):
        subject = of_function(model, params, interface)
    else:
        raise TypeError(
            f"model must be an nn.Module or a function of (params, X), got {type(model).__name__}"
        )
    check_parameters(subject.parameters)
    return subject
