// Hundreds of sessions (SALON_SESSIONS) of one address send what must be held for them: memory stays below the limit of the account and a fifth,
// and the account says what is held.
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { counts, metric, start } from '../lib/server.mjs';
import { PATIENCE, within } from '../lib/chatter.mjs';

const SESSIONS = Number(process.env.SALON_SESSIONS ?? 300);
const AT_ONCE = 50;
const MIB = 1024 * 1024;
const options = { timeout: 300_000 };
const args = ['--ping-interval', '1h', '--message-timeout', '10m', '--body-timeout', '10m', '--connect-timeout', '1h',
  '--recovery-time', '10m', '--head-timeout', '10m', '--idle-timeout', '10m', '--soft-time', '10m', '--write-timeout', '10m',
  '--max-connections', '3000'];

/** A TCP connection: `ask` resolves with all that has come when it matches. */
class Line {
  constructor(t, port) {
    this.socket = net.connect(port, '127.0.0.1');
    this.got = '';
    this.wake = () => {};
    this.socket.on('error', () => {});
    this.socket.on('data', (data) => {
      this.got += data.toString('latin1');
      this.wake();
    });
    this.ended = new Promise((resolve) => this.socket.once('close', resolve));
    this.socket.once('close', () => this.wake());
    t.after(() => this.socket.destroy());
  }

  send(bytes) {
    this.socket.write(bytes);
  }

  /** Everything up to a match; '' if the connection has ended before. */
  async ask(bytes, pattern) {
    this.got = '';
    this.send(bytes);
    await within(
      new Promise((resolve) => {
        this.wake = () => (pattern.test(this.got) || this.socket.destroyed) && resolve();
      }),
      () => `${pattern}; got ${this.got.slice(-200)}`,
      60_000,
    );
    return this.got;
  }
}

const UPGRADE = 'Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';

/** A frame whose mask is zero; `missing` bytes of its payload are not there. */
function frame(first, payload, missing = 0) {
  const length = payload.length + missing;
  const head = Buffer.alloc(length < 126 ? 2 : length < 65536 ? 4 : 10);
  head[0] = first;
  head[1] = 0x80 | (length < 126 ? length : length < 65536 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, Buffer.alloc(4), payload]);
}

async function websocket(t, port, query = 'EIO=4') {
  const line = new Line(t, port);
  await line.ask(`GET /socket.io/?${query}&transport=websocket HTTP/1.1\r\n${UPGRADE}`, /pingInterval|^HTTP\/1.1 503/);
  return line.got.includes(' 503 ') ? undefined : line;
}

async function polling(t, port, version) {
  const line = new Line(t, port);
  const target = `/socket.io/?EIO=${version}&transport=polling&b64=1`;
  await line.ask(`GET ${target} HTTP/1.1\r\nHost: h\r\n\r\n`, /"sid":"([^"]+)"|^HTTP\/1.1 503/);
  const sid = /"sid":"([^"]+)"/.exec(line.got)?.[1];
  return sid && { line, target: `${target}&sid=${sid}` };
}

const post = (target, body, length = body.length) => `POST ${target} HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\n\r\n${body}`;
const big = Buffer.alloc(990_000, 'x');

// More than the kernel takes for a client that does not read (some 3 MB, all in send buffers).
const pings = Buffer.concat(Array(100).fill(frame(0x81, Buffer.from(`2${big.subarray(0, 60_000)}`))));
const ENTRY = 64; // bytes counted for an entry of a queue

