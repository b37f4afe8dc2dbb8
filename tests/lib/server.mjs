// Starts the server under test on a free port and makes sure that it ends with the test that started it.
// SALON_BIN names the program (default: target/debug/salon); one that ends in .mjs is run by node,
// for instance SALON_BIN=tests/lib/reference.mjs, the official server with the same chat.
import { spawn, spawnSync } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as pass } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { PATIENCE, within } from './chatter.mjs';

const HOST = '127.0.0.1';
const READY = 10_000; // ms within which a server accepts connections
const GRACE = 1_000; // ms after its end in which its last words arrive
const DRAIN = 5_000; // ms in which it ends in order: more than its own --drain
const WINE = (process.env.SALON_BIN ?? '').includes('windows');
// Windows has no SIGTERM. A process that Wine kills may leave its connections open, and Wine busy with them.
const STOP = WINE ? 'SIGINT' : 'SIGTERM';
const top = fileURLToPath(new URL('../..', import.meta.url));

// On Linux the kernel ends the server when this process dies, however it dies; elsewhere the exit handler does what it can.
const leash = spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true']).status === 0 ? ['setpriv', '--pdeathsig', 'KILL'] : [];
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

/** Whether a socket of this kind could be bound. */
const bound = (socket) => once(socket, 'listening').then(() => true, () => false);

/**
 * A port that nobody listens on, and that no other test on this machine is given while this process lives: a UDP socket of
 * the same number stands for that. It lies below the ports that the kernel gives to connections, or one of them could take it
 * before a server does, or while a server starts again.
 */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const lock = dgram.createSocket('udp4').unref();
    const probe = net.createServer();
    if ((await bound(lock.bind(port, HOST))) && (await bound(probe.listen(port, HOST)))) {
      probe.close();
      await once(probe, 'close');
      return port;
    }
    lock.close();
  }
}

/**
 * Starts a server for test `t` and waits until it accepts connections.
 * @param options `port` (default: a free one), `args` (flags), `env` (added to the environment), `wrap` (a
 * command that runs the program), `bin`.
 * @returns `{ port, url, child, log(), logs(pattern), ended, kill(signal) }`; `logs` waits for a line, `ended` and `kill` for
 * the end, and give `[code, signal]`.
 */
export async function start(t, { port, args = [], env = {}, wrap = [], bin = process.env.SALON_BIN ?? 'target/debug/salon' } = {}) {
  port ??= await freePort();
  const program = path.resolve(top, bin);
  const command = [...leash, ...wrap, ...(program.endsWith('.mjs') ? [process.execPath] : []), program, ...args];
  const child = spawn(command[0], command.slice(1), {
    env: { ...process.env, PORT: String(port), HOST, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  let failure;
  child.on('error', (error) => (failure = error));
  // Whoever else has its ends of the pipes (Wine's own processes do) may live on: what they say is not waited for.
  child.on('exit', () => setTimeout(() => [child.stdout, child.stderr].forEach((stream) => stream.destroy()), GRACE).unref());
  const ended = new Promise((resolve) => {
    child.on('close', (code, signal) => resolve([code, signal]));
  }).finally(() => running.delete(child));
  const seen = (pattern, times) =>
    new Promise((resolve) => {
      const look = () => {
        const lines = output.split('\n').filter((line) => pattern.test(line));
        if (lines.length >= times) resolve(lines[0]);
      };
      for (const stream of [child.stdout, child.stderr]) stream.on('data', look);
      look();
    });
  const server = {
    port,
    url: `http://${HOST}:${port}`,
    child,
    log: () => output,
    /** Waits until so many lines are like this; gives the first. */
    logs: (pattern, times = 1, patience) => within(seen(pattern, times), () => `${pattern} in the log:\n${output}`, patience),
    ended,
    kill(signal = STOP) {
      child.kill(signal);
      return ended;
    },
  };
  t.after(async () => {
    const end = setTimeout(() => server.kill('SIGKILL'), DRAIN);
    await server.kill(WINE ? STOP : 'SIGKILL');
    clearTimeout(end);
  });

  const deadline = Date.now() + READY;
  while (!(await accepts(port))) {
    if (failure || child.exitCode !== null || child.signalCode !== null || Date.now() > deadline) {
      await server.kill('SIGKILL');
      throw new Error(`${bin} does not accept connections on port ${port}: ${failure ?? ''}\n${output}`);
    }
  }
  return server;
}

/** One attempt to connect; a refused one takes 10 ms. */
function accepts(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, HOST);
    socket.on('connect', () => resolve(true) || socket.destroy());
    socket.on('error', () => setTimeout(resolve, 10, false));
  });
}

/** What /metrics says now, as a function from a name (without `salon_`, with its label) to the value. No connection stays. */
export async function metrics(url, token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const [response] = await once(http.get(`${url}/metrics`, { agent: false, headers }), 'response');
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return (name) => {
    const line = text.split('\n').find((line) => line.startsWith(`salon_${name} `));
    if (!line) throw new Error(`no salon_${name} in:\n${text}`);
    return Number(line.split(' ')[1]);
  };
}

/** The figure of /metrics that has this name. */
export async function metric(server, name) {
  return (await metrics(server.url))(name);
}

/** Waits until a figure has this value. */
export async function counts(server, name, value, what = '') {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const figure = await metric(server, name);
    if (figure === value) return;
    if (Date.now() > end) throw new Error(`${name} is ${figure}, not ${value} ${what}`);
    await pass(5); // time for others
  }
}
