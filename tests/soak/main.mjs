// make soak: clients of all kinds come, upgrade, chat, vanish, abandon upgrades half-way and reconnect, for MINUTES minutes.
// Afterwards nothing of them may be left: sessions, sockets, connections, timers, queued bytes, descriptors and memory
// are back at what they were after a first, short crowd. Prints the figures; status 1 if something is left.
import { readFileSync, readdirSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { io } from 'socket.io-client';
import io2 from 'client-2.5.0';
import { WebSocket } from 'ws';
import { start } from '../lib/server.mjs';

const MINUTES = Number(process.env.MINUTES ?? 1);
const CROWD = 60; // clients at one time
const SETTLE = 20_000; // ms within which everything must be gone: longer than all the times below together
const KEPT = 512 * 1024; // bytes of messages that the history may have more than before: other texts, of other lengths
const GROWTH = 2 * 1024 * 1024; // bytes of memory that may be left: what the allocator keeps for the next crowd
// Short times, so that whoever vanishes is gone soon.
const args = ['--ping-interval', '2s', '--ping-timeout', '2s', '--upgrade-timeout', '2s', '--connect-timeout', '3s', '--head-timeout', '3s',
  '--body-timeout', '3s', '--idle-timeout', '3s', '--message-timeout', '3s', '--recovery-time', '4s', '--leave-grace', '1s'];

const hooks = [];
const server = await start({ after: (hook) => hooks.push(hook) }, {
  args,
  bin: process.env.SALON_BIN ?? 'target/release/salon',
  // glibc learns to keep freed blocks as large as the largest one that was freed, and what it keeps is no leak.
  env: { MALLOC_MMAP_THRESHOLD_: '131072' },
});
const agent = new http.Agent({ keepAlive: false });
const random = (count) => Math.floor(Math.random() * count);
const pause = () => sleep(random(400));
const done = {}; // how often each kind has run
const lost = []; // what well-behaved clients have waited for in vain

/** The value of a GET, by whatever means are there. */
function request(method, path, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request(`${server.url}${path}`, { method, agent, timeout: 10_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => (text += part)).on('end', () => resolve(text)).on('error', reject);
    });
    sent.on('error', reject).on('timeout', () => sent.destroy(new Error('no answer'))).end(body);
  });
}

const path = '/socket.io/?EIO=4&transport=polling';
async function session() {
  const { sid } = JSON.parse((await request('GET', path)).slice(1));
  return `${path}&sid=${sid}`;
}

/** A TCP connection that sends this, and what comes back as text. */
function raw(text) {
  const socket = net.connect(server.port, '127.0.0.1').on('error', () => {});
  socket.write(text);
  socket.resume();
  return socket;
}
const upgrade = (sid = '') =>
  `GET /socket.io/?EIO=4&transport=websocket${sid} HTTP/1.1\r\nHost: 127.0.0.1:${server.port}\r\nConnection: Upgrade\r\n` +
  'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

/** Waits for what a well-behaved client may expect. */
async function expect(promise, what, socket) {
  const timer = setTimeout(() => lost.push(`${what} (${socket.io.engine?.readyState}, connected: ${socket.connected})`), 20_000);
  await promise;
  clearTimeout(timer);
}

/** An official client that logs in, talks, and leaves one way or another. */
async function official(connect, options) {
  const socket = connect(server.url, { forceNew: true, reconnectionDelay: 50, ...options });
  const logged = new Promise((resolve) => socket.on('login', resolve));
  socket.on('connect', () => socket.emit('add user', `user ${random(1000)}`));
  await expect(logged, `login ${JSON.stringify(options)}`, socket);
  for (let count = random(5); count > 0; count -= 1) {
    socket.emit(...[['typing'], ['new message', 'x'.repeat(random(2000))], ['stop typing']][random(3)]);
    await pause();
  }
  if (random(3) === 0) {
    // Broken, not left: the official client comes back by itself.
    const again = new Promise((resolve) => socket.once('connect', resolve));
    (socket.io.engine.transport.ws ?? socket.io.engine).close();
    await expect(again, `reconnect ${JSON.stringify(options)}`, socket);
    await pause();
  }
  socket.disconnect();
}

