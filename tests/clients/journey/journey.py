"""One conversation, as Python clients have it: list, call, progress, news, a server that is killed, and on.

Usage: journey.py NAME. Reads URL, TOKEN and RESTART (a command) from the environment; for the bridges and for
stdio also BRIDGE (the client's command line as JSON).
"""

import json
import os
import subprocess
import sys
import traceback
from typing import Any

import anyio
import httpx2
from fastmcp import Client as FastClient
from fastmcp.client.transports import StreamableHttpTransport
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import listen

URL = os.environ["URL"]
TOKEN = os.environ["TOKEN"]
TOTAL_SECONDS = 90
WATCHED = "test://watched-resource"
NEWS = {"notifications/tools/list_changed", "notifications/resources/updated"}


def check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def passed(name: str, step: str) -> None:
    print(f"ok - {name}: {step}", flush=True)


async def restart() -> None:
    await anyio.to_thread.run_sync(lambda: subprocess.run(json.loads(os.environ["RESTART"]), check=True, timeout=60))


def value(result: Any) -> int:
    """What `increment` counted."""
    structured = getattr(result, "structured_content", None)
    return structured["value"]


async def converse(name: str, client: Any, call: Any, *, survives: bool) -> None:
    """What every client does. `call` is its way to call a tool with a callback for progress."""
    listed = await client.list_tools()
    tools = {tool.name for tool in getattr(listed, "tools", listed)}
    check({"increment", "test_tool_with_progress"} <= tools, f"the tools are {tools}")
    passed(name, f"lists {len(tools)} tools")

    seen: list[float] = []

    async def progress(done: float, total: float | None = None, message: str | None = None) -> None:
        seen.append(done)

    await call("test_tool_with_progress", progress)
    if not name.startswith("supergateway"):  # It hands on no progress, whatever the server.
        check(seen == [0, 50, 100], f"progress came as {seen}")
        passed(name, "gets progress while a call runs")

    before = value(await call("increment", None))
    if survives:
        await restart()
        after = value(await call("increment", None))
        check(after == before + 1, f"counted {before}, then {after} after the restart")
        passed(name, f"goes on after the server was killed: {before}, {after}")


class Ear:
    """What a client of the legacy generation hears without being asked."""

    def __init__(self) -> None:
        self.heard: set[str] = set()
        self.all = anyio.Event()

    async def __call__(self, message: Any) -> None:
        self.heard.add(str(getattr(getattr(message, "root", message), "method", "")))
        if NEWS <= self.heard:
            self.all.set()


async def news(name: str, client: Any, ear: Ear, *, modern: bool) -> None:
    with anyio.fail_after(15):
        if modern:
            async with listen(client.session, tools_list_changed=True, resource_subscriptions=[WATCHED]) as events:
                await client.call_tool("increment")
                await client.call_tool("test_trigger_tool_change")
                kinds = {type(await anext(events)).__name__, type(await anext(events)).__name__}
                check(len(kinds) == 2, f"heard {kinds}")
        else:
            await client.session.subscribe_resource(WATCHED)
            await client.call_tool("increment")
            await client.call_tool("test_trigger_tool_change")
            await ear.all.wait()
    passed(name, "hears of a changed list and a changed resource")


async def sdk(name: str, transport: Any, mode: str, *, survives: bool) -> None:
    ear = Ear()
    async with Client(transport, mode=mode, read_timeout_seconds=20, cache=None, message_handler=ear) as client:

        async def call(tool: str, progress: Any) -> Any:
            return await client.call_tool(tool, progress_callback=progress)

        passed(name, f"speaks {client.protocol_version}")
        if not name.startswith("supergateway"):  # It hands on no notifications either.
            await news(name, client, ear, modern=client.protocol_version >= "2026")
        await converse(name, client, call, survives=survives)


def http() -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        headers={"Authorization": f"Bearer {TOKEN}"}, timeout=httpx2.Timeout(15, read=60), trust_env=False
    )


async def fast(name: str, mode: str) -> None:
    ear = Ear()
    transport = StreamableHttpTransport(URL, auth=TOKEN)
    async with FastClient(transport, timeout=20, mode=mode, message_handler=ear) as client:

        async def call(tool: str, progress: Any) -> Any:
            return await client.call_tool(tool, {}, progress_handler=progress)

        await news(name, client, ear, modern=mode != "legacy")
        await converse(name, client, call, survives=True)


async def main(name: str) -> None:
    with anyio.fail_after(TOTAL_SECONDS):
        match name:
            case "python-modern":
                async with http() as client:
                    await sdk(name, streamable_http_client(URL, http_client=client), "auto", survives=True)
            case "python-legacy":
                async with http() as client:
                    await sdk(name, streamable_http_client(URL, http_client=client), "legacy", survives=True)
            case "fastmcp-modern" | "fastmcp-legacy":
                await fast(name, "legacy" if name.endswith("legacy") else "auto")
            case _:
                command, *arguments = json.loads(os.environ["BRIDGE"])
                server = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
                mode = "legacy" if name.endswith("legacy") else "auto"
                # A server on a pipe ends with it; behind a bridge it is the one that is killed.
                await sdk(name, stdio_client(server), mode, survives=not name.startswith("stdio"))


try:
    anyio.run(main, sys.argv[1])
except BaseException:
    traceback.print_exc()
    sys.exit(1)
