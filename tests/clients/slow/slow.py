"""Clients that are slow on purpose, many at once, beside one of another tenant that is not. Prints for each kind: how long until the
server had let go of all of them, what the other's p99 did, and what memory did.

Usage: slow.py PATH_TO_FREEHOLD [CONNECTIONS]      the standard library alone; needs 2 × CONNECTIONS descriptors
"""

import asyncio
import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time

BIN, COUNT = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000
CALLS = 400
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
            return int(line.split()[1]) // 1024


async def slow(address, first, then, read):
    """One slow client: what it says at first, what it says each second, whether it reads. Returns how long it lasted."""
    host, port = address.split(":")
    begun = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**12)
    except OSError:
        return 0.0
    try:
        writer.write(first)
        ended = asyncio.ensure_future(reader.read(-1) if read else asyncio.sleep(600))
        while not ended.done():
            await asyncio.wait([ended], timeout=1)
            if then and not ended.done():
                writer.write(then)
                if not read:
                    await asyncio.wait_for(writer.drain(), 300)
        ended.result()
    except (OSError, asyncio.TimeoutError):
        pass
    finally:
        ended.cancel()
        writer.close()
    return time.monotonic() - begun


async def crowd(address, first, then, read):
    return await asyncio.gather(*(slow(address, first, then, read) for _ in range(COUNT)))


def main():
    with tempfile.TemporaryDirectory() as data:
        server, address, (token, other) = start(data)
        try:
            head = "".join(f"{name}: {value}\r\n" for name, value in fields(token).items())
            post = f"POST /mcp HTTP/1.1\r\nHost: {address}\r\n"
            body = call("SELECT printf('%.*c', 200000, 'x')")
            full = f"{post}{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
            kinds = {
                # kind: first bytes, bytes each second, whether it reads, seconds within which it has to be gone
                "nothing": (b"", b"", True, 15),
                "one byte": (b"P", b"", True, 15),
                "dripped head": (post.encode(), b"X: 1\r\n", True, 15),
                "HTTP/2, then nothing": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", b"", True, 15),
                "dripped body": (f"{post}{head}Content-Length: 1000\r\n\r\n".encode(), b" ", True, 30 + 75),
                "unread answers": (full * 20, full, False, 30 + 15),
            }
            p99(address, other)
            for kind, (first, then, read, within) in kinds.items():
                quiet, before = p99(address, other), memory(server.pid)
                lasted = []
                crowding = threading.Thread(target=lambda: lasted.extend(asyncio.run(crowd(address, first, then, read))))
                crowding.start()
                time.sleep(3)
                beside, during = p99(address, other), memory(server.pid)
                crowding.join()
                after = memory(server.pid)
                print(f"{kind:22} {COUNT} clients: all gone after {max(lasted):5.1f} s (bound {within} s) · "
                      f"p99 {quiet:6.1f} → {beside:6.1f} ms ({beside / quiet:4.1f}×) · RSS {before} → {during} → {after} MiB",
                      flush=True)
        finally:
            server.terminate()
            server.wait(60)


main()
