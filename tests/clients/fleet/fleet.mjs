// A fleet of open sessions of older clients, half of them of the TypeScript SDKs (1.x and 2.x), half of Python's. The
// server is killed (SIGKILL) and started again; every session has to go on under its old id, nothing acknowledged may
// be lost, no event come twice. Prints how long the first call after it took, as a ratio to a usual one.
// Usage: node fleet.mjs SESSIONS PYTHON FLEET_PY. Reads URL, TOKENS (a JSON list) and RESTART (a command) from the
// environment.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import * as v2 from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ResourceUpdatedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const { URL: address, RESTART } = process.env;
const TOKENS = JSON.parse(process.env.TOKENS);
const [total, python, script] = [Number(process.argv[2]), process.argv[3], process.argv[4]];
const USUAL = 5;
// Sessions that are opened at once: a crowd at the door is another test's.
const OPENING = 10;
const WATCHED = "test://watched-resource";
const info = { name: "freehold-fleet", version: "1.0.0" };
const options = { timeout: 60_000 };
setTimeout(() => {
  console.error("fleet: gave up after 240 s");
  process.exit(1);
}, 240_000).unref();

// Notes the id of every event that comes.
function noting(ids) {
  return async (input, init) => {
    const response = await fetch(input, init);
    if (!response.body || !response.headers.get("content-type")?.startsWith("text/event-stream")) return response;
    const decoder = new TextDecoder();
    let line = "";
    const note = new TransformStream({
      transform(chunk, onward) {
        const lines = (line + decoder.decode(chunk, { stream: true })).split("\n");
        line = lines.pop();
        for (const each of lines) if (each.startsWith("id:")) ids.push(each.slice(3).trim());
        onward.enqueue(chunk);
      },
    });
    const { status, statusText, headers } = response;
    return new Response(response.body.pipeThrough(note), { status, statusText, headers });
  };
}

async function open(number) {
  const session = { tenant: number % TOKENS.length, ids: [], heard: 0 };
  const requestInit = { headers: { Authorization: `Bearer ${TOKENS[session.tenant]}` } };
  const extras = { requestInit, fetch: noting(session.ids) };
  const hear = () => (session.heard += 1);
  if (number % 2 === 0) {
    session.transport = new TransportV1(new URL(address), extras);
    session.client = new ClientV1(info);
    session.client.setNotificationHandler(ResourceUpdatedNotificationSchema, hear);
    session.call = () => session.client.callTool({ name: "increment", arguments: {} }, undefined, options);
  } else {
    const version = ["2025-03-26", "2025-06-18", "2025-11-25"][number % 3];
    session.transport = new v2.StreamableHTTPClientTransport(new URL(address), extras);
    session.client = new v2.Client(info, { versionNegotiation: { mode: "legacy" }, supportedProtocolVersions: [version] });
    session.client.setNotificationHandler("notifications/resources/updated", hear);
    session.call = () => session.client.callTool({ name: "increment", arguments: {} }, options);
  }
  await session.client.connect(session.transport, options);
  await session.client.subscribeResource({ uri: WATCHED }, options);
  return session;
}

// Every session once, all at the same time: the value that each got, and how long it waited.
async function round(sessions, values) {
  return Promise.all(
    sessions.map(async (session) => {
      const begun = performance.now();
      const result = await session.call();
      values[session.tenant].push(result.structuredContent.value);
      return performance.now() - begun;
    }),
  );
}

// The sessions of Python's SDK, in a process of their own that is told when to go on.
function pythons(count) {
  const child = spawn(python, [script, String(count)], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    assert.ok(!done, "Python's half of the fleet ended early");
    return JSON.parse(value);
  };
  return { next, goOn: () => child.stdin.write("\n") };
}

const percentile = (values, part) => [...values].sort((a, b) => a - b)[Math.ceil(values.length * part) - 1];

const theirs = Math.floor(total / 2);
const other = pythons(theirs);
const sessions = [];
while (sessions.length < total - theirs) {
  const numbers = Array.from({ length: Math.min(OPENING, total - theirs - sessions.length) }, (_, at) => sessions.length + at);
  sessions.push(...(await Promise.all(numbers.map(open))));
}
const before = sessions.map((session) => session.transport.sessionId);
assert.ok(before.every(Boolean), "every session has an id");
const values = TOKENS.map(() => []);
let usual = [];
for (let number = 0; number < USUAL; number += 1) usual = usual.concat(await round(sessions, values));
const said = await other.next();
// What was delivered after it had been written down is struck out within a second: a kill before that repeats it.
await new Promise((resolve) => setTimeout(resolve, 1_500));

const [program, ...args] = JSON.parse(RESTART);
await promisify(execFile)(program, args, { timeout: 60_000 });
other.goOn();
for (const session of sessions) session.heard = 0;
const first = await round(sessions, values);
const after = await other.next();

assert.deepEqual(sessions.map((session) => session.transport.sessionId), before, "every session keeps its id");
assert.deepEqual(after.ids, said.ids, "Python's too");
console.log(`ok - fleet: ${total} sessions go on under their old ids after kill -9`);

for (const [tenant, own] of values.entries()) {
  const all = own.concat(said.values[tenant], after.values[tenant]).sort((a, b) => a - b);
  assert.deepEqual(all, Array.from(all, (_, at) => at + 1), `tenant ${tenant}: acknowledged, and lost or done twice`);
}
const acknowledged = total * (USUAL + 1);
console.log(`ok - fleet: all of ${acknowledged} acknowledged writes are there, each once`);

// Their streams come back by themselves, after a moment that each SDK chooses.
const until = performance.now() + 60_000;
while (!sessions.every((session) => session.heard > 0)) {
  assert.ok(performance.now() < until, "not every session heard of a change after the restart");
  await round(sessions.slice(0, TOKENS.length), values);
  await new Promise((resolve) => setTimeout(resolve, 500));
}
for (const session of sessions) assert.equal(new Set(session.ids).size, session.ids.length, "an event came twice");
console.log(`ok - fleet: all hear of changes again, and no event came twice`);

const [all, firsts] = [usual.concat(said.usual), first.concat(after.first)];
const [middle, late] = [percentile(all, 0.5), percentile(firsts, 0.99)];
console.log(
  `# fleet: first call after kill -9, p99 ${late.toFixed(1)} ms = ${(late / middle).toFixed(1)} times a usual one ` +
    `(median ${middle.toFixed(1)} ms, all ${total} at once in both)`,
);
other.goOn();
process.exit(0);
