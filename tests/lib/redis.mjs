// A Redis server for one test, and a Socket.IO server for Node beside salon's.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as pass } from 'node:timers/promises';
import { createAdapter } from '@socket.io/redis-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';
import { freePort, start } from './server.mjs';

const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

/** Starts redis-server with these arguments; it ends with test `t`. Nothing is written to disk. */
export async function startRedis(t, { port, args = [], scheme = 'redis', login = '' } = {}) {
  port ??= await freePort();
  const plain = scheme === 'redis' ? port : 0;
  const command = ['--bind', '127.0.0.1', '--port', String(plain), '--save', '', '--appendonly', 'no', ...args];
  const redis = { port, url: `${scheme}://${login}127.0.0.1:${port}`, kill, restart, client, signal: (name) => child.kill(name) };
  const clients = [];
  let child;
  async function restart() {
    child = spawn('redis-server', command, { stdio: ['ignore', 'pipe', 'pipe'] });
    const mine = child;
    children.add(mine);
    mine.on('close', () => children.delete(mine));
    let output = '';
    for await (const text of mine.stdout.setEncoding('utf8')) {
      output += text;
      if (output.includes('Ready to accept connections')) break;
    }
    if (!output.includes('Ready')) throw new Error(`redis-server does not start:\n${output}`);
    mine.stdout.resume();
    mine.stderr.resume();
  }
  async function kill(signal = 'SIGKILL') {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'exit');
    child.kill(signal);
    await closed;
  }
  async function client(options = {}) {
    const connected = createClient({ url: redis.url, ...options });
    connected.on('error', () => {}); // the test kills Redis
    await connected.connect();
    clients.push(connected);
    return connected;
  }
  await restart();
  t.after(async () => {
    // First, or they would begin to connect again; what is under way is answered, if Redis is there.
    const closed = clients.map((connected) => (connected.isReady ? connected.close() : connected.destroy()));
    await Promise.race([Promise.allSettled(closed), pass(1000, undefined, { ref: false })]);
    await kill();
  });
  return redis;
}

/** Starts so many salon servers on one Redis, called n1, n2 and so on, and waits until all are connected. */
export async function startServers(t, redis, count, args = []) {
  const names = Array.from({ length: count }, (_, i) => `n${i + 1}`);
  return Promise.all(
    names.map(async (name) => {
      const server = await start(t, { args: ['--instance', name, '--redis', redis.url, ...args] });
      await server.logs(/redis: connected/);
      return server;
    }),
  );
}

/** A Socket.IO server for Node in this process, with the official adapter (or another one) and the events of the chat. */
export async function startPeer(t, redis, adapter = createAdapter) {
  const [publisher, subscriber] = [await redis.client(), await redis.client()];
  const server = http.createServer();
  const io = new Server(server, { adapter: adapter(publisher, subscriber, { requestsTimeout: 3000 }) });
  let numUsers = 0;
  io.on('connection', (socket) => {
    let username;
    const others = (event, fields) => socket.broadcast.emit(event, { username, ...fields });
    socket.on('add user', (name) => {
      username = name;
      numUsers += 1;
      socket.emit('login', { numUsers });
      others('user joined', { numUsers });
    });
    socket.on('new message', (message) => others('new message', { message }));
    socket.on('typing', () => others('typing'));
    socket.on('stop typing', () => others('stop typing'));
    socket.on('disconnect', () => {
      if (username === undefined) return;
      numUsers -= 1;
      others('user left', { numUsers });
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => io.close());
  return { io, url: `http://127.0.0.1:${server.address().port}` };
}
