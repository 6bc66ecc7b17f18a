// The whole way of a client that knows nothing but an address, by the official TypeScript SDK: challenge, metadata of
// the resource, metadata of its authorization server, registration, a person's consent, code, token, call. Then the
// way of a machine that has credentials and nobody to ask.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import {
  Client, ClientCredentialsProvider, StreamableHTTPClientTransport, UnauthorizedError,
} from '@modelcontextprotocol/client';
import { serve } from './host.mjs';
import { signingKey, startProvider } from './provider.mjs';

const freePort = () => new Promise((resolve) => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});
const redirect = `http://127.0.0.1:${await freePort()}/callback`;

/** What a person does in a browser: signs in, agrees, and is sent back. Returns the address sent back to. */
const agree = async (address) => {
  const jar = new Map();
  let [url, body] = [address, undefined];
  for (let step = 0; step < 20; step += 1) {
    if (url.startsWith(redirect)) return url;
    const answer = await fetch(url, {
      method: body ? 'POST' : 'GET', body, redirect: 'manual',
      headers: { cookie: [...jar].map(([name, value]) => `${name}=${value}`).join('; ') },
    });
    for (const cookie of answer.headers.getSetCookie()) {
      const [name, value] = cookie.split(';')[0].split(/=(.*)/s);
      jar.set(name, value);
    }
    body = undefined;
    const location = answer.headers.get('location');
    if (location) {
      url = new URL(location, url).href;
      continue;
    }
    const page = await answer.text();
    assert.equal(answer.status, 200, page);
    const prompt = page.match(/name="prompt" value="(\w+)"/)?.[1];
    assert.ok(prompt, page);
    url = new URL(page.match(/<form[^>]*action="([^"]+)"/)?.[1] ?? url, url).href;
    body = new URLSearchParams(prompt === 'login' ? { prompt, login: 'alice', password: 'x' } : { prompt });
  }
  throw new Error('never sent back');
};

/** What a client keeps of its way. */
const keeping = () => {
  const kept = {};
  return {
    kept,
    redirectUrl: redirect,
    clientMetadata: {
      client_name: 'freehold-sdk', redirect_uris: [redirect], grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'], token_endpoint_auth_method: 'none',
    },
    clientInformation: () => kept.client,
    saveClientInformation: (client) => { kept.client = client; },
    tokens: () => kept.tokens,
    saveTokens: (tokens) => { kept.tokens = tokens; },
    redirectToAuthorization: (url) => { kept.sent = url; },
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    codeVerifier: () => kept.verifier,
    saveDiscoveryState: (state) => { kept.discovery = state; },
    discoveryState: () => kept.discovery,
  };
};

const port = await freePort();
const origin = `http://127.0.0.1:${port}`;
const address = new URL(`${origin}/mcp`);
const provider = await startProvider({ resource: address.href, keys: [await signingKey('ES256', 'k')], tenant: 'acme' });
const host = await serve({
  name: 'sdk', publicUrl: origin, tenants: ['idp-acme'], listen: `127.0.0.1:${port}`,
  issuers: `[[auth.issuers]]
issuer = "${provider.issuer}"
tenant_map = "prefix:idp-"
jwks_cooldown = "0s"`,
});
const options = { timeout: 15_000 };
const converse = async (client) => {
  const { tools } = await client.listTools(undefined, options);
  assert.ok(tools.length > 0);
  const result = await client.callTool({ name: 'sql_query', arguments: { sql: 'SELECT 7' } }, options);
  assert.deepEqual(result.structuredContent.rows, [[7]]);
};

for (const [name, versionNegotiation] of [
  ['legacy', { mode: 'legacy' }], ['modern', { mode: { pin: '2026-07-28' } }],
]) {
  const person = keeping();
  const info = { name: 'freehold-sdk', version: '1.0.0' };
  const first = new StreamableHTTPClientTransport(address, { authProvider: person });
  await assert.rejects(new Client(info, { versionNegotiation }).connect(first, options), UnauthorizedError);
  const { kept } = person;
  assert.equal(kept.sent?.origin, provider.issuer, 'sent to the server that the metadata names');
  assert.equal(kept.sent.searchParams.get('resource'), address.href, 'for this resource (RFC 8707)');
  assert.equal(kept.sent.searchParams.get('code_challenge_method'), 'S256');
  assert.equal(kept.discovery.resourceMetadataUrl, `${origin}/.well-known/oauth-protected-resource/mcp`);
  const back = new URL(await agree(kept.sent.href));
  assert.ok(back.searchParams.get('code'), back.href);
  await first.finishAuth(back.searchParams);
  assert.ok(kept.tokens.access_token);
  const client = new Client(info, { versionNegotiation });
  await client.connect(new StreamableHTTPClientTransport(address, { authProvider: person }), options);
  await converse(client);
  await client.close();
  console.log(`  from a bare address to an answer, with a person's consent: ${name}`);

  const machine = new ClientCredentialsProvider({
    clientId: provider.client.client_id, clientSecret: provider.client.client_secret,
    scope: 'read write', expectedIssuer: provider.issuer,
  });
  const agent = new Client(info, { versionNegotiation });
  await agent.connect(new StreamableHTTPClientTransport(address, { authProvider: machine }), options);
  await converse(agent);
  await agent.close();
  console.log(`  the same by a machine's own credentials: ${name}`);
}
await host.stop();
provider.stop();
