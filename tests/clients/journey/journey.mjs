// One conversation, as TypeScript clients have it: list, call, progress, news, a server that is killed, and on.
// Usage: node journey.mjs NAME, with NAME one of typescript-modern, typescript-legacy, typescript-v1. Reads URL,
// TOKEN and RESTART (a command) from the environment.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import * as v2 from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const { URL: address, TOKEN, RESTART } = process.env;
const LEGACY_RESUMES = true;
const [name] = process.argv.slice(2);
const info = { name: "freehold-journey", version: "1.0.0" };
const options = { timeout: 15_000 };
setTimeout(() => {
  console.error(`${name}: gave up after 90 s`);
  process.exit(1);
}, 90_000).unref();

const passed = (step) => console.log(`ok - ${name}: ${step}`);
const url = new URL(address);
const requestInit = { headers: { Authorization: `Bearer ${TOKEN}` } };

async function connect() {
  if (name === "typescript-v1") {
    const client = new ClientV1(info);
    await client.connect(new TransportV1(url, { requestInit }), options);
    const call = (tool, extras = {}) => client.callTool({ name: tool, arguments: {} }, undefined, { ...options, ...extras });
    return { client, call, modern: false };
  }
  const modern = name === "typescript-modern";
  const client = new v2.Client(info, { versionNegotiation: { mode: modern ? "auto" : "legacy" } });
  await client.connect(new v2.StreamableHTTPClientTransport(url, { requestInit }), options);
  const call = (tool, extras = {}) => client.callTool({ name: tool, arguments: {} }, { ...options, ...extras });
  return { client, call, modern };
}

const { client, call, modern } = await connect();
passed("connects");

const { tools } = await client.listTools(undefined, options);
assert.ok(tools.some((tool) => tool.name === "increment"));
passed(`lists ${tools.length} tools`);

const seen = [];
await call("test_tool_with_progress", { onprogress: (report) => seen.push(report.progress) });
assert.deepEqual(seen, [0, 50, 100]);
passed("gets progress while a call runs");

if (modern) {
  let heard = 0;
  const both = new Promise((resolve) => {
    const hear = () => ++heard === 2 && resolve();
    client.setNotificationHandler("notifications/tools/list_changed", hear);
    client.setNotificationHandler("notifications/resources/updated", hear);
  });
  const filter = { toolsListChanged: true, resourceSubscriptions: ["test://watched-resource"] };
  const subscription = await client.listen(filter, options);
  await call("increment");
  await call("test_trigger_tool_change");
  await both;
  await subscription.close();
  passed("hears of a changed list and a changed resource");
}

const count = async () => (await call("increment")).structuredContent.value;
const before = await count();
if (modern || LEGACY_RESUMES) {
  const [program, ...args] = JSON.parse(RESTART);
  // Not synchronously: the client has to see that its connection has ended.
  await promisify(execFile)(program, args, { timeout: 60_000 });
  assert.equal(await count(), before + 1);
  passed(`goes on after the server was killed: ${before}, ${before + 1}`);
}
await client.close();
process.exit(0);
