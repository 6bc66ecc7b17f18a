"""Python's half of the fleet: opens sessions, calls, waits for a line on its input while the server is killed, calls
again. Usage: fleet.py SESSIONS. Says what it saw as JSON, a line each time. Reads URL and TOKENS from the environment.
"""

import json
import os
import sys
import time
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

URL = os.environ["URL"]
TOKENS: list[str] = json.loads(os.environ["TOKENS"])
USUAL = 5
# Sessions that are opened at once: a crowd at the door is another test's.
OPENING = 10
TOTAL_SECONDS = 240


class Session:
    def __init__(self, number: int) -> None:
        self.tenant = number % len(TOKENS)
        self.id: str | None = None
        self.client: Client | None = None

    async def note(self, response: Any) -> None:
        self.id = response.request.headers.get("mcp-session-id") or self.id

    async def live(self, opening: anyio.Semaphore, ready: Any) -> None:
        await opening.acquire()
        http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {TOKENS[self.tenant]}"},
            timeout=httpx2.Timeout(30, read=120),
            trust_env=False,
            event_hooks={"response": [self.note]},
        )
        async with http, Client(
            streamable_http_client(URL, http_client=http), mode="legacy", read_timeout_seconds=60, cache=None
        ) as client:
            self.client = client
            opening.release()
            ready()
            # Until the process ends.
            await anyio.sleep_forever()


async def round(sessions: list[Session], values: list[list[int]], took: list[float]) -> None:
    async def call(session: Session) -> None:
        begun = time.perf_counter()
        result = await session.client.call_tool("increment")
        values[session.tenant].append(result.structured_content["value"])
        took.append((time.perf_counter() - begun) * 1e3)

    async with anyio.create_task_group() as group:
        for session in sessions:
            group.start_soon(call, session)


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def main(count: int) -> None:
    sessions = [Session(number) for number in range(count)]
    all_open, opening = anyio.Event(), anyio.Semaphore(OPENING)
    opened = 0

    def ready() -> None:
        nonlocal opened
        opened += 1
        if opened == count:
            all_open.set()

    with anyio.fail_after(TOTAL_SECONDS):
        async with anyio.create_task_group() as group:
            for session in sessions:
                group.start_soon(session.live, opening, ready)
            await all_open.wait()
            values: list[list[int]] = [[] for _ in TOKENS]
            usual: list[float] = []
            for _ in range(USUAL):
                await round(sessions, values, usual)
            say(ids=[session.id for session in sessions], values=values, usual=usual)
            await anyio.to_thread.run_sync(sys.stdin.readline)
            values, first = [[] for _ in TOKENS], []
            await round(sessions, values, first)
            say(ids=[session.id for session in sessions], values=values, first=first)
            await anyio.to_thread.run_sync(sys.stdin.readline)
            os._exit(0)


anyio.run(main, int(sys.argv[1]))
