"""A session of an agent with the official Python SDK: every built-in tool, every limit once, and a way back.

Usage: session.py modern|legacy [TRANSCRIPT]. Reads URL and TOKEN from the environment; the server has the limits of
freehold.toml beside this file, and the tenant is new. Fails at the first step that is not as it has to be; with
TRANSCRIPT, appends what was said to that file as Markdown.
"""

import json
import os
import sys
import traceback
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import ElicitResult

URL = os.environ["URL"]
TOKEN = os.environ["TOKEN"]
TOTAL_SECONDS = 90
# What is told of an answer: enough to read, and no more.
TOLD = 360

# Those that the story has to reach, by the name that a refusal bears.
LIMITS = {
    "result_bytes", "value_bytes", "statements", "statement_deadline", "statement_memory", "schema_objects",
    "database_bytes", "kv_value_bytes", "memory_text_bytes", "reminders", "reminder_bytes", "reminder_interval",
    "checkpoints", "checkpoint_bytes", "principal_requests_per_second",
}


def check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def told(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= TOLD else f"{text[:TOLD]}… ({len(text)} characters)"


class Agent:
    """One conversation, and what was said in it."""

    def __init__(self, generation: str) -> None:
        self.generation = generation
        self.client: Client
        self.lines: list[str] = []
        self.used: set[str] = set()
        self.reached: set[str] = set()
        # What the user says to questions, in order.
        self.answers: list[bool] = []
        # What it was told when it asked too fast.
        self.hurried = ""

    def section(self, title: str) -> None:
        self.lines.append(f"\n### {title}\n")
        print(f"ok - agent {self.generation}: {title.lower()}", flush=True)

    async def elicit(self, _context: Any, params: Any) -> ElicitResult:
        yes = self.answers.pop(0)
        self.lines.append(f"The user is asked: *{params.message}* They say **{'yes' if yes else 'no'}**.\n")
        return ElicitResult(action="accept", content={"confirm": True}) if yes else ElicitResult(action="decline")

    async def _call(self, tool: str, arguments: dict[str, Any]) -> Any:
        self.used.add(tool)
        return await self.patiently(lambda: self.client.call_tool(tool, arguments))

    async def patiently(self, ask: Any) -> Any:
        """Asks again where it was too fast: it is told when to come back."""
        for _ in range(100):
            try:
                return await ask()
            except MCPError as error:
                wait = (error.data or {}).get("retryAfterMs")
                if wait is None:
                    raise
                self.reached.add(error.data["limit"])
                self.hurried = error.message
                await anyio.sleep(wait / 1000)
        raise AssertionError("never let in")

    async def call(self, tool: str, /, **arguments: Any) -> Any:
        """A call that has to succeed: its structured content."""
        result = await self._call(tool, arguments)
        check(not result.is_error, f"{tool} {told(arguments)} was refused: {result.content}")
        check(result.structured_content is not None, f"{tool} gave no structured content")
        self.lines.append(f"```\n→ {tool} {told(arguments)}\n← {told(result.structured_content)}\n```\n")
        return result.structured_content

    async def refused(self, tool: str, limit: str | None, /, **arguments: Any) -> str:
        """A call that has to be refused, by that limit: the words with which it is."""
        result = await self._call(tool, arguments)
        said = "".join(block.text for block in result.content if block.type == "text")
        check(bool(result.is_error), f"{tool} {told(arguments)} was not refused: {said[:200]}")
        details = (result.meta or {}).get("freehold/refusal", {})
        check(details.get("limit") == limit, f"{tool}: {details} and not {limit}: {said}")
        if limit is not None:
            self.reached.add(limit)
        self.lines.append(f"```\n→ {tool} {told(arguments)}\n✗ {said}\n```\n")
        return said

    async def execute(self, *statements: str) -> Any:
        return await self.call("sql_execute", statements=[{"sql": sql} for sql in statements])

    async def read(self, uri: str) -> Any:
        read = await self.patiently(lambda: self.client.read_resource(uri))
        value = json.loads(read.contents[0].text)
        self.lines.append(f"```\n→ resources/read {uri}\n← {told(value)}\n```\n")
        return value


async def database(agent: Agent) -> None:
    agent.section("A database of its own")
    await agent.execute(
        "CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, big INTEGER, photo BLOB)",
        "INSERT INTO customer (name) VALUES ('Ada'), ('Grace'), ('Linus'), ('Barbara'), ('Edsger'), ('Niklaus'), ('Donald')",
    )
    await agent.call(
        "sql_execute",
        statements=[{"sql": "UPDATE customer SET big = ?, photo = ? WHERE id = 1", "params": [9007199254740993, {"base64": "AAEC"}]}],
    )
    exact = await agent.call("sql_query", sql="SELECT big, photo FROM customer WHERE id = :id", params={"id": 1})
    check(exact["rows"] == [[9007199254740993, {"base64": "AAEC"}]], f"not exact: {exact}")
    page = await agent.call("sql_query", sql="SELECT name FROM customer ORDER BY id")
    names, cursor = [row[0] for row in page["rows"]], page["next_cursor"]
    check(len(names) == 5, "a page of five rows")
    page = await agent.call("sql_query", sql="SELECT name FROM customer ORDER BY id", cursor=cursor)
    names += [row[0] for row in page["rows"]]
    check(len(names) == 7 and "next_cursor" not in page, f"all of them by cursor: {names}")
    await agent.refused("sql_query", None, sql="SELECT 1", cursor=cursor)
    await agent.refused("sql_execute", None, statements=[{"sql": "INSERT INTO customer (name) VALUES ('x')"}, {"sql": "INSERT INTO nowhere VALUES (1)"}])
    count = await agent.call("sql_query", sql="SELECT count(*) FROM customer")
    check(count["rows"] == [[7]], "all or nothing")
    schema = await agent.call("sql_schema")
    rows = {table["name"]: table["rows"] for table in schema["tables"]}
    check(rows["customer"] == 7, f"the schema counts: {schema}")
    for sql in ("ATTACH 'x' AS y", "PRAGMA journal_mode = off", "SELECT * FROM _fh_meta", "DELETE FROM customer"):
        await agent.refused("sql_query", None, sql=sql)


async def keys(agent: Agent) -> None:
    agent.section("Keys with versions")
    first = await agent.call("kv_set", key="user:7:theme", value={"dark": True}, ttl_seconds=3600)
    await agent.call("kv_set", key="user:7:name", value="Ada", if_version=0)
    await agent.call("kv_set", key="user:7:theme", value={"dark": False}, if_version=first["version"])
    await agent.refused("kv_set", None, key="user:7:theme", value=1, if_version=first["version"])
    found = await agent.call("kv_get", key="user:7:theme")
    check(found["value"] == {"dark": False}, f"{found}")
    listed = await agent.call("kv_list", prefix="user:7:", limit=1)
    rest = await agent.call("kv_list", prefix="user:7:", limit=1, cursor=listed["next_cursor"])
    check([key["key"] for key in listed["keys"] + rest["keys"]] == ["user:7:name", "user:7:theme"], "by cursor")
    gone = await agent.call("kv_delete", key="user:7:name")
    check(gone["deleted"], "deleted")


async def memory(agent: Agent) -> None:
    agent.section("A memory")
    tea = await agent.call("memory_save", text="Ada takes her tea without milk", tags=["ada"], source="chat")
    await agent.call("memory_save", text="The quarterly report is due on Friday", tags=["work"])
    hits = await agent.call("memory_search", query='what tea does ada like? AND "(', limit=1)
    check(hits["notes"][0]["id"] == tea["id"], f"found by its words: {hits}")
    listed = await agent.call("memory_list", tags=["work"])
    check(len(listed["notes"]) == 1, "by tag")
    note = await agent.read(f"tenant://memory/{tea['id']}")
    check(note["text"].startswith("Ada"), "a note is a resource")
    gone = await agent.call("memory_forget", id=tea["id"])
    check(gone["forgotten"], "forgotten")
    hits = await agent.call("memory_search", query="milk")
    check(hits["notes"] == [], "gone is gone")


async def reminders(agent: Agent) -> None:
    agent.section("Reminders")
    await agent.call("reminder_set", when="in 1s", message="look at the oven", payload={"oven": 2})
    weekly = await agent.call("reminder_set", when="0 9 * * 1 Europe/Berlin", message="write the report")
    await agent.refused("reminder_set", "reminders", when="in 1h", message="one too many")
    listed = await agent.call("reminder_list")
    check(any(one["id"] == weekly["id"] for one in listed["reminders"]), "listed")
    await agent.call("reminder_cancel", id=weekly["id"])
    with anyio.fail_after(30):
        while not (await agent._call("inbox_read", {})).structured_content["messages"]:
            await anyio.sleep(0.2)
    inbox = await agent.call("inbox_read")
    check([one["message"] for one in inbox["messages"]] == ["look at the oven"], f"{inbox}")
    done = await agent.call("inbox_ack", ids=[inbox["messages"][0]["id"]])
    check(done["acknowledged"] == 1, "acknowledged")
    await agent.refused("reminder_set", "reminder_interval", when="every 5s", message="too often")
    await agent.refused("reminder_set", "reminder_bytes", when="in 1h", message="x" * 201)


async def bounds(agent: Agent) -> None:
    agent.section("Where it ends, and what is said there")
    await agent.refused("sql_query", "result_bytes", sql="SELECT hex(zeroblob(9000)) AS wide")
    await agent.refused("sql_query", "value_bytes", sql="SELECT zeroblob(100000)")
    await agent.refused("sql_execute", "statements", statements=[{"sql": "DELETE FROM customer WHERE id = 0"}] * 21)
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c"
    await agent.refused("sql_query", "statement_deadline", sql=endless)
    sort = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 50000) SELECT hex(randomblob(200)) AS h FROM c ORDER BY h"
    await agent.refused("sql_query", "statement_memory", sql=sort)
    await agent.refused("kv_set", "kv_value_bytes", key="large", value="x" * 2000)
    await agent.refused("memory_save", "memory_text_bytes", text="word " * 100)
    status = await agent.call("tenant_status")
    objects = status["usage"]["schema_objects"]
    room = objects["limit"] - objects["used"]
    for begin in range(0, room, 20):
        await agent._call("sql_execute", {"statements": [{"sql": f"CREATE TABLE many_{n} (a)"} for n in range(begin, min(begin + 20, room))]})
    await agent.refused("sql_execute", "schema_objects", statements=[{"sql": "CREATE TABLE one_more (a)"}])
    for begin in range(0, room, 20):
        await agent._call("sql_execute", {"statements": [{"sql": f"DROP TABLE many_{n}"} for n in range(begin, min(begin + 20, room))]})


