// Smoke test with the official TypeScript SDK, `@modelcontextprotocol/client`
// (2.x), once for each protocol version of the legacy generation and twice for
// the modern one. The steps are in checks.mjs. Reads URL, TOKEN_ACME and
// TOKEN_GLOBEX from the environment; expects a fresh data directory.
import { Client, SdkHttpError, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { options, recordingFetch, smoke, url } from './checks.mjs';

const info = { name: 'freehold-smoke', version: '1.0.0' };

// How each version is chosen. Legacy is the SDK's default; it offers the first
// 2025 version of `supportedProtocolVersions`. `pin` asks server/discover and
// never falls back; `auto` asks and may fall back.
const legacy = (version) => ({ versionNegotiation: { mode: 'legacy' }, supportedProtocolVersions: [version] });
const runs = [
  ['2025-03-26', '2025-03-26', legacy('2025-03-26')],
  ['2025-06-18', '2025-06-18', legacy('2025-06-18')],
  ['legacy', '2025-11-25', { versionNegotiation: { mode: 'legacy' } }],
  ['modern', '2026-07-28', { versionNegotiation: { mode: { pin: '2026-07-28' } } }],
  ['auto', '2026-07-28', { versionNegotiation: { mode: 'auto' } }],
];

for (const [name, version, clientOptions] of runs) {
  await smoke({
    name,
    version,
    open: async (token, answers) => {
      const client = new Client(info, clientOptions);
      const transport = new StreamableHTTPClientTransport(url, {
        authProvider: { token: async () => token },
        fetch: recordingFetch(answers),
      });
      await client.connect(transport, options);
      return {
        client,
        version: () => client.getNegotiatedProtocolVersion(),
        callExtras: [options],
        close: async () => {
          if (transport.sessionId !== undefined) await transport.terminateSession();
          await client.close();
        },
      };
    },
    isUnauthorized: (error) =>
      error instanceof UnauthorizedError || (error instanceof SdkHttpError && error.status === 401),
  });
}