// What each session sends, `then` what one more sends after each round of sessions, and how many bytes are held for each session.
const LOADS = {
  'messages that lack a byte': {
    holds: big.length,
    load: async (t, port) => (await websocket(t, port))?.send(frame(0x81, big, 1)),
  },
  'messages that lack a fragment': {
    holds: big.length,
    load: async (t, port) => (await websocket(t, port))?.send(frame(0x02, big)),
  },
  'bodies that lack a byte': {
    holds: big.length,
    load: async (t, port) => {
      const session = await polling(t, port, 4);
      session?.line.send(post(session.target, big, big.length + 1));
    },
  },
  'packets that lack an attachment': {
    holds: 900_000,
    load: async (t, port) => {
      const line = await websocket(t, port);
      if (!line) return;
      const holes = Array.from({ length: 10 }, (_, num) => ({ _placeholder: true, num }));
      await line.ask(frame(0x81, Buffer.from('40')), /40\{/);
      line.send(frame(0x81, Buffer.from(`4510-${JSON.stringify(['a', ...holes])}`)));
      for (let i = 0; i < 9; i++) line.send(frame(0x82, big.subarray(0, 100_000)));
    },
  },
  'pings over polling of those who never poll': {
    holds: 4900 * ENTRY,
    load: async (t, port) => {
      const session = await polling(t, port, 3);
      await session?.line.ask(post(session.target, '1:2'.repeat(4900)), /^HTTP\/1.1 \d/);
    },
  },
  'pings of those who do not read': {
    // --soft-queue: from there on the client is not read either.
    holds: MIB,
    // The kernel is filled slowly.
    sessions: 30,
    atOnce: 15,
    limit: 32 * MIB,
    load: async (t, port) => {
      const line = await websocket(t, port, 'EIO=3');
      line?.socket.pause();
      line?.send(pings);
    },
  },
  'all events of a burst at once': {
    holds: 2500 * ENTRY,
    load: async (t, port) => {
      const session = await polling(t, port, 4);
      await session?.line.ask(post(session.target, '40'), /^HTTP\/1.1 \d/);
    },
    then: async (t, port) => {
      const session = await polling(t, port, 4);
      const events = ['40', '42["add user","Ada"]', ...Array(2500).fill('42["typing"]')];
      await session?.line.ask(post(session.target, events.join('\x1e')), /^HTTP\/1.1 \d/);
    },
  },
  'sockets that may come back': {
    sockets: 15,
    load: async (t, port) => {
      for (let i = 0; i < 15; i++) {
        const line = await websocket(t, port, 'EIO=4&recovery=1');
        assert.match(await line.ask(frame(0x81, Buffer.from('40')), /40\{/), /"pid":/);
        line.socket.resetAndDestroy();
      }
    },
  },
};

// Those that end with bytes that are held, and not with bytes on their way.
const STILL = new Set(['messages that lack a byte', 'bodies that lack a byte', 'packets that lack an attachment']);

for (const [name, { holds = 0, sockets = 0, sessions = SESSIONS, atOnce = AT_ONCE, limit = 64 * MIB, load, then }] of Object.entries(LOADS)) {
  test(`memory under a load of ${name}`, options, async (t) => {
    const server = await start(t, { args: [...args, '--max-held', String(limit)] });
    const base = await metric(server, 'resident_bytes');
    let [most, mostHeld] = [0, 0];
    const look = async () => {
      const text = await (await fetch(`${server.url}/metrics`)).text();
      const samples = [...text.matchAll(/^salon_held_bytes\{.*\} (\d+)$/gm)];
      const bytes = samples.reduce((sum, [, number]) => sum + Number(number), 0);
      const resident = (await metric(server, 'resident_bytes')) - base;
      [most, mostHeld] = [Math.max(most, resident), Math.max(mostHeld, bytes)];
      assert.ok(resident <= limit * 1.2, `${resident} bytes more than at first, ${bytes} are counted`);
      return { bytes, resident };
    };
    // Waits until so much is or was counted, and it grows no more.
    const settle = async (least) => {
      const end = Date.now() + PATIENCE;
      for (let before = 0; ; ) {
        const { bytes, resident } = await look();
        if (bytes === before && (mostHeld >= least || Date.now() > end)) return { bytes, resident };
        before = bytes;
      }
    };
    const empty = (await look()).bytes;
    for (let round = 0; round < sessions / atOnce; round++) {
      await Promise.all(Array.from({ length: atOnce }, () => load(t, server.port)));
      await then?.(t, server.port);
      await look();
      // While it grows; later the allocator keeps what was given back.
      if (round > 0) continue;
      await counts(server, 'sockets{state="held"}', atOnce * sockets);
      const { bytes, resident } = await settle(0.9 * atOnce * holds);
      t.diagnostic(`${bytes} bytes are counted, memory has grown by ${resident}`);
      const each = (bytes - empty) / atOnce;
      assert.ok(each >= 0.9 * holds && each <= 1.3 * holds, `${each} bytes are counted for each session, which holds ${holds}`);
      if (STILL.has(name)) assert.ok(Math.abs(bytes - resident) < resident / 5);
    }
    // A drop may free more than the excess.
    const least = 0.75 * Math.min(sessions * holds, limit);
    await settle(least);
    assert.ok(mostHeld >= least, `at most ${mostHeld} bytes were counted`);
    await counts(server, 'sockets{state="held"}', Math.min(sessions * sockets, 3000));
    t.diagnostic(`at most ${mostHeld} counted, ${most} bytes more than at first`);
  });
}