async def back(agent: Agent) -> None:
    agent.section("A mistake, and the way back")
    before = await agent.call("checkpoint_create", label="before the clean-up")
    await agent.execute("DELETE FROM customer", "DROP TABLE customer")
    await agent.call("kv_set", key="after", value=True)
    await agent.refused("sql_query", None, sql="SELECT name FROM customer")
    agent.answers = [False]
    await agent.refused("checkpoint_restore", None, bookmark=before["bookmark"])
    agent.answers = [True]
    restored = await agent.call("checkpoint_restore", bookmark=before["bookmark"])
    check(not agent.answers, "the user was asked")
    found = await agent.call("sql_query", sql="SELECT count(*) FROM customer")
    check(found["rows"] == [[7]], f"the data is back: {found}")
    after = await agent.call("kv_get", key="after")
    check(not after["found"], "keys go back too")
    agent.answers = [True]
    await agent.call("checkpoint_restore", bookmark=restored["undo"])
    after = await agent.call("kv_get", key="after")
    check(after["found"], "and forth")
    agent.answers = [True]
    await agent.call("checkpoint_restore", bookmark=before["bookmark"])
    found = await agent.call("sql_query", sql="SELECT name FROM customer WHERE id = 1")
    check(found["rows"] == [["Ada"]], f"the data is back: {found}")
    await agent.call("checkpoint_create", label="second")
    await agent.refused("checkpoint_create", "checkpoints", label="third")
    listed = await agent.call("checkpoint_list")
    check({one["kind"] for one in listed["checkpoints"]} == {"named", "undo"}, f"{listed}")
    await agent.call("checkpoint_delete", bookmark=before["bookmark"])


