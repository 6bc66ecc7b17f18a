"""What an agent needs, asked through a balancer, a tunnel or the server's own TLS. The standard library alone."""

import argparse
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time

MODERN = "2026-07-28"
PATIENCE = 30
CLIENT = "127.0.0.2"

args = argparse.ArgumentParser()
for name in ("mode", "port", "ca", "log", "name", "requests"):
    args.add_argument(f"--{name}", required=True)
args = args.parse_args()
port, token = int(args.port), os.environ["TOKEN"]
meta = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "checks", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Tls(http.client.HTTPConnection):
    """HTTP/1.1 over TLS to a port of this machine under the public name."""

    def connect(self):
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE, (CLIENT, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = ssl.create_default_context(cafile=args.ca)
        context.set_alpn_protocols(["http/1.1"])
        self.sock = context.wrap_socket(plain, server_hostname=args.name)


def connection():
    if args.mode == "tunnel":
        return http.client.HTTPConnection("127.0.0.1", port, PATIENCE)
    return Tls(args.name, timeout=PATIENCE)


def headers(method, name=None, bearer=token, **more):
    fields = {
        "Host": args.name,
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": method,
        **more,
    }
    if bearer:
        fields["Authorization"] = f"Bearer {bearer}"
    if name:
        fields["Mcp-Name"] = name
    if args.mode == "tunnel":
        fields |= {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": args.name, "X-Forwarded-Proto": "https"}
    return fields


def body(method, **params):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}})


TOOL = "sql_query"
CALL = {"name": TOOL, "arguments": {"sql": "SELECT 2 + 3"}}


def call(link, path="/mcp", **more):
    link.request("POST", path, body("tools/call", **CALL), headers("tools/call", TOOL, **more))
    answer = link.getresponse()
    return answer, answer.read()


def ready():
    """A balancer needs a moment to start and to find its server healthy."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            answer, said = call(connection())
            if answer.status == 200 or time.monotonic() > end:
                assert answer.status == 200, (answer.status, said)
                return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def both_paths():
    for path in ("/mcp", "/mcp/"):
        answer, said = call(connection(), path)
        assert answer.status == 200, (path, answer.status, said)
        assert json.loads(said)["result"]["structuredContent"]["rows"] == [[5]], said
        assert answer.getheader("x-request-id"), answer.headers


def strangers():
    answer, said = call(connection(), bearer=None)
    assert answer.status == 401 and answer.getheader("www-authenticate", "").startswith("Bearer"), (answer.status, said)
    answer, said = call(connection(), Host="evil.example")
    # nginx, HAProxy and freehold say 403; Caddy has no such site and says nothing of anybody's.
    assert answer.status in (403, 421) or said == b"", (answer.status, said)


def browsers():
    link = connection()
    origin = f"https://{args.name}"
    asked = {"Host": args.name, "Origin": origin, "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization,content-type,mcp-protocol-version"}
    link.request("OPTIONS", "/mcp", headers=asked)
    answer = link.getresponse()
    answer.read()
    assert (answer.status, answer.getheader("access-control-allow-origin")) == (204, origin), (answer.status, answer.headers)
    big = headers("tools/call", TOOL, Origin=origin)
    link = connection()
    link.request("POST", "/mcp", " " * (2 << 20), big)
    answer = link.getresponse()
    assert (answer.status, answer.getheader("access-control-allow-origin")) == (413, origin), (answer.status, answer.read())


def streams():
    """The first event of a stream that stays open is here at once, and a sign of life later on."""
    link = connection()
    wanted = {"notifications": {"resourceSubscriptions": [], "toolsListChanged": True}}
    link.request("POST", "/mcp", body("subscriptions/listen", **wanted), headers("subscriptions/listen"))
    begun = time.monotonic()
    answer = link.getresponse()
    assert answer.status == 200 and answer.getheader("content-type", "").startswith("text/event-stream"), (
        answer.status, answer.headers, answer.read1())
    first = answer.fp.readline() or answer.fp.readline()
    assert first and time.monotonic() - begun < 5, (first, time.monotonic() - begun)
    # It says something every 15 s: three times that, and it is still there.
    seen, end = 0, time.monotonic() + 33
    while time.monotonic() < end and seen < 2:
        line = answer.fp.readline()
        assert line, "the stream ended"
        seen += line.startswith(b":")
    assert seen == 2, f"{seen} signs of life in 33 s"
    link.close()


def keep_alive():
    """Calls on connections that live on, with rests in between: each is answered, none with 502."""
    each, threads, bad = int(args.requests) // 8, [], []

    def calls(seed):
        link = connection()
        for number in range(each):
            try:
                answer, said = call(link)
            except (http.client.RemoteDisconnected, ConnectionError) as error:
                # The balancer may end a connection between two requests; a client opens another.
                if number == 0:
                    bad.append(repr(error))
                link = connection()
                answer, said = call(link)
            if answer.status != 200:
                bad.append((answer.status, said[:200]))
            if number % 400 == seed * 50:
                time.sleep(1.1)

    for seed in range(8):
        threads.append(threading.Thread(target=calls, args=(seed,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert not bad, f"{len(bad)} of {each * 8} calls failed: {bad[:3]}"


def logged_address():
    """The log knows who called, and not who the caller says to be."""
    answer, said = call(connection(), **({} if args.mode == "tunnel" else {"X-Forwarded-For": "6.6.6.6"}))
    assert answer.status == 200, said
    request_id = answer.getheader("x-request-id")
    wanted = "203.0.113.7" if args.mode == "tunnel" else CLIENT
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for line in open(args.log):
            if line.startswith("{") and (entry := json.loads(line)).get("request.id") == request_id:
                assert entry["client.address"] == wanted, entry
                return
        time.sleep(0.1)
    raise AssertionError(f"{request_id} is not in the log")


def http2():
    done = subprocess.run(
        ["curl", "-sS", "--http2", "--cacert", args.ca, "--resolve", f"{args.name}:{port}:127.0.0.1", "-o", "/dev/null",
         "-w", "%{http_version} %{http_code}", "--max-time", str(PATIENCE),
         *[part for field in headers("tools/call", TOOL).items() for part in ("-H", ": ".join(field))],
         "-d", body("tools/call", **CALL), f"https://{args.name}:{port}/mcp"],
        capture_output=True, text=True)
    assert done.stdout == "2 200", (done.stdout, done.stderr)


def own_tls():
    answer, _ = call(connection())
    assert "max-age=" in answer.getheader("strict-transport-security", ""), answer.headers
    silent = socket.create_connection(("127.0.0.1", port), PATIENCE)
    assert silent.recv(1) == b"", "a connection that shakes no hand is closed"
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not plain.recv(100).startswith(b"HTTP/1.1 200"), "plain HTTP on the TLS port"


checks = {
    "proxy": [ready, both_paths, strangers, browsers, http2, logged_address, streams, keep_alive],
    "tunnel": [ready, both_paths, strangers, browsers, logged_address],
    "tls": [ready, both_paths, strangers, browsers, http2, own_tls],
}
for check in checks[args.mode]:
    begun = time.monotonic()
    try:
        check()
    except Exception as error:
        print(f"  {check.__name__}: FAILED {type(error).__name__} {error}", file=sys.stderr)
        sys.exit(1)
    print(f"  {check.__name__} ({time.monotonic() - begun:.1f} s)")
