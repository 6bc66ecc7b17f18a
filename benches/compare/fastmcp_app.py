"""The comparison's tools on FastMCP: a file of SQLite for each user, written as its users would write it.
Usage: FOLDER=… SECRET_FILE=… uvicorn fastmcp_app:app     FASTMCP_STATELESS_HTTP=true for several workers, as its guide says.
"""

import os
import re
import sqlite3
import threading
from pathlib import Path

from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token

folder = Path(os.environ["FOLDER"])
secret = Path(os.environ["SECRET_FILE"]).read_text()
mcp = FastMCP("compare", auth=JWTVerifier(public_key=secret, algorithm="HS256", issuer="freehold", audience="freehold"))


class File:
    """One user's, opened once and kept; tools run on threads and take turns."""

    def __init__(self, user):
        if not re.fullmatch("[a-z0-9-]{1,64}", user):
            raise ValueError("not a user")
        self.turn = threading.Lock()
        self.db = sqlite3.connect(folder / f"{user}.db", isolation_level=None, check_same_thread=False, timeout=5)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("CREATE TABLE IF NOT EXISTS counter (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT")

    def rows(self, sql, parameters=()):
        with self.turn:
            return self.db.execute(sql, parameters).fetchall()


files, opening = {}, threading.Lock()


def file():
    user = get_access_token().claims["tenant"]
    with opening:
        if user not in files:
            files[user] = File(user)
        return files[user]


@mcp.tool
async def add(a: int, b: int) -> dict[str, int]:
    """Add two integers."""
    return {"sum": a + b}


@mcp.tool
def increment(key: str) -> dict[str, int]:
    """Add 1 to a counter, durably."""
    bump = "INSERT INTO counter (key, value) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value"
    return {"value": file().rows(bump, (key,))[0][0]}


@mcp.tool
def query(sql: str) -> dict[str, list]:
    """Read with SQL."""
    return {"rows": file().rows(sql)}


folder.mkdir(parents=True, exist_ok=True)
app = mcp.http_app()
