// An authorization server: oidc-provider on a port of this machine, with resource indicators (RFC 8707), dynamic
// registration (RFC 7591), PKCE, and signing keys that can be changed while it runs.
import { createServer } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider, { errors } from 'oidc-provider';

// It warns of what a test is allowed: memory instead of a database, pages of its own.
console.info = console.warn = () => {};

const RESOURCE = 'https://mcp.example.com/mcp';

/** A signing key of `alg` under a name of its own. */
export const signingKey = async (alg, kid) => {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, kid, use: 'sig' };
};

/** Starts one. `tenant` is what it says in every token. */
export const startProvider = async ({ resource = RESOURCE, keys, tenant }) => {
  const asked = [];
  let answer;
  const server = createServer((request, response) => {
    asked.push(request.url.split('?')[0]);
    answer(request, response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const client = { client_id: 'agent', client_secret: 'a-secret-of-this-test-alone-0123456789' };
  const use = (keys) => {
    const info = (algorithm) => (_, wanted) => {
      // One more that is nobody's here: a token for it is good elsewhere.
      if (![resource, 'https://other.example.com/mcp'].includes(wanted)) throw new errors.InvalidTarget();
      return {
        scope: 'read write', audience: wanted, accessTokenFormat: 'jwt', accessTokenTTL: 600,
        jwt: { sign: { alg: algorithm } },
      };
    };
    const provider = new Provider(issuer, {
      clients: [{
        ...client, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
        token_endpoint_auth_method: 'client_secret_basic',
      }],
      jwks: { keys },
      scopes: ['openid', 'offline_access', 'read', 'write'],
      pkce: { required: () => true },
      clientDefaults: { id_token_signed_response_alg: keys[0].alg },
      enabledJWA: { idTokenSigningAlgValues: keys.map((key) => key.alg) },
      features: {
        devInteractions: { enabled: true },
        clientCredentials: { enabled: true },
        registration: { enabled: true },
        resourceIndicators: {
          enabled: true, defaultResource: () => undefined, useGrantedResource: () => true,
          getResourceServerInfo: info(keys[0].alg),
        },
      },
      extraTokenClaims: () => ({ tenant }),
      findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    });
    provider.on('server_error', (_, error) => console.error('provider:', error));
    answer = provider.callback();
  };
  use(keys);
  return { issuer, client, resource, asked, use, stop: () => { server.close(); server.closeAllConnections(); } };
};
