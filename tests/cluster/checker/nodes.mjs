// The servers of a run: one Redis, and three salons, each with a link to Redis that can be broken and perhaps with a file.
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { io } from 'socket.io-client';
import { within } from '../../lib/chatter.mjs';
import { startRedis } from '../../lib/redis.mjs';
import { freePort, metrics, start } from '../../lib/server.mjs';
import { Link } from './link.mjs';
import { SALONS } from './plan.mjs';

export const BEAT = 1_000;
export const GRACE = 1_000;
/** Within so many ms a server notices that a client is gone that did not say so: the interval and the time-out of pings. */
export const HEARTBEAT = 9_000;
/** Limits far above what a run says, and short times, so that a round takes seconds. */
const ARGS = ['--presence-beat', `${BEAT}ms`, '--leave-grace', `${GRACE}ms`, '--ping-interval', '3s', '--ping-timeout', '6s',
  '--drain', '1s', '--history-messages', '100000', '--history-bytes', '64MiB'];
const ROLES = ['publish', 'subscribe'];

const roleOf = (bytes) => (bytes.includes('SUBSCRIBE') ? 'subscribe' : 'publish');

/** Starts everything and waits until it is connected: `{ redis, salons }`, the salons by name. */
export async function startNodes(t, { files, renamed }) {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'salon-checker-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const redis = await startRedis(t);
  const salons = {};
  for (const name of SALONS) {
    salons[name] = new Salon(t, name, redis, files ? path.join(directory, name) : undefined, renamed);
    await salons[name].begin();
  }
  await Promise.all(Object.values(salons).map((salon) => salon.joins()));
  return { redis, salons };
}

class Salon {
  #t;
  #file;
  #renamed;
  #starts = 0;
  /** `up`; `draining` from the SIGTERM on; `down`. */
  state = 'down';
  logs = [];

  constructor(t, name, redis, file, renamed) {
    this.#t = t;
    this.#file = file;
    this.#renamed = renamed;
    this.name = name;
    this.link = new Link(() => redis.port, roleOf);
  }

  async begin() {
    await this.link.listen();
    this.#t.after(() => this.link.close());
    this.port = await freePort();
    await this.start();
  }

  /** One run of the program: what a file keeps outlives it, what is in memory does not. */
  get process() {
    return `${this.name}.${this.#starts}`;
  }

  async start() {
    this.#starts += 1;
    const instance = this.#renamed ? this.process : this.name;
    const args = [...ARGS, '--instance', instance, '--redis', `redis://127.0.0.1:${this.link.port}`];
    if (this.#file) args.push('--history', this.#file);
    this.server = await start(this.#t, { port: this.port, args });
    this.logs.push(this.server);
    this.state = 'up';
  }

  async kill() {
    this.state = 'down';
    await this.server.kill('SIGKILL');
  }

  async drain() {
    this.state = 'draining';
    await this.server.kill('SIGTERM');
    this.state = 'down';
  }

  break(role, state) {
    for (const each of ROLES) if (role === each || role === 'both') this.link.set(each, state);
  }

  heal() {
    for (const role of ROLES) this.link.set(role, 'whole');
  }

  /** Waits until it is connected to Redis. */
  async joins() {
    for (const end = Date.now() + 30_000; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
      if ((await metrics(this.server.url))('redis_up') === 1) return;
      if (Date.now() > end) throw new Error(`${this.name} does not come back to Redis:\n${this.server.log()}`);
    }
  }

  /** All messages that it keeps, asked for part by part. */
  async history() {
    return this.#ask(async (ask) => {
      const messages = [];
      for (let asked = {}; ; ) {
        const answer = await ask('history', asked);
        messages.push(...answer.messages);
        if (!answer.more) return messages;
        asked = { since: { boot: answer.boot, n: messages.at(-1).n } };
      }
    });
  }

  /** Its answer to `users`. */
  async users() {
    return this.#ask((ask) => ask('users'));
  }

  /** Its own count of users, and that of users elsewhere. */
  async counts() {
    const value = await metrics(this.server.url);
    return [value('users'), value('users_elsewhere')];
  }

  /** Asks past all links, on a connection without a user. */
  async #ask(questions) {
    const socket = io(this.server.url, { forceNew: true, transports: ['websocket'] });
    try {
      return await questions((...event) => within(socket.emitWithAck(...event), `${event[0]} of ${this.name}`));
    } finally {
      socket.close();
    }
  }
}
