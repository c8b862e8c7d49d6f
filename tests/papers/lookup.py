"""The one finding of a verdict that a test speaks of."""

from __future__ import annotations

import pytest

import ntkscope as ntk


def close(x):
    return pytest.approx(x, rel=1e-9)


def verdict(paper, number, on):
    return ntk.check_all(on, [f"{paper}.{number}"])[0]


def only(found, **about):
    """The one finding with this key and these indices."""
    key = about.pop("key")
    (one,) = (f for f in found if f.key == key and about.items() <= dict(f.at).items())
    return one
