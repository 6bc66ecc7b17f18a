// Drives a real Chromium: a page of an allowed origin and one of another, against a server of a third.
// Reads URL, TOKEN, KEYS, CHROMIUM, PAGE_PORT and BUNDLE from the environment.
import assert from 'node:assert/strict';
import { createPrivateKey, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const { URL: url, TOKEN: token, KEYS, CHROMIUM, PAGE_PORT, BUNDLE } = process.env;
setTimeout(() => {
  console.error('browser: gave up after 120 s');
  process.exit(1);
}, 120_000).unref();

/** `token` as it will be in a day: its claims and the host's signature, and its time over. */
const expired = async () => {
  const kid = (await readFile(`${KEYS}/signing`, 'utf8')).trim();
  const [header, payload] = token.split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url'));
  const past = { ...claims, iat: claims.iat - 7200, exp: claims.iat - 3600 };
  const message = `${header}.${Buffer.from(JSON.stringify(past)).toString('base64url')}`;
  const signature = sign(null, Buffer.from(message), createPrivateKey(await readFile(`${KEYS}/${kid}.pem`)));
  return `${message}.${signature.toString('base64url')}`;
};

const script = await readFile(BUNDLE, 'utf8');
const pages = createServer((request, response) => {
  const isScript = request.url === '/page.js';
  response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' });
  response.end(isScript ? script : '<!doctype html><script type="module" src="/page.js"></script>');
});
await new Promise((resolve) => pages.listen(Number(PAGE_PORT), '127.0.0.1', resolve));

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});
const open = async (host) => {
  const page = await browser.newPage();
  await page.goto(`http://${host}:${PAGE_PORT}/`);
  await page.waitForFunction(() => globalThis.agent !== undefined);
  return page;
};
const origin = new URL(url).origin;
const call = {
  url,
  method: 'POST',
  headers: {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': 'tools/list',
    'mcp-param-region': 'eu',
  },
  body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: {} }),
};

try {
  console.log(`# ${browser.version()}`);
  const ours = await open('app.localhost');
  for (const [mode, version] of [['legacy', '2025-11-25'], ['modern', '2026-07-28']]) {
    const seen = await ours.evaluate((ask) => globalThis.agent(ask), { url, token, mode });
    assert.equal(seen.version, version);
    assert.equal(seen.session, mode === 'legacy', 'a session, where there are any');
    assert.ok(seen.tools > 0);
    assert.deepEqual(seen.progress, [0, 50, 100], 'notifications, in their order');
    assert.equal(seen.text, 'Progress test completed');
    console.log(`  the SDK connects, lists, calls and is notified: ${mode}`);
  }

  const wanted = ['www-authenticate', 'x-request-id'];
  const refused = await ours.evaluate((ask) => globalThis.look(ask), { ...call, wanted });
  assert.equal(refused.status, 401, JSON.stringify(refused));
  assert.match(refused.headers['www-authenticate'], /^Bearer /);
  assert.ok(refused.headers['x-request-id']);
  assert.ok(JSON.parse(refused.body).error.message);
  const wrong = await ours.evaluate((ask) => globalThis.look(ask), {
    ...call, wanted, headers: { ...call.headers, authorization: 'Bearer nonsense' },
  });
  assert.match(wrong.headers['www-authenticate'], /error="invalid_token"/, JSON.stringify(wrong));
  const old = await expired();
  const late = await ours.evaluate((ask) => globalThis.look(ask), {
    ...call, wanted, headers: { ...call.headers, authorization: `Bearer ${old}` },
  });
  assert.equal(late.status, 401, JSON.stringify(late));
  assert.match(late.headers['www-authenticate'], /error="invalid_token"/);
  for (const mode of ['legacy', 'modern']) {
    const told = await ours.evaluate((ask) => globalThis.agent(ask).then(() => null, (error) => error.constructor.name + ' ' + error.message), { url, token: old, mode });
    assert.match(told ?? 'nothing', /401|[Uu]nauthori[sz]ed/, `the SDK tells an expired token from a broken line: ${told}`);
  }
  console.log('  a 401 and its challenge can be read, that of an expired token too');

  const large = await ours.evaluate((ask) => globalThis.look(ask), {
    ...call, headers: { ...call.headers, authorization: `Bearer ${token}` }, body: ' '.repeat(2 << 20),
  });
  assert.equal(large.status, 413, JSON.stringify(large));
  console.log('  a 413 can be read');

  const stranger = await open('evil.localhost');
  for (const page of [ours, stranger]) {
    for (const path of ['/.well-known/oauth-protected-resource', '/.well-known/oauth-protected-resource/mcp']) {
      const found = await page.evaluate((ask) => globalThis.look(ask), {
        url: origin + path, headers: { 'mcp-protocol-version': '2026-07-28' },
      });
      // 404 where no authorization server is set up: also that has to be readable, or discovery hangs on it.
      assert.ok([200, 404].includes(found.status), JSON.stringify(found));
      JSON.parse(found.body);
    }
  }
  console.log('  discovery can be read by every page');

  const nothing = await stranger.evaluate((ask) => globalThis.look(ask), {
    ...call, headers: { ...call.headers, authorization: `Bearer ${token}` },
  });
  assert.ok(nothing.error && nothing.status === undefined, JSON.stringify(nothing));
  await assert.rejects(stranger.evaluate((ask) => globalThis.agent(ask), { url, token, mode: 'modern' }));
  // Without a preflight too: what a form could send.
  const simple = await stranger.evaluate((ask) => globalThis.look(ask), {
    url, method: 'POST', headers: { 'content-type': 'text/plain' }, body: call.body,
  });
  assert.ok(simple.error, JSON.stringify(simple));
  console.log('  a page of another origin gets nothing');
} finally {
  await browser.close();
  pages.close();
}
