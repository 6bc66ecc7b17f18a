// One conversation, as TypeScript clients have it: list, call, progress, news, a server that is killed, and on.
// Usage: node journey.mjs NAME, with NAME one of typescript-modern, typescript-v1, and typescript- with a version of the
// legacy generation. Reads URL, TOKEN and RESTART (a command) from the environment.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import * as v2 from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ResourceUpdatedNotificationSchema, ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";

const { URL: address, TOKEN, RESTART } = process.env;
const WATCHED = "test://watched-resource";
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
    const hear = (hears) => {
      client.setNotificationHandler(ToolListChangedNotificationSchema, hears);
      client.setNotificationHandler(ResourceUpdatedNotificationSchema, hears);
    };
    return { client, call, hear, modern: false };
  }
  const modern = name === "typescript-modern";
  const legacy = { versionNegotiation: { mode: "legacy" }, supportedProtocolVersions: [name.replace("typescript-", "")] };
  const client = new v2.Client(info, modern ? { versionNegotiation: { mode: "auto" } } : legacy);
  await client.connect(new v2.StreamableHTTPClientTransport(url, { requestInit }), options);
  if (!modern) assert.equal(client.getNegotiatedProtocolVersion(), legacy.supportedProtocolVersions[0]);
  const call = (tool, extras = {}) => client.callTool({ name: tool, arguments: {} }, { ...options, ...extras });
  const hear = (hears) => {
    client.setNotificationHandler("notifications/tools/list_changed", hears);
    client.setNotificationHandler("notifications/resources/updated", hears);
  };
  return { client, call, hear, modern };
}

const { client, call, hear, modern } = await connect();
passed("connects");

const { tools } = await client.listTools(undefined, options);
assert.ok(tools.some((tool) => tool.name === "increment"));
passed(`lists ${tools.length} tools`);

const seen = [];
await call("test_tool_with_progress", { onprogress: (report) => seen.push(report.progress) });
assert.deepEqual(seen, [0, 50, 100]);
passed("gets progress while a call runs");

const kinds = new Set();
const both = new Promise((resolve) => hear(({ method }) => kinds.add(method).size === 2 && resolve()));
const subscription = modern
  ? await client.listen({ toolsListChanged: true, resourceSubscriptions: [WATCHED] }, options)
  : await client.subscribeResource({ uri: WATCHED }, options);
await call("increment");
await call("test_trigger_tool_change");
await both;
if (modern) await subscription.close();
passed("hears of a changed list and a changed resource");

const count = async () => (await call("increment")).structuredContent.value;
const before = await count();
const [program, ...args] = JSON.parse(RESTART);
// Not synchronously: the client has to see that its connection has ended.
await promisify(execFile)(program, args, { timeout: 60_000 });
assert.equal(await count(), before + 1);
passed(`goes on after the server was killed: ${before}, ${before + 1}`);
await client.close();
process.exit(0);
