// What every TypeScript smoke checks of one protocol version, for two tenants:
// negotiation, the tool list, tool calls, isolation, SQL, bad arguments, bad
// tokens. The SDK in use is passed in as `open` and `isUnauthorized`.
import assert from 'node:assert/strict';

const env = (name) => {
  assert.ok(process.env[name], `${name} must be set`);
  return process.env[name];
};
export const url = new URL(env('URL'));
const ACME = env('TOKEN_ACME');
const GLOBEX = env('TOKEN_GLOBEX');

/** For every request, so that no wait is endless. */
export const options = { timeout: 15_000 };
// And for the whole run, against a wait the SDK does not bound.
setTimeout(() => {
  console.error('smoke: gave up after 90 s');
  process.exit(1);
}, 90_000).unref();

/** A fetch that keeps the answers it got in `answers`. */
export function recordingFetch(answers) {
  return async (input, init) => {
    const response = await fetch(input, init);
    answers.push({ status: response.status, headers: response.headers });
    return response;
  };
}

/** A tool's answer: its structured content if it has any, then its text read as JSON. */
function payloads(result) {
  assert.ok(!result.isError, `tool answered with an error: ${JSON.stringify(result.content)}`);
  const structured = result.structuredContent === undefined ? [] : [result.structuredContent];
  const text = result.content.filter((block) => block.type === 'text').map((block) => block.text).join('');
  return text === '' ? structured : [...structured, JSON.parse(text)];
}

/** The only number in a tool's structured content or, if there is none, in its text. */
function number(result) {
  const answers = payloads(result);
  for (const answer of answers) {
    const fields = typeof answer === 'object' && answer !== null ? Object.values(answer) : [answer];
    const found = fields.filter(Number.isInteger);
    assert.ok(found.length < 2, `expected one number in ${JSON.stringify(answer)}`);
    if (found.length === 1) return found[0];
  }
  assert.fail(`expected a number in ${JSON.stringify(answers)}`);
}

/** Whether any part of a JSON value, written as JSON, is one of the wanted. */
function holds(value, wanted) {
  if (wanted.includes(JSON.stringify(value))) return true;
  return typeof value === 'object' && value !== null && Object.values(value).some((part) => holds(part, wanted));
}

/**
 * @param name            of this SDK and generation; part of the counter's key
 * @param version         the protocol version that must come out
 * @param open            async (token, answers) => { client, version, callExtras, close }
 * @param isUnauthorized  (error) => whether the SDK says "unauthorized"
 */
export async function smoke({ name, version, open, isUnauthorized }) {
  const passed = (step) => console.log(`ok - typescript ${name}: ${step}`);
  const modern = version >= '2026';
  const key = `k-typescript-${name}`;
  const answers = [];

  const acme = await open(ACME, answers);
  const call = (connection, tool, args) =>
    connection.client.callTool({ name: tool, arguments: args }, ...connection.callExtras);
  assert.equal(acme.version(), version, 'negotiated protocol version');
  passed(`connects and speaks ${version}`);

  const { tools } = await acme.client.listTools(undefined, options);
  for (const wanted of ['add', 'increment', 'sql_query']) {
    const tool = tools.find((candidate) => candidate.name === wanted);
    assert.ok(tool, `tool ${wanted} is missing from ${tools.map((candidate) => candidate.name)}`);
    assert.equal(tool.inputSchema?.type, 'object', `${wanted} has no inputSchema`);
    assert.ok(Object.keys(tool.inputSchema.properties ?? {}).length > 0, `${wanted} has no arguments`);
  }
  passed('lists add, increment and sql_query with schemas');

  assert.equal(number(await call(acme, 'add', { a: 2, b: 3 })), 5, 'add(2, 3)');
  passed('add(2, 3) is 5');

  const first = number(await call(acme, 'increment', { key }));
  const second = number(await call(acme, 'increment', { key }));
  assert.equal(second, first + 1, 'increment adds one');
  passed(`increment counts ${first}, ${second}`);

  const rows = payloads(await call(acme, 'sql_query', { sql: 'SELECT 1 AS one' }));
  assert.ok(holds(rows, ['[1]', '{"one":1}']), `SELECT 1 AS one answered ${JSON.stringify(rows)}`);
  passed('sql_query answers SELECT 1 AS one');

  const [outcome] = await Promise.allSettled([call(acme, 'add', { a: 'two', b: 3 })]);
  if (outcome.status === 'rejected') {
    assert.equal(outcome.reason.code, -32602, `expected invalid params, got ${outcome.reason}`);
  } else {
    assert.equal(outcome.value.isError, true, `add('two', 3) was accepted: ${JSON.stringify(outcome.value)}`);
    assert.ok(outcome.value.content.some((block) => block.text), 'the tool error says nothing');
  }
  assert.equal(number(await call(acme, 'add', { a: 4, b: 5 })), 9, 'a good call after a bad one');
  passed('a wrong argument type is a clean error');
  await acme.close();

  const globex = await open(GLOBEX, answers);
  assert.equal(number(await call(globex, 'increment', { key })), 1, "globex's own counter of the same name");
  await globex.close();
  passed("another tenant's counter of the same name is its own");

  const session = answers.some((answer) => answer.headers.has('mcp-session-id'));
  assert.equal(session, !modern, `Mcp-Session-Id ${session ? 'seen' : 'missing'}`);
  passed(modern ? 'has no session' : 'has a session');

  for (const token of ['not-a-token', undefined]) {
    const refused = [];
    await assert.rejects(open(token, refused), (error) => {
      assert.ok(isUnauthorized(error), `expected an authorization error, got ${error}`);
      return true;
    });
    assert.ok(refused.length > 0, 'the server was never asked');
    for (const { status, headers } of refused) {
      assert.equal(status, 401);
      assert.match(headers.get('www-authenticate') ?? '', /^bearer/i);
    }
  }
  passed('a bad or missing token is refused with 401 and a challenge');
}
