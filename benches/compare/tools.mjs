// The comparison's tools on the official TypeScript SDK: a file of SQLite for each user, written as its users would write it.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { McpServer } from '@modelcontextprotocol/server';
import * as z from 'zod';

const answer = value => ({ content: [{ type: 'text', text: JSON.stringify(value) }], structuredContent: value });

/** The users' files in `folder`, each opened once and kept. */
export function files(folder) {
  mkdirSync(folder, { recursive: true });
  const open = new Map();
  return user => {
    let file = open.get(user);
    if (!file) {
      if (!/^[a-z0-9-]{1,64}$/.test(user)) throw new Error('not a user');
      const db = new DatabaseSync(join(folder, `${user}.db`));
      db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000');
      db.exec('CREATE TABLE IF NOT EXISTS counter (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT');
      const bump = db.prepare(
        'INSERT INTO counter (key, value) VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value');
      file = { db, bump };
      open.set(user, file);
    }
    return file;
  };
}

/** A server over `file`; `caller` tells a call's user from its context. */
export function server(file, caller) {
  const mcp = new McpServer({ name: 'compare', version: '1.0.0' });
  mcp.registerTool('add',
    { description: 'Add two integers.', inputSchema: z.object({ a: z.int(), b: z.int() }), outputSchema: z.object({ sum: z.int() }) },
    ({ a, b }) => answer({ sum: a + b }));
  mcp.registerTool('increment',
    { description: 'Add 1 to a counter, durably.', inputSchema: z.object({ key: z.string() }), outputSchema: z.object({ value: z.int() }) },
    ({ key }, context) => answer({ value: file(caller(context)).bump.get(key).value }));
  mcp.registerTool('query',
    { description: 'Read with SQL.', inputSchema: z.object({ sql: z.string() }) },
    ({ sql }, context) => answer({ rows: file(caller(context)).db.prepare(sql).all() }));
  return mcp;
}
