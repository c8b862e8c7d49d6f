"""A user who holds other keys, or none, tries to run code on ports: python stranger.py UID < JSON.

Reads ``{"ports": [...], "keys": {...} or null}``, becomes that user, and prints for each kind of
connection the ports on which code ran: in plain TCP, with TLS keys made here, with the keys given.
"""

import asyncio
import json
import os
import sys

import distributed
from distributed.core import rpc
from distributed.protocol.pickle import dumps

SECONDS = 10


async def by_client(address, security):
    async with distributed.Client(
        address, security=security, asynchronous=True, set_as_default=False, timeout=SECONDS
    ) as client:
        return await client.run_on_scheduler(os.getpid)


async def by_message(address, security, operation):
    arguments = security.get_connection_args("client") if security else {}
    server = rpc(address, connection_args=arguments, timeout=SECONDS)
    try:
        answer = await getattr(server, operation)(function=dumps(os.getpid))
    finally:
        await server.close_rpc()
    return answer["result"] if isinstance(answer, dict) else answer


async def intrudes(protocol, port, security):
    """Whether another process told its number: whether it ran ``os.getpid`` for us."""
    address = f"{protocol}://127.0.0.1:{port}"
    tries = [
        by_client(address, security),
        by_message(address, security, "run"),
        by_message(address, security, "run_function"),
    ]
    guarded = [asyncio.wait_for(one, SECONDS) for one in tries]
    found = await asyncio.gather(*guarded, return_exceptions=True)
    return any(isinstance(pid, int) and pid != os.getpid() for pid in found)


async def speaks_in_plain(port):
    """Whether the port answers a line of HTTP, or a plain connection, with more than a TLS alert."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /info/main/workers.html HTTP/1.0\r\n\r\n")
    try:
        said = await asyncio.wait_for(reader.read(), SECONDS)
    except OSError:  # closed at once
        return False
    finally:
        writer.close()
    return bool(said) and said[0] != 0x15  # the record type of an alert (RFC 8446, section 5.1)


async def main(ports, keys):
    distributed.Security.temporary()  # imports what the user may not be able to read
    own = distributed.Security.temporary()
    given = distributed.Security(require_encryption=True, **keys) if keys else None
    kinds = {"tcp": ("tcp", None), "own keys": ("tls", own)}
    if given:
        kinds["keys"] = ("tls", given)
    ran = {}
    for kind, (protocol, security) in kinds.items():
        found = await asyncio.gather(*(intrudes(protocol, port, security) for port in ports))
        ran[kind] = [port for port, yes in zip(ports, found, strict=True) if yes]
    found = await asyncio.gather(*map(speaks_in_plain, ports))
    ran["plain"] = [port for port, yes in zip(ports, found, strict=True) if yes]
    print(json.dumps({"uid": os.getuid(), **ran}))


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    uid = int(sys.argv[1])
    if uid != os.getuid():
        # only now: the interpreter and its modules may lie where that user cannot read
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    asyncio.run(main(**asked))
