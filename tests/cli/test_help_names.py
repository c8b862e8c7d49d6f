"""The help of the command line names every registered activation, initialization and law."""

import re

import pytest

from ntkscope.activations.registry import names as activations
from ntkscope.cli import options
from ntkscope.data import loaders, registry
from ntkscope.networks.initialization import names as initializations

# taken while tests are collected, before one of them registers its own
NAMED = {
    options.Activation: activations(),
    options.Init: initializations(),
    options.Data: (*registry.names(), *loaders.REAL_DATA),
}


@pytest.mark.parametrize("option", NAMED, ids=["activation", "init", "data"])
def test_help_names_what_is_registered(option):
    (about,) = option.__metadata__
    words = re.findall(r"[\w-]+", about.help)
    assert not set(NAMED[option]) - set(words)
