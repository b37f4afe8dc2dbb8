// Thousands of sessions that break, and whose time to come back goes by: nothing of them is left.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { test } from 'node:test';
import { within } from '../lib/chatter.mjs';
import { Raw } from '../lib/raw.mjs';
import { start } from '../lib/server.mjs';

const MIB = 1024 * 1024;
const BATCH = 250; // below what the kernel keeps for a server that has not accepted yet
const numbers = (count) => Array.from({ length: count }, (_, i) => i);

/** As many as both processes have descriptors for; at least 5,000. */
function crowd() {
  const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  const limit = line[1] === 'unlimited' ? Infinity : Number(line[1]);
  return Math.min(10_000, limit - 500);
}

const UPGRADE = [
  'GET /socket.io/?EIO=4&transport=websocket&recovery=1 HTTP/1.1',
  'Host: test',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
  '',
  '',
].join('\r\n');
// `40` in a frame whose mask is zero.
const CONNECT = Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0x34, 0x30]);

/** A session with a socket, on a connection of its own. */
async function enter(port) {
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.write(UPGRADE);
  socket.write(CONNECT);
  let got = '';
  const answered = new Promise((resolve, reject) => {
    socket.on('data', (bytes) => {
      got += bytes.toString('latin1');
      if (got.includes('"pid":')) resolve();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed after ${got}`)));
  });
  await within(answered, () => `an answer to CONNECT; got ${got}`);
  return socket;
}

test('of 10,000 sessions that break nothing is left', { timeout: 60_000 }, async (t) => {
  const count = crowd();
  assert.ok(count >= 5_000, `only ${count} descriptors`);
  const server = await start(t, { args: ['--recovery-time', '2s', '--leave-grace', '1s'] });
  const figures = async () => {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    const figure = (name) =>
      [...text.matchAll(new RegExp(`^salon_${name}(?:{.*})? (\\d+)$`, 'gm'))].reduce((sum, [, value]) => sum + Number(value), 0);
    return { sessions: figure('sessions'), users: figure('users'), resident: figure('resident_bytes') };
  };
  const round = async (size) => {
    const sockets = [];
    while (sockets.length < size) {
      sockets.push(...(await Promise.all(numbers(Math.min(BATCH, size - sockets.length)).map(() => enter(server.port)))));
    }
    const { sessions, resident } = await figures();
    assert.ok(sessions >= size);
    for (const socket of sockets) socket.removeAllListeners('close').resetAndDestroy();
    return resident;
  };
  /** Waits until the last socket that broke has been given up: its pid is nobody's from then on. */
  const given = async () => {
    const last = new Raw(t, server.url, '&recovery=1');
    await last.connect();
    await last.login('last');
    await last.reset();
    await within((async () => { while ((await figures()).users > 0); })(), 'the end of the grace');
  };
  return { round, given, figures, MIB };
});
