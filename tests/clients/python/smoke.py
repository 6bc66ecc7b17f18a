"""Smoke test with the official Python SDK (`mcp`), once per protocol generation.

Checks, over streamable HTTP and for two tenants: version negotiation, the tool
list, tool calls, isolation of durable state, SQL, bad arguments, bad tokens.
Reads URL, TOKEN_ACME and TOKEN_GLOBEX from the environment. It expects a fresh
data directory: globex's counters must not have been used before.
"""

import json
import os
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

URL = os.environ["URL"]
ACME = os.environ["TOKEN_ACME"]
GLOBEX = os.environ["TOKEN_GLOBEX"]
REQUEST_SECONDS = 15
TOTAL_SECONDS = 90

# How each generation is chosen: `mode` is the SDK's own switch. "auto" asks
# server/discover; a version string adopts that version without asking.
GENERATIONS = [
    ("legacy", "legacy", "2025-11-25"),
    ("modern", "auto", "2026-07-28"),
    ("pinned", "2026-07-28", "2026-07-28"),
]


def check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions inside a group of groups, or the exception itself."""
    nested = getattr(error, "exceptions", None)
    return [error] if nested is None else [leaf for part in nested for leaf in leaves(part)]


class Wire:
    """Opens clients and remembers the HTTP answers they got."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.answers: list[httpx2.Response] = []

    async def _record(self, response: httpx2.Response) -> None:
        self.answers.append(response)

    @asynccontextmanager
    async def connect(self, token: str | None) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(REQUEST_SECONDS, read=TOTAL_SECONDS),
            event_hooks={"response": [self._record]},
            trust_env=False,  # never through a proxy
        )
        async with http:
            transport = streamable_http_client(URL, http_client=http)
            async with Client(transport, mode=self.mode, read_timeout_seconds=REQUEST_SECONDS) as client:
                yield client


def payloads(result: Any) -> list[Any]:
    """A tool's answer: its structured content if it has any, then its text read as JSON."""
    check(not result.is_error, f"tool answered with an error: {result.content}")
    structured = [] if result.structured_content is None else [result.structured_content]
    text = "".join(block.text for block in result.content if block.type == "text")
    return structured + ([json.loads(text)] if text else [])


def number(result: Any) -> int:
    """The only number in a tool's structured content or, if there is none, in its text."""
    answers = payloads(result)
    for answer in answers:
        found = [v for v in (answer.values() if isinstance(answer, dict) else [answer]) if type(v) is int]
        check(len(found) < 2, f"expected one number in {answer!r}")
        if found:
            return found[0]
    raise AssertionError(f"expected a number in {answers!r}")


def holds(value: Any, wanted: list[Any]) -> bool:
    """Whether any part of a JSON value equals one of the wanted values."""
    if value in wanted:
        return True
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(holds(part, wanted) for part in parts)


async def adds(client: Client, a: int, b: int) -> None:
    sum = number(await client.call_tool("add", {"a": a, "b": b}))
    check(sum == a + b, f"add({a}, {b}) is {sum}, not {a + b}")


async def refuses(wire: Wire, token: str | None) -> None:
    """A connection with this token must fail, and because of a 401."""
    wire.answers.clear()
    try:
        async with wire.connect(token) as client:
            await client.list_tools()
    except Exception as error:
        # The SDK reports an HTTP failure as an MCPError (at times in a group)
        # that does not carry the status: that is looked up on the wire below.
        if not all(isinstance(leaf, MCPError) for leaf in leaves(error)):
            raise
    else:
        raise AssertionError("a connection without a valid token was accepted")
    check(bool(wire.answers), "the server was never asked")
    for answer in wire.answers:
        challenge = answer.headers.get("www-authenticate", "")
        check(answer.status_code == 401, f"expected 401, got {answer.status_code}")
        check(challenge.lower().startswith("bearer"), f"expected a Bearer challenge, got {challenge!r}")


async def smoke(generation: str, mode: str, version: str) -> None:
    wire = Wire(mode)
    key = f"k-python-{generation}"

    def passed(step: str) -> None:
        print(f"ok - python {generation}: {step}", flush=True)

    async with wire.connect(ACME) as client:
        check(client.protocol_version == version, f"negotiated {client.protocol_version}, not {version}")
        if mode == "auto":
            info = client.session.discover_result
            check(info is not None and version in info.supported_versions, f"server/discover said {info!r}")
        passed(f"connects and speaks {version}")

        if generation == "pinned":
            await adds(client, 1, 2)
            passed("add(1, 2) is 3, as the first request of a connection")

        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for name in ("add", "increment", "sql_query"):
            check(name in tools, f"tool {name} is missing from {sorted(tools)}")
            schema = tools[name].input_schema
            check(schema.get("type") == "object" and bool(schema.get("properties")), f"{name} has inputSchema {schema}")
        passed("lists add, increment and sql_query with schemas")

        await adds(client, 2, 3)
        passed("add(2, 3) is 5")

        first = number(await client.call_tool("increment", {"key": key}))
        second = number(await client.call_tool("increment", {"key": key}))
        check(second == first + 1, f"increment went from {first} to {second}")
        passed(f"increment counts {first}, {second}")

        rows = payloads(await client.call_tool("sql_query", {"sql": "SELECT 1 AS one"}))
        check(holds(rows, [[1], {"one": 1}]), f"SELECT 1 AS one answered {rows!r}")
        passed("sql_query answers SELECT 1 AS one")

        try:
            result = await client.call_tool("add", {"a": "two", "b": 3})
        except MCPError as error:
            check(error.code == -32602, f"expected invalid params (-32602), got {error.code}: {error}")
        else:
            check(result.is_error, f"add('two', 3) was accepted: {result!r}")
            check(any(b.type == "text" and b.text for b in result.content), "the tool error says nothing")
        await adds(client, 4, 5)
        passed("a wrong argument type is a clean error")

    async with wire.connect(GLOBEX) as client:
        other = number(await client.call_tool("increment", {"key": key}))
        check(other == 1, f"globex sees {other} under acme's key, not 1")
        passed("another tenant's counter of the same name is its own")

    with_session = any("mcp-session-id" in answer.headers for answer in wire.answers)
    check(with_session == (generation == "legacy"), f"Mcp-Session-Id {'seen' if with_session else 'missing'}")
    passed("has a session" if with_session else "has no session")

    await refuses(wire, "not-a-token")
    await refuses(wire, None)
    passed("a bad or missing token is refused with 401 and a challenge")


async def main() -> None:
    with anyio.fail_after(TOTAL_SECONDS):
        for generation in GENERATIONS:
            await smoke(*generation)


try:
    anyio.run(main)
except Exception as error:
    traceback.print_exc()
    for leaf in leaves(error):  # what matters, below a long trace
        print(f"FAILED - python: {leaf!r}", file=sys.stderr)
    sys.exit(1)
