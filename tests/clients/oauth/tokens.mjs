// Tokens between the host and jose: ours are good by its rules, and its are taken, by every kind of key and from both
// kinds of file; with the wrong key, or the public key as a shared secret, they are not.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { SignJWT, decodeProtectedHeader, errors, exportJWK, exportSPKI, generateKeyPair, jwtVerify } from 'jose';
import { call, serve } from './host.mjs';

const { BIN, WORK } = process.env;
const host = 'mcp.example.com';
const audience = `https://${host}/mcp`;
const algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA'];
const dir = `${WORK}/jose`;
mkdirSync(dir, { recursive: true });

// One issuer by a PEM file for each algorithm, and one whose JWKS file lists all of them.
const keys = {};
for (const alg of algorithms) {
  keys[alg] = await generateKeyPair(alg, { extractable: true });
  writeFileSync(`${dir}/${alg}.pem`, await exportSPKI(keys[alg].publicKey));
}
const short = generateKeyPairSync('rsa', { modulusLength: 1024 });
const listed = [{ ...short.publicKey.export({ format: 'jwk' }), kid: 'short', alg: 'RS256', use: 'sig' }];
for (const alg of algorithms) listed.push({ ...(await exportJWK(keys[alg].publicKey)), kid: alg, alg, use: 'sig' });
writeFileSync(`${dir}/jwks.json`, JSON.stringify({ keys: listed }));

const name = (alg) => alg.toLowerCase();
const issuer = (id, source) => `[[auth.issuers]]
issuer = "${id}"
${source}
tenant_map = "prefix:${id}-"
authorization_server = false
`;
const served = await serve({
  name: 'jose', publicUrl: `https://${host}`,
  tenants: ['acme', 'jwks-acme', ...algorithms.map((alg) => `${name(alg)}-acme`)],
  issuers: algorithms.map((alg) => issuer(name(alg), `pem_file = "${alg}.pem"`)).join('') + issuer('jwks', 'jwks_file = "jwks.json"'),
});
const status = async (token) => (await call(served.port, host, token)).status;
const token = (id, alg, key, { kid, claims = {} } = {}) => new SignJWT({ tenant: 'acme', scope: 'read write', ...claims })
  .setProtectedHeader({ alg, typ: 'at+jwt', ...(kid ? { kid } : {}) })
  .setIssuer(id).setSubject('agent').setAudience(audience).setIssuedAt().setExpirationTime('5m').sign(key);

// Ours, by jose's rules.
const issued = served.run('token', 'issue', '--tenant', 'acme', '--ttl', '10m', '--scope', 'read', '--config', `${dir}/freehold.toml`);
const { kid } = decodeProtectedHeader(issued);
const own = createPublicKey(createPrivateKey(readFileSync(`${dir}/data/keys/${kid}.pem`)));
const rules = { issuer: 'freehold', audience, typ: 'at+jwt', algorithms: ['EdDSA'], requiredClaims: ['sub', 'jti', 'iat'] };
const { payload } = await jwtVerify(issued, own, rules);
assert.deepEqual([payload.tenant, payload.scope, payload.exp - payload.iat], ['acme', 'read', 600]);
await assert.rejects(jwtVerify(issued, own, { ...rules, audience: 'https://other.example.com/mcp' }), errors.JWTClaimValidationFailed);
const later = { ...rules, currentDate: new Date((payload.exp + 1) * 1000) };
await assert.rejects(jwtVerify(issued, own, later), errors.JWTExpired);
await assert.rejects(jwtVerify(`${issued.slice(0, -4)}AAAA`, own, rules), errors.JWSSignatureVerificationFailed);
assert.equal(await status(issued), 200);
console.log('  ours: issuer, audience, time and signature are good by its rules');

for (const alg of algorithms) {
  const { privateKey } = keys[alg];
  assert.equal(await status(await token(name(alg), alg, privateKey)), 200, `${alg} by PEM`);
  assert.equal(await status(await token('jwks', alg, privateKey, { kid: alg })), 200, `${alg} by JWKS`);
  const stranger = (await generateKeyPair(alg)).privateKey;
  const secret = readFileSync(`${dir}/${alg}.pem`);
  for (const [what, bad] of [
    ['a key of nobody', token(name(alg), alg, stranger)],
    ['a key of nobody by a name that is listed', token('jwks', alg, stranger, { kid: alg })],
    ['a name that is not listed', token('jwks', alg, privateKey, { kid: 'other' })],
    // Of its family Ed25519 is the only key there, and needs no name.
    ...(alg === 'EdDSA' ? [] : [['no name among many', token('jwks', alg, privateKey)]]),
    ['the public key as a secret', token(name(alg), 'HS256', secret)],
    ['the public key as a secret, by name', token('jwks', 'HS256', secret, { kid: alg })],
    ["another issuer's word", token('freehold', alg, privateKey, { kid })],
    ["another's key under its own name", token(name(alg === 'ES256' ? 'EdDSA' : 'ES256'), alg, privateKey)],
    ['an audience of elsewhere', token(name(alg), alg, privateKey).then(() => new SignJWT({ tenant: 'acme' })
      .setProtectedHeader({ alg }).setIssuer(name(alg)).setSubject('agent').setAudience('https://other.example.com/mcp')
      .setIssuedAt().setExpirationTime('5m').sign(privateKey))],
    ['an identity', token(name(alg), alg, privateKey, { claims: { nonce: 'n' } })],
  ]) assert.equal(await status(await bad), 401, `${alg}: ${what}`);
}
console.log(`  its: ${algorithms.join(', ')}, by PEM and by JWKS, and none with the wrong key`);

// A key that is too short verifies nothing, among others and alone.
const { sign } = await import('node:crypto');
const text = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const now = Math.floor(Date.now() / 1000);
const body = { iss: 'jwks', aud: audience, sub: 'agent', tenant: 'acme', scope: 'read write', iat: now, exp: now + 300 };
const message = `${text({ alg: 'RS256', kid: 'short', typ: 'at+jwt' })}.${text(body)}`;
assert.equal(await status(`${message}.${sign('sha256', Buffer.from(message), short.privateKey).toString('base64url')}`), 401);
await served.stop();
const refused = (setting, file, content, words) => {
  const place = `${WORK}/refused`;
  mkdirSync(place, { recursive: true });
  writeFileSync(`${place}/${file}`, content);
  chmodSync(`${place}/${file}`, 0o600);
  writeFileSync(`${place}/freehold.toml`, `[auth]\n${setting} = "${file}"\n`);
  const args = ['serve', '--listen', '127.0.0.1:0', '--config', `${place}/freehold.toml`, '--data-dir', `${place}/data`];
  const done = spawnSync(BIN, args, { encoding: 'utf8', timeout: 30_000 });
  assert.notEqual(done.status, 0, `${file} was taken`);
  assert.match(done.stderr, words, file);
};
refused('pem_file', 'short.pem', short.publicKey.export({ type: 'spki', format: 'pem' }), /2048/);
refused('jwks_file', 'short.json', JSON.stringify({ keys: [listed[0]] }), /2048/);
refused('pem_file', 'private.pem', short.privateKey.export({ type: 'pkcs8', format: 'pem' }), /pubout/);
const odd = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
refused('pem_file', 'odd.pem', odd.publicKey.export({ type: 'spki', format: 'pem' }), /P-256/);
refused('hs256_secret_file', 'pem-as-secret', readFileSync(`${dir}/RS256.pem`), /random bytes/);
console.log('  keys that are too short, private, or of another kind are refused at the start');
