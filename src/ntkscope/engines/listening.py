"""Schedulers and workers that listen on their TLS port alone, and the keys of a run.

Whoever reaches a Dask port runs code as its owner, and any user of a machine reaches its loopback.
So what is started here answers those alone who hold the keys that were made for this run.
"""

from __future__ import annotations

from typing import Any

from ntkscope._base.extras import needs

with needs("sweep"):
    import distributed


# Dask opens a web server beside each TLS port even with the dashboard off, in plain HTTP and, on some
# paths, for every interface
class Scheduler(distributed.Scheduler):
    """A scheduler that listens on its TLS port alone."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open nothing."""


class Worker(distributed.Worker):
    """A worker that listens on its TLS port alone."""

    def start_http_server(self, *_: Any, **__: Any) -> None:
        """Open nothing."""


def keys_of_this_run() -> Any:
    """One key for both sides of every connection, known to this run's processes."""
    with needs("sweep"):
        import cryptography  # noqa: F401  # distributed's own message names no extra
    return distributed.Security.temporary()
