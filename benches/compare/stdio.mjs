// The same tools on standard input and output, for the bridges: one user, for a pipe has no other.
// Usage: stdio.mjs FOLDER
import { serveStdio } from '@modelcontextprotocol/server/stdio';
import { files, server } from './tools.mjs';

const file = files(process.argv[2]);
serveStdio(() => server(file, () => 'local'));
