// The real program for these tests: started with a configuration of its own, asked under any name, ended with the
// process. Reads BIN and WORK from the environment.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { createInterface } from 'node:readline';

const { BIN, WORK } = process.env;
setTimeout(() => {
  console.error('gave up after 120 s');
  process.exit(1);
}, 120_000).unref();
const running = [];
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A freehold that is reached as `publicUrl` and whose further issuers are `issuers` (TOML). It has these tenants. */
export const serve = async ({ name, issuers, publicUrl, tenants, listen = '127.0.0.1:0' }) => {
  const dir = `${WORK}/${name}`;
  mkdirSync(dir, { recursive: true });
  writeFileSync(`${dir}/freehold.toml`, `
public_url = "${publicUrl}"
behind_proxy = true
[connections]
drain_delay = "0s"
${issuers}
`);
  const place = ['--data-dir', `${dir}/data`];
  const run = (...args) => {
    const done = spawnSync(BIN, [...args, ...place], { encoding: 'utf8', timeout: 30_000 });
    assert.equal(done.status, 0, done.stderr);
    return done.stdout.trim();
  };
  run('key', 'generate');
  tenants.forEach((tenant) => run('tenant', 'create', tenant));
  const log = openSync(`${dir}/log`, 'a');
  const args = ['serve', '--listen', listen, '--config', `${dir}/freehold.toml`, ...place];
  const child = spawn(BIN, args, { stdio: ['ignore', 'pipe', log] });
  running.push(child);
  for await (const line of createInterface({ input: child.stdout })) {
    const port = line.match(/^listening on http:\/\/127\.0\.0\.1:(\d+)\/mcp$/)?.[1];
    if (port) return { port: Number(port), dir, run, stop: async () => { child.kill('SIGTERM'); await once(child, 'exit'); } };
  }
  throw new Error(`${name} does not listen`);
};

/** A request under the host's public name, which this machine does not resolve. */
export const ask = (port, method, path, headers, body) => new Promise((resolve, reject) => {
  const sent = httpRequest({ host: '127.0.0.1', port, method, path, headers }, async (answer) => {
    const parts = [];
    for await (const part of answer) parts.push(part);
    resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(parts).toString() });
  });
  sent.on('error', reject);
  sent.end(body);
});

const meta = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientInfo': { name: 'oauth', version: '0' },
  'io.modelcontextprotocol/clientCapabilities': {},
};
export const call = async (port, host, token) => {
  const params = { name: 'sql_query', arguments: { sql: 'SELECT 7' }, _meta: meta };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params });
  const headers = {
    host, 'content-type': 'application/json', accept: 'application/json, text/event-stream',
    'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'sql_query',
    ...(token ? { authorization: `Bearer ${token}` } : {}),
  };
  return ask(port, 'POST', '/mcp', headers, body);
};

/** Asks until it is so: keys are fetched in the background. */
export const until = async (what, is) => {
  for (let turn = 0; turn < 300; turn += 1) {
    if (await is()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`never: ${what}`);
};
