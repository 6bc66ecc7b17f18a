// The official TypeScript SDK with Express: the present generation by its handler, sessions of the older one by the map
// that its guide has (docs/serving/sessions-state-scaling.md), bearer tokens checked by jose.
// Usage: http.mjs FOLDER SECRET_FILE     says nothing; its port is the system's choice.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createMcpExpressApp, requireBearerAuth } from '@modelcontextprotocol/express';
import { NodeStreamableHTTPServerTransport, toNodeHandler, toWebRequest } from '@modelcontextprotocol/node';
import { createMcpHandler, isInitializeRequest, isLegacyRequest } from '@modelcontextprotocol/server';
import { jwtVerify } from 'jose';
import { files, server } from './tools.mjs';

const [folder, secretFile] = process.argv.slice(2);
const secret = readFileSync(secretFile);
const verifier = {
  async verifyAccessToken(token) {
    const { payload } = await jwtVerify(token, secret, { algorithms: ['HS256'], issuer: 'freehold', audience: 'freehold' });
    return { token, clientId: payload.sub, scopes: payload.scope.split(' '), expiresAt: payload.exp, extra: { tenant: payload.tenant } };
  },
};
const file = files(folder);
const build = () => server(file, context => context.http.authInfo.extra.tenant);
const modern = toNodeHandler(createMcpHandler(build, { legacy: 'reject' }));
const sessions = new Map();

async function legacy(req, res) {
  const id = req.headers['mcp-session-id'];
  if (id && sessions.has(id)) return sessions.get(id).handleRequest(req, res, req.body);
  if (!id && isInitializeRequest(req.body)) {
    const transport = new NodeStreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: id => sessions.set(id, transport),
    });
    transport.onclose = () => sessions.delete(transport.sessionId);
    await build().connect(transport);
    return transport.handleRequest(req, res, req.body);
  }
  const [status, code, message] = id ? [404, -32001, 'Session not found'] : [400, -32000, 'Session ID required'];
  res.status(status).json({ jsonrpc: '2.0', error: { code, message }, id: null });
}

const app = createMcpExpressApp();
app.all('/mcp', requireBearerAuth({ verifier }), async (req, res) =>
  (await isLegacyRequest(await toWebRequest(req, req.body), req.body)) ? legacy(req, res) : modern(req, res, req.body));
app.listen(0, '127.0.0.1');
