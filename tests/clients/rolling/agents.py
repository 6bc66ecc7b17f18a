"""Agents that write while the server behind the balancer is replaced: the official Python SDK, both generations.

Usage: agents.py SECONDS CALLS_PER_SECOND AGENTS. Reads URL and TOKENS (JSON: tenant to token) from the environment.
Each agent writes a row a call, numbered, and tries a call again when it fails, as often as RETRIES. Prints one
JSON object with what was acknowledged and what it took, and a line `under way` once every agent has written.
"""

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

URL = os.environ["URL"]
TOKENS = json.loads(os.environ["TOKENS"])
SECONDS, RATE, AGENTS = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
RETRIES = 5
TABLE = "CREATE TABLE IF NOT EXISTS row (agent TEXT, n INTEGER, PRIMARY KEY (agent, n)) WITHOUT ROWID"
# A call whose answer was lost may have been done: the same number is the same row.
WRITE = "INSERT INTO row VALUES (?1, ?2) ON CONFLICT DO NOTHING"


class Agent:
    def __init__(self, number: int) -> None:
        self.name = f"agent{number}"
        self.tenant = sorted(TOKENS)[number % len(TOKENS)]
        self.mode = "auto" if number % 2 else "legacy"
        self.acknowledged: list[int] = []
        self.failed = 0
        self.retried = 0
        self.seconds: list[float] = []
        self.reasons: list[str] = []
        self.sessions: set[str] = set()

    async def note(self, response: httpx2.Response) -> None:
        if session := response.headers.get("mcp-session-id"):
            self.sessions.add(session)

    async def call(self, client: Client, statements: list[dict[str, Any]]) -> bool:
        for attempt in range(RETRIES + 1):
            try:
                result = await client.call_tool("sql_execute", {"statements": statements})
                if not result.is_error:
                    return True
                reason = result.content[0].text
            except Exception as error:  # Whatever went wrong, an agent tries again.
                reason = repr(error)
            self.reasons.append(reason[:300])
            if attempt < RETRIES:
                self.retried += 1
                await asyncio.sleep(0.2 * 2**attempt)
        return False

    async def work(self, began: asyncio.Event, until: float) -> None:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(
                httpx2.AsyncClient(
                    headers={"Authorization": f"Bearer {TOKENS[self.tenant]}"},
                    timeout=httpx2.Timeout(15, read=60),
                    trust_env=False,
                    event_hooks={"response": [self.note]},
                )
            )
            client = await stack.enter_async_context(
                Client(streamable_http_client(URL, http_client=http), mode=self.mode, read_timeout_seconds=60, cache=None)
            )
            assert await self.call(client, [{"sql": TABLE}]), self.reasons
            n, due, each = 0, time.monotonic(), AGENTS / RATE
            while time.monotonic() < until:
                n += 1
                begun = time.monotonic()
                if await self.call(client, [{"sql": WRITE, "params": [self.name, n]}]):
                    self.acknowledged.append(n)
                else:
                    self.failed += 1
                self.seconds.append(time.monotonic() - begun)
                began.set()
                # At its pace, and in one go what a wait has put off: agents do not send fewer calls for it.
                due += each
                await asyncio.sleep(max(0.0, due - time.monotonic()))


async def main() -> None:
    agents = [Agent(number) for number in range(AGENTS)]
    began = [asyncio.Event() for _ in agents]
    until = time.monotonic() + SECONDS
    working = asyncio.gather(*(agent.work(event, until) for agent, event in zip(agents, began)))
    under_way = asyncio.gather(*(event.wait() for event in began))
    await asyncio.wait([working, under_way], return_when=asyncio.FIRST_COMPLETED)
    print("under way", flush=True)
    await working
    under_way.cancel()
    seconds = sorted(second for agent in agents for second in agent.seconds)
    print(
        json.dumps(
            {
                "acknowledged": {agent.name: [agent.tenant, agent.acknowledged] for agent in agents},
                "calls": len(seconds),
                "failed": sum(agent.failed for agent in agents),
                "retried": sum(agent.retried for agent in agents),
                "reasons": sorted({reason for agent in agents for reason in agent.reasons}),
                "sessions": {agent.name: len(agent.sessions) for agent in agents if agent.mode == "legacy"},
                "median_ms": round(1000 * seconds[len(seconds) // 2], 1),
                "slowest_ms": round(1000 * seconds[-1], 1),
            }
        )
    )


asyncio.run(asyncio.wait_for(main(), SECONDS + 120))
