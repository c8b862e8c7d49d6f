"""Dask's scheduler and worker without the web server that each opens beside its TLS port.

Dask starts it even with the dashboard off, in plain HTTP and, on some paths, for every interface.
"""

from __future__ import annotations

from typing import Any

import distributed


class Scheduler(distributed.Scheduler):
    """A scheduler that listens on its TLS port alone."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open nothing."""


class Worker(distributed.Worker):
    """A worker that listens on its TLS port alone."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open nothing."""
