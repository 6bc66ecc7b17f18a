// Smoke test with the former official TypeScript SDK, `@modelcontextprotocol/sdk`
// (1.x), which knows the legacy generation only. The steps are in checks.mjs.
// Reads URL, TOKEN_ACME and TOKEN_GLOBEX from the environment; expects a fresh
// data directory.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport, StreamableHTTPError } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { options, recordingFetch, smoke, url } from './checks.mjs';

await smoke({
  name: 'v1',
  version: '2025-11-25', // the only version this SDK offers
  open: async (token, answers) => {
    const client = new Client({ name: 'freehold-smoke', version: '1.0.0' });
    const transport = new StreamableHTTPClientTransport(url, {
      requestInit: { headers: token === undefined ? {} : { Authorization: `Bearer ${token}` } },
      fetch: recordingFetch(answers),
    });
    await client.connect(transport, options);
    return {
      client,
      version: () => transport.protocolVersion,
      callExtras: [undefined, options], // (params, resultSchema, options)
      close: async () => {
        await transport.terminateSession();
        await client.close();
      },
    };
  },
  isUnauthorized: (error) => error instanceof StreamableHTTPError && error.code === 401,
});
