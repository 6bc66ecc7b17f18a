// A real authorization server behind the real program: a token for this resource opens it, one for another does not,
// and keys change under way.
import assert from 'node:assert/strict';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { ask, call, serve, until } from './host.mjs';
import { signingKey, startProvider } from './provider.mjs';

/** A token by the client's own right (RFC 6749 section 4.4), for one resource (RFC 8707). */
const tokenOf = async (provider, resource, scope = 'read write') => {
  const { client_id, client_secret } = provider.client;
  const answer = await fetch(`${provider.issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource, scope }),
  });
  const said = await answer.json();
  assert.equal(answer.status, 200, JSON.stringify(said));
  return said.access_token;
};

const host = 'mcp.example.com';
for (const [name, alg, source] of [
  ['by discovery', 'ES256', () => ''],
  ['by jwks_url', 'EdDSA', (issuer) => `jwks_url = "${issuer}/jwks"`],
  ['by jwks_url, RSA', 'PS256', (issuer) => `jwks_url = "${issuer}/jwks"`],
]) {
  const old = await signingKey(alg, 'old');
  const provider = await startProvider({ keys: [old], tenant: 'acme' });
  const { port, stop } = await serve({
    name: name.replaceAll(/\W/g, '-'), publicUrl: `https://${host}`, tenants: ['idp-acme'],
    issuers: `[[auth.issuers]]
issuer = "${provider.issuer}"
${source(provider.issuer)}
tenant_map = "prefix:idp-"
jwks_cooldown = "0s"`,
  });
  const status = async (token) => (await call(port, host, token)).status;
  const token = await tokenOf(provider, provider.resource);
  await until('the keys are here', async () => (await status(token)) === 200);
  const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(`${provider.issuer}/jwks`)));
  assert.equal(payload.aud, provider.resource);
  assert.equal((await ask(port, 'GET', '/readyz', { host })).status, 200);
  console.log(`  ${name}: a token for this resource opens it (${alg})`);

  const elsewhere = await call(port, host, await tokenOf(provider, 'https://other.example.com/mcp'));
  assert.equal(elsewhere.status, 401);
  assert.match(elsewhere.headers['www-authenticate'], /error="invalid_token".*resource_metadata=/);
  const reader = await tokenOf(provider, provider.resource, 'read');
  assert.equal(await status(reader), 200);
  const [head, body, signature] = token.split('.');
  assert.equal(await status(`${head}.${body}.${signature.slice(0, -4)}AAAA`), 401);
  console.log(`  ${name}: one for another resource does not`);

  const fresh = await signingKey(alg, 'new');
  provider.use([fresh, old]);
  const second = await tokenOf(provider, provider.resource);
  await until('the new key is known', async () => (await status(second)) === 200);
  assert.equal(await status(token), 200, 'both, while both are published');
  provider.use([fresh]);
  const unknown = `${Buffer.from(JSON.stringify({ alg, kid: 'gone', typ: 'at+jwt' })).toString('base64url')}.${body}.${signature}`;
  await until('the old key is gone', async () => (await status(unknown)) === 401 && (await status(token)) === 401);
  assert.equal(await status(second), 200);
  console.log(`  ${name}: keys rotate under the running host`);
  provider.stop();
  assert.equal(await status(second), 200, 'a provider that is down takes nobody out');
  await stop();
}
