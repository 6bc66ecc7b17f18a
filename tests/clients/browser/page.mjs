// Runs in the page: the official TypeScript SDK as an agent's page uses it, and fetches as a page makes them.
// Bundled for the browser; browser.mjs calls it and judges what it returns.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const info = { name: 'freehold-page', version: '1.0.0' };
const options = { timeout: 15_000 };
const modes = {
  legacy: { versionNegotiation: { mode: 'legacy' } },
  modern: { versionNegotiation: { mode: { pin: '2026-07-28' } } },
};

globalThis.agent = async ({ url, token, mode }) => {
  const client = new Client(info, modes[mode]);
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: { token: async () => token } });
  await client.connect(transport, options);
  const { tools } = await client.listTools(undefined, options);
  const progress = [];
  const result = await client.callTool(
    { name: 'test_tool_with_progress', arguments: {} },
    { ...options, onprogress: ({ progress: done }) => progress.push(done) },
  );
  const version = client.getNegotiatedProtocolVersion();
  const session = transport.sessionId !== undefined;
  if (session) await transport.terminateSession();
  await client.close();
  return { version, session, tools: tools.length, progress, text: result.content[0].text };
};

/** What a page sees of one answer. A page that may see nothing gets an exception and no more. */
globalThis.look = async ({ url, method = 'GET', headers = {}, body, wanted = [] }) => {
  try {
    const answer = await fetch(url, { method, headers, body });
    const seen = Object.fromEntries(wanted.map((name) => [name, answer.headers.get(name)]));
    return { status: answer.status, headers: seen, body: await answer.text() };
  } catch (error) {
    return { error: String(error) };
  }
};