const kinds = {
  'official, upgraded': () => official(io, {}),
  'official, WebSocket': () => official(io, { transports: ['websocket'] }),
  'official, polling': () => official(io, { transports: ['polling'] }),
  'official 2.x': () => official(io2, {}),
  async 'polling, gone without a word'() {
    const target = await session();
    await request('POST', target, '40');
    await request('GET', target);
    await request('POST', target, `42["add user","${random(1000)}"]`);
  },
  async 'polling, never connected'() {
    await session();
  },
  async 'WebSocket, reset'() {
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket&recovery=1`);
    socket.on('error', () => {});
    await new Promise((resolve) => socket.on('message', resolve));
    socket.send('40');
    socket.send('42["add user","gone"]');
    await pause();
    socket._socket.resetAndDestroy();
  },
  async 'WebSocket that stops reading'() {
    const socket = raw(upgrade());
    await pause();
    socket.pause();
    await sleep(5000);
    socket.destroy();
  },
  async 'upgrade abandoned after the 101'() {
    const target = await session();
    await request('POST', target, '40');
    const socket = raw(upgrade(target.slice(target.indexOf('&sid'))));
    await pause();
    if (random(2)) socket.destroy();
    else await sleep(3000).then(() => socket.destroy());
  },
  async 'upgrade abandoned after the probe'() {
    const target = await session();
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}${target.replace('polling', 'websocket')}`);
    socket.on('error', () => {});
    await new Promise((resolve) => socket.on('open', resolve).on('close', resolve));
    if (socket.readyState === WebSocket.OPEN) socket.send('2probe');
    await pause();
    socket.terminate();
  },
  async 'half a request'() {
    const socket = raw('POST / HTTP/1.1\r\nHost: h\r\nContent-Le');
    await sleep(random(5000));
    socket.destroy();
  },
  async 'half a body'() {
    const target = await session();
    const socket = raw(`POST ${target} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n42[`);
    await pause();
    socket.destroy();
  },
  async 'attachments that never come'() {
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    socket.on('error', () => {});
    await new Promise((resolve) => socket.on('message', resolve));
    socket.send('40');
    socket.send('451-["new message",{"_placeholder":true,"num":0}]');
    await pause();
    socket.terminate();
  },
  async 'a message that lacks a byte'() {
    const socket = raw(upgrade());
    await pause();
    socket.write(Buffer.concat([Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 0x0e, 0, 0, 0, 0, 0, 0]), Buffer.alloc(900_000, 'x')]));
    await sleep(random(5000));
    socket.destroy();
  },
  async 'large attachments, but not all'() {
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
    socket.on('error', () => {});
    await new Promise((resolve) => socket.on('message', resolve));
    socket.send('40');
    const holes = Array.from({ length: 10 }, (_, num) => ({ _placeholder: true, num }));
    socket.send(`4510-${JSON.stringify(['new message', ...holes])}`);
    for (let i = 0; i < 9; i++) socket.send(Buffer.alloc(100_000));
    await pause();
    socket.terminate();
  },
  async 'pings by who does not read'() {
    const socket = raw(upgrade());
    await pause();
    socket.pause();
    for (let i = 0; i < 20; i++) socket.write(Buffer.concat(Array(1000).fill(Buffer.concat([Buffer.from([0x89, 0xe4, 0, 0, 0, 0]), Buffer.alloc(100)]))));
    await sleep(random(2000));
    socket.destroy();
  },
  async 'pings over polling by who never polls'() {
    const old = path.replace('EIO=4', 'EIO=3&b64=1');
    const { sid } = JSON.parse(/{.*}/.exec(await request('GET', old))[0]);
    await request('POST', `${old}&sid=${sid}`, '1:2'.repeat(1000));
  },
  async 'many events in one body'() {
    const target = await session();
    await request('POST', target, ['40', ...Array(2500).fill('42["typing"]')].join('\x1e'));
    await request('POST', target, ['42["add user","x"]', '4garbage', '42["new message","after"]'].join('\x1e'));
  },
  async 'two bodies at a time'() {
    const target = await session();
    const first = raw(`POST ${target} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n42[`);
    await pause();
    await request('POST', target, '40');
    first.destroy();
  },
  async 'a body in chunks of one byte'() {
    const target = await session();
    const socket = raw(`POST ${target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\n4\r\n'.repeat(3000)}`);
    await pause();
    socket.destroy();
  },
  async 'requests whose answers nobody reads'() {
    const socket = raw(`GET /socket.io/socket.io.js HTTP/1.1\r\nHost: h\r\n\r\n`.repeat(40));
    socket.pause();
    await sleep(random(4000));
    socket.destroy();
  },
  async 'sockets that are held and never come back'() {
    for (let i = 0; i < 10; i++) await kinds['WebSocket, reset']();
  },
  async 'nonsense'() {
    const socket = raw(['\x16\x03\x01\x02\x00', 'GET / HTTP/9\r\n\r\n', `${upgrade()}\xff\xff\xff\xff`][random(3)]);
    await pause();
    socket.destroy();
  },
};

