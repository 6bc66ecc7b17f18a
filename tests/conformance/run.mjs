// Drives the conformance suite: a fixture server on a free port, a proxy on another that adds the bearer token
// the suite can't send, and the suite's own program once per set of requirements.
// Usage: node run.mjs SERVER SUITE
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const [server, suite] = process.argv.slice(2);
const RUNS = [
  { name: "2025-11-25", args: ["--requirements", "2025-11-25"], checks: 83 },
  { name: "2026-07-28", args: ["--requirements", "2026-07-28"], checks: 196 },
  { name: "all", args: ["--suite", "all"], checks: 275 },
];
const RUN_SECONDS = 300;

const work = mkdtempSync(join(tmpdir(), "freehold-conformance-"));
const data = join(work, "data");

// Adds the token and changes nothing else: Host and Origin are part of what is tested.
function proxy() {
  const upstream = { port: 0, token: "" };
  const listener = http.createServer((request, response) => {
    const headers = [...request.rawHeaders, "Authorization", `Bearer ${upstream.token}`];
    const { method, url } = request;
    const onward = http.request({ host: "127.0.0.1", port: upstream.port, method, path: url, headers });
    onward.on("response", (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      response.flushHeaders();
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  });
  return new Promise((resolve) => listener.listen(0, "127.0.0.1", () => resolve({ listener, upstream })));
}

function output(program, args, env = process.env) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.on("data", (part) => (text += part));
    child.on("close", (code) => (code === 0 ? resolve(text.trim()) : reject(new Error(`${args.join(" ")}: ${code}`))));
  });
}

// Starts the server and waits until it says where it listens.
function start(publicUrl) {
  // The suite asks as fast as it can: its rate is no subject of its own.
  const env = {
    ...process.env,
    FREEHOLD_LIMITS__REQUESTS_PER_SECOND: "0",
    FREEHOLD_LIMITS__PRINCIPAL_REQUESTS_PER_SECOND: "0",
  };
  const args = ["serve", "--dev", "--listen", "127.0.0.1:0", "--public-url", publicUrl, "--data-dir", data];
  const child = spawn(server, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const log = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    if (!line.includes('"level":"INFO"') && log.push(line) > 50) log.shift();
  });
  const port = new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const found = line.match(/^listening on http:\/\/127\.0\.0\.1:(\d+)\/mcp$/);
      if (found) resolve(Number(found[1]));
    });
    child.on("close", () => reject(new Error(`the server ended:\n${log.join("\n")}`)));
  });
  return { child, port, log };
}

function count(dir) {
  const totals = { SUCCESS: 0, FAILURE: 0, WARNING: 0, SKIPPED: 0, INFO: 0, scenarios: 0, failed: [] };
  for (const file of readdirSync(dir, { recursive: true })) {
    if (!file.endsWith("checks.json")) continue;
    totals.scenarios += 1;
    for (const check of JSON.parse(readFileSync(join(dir, file), "utf8"))) {
      totals[check.status] += 1;
      if (check.status === "FAILURE" || check.status === "WARNING") {
        totals.failed.push(`${file.split("/")[0]}: ${check.id}: ${check.errorMessage ?? check.description}`);
      }
    }
  }
  return totals;
}

function run({ name, args, checks }, url) {
  const out = join(work, name);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [suite, "server", "--url", url, ...args, "-o", out], {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: RUN_SECONDS * 1000,
    });
    let said = "";
    child.stdout.on("data", (part) => (said += part));
    child.stderr.on("data", (part) => (said += part));
    child.on("close", (code) => {
      const totals = count(out);
      const { SUCCESS, FAILURE, WARNING, SKIPPED, scenarios, failed } = totals;
      const good = code === 0 && FAILURE === 0 && WARNING === 0 && SUCCESS >= checks;
      console.log(
        `${good ? "ok    " : "FAILED"} ${name}: ${SUCCESS} of ${SUCCESS + FAILURE + WARNING} checks passed in ` +
          `${scenarios} scenarios, ${SKIPPED} skipped (at least ${checks} are required)`,
      );
      if (!good) console.log(failed.length ? failed.join("\n") : said.split("\n").slice(-40).join("\n"));
      resolve(good);
    });
  });
}

const { listener, upstream } = await proxy();
const origin = `http://localhost:${listener.address().port}`;
const { child, port, log } = start(origin);
let good = true;
try {
  upstream.port = await port;
  const issue = ["token", "issue", "--tenant", "acme", "--data-dir", data];
  upstream.token = await output(server, issue, { ...process.env, FREEHOLD_PUBLIC_URL: origin });
  for (const each of RUNS) good = (await run(each, `${origin}/mcp`)) && good;
} finally {
  child.removeAllListeners("close");
  child.kill("SIGTERM");
  await new Promise((resolve) => child.on("exit", resolve));
  listener.close();
  listener.closeAllConnections();
  rmSync(work, { recursive: true, force: true });
}
if (!good) console.log(`# what the server complained of\n${log.join("\n")}`);
process.exit(good ? 0 : 1);