async def full(agent: Agent) -> None:
    agent.section("A database that is full")
    fill = "INSERT INTO heap WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {}) SELECT zeroblob(60000) FROM c"
    await agent.execute("CREATE TABLE heap (b BLOB)", fill.format(20))
    await agent.refused("sql_execute", "database_bytes", statements=[{"sql": fill.format(60)}])
    for one in (await agent.call("checkpoint_list"))["checkpoints"]:
        await agent._call("checkpoint_delete", {"bookmark": one["bookmark"]})
    await agent.call("checkpoint_create", label="first")
    await agent.refused("checkpoint_create", "checkpoint_bytes", label="second")
    usage = await agent.read("tenant://usage")
    check(usage["usage"]["checkpoints"]["used"] == 1, f"{usage}")


async def hurry(agent: Agent) -> None:
    agent.section("Too many calls at once")
    for _ in range(20):
        if agent.hurried:
            break
        async with anyio.create_task_group() as tg:
            for _ in range(60):
                tg.start_soon(agent._call, "kv_get", {"key": "k"})
    agent.lines.append(f"```\n✗ {agent.hurried}\n```\n")
    await anyio.sleep(0.5)


async def converse(agent: Agent) -> None:
    mode = "auto" if agent.generation == "modern" else "legacy"
    timeout = httpx2.Timeout(15, read=60)
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=timeout, trust_env=False) as http:
        transport = streamable_http_client(URL, http_client=http)
        async with Client(transport, mode=mode, read_timeout_seconds=30, elicitation_callback=agent.elicit) as client:
            agent.client = client
            listed = await client.list_tools()
            tools = {tool.name for tool in listed.tools}
            tokens = sum(len(tool.model_dump_json(by_alias=True, exclude_none=True)) for tool in listed.tools) // 4
            agent.lines.append(f"\n## MCP {client.protocol_version}\n\nThe tools: {', '.join(f'`{name}`' for name in sorted(tools))}. Their list costs about {tokens} tokens.\n")
            status = await agent.call("tenant_status")
            check(status["usage"]["checkpoints"]["used"] == 0, "a new tenant")
            await database(agent)
            await agent.read("tenant://schema")
            await keys(agent)
            await memory(agent)
            await reminders(agent)
            await bounds(agent)
            await back(agent)
            await full(agent)
            await hurry(agent)
            built_in = {name for name in tools if name.split("_")[0] in {"sql", "kv", "memory", "reminder", "inbox", "tenant", "checkpoint"}}
            check(len(built_in) == 21, f"{len(built_in)} built-in tools: {sorted(built_in)}")
            check(agent.used >= built_in, f"never used: {built_in - agent.used}")
            check(agent.reached == LIMITS, f"never reached: {LIMITS - agent.reached}")
            agent.section(f"All {len(built_in)} tools used, all {len(LIMITS)} limits reached")


async def main(generation: str) -> None:
    agent = Agent(generation)
    try:
        with anyio.fail_after(TOTAL_SECONDS):
            await converse(agent)
    except BaseException:
        print("".join(agent.lines[-3:]), file=sys.stderr)
        raise
    if len(sys.argv) > 2:
        with open(sys.argv[2], "a", encoding="utf-8") as transcript:
            transcript.write("\n".join(line.rstrip("\n") for line in agent.lines) + "\n")


try:
    anyio.run(main, sys.argv[1])
except BaseException:
    traceback.print_exc()
    sys.exit(1)