/** Clients of all kinds, until `end`. */
async function crowd(end) {
  const names = Object.keys(kinds);
  const one = async (at) => {
    for (let next = at; Date.now() < end; next += 1) {
      const name = names[next % names.length];
      try {
        await kinds[name]();
        done[name] = (done[name] ?? 0) + 1;
      } catch (error) {
        throw new Error(`${name}: ${error.message}`, { cause: error });
      }
    }
  };
  await Promise.all(Array.from({ length: CROWD }, (_, at) => one(at)));
}

/** What there is at this moment. The connection that asks is not counted. */
async function figures() {
  const text = await request('GET', '/metrics');
  const value = (name) =>
    text.split('\n').filter((line) => line.startsWith(`salon_${name} `) || line.startsWith(`salon_${name}{`))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  const names = ['sessions', 'sockets', 'users', 'websockets', 'half_open', 'queued_bytes', 'held_bytes', 'connections', 'timers'];
  const all = Object.fromEntries(names.map((name) => [name, value(name)]));
  const pid = server.child.pid;
  const descriptors = readdirSync(`/proc/${pid}/fd`).length;
  const resident = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024;
  return { ...all, descriptors, resident, limits: text.split('\n').filter((line) => /^salon_limits_total.* [1-9]/.test(line)) };
}

/** The figures when everything has gone, or those of the last look. */
async function settled(base) {
  for (const end = Date.now() + SETTLE; ; await sleep(500)) {
    const now = await figures();
    const left = Object.keys(base).filter((name) => name !== 'limits' && now[name] > base[name]);
    if (left.length === 0 || Date.now() > end) return [now, left];
  }
}

// The first crowd makes the server take what it keeps: buffers, tables, the allocator's own.
const fresh = await figures();
await crowd(Date.now() + 10_000);
const [warm, early] = await settled({ ...fresh, resident: Infinity, held_bytes: Infinity });
await crowd(Date.now() + MINUTES * 60_000);
const [end, late] = await settled({ ...warm, resident: warm.resident + GROWTH, held_bytes: warm.held_bytes + KEPT });
const { limits, ...shown } = end;
console.log(`soak: ${MINUTES} min, ${Object.values(done).reduce((sum, count) => sum + count, 0)} clients`);
for (const [name, count] of Object.entries(done)) console.log(`  ${String(count).padStart(6)} ${name}`);
console.log(`after the first crowd: ${JSON.stringify({ ...warm, limits: undefined })}`);
console.log(`at the end:            ${JSON.stringify(shown)}`);
console.log(limits.join('\n'));
const panics = /panicked/.test(server.log());
hooks.forEach((hook) => hook());
if (early.length || late.length || lost.length || panics) {
  console.log(`FAILED: left over: ${[...early, ...late]}; in vain: ${lost.join(', ')}${panics ? '; panicked' : ''}`);
  process.exit(1);
}
console.log('ok: nothing is left');
process.exit(0);
