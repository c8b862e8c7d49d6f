"""Nobody but a run's own processes can use a port that it opens."""

import json
import os
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from experiments.trial_functions import settings
from ntkscope.engines import clusters
from ntkscope.engines.engine import Engine
from ntkscope.experiments.sweep import Sweep

NOBODY = 65534


def listening(processes: list[psutil.Process]) -> list[tuple[str, int]]:
    """The addresses on which the processes listen."""
    return sorted(
        {
            (connection.laddr.ip, connection.laddr.port)
            for process in processes
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
    )


def tree() -> list[psutil.Process]:
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def keys_of(cluster) -> dict[str, str] | None:
    fields = ("tls_ca_file", "tls_client_cert", "tls_client_key")
    keys = {field: getattr(cluster.security, field) for field in fields}
    return keys if all(keys.values()) else None


def stranger(uid: int, ports: list[int], keys: dict[str, str] | None) -> dict:
    """What ``stranger.py`` reports as that user."""
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("stranger.py")), str(uid)],
        input=json.dumps({"ports": ports, "keys": keys}),
        capture_output=True, text=True, timeout=200, cwd="/",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("uid",
    [pytest.param(os.getuid(), id="same user", marks=pytest.mark.slow),
     pytest.param(NOBODY, id="another user")],
)  # fmt: skip
def test_no_stranger_runs_code_on_local_workers(tmp_path, monkeypatch, uid):
    if uid != os.getuid() and os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    made, start, seen = [], clusters.local_cluster, []

    def noted(*arguments):
        made.append(start(*arguments))
        return made[-1]

    def look(_):
        if made and not seen:
            addresses = listening(tree())
            ports = [port for _, port in addresses]
            seen.append((addresses, stranger(uid, ports, keys_of(made[0]))))

    monkeypatch.setattr(clusters, "local_cluster", noted)
    Sweep(settings("normal")).run(tmp_path, Engine(workers=2), progress=look)
    ((addresses, report),) = seen
    assert report["uid"] == uid
    assert report["tcp"] == report["own keys"] == report["plain"] == []
    assert all(ip_address(ip).is_loopback for ip, _ in addresses)
    # the same attempts do run code with the run's keys, on every port: each was a real attempt
    assert report["keys"] == [port for _, port in addresses]
    assert len(addresses) == 1 + 2 * 2  # a scheduler, and for each worker the one that watches it


@pytest.mark.parametrize("tls", [True, False])
def test_tls_cannot_be_turned_off(tls):
    with pytest.raises(TypeError):  # the type check of the tests, before ours
        Engine(workers=1, tls=tls)
    made = object.__new__(Engine)
    object.__setattr__(made, "tls", tls)
    with pytest.raises(TypeError, match="always use TLS"):
        made.__post_init__()


def test_keys_are_of_one_run():
    first, second = clusters.keys_of_this_run(), clusters.keys_of_this_run()
    assert first.require_encryption
    assert first.tls_client_key != second.tls_client_key


def test_this_process_alone_opens_no_port(tmp_path):
    before, seen = listening(tree()), []
    Sweep(settings("normal")).run(
        tmp_path, Engine(workers=0), progress=lambda _: seen.append(listening(tree()))
    )
    assert len(seen) > 1
    assert all(addresses == before for addresses in seen)


def test_without_the_library_for_keys_nothing_starts(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ImportError, match=r"cryptography.*ntkscope\[sweep\]"):
        Sweep(settings("normal")).run(tmp_path, Engine(workers=1))
    assert Sweep(settings("normal")).run(tmp_path, Engine(workers=0)).done == 24
