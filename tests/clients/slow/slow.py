"""Clients that are slow on purpose, many at once, beside one of another tenant that is not. Prints for each kind: how long until the
server had let go of all of them, what the other's p99 did, and what memory did. Fails where a client outlived its bound, where
memory grew without proportion and, with 1,000 clients and more, where the other's p99 was 10 times what it is without them.

Usage: slow.py PATH_TO_FREEHOLD [CONNECTIONS] [--hurried]
--hurried: the server is told bounds of some seconds in place of its own, for a run of half a minute.
The standard library alone; needs 2 × CONNECTIONS descriptors.
"""

import asyncio
import http.client
import json
import multiprocessing
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time

arguments = [word for word in sys.argv[1:] if not word.startswith("--")]
BIN, COUNT, HURRIED = arguments[0], int(arguments[1]) if len(arguments) > 1 else 2000, "--hurried" in sys.argv
CALLS = 400
# Seconds, as the server has them.
HEAD, SILENT, BODY, STALL = (2, 2, 4, 3) if HURRIED else (15, 10, 30, 30)
# What letting go of all of them may take beyond the bound: a busy machine does it in turn.
SLACK = 15
# The end of a client whom nobody lets go.
PATIENCE = 120
# What a connection costs; and a tenant's 32 calls at once, each with an answer of 900 kB and its copies, with what the
# allocator keeps of the last second.
BYTES_EACH, BYTES_MORE = 128 << 10, 160 << 20
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "slow", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def start(data):
    environment = os.environ | {
        f"FREEHOLD_LIMITS__{name}": "1000000"
        for name in ("REQUESTS_PER_SECOND", "PRINCIPAL_REQUESTS_PER_SECOND", "BURST", "PRINCIPAL_BURST")
    }
    if HURRIED:
        environment |= {
            "FREEHOLD_CONNECTIONS__HEADER_DEADLINE": f"{HEAD}s", "FREEHOLD_CONNECTIONS__WRITE_STALL": f"{STALL}s",
            "FREEHOLD_LIMITS__BODY_IDLE": f"{SILENT}s", "FREEHOLD_LIMITS__BODY_DEADLINE": f"{BODY}s",
        }
    server = subprocess.Popen(
        [BIN, "serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", data],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    address = server.stdout.readline().strip().removeprefix("listening on http://").removesuffix("/mcp")
    issue = [BIN, "token", "issue", "--data-dir", data, "--tenant"]
    tokens = [subprocess.run([*issue, tenant], check=True, capture_output=True, text=True).stdout.strip()
              for tenant in ("acme", "globex")]
    return server, address, tokens


def call(sql):
    params = {"name": "sql_query", "arguments": {"sql": sql}, "_meta": META}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


def fields(token):
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call", "Mcp-Name": "sql_query"}


def p99(address, token):
    link, taken = http.client.HTTPConnection(address, timeout=60), []
    for _ in range(CALLS):
        begun = time.perf_counter()
        link.request("POST", "/mcp", call("SELECT 7"), fields(token))
        answer = link.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[CALLS * 99 // 100] * 1000


def memory(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10


async def slow(number, address, first, then, read):
    """One slow client: what it says at first, what it says each second, whether it reads. Returns how long it lasted."""
    host, port = address.split(":")
    # A thousand a second: of more at once than the system's queue holds, some would believe to be connected and not be.
    await asyncio.sleep(number / 1000)
    begun = time.monotonic()
    plain = socket.socket()
    plain.setblocking(False)
    # What is not read then waits on the other side and not in this one's kernel.
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    try:
        await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
        reader, writer = await asyncio.open_connection(sock=plain, limit=2**12)
    except OSError:
        return 0.0
    ended = None
    try:
        writer.write(first)
        ended = asyncio.ensure_future(reader.read(-1) if read else asyncio.sleep(600))
        while not ended.done() and time.monotonic() - begun < PATIENCE:
            await asyncio.wait([ended], timeout=1)
            if then and not ended.done():
                writer.write(then)
                if not read:
                    await asyncio.wait_for(writer.drain(), 300)
        ended.done() and ended.result()
    except (OSError, asyncio.TimeoutError):
        pass
    finally:
        if ended:
            ended.cancel()
        writer.close()
    return time.monotonic() - begun


def crowd(address, kind, lasted):
    """In a process of its own: what it costs is not the other's time."""

    async def all_of_them():
        return await asyncio.gather(*(slow(number, address, *kind) for number in range(COUNT)))

    lasted.put(max(asyncio.run(all_of_them())))


def main():
    context, failed = multiprocessing.get_context("spawn"), []
    with tempfile.TemporaryDirectory() as data:
        server, address, (token, other) = start(data)
        try:
            head = "".join(f"{name}: {value}\r\n" for name, value in fields(token).items())
            post = f"POST /mcp HTTP/1.1\r\nHost: {address}\r\n"
            body = call("SELECT printf('%.*c', 900000, 'x')")
            full = f"{post}{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
            begun_body = f"{post}{head}Content-Length: 1000\r\n\r\n".encode()
            kinds = {
                # kind: first bytes, bytes each second, whether it reads; seconds within which it has to be gone
                "nothing": ((b"", b"", True), HEAD),
                "one byte": ((b"P", b"", True), HEAD),
                "dripped head": ((post.encode(), b"X: 1\r\n", True), HEAD),
                "HTTP/2, then nothing": ((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"", True), HEAD),
                "HTTP/2, and pings": (
                    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"\0\0\x08\6\0\0\0\0\0abcdefgh", True), HEAD),
                "silent body": ((begun_body, b"", True), SILENT),
                "dripped body": ((begun_body, b" ", True), BODY),
                # Those who find no place get a short refusal, and what they say then is no request.
                "unread answers": ((full, b"x", False), max(STALL, HEAD)),
            }
            p99(address, other)
            for kind, (acts, within) in kinds.items():
                quiet, before = p99(address, other), memory(server.pid)
                lasted = context.Queue()
                crowding = context.Process(target=crowd, args=(address, acts, lasted))
                crowding.start()
                time.sleep(COUNT / 1000 + (1 if HURRIED else 3))
                beside, during = p99(address, other), memory(server.pid)
                longest = lasted.get(timeout=600)
                crowding.join()
                print(f"{kind:22} {COUNT} clients: all gone after {longest:5.1f} s (bound {within} s) · "
                      f"p99 {quiet:6.1f} → {beside:6.1f} ms ({beside / quiet:4.1f}×) · "
                      f"RSS {before >> 20} → {during >> 20} → {memory(server.pid) >> 20} MiB", flush=True)
                if longest > within + SLACK:
                    failed.append(f"{kind}: one lasted {longest:.1f} s")
                if during - before > BYTES_EACH * COUNT + BYTES_MORE:
                    failed.append(f"{kind}: {(during - before) >> 20} MiB more")
                if COUNT >= 1000 and beside > 10 * quiet:
                    failed.append(f"{kind}: the other's p99 is {beside / quiet:.1f} times what it was")
        finally:
            server.terminate()
            server.wait(60)
    for line in failed:
        print(f"FAILED: {line}", file=sys.stderr)
    print(f"{len(kinds) - len({line.split(':')[0] for line in failed})} passed, {len({line.split(':')[0] for line in failed})} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
