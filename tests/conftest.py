"""Hypothesis draws the same examples in every run, so that a failure is everybody's.

``make explore`` draws new ones, and keeps those that fail in its local database.
"""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.register_profile("explore", derandomize=False, print_blob=True)
settings.load_profile("repeatable")


def pytest_configure() -> None:
    """A run in several processes sets COLUMNS in them, at which commands would end their lines."""
    os.environ.pop("COLUMNS", None)
