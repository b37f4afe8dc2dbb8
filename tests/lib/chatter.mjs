// A user of the chat with the official client: what it heard, and waiting for what it is to hear.
import { once } from 'node:events';
import { io } from 'socket.io-client';

// ms within which anything must happen; only a failure reaches it. Wine is slower than what it stands for.
export const PATIENCE = (process.env.SALON_BIN ?? '').includes('windows') ? 40_000 : 20_000;

export const TRANSPORTS = {
  'polling only': ['polling'],
  'WebSocket only': ['websocket'],
  'polling, then WebSocket': ['polling', 'websocket'],
};

/** An event as the public example has it: without the fields that salon adds. */
export function classic([event, data, ...rest]) {
  if (typeof data !== 'object' || data === null || Buffer.isBuffer(data) || Array.isArray(data)) return [event, ...(data === undefined ? [] : [data]), ...rest];
  const { user, n, id, time, maxText, maxPayload, ...fields } = data;
  return [event, fields, ...rest];
}

/** Fails after `patience` with what it waited for. */
export function within(promise, what, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited in vain: ${typeof what === 'function' ? what() : what}`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export class Chatter {
  /** Connects; `options` are those of the client. Ends with the test. */
  constructor(t, url, options = {}, namespace = '') {
    this.whole = []; // [event, ...arguments], in the order of arrival
    this.heard = []; // the same as the public example has it
    this.wakers = new Set();
    this.socket = io(url + namespace, { forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 100, ...options });
    this.socket.onAny((...event) => {
      // With recovery every event that is kept ends with its offset, which is for the client alone.
      this.whole.push(this.socket._pid && typeof event.at(-1) === 'string' ? event.slice(0, -1) : event);
      this.heard.push(classic(this.whole.at(-1)));
      this.wakers.forEach((wake) => wake());
    });
    t.after(() => this.socket.close());
  }

  /** Waits until `find(heard)` gives something, and returns it; fails if nothing more is heard for so long. */
  async hears(find, what = find) {
    let wake;
    let timer;
    const found = new Promise((resolve, reject) => {
      const late = () => reject(new Error(`waited in vain: ${what}; heard ${JSON.stringify(this.heard.slice(-5))}`));
      wake = () => {
        clearTimeout(timer);
        timer = setTimeout(late, PATIENCE);
        const result = find(this.heard);
        if (result) resolve(result);
      };
      this.wakers.add(wake);
      wake();
    });
    return found.finally(() => this.wakers.delete(wake) && clearTimeout(timer));
  }

  /** Waits for the n-th event of that name, and returns its first argument. */
  async event(name, n = 1) {
    const found = await this.hears((heard) => heard.filter(([event]) => event === name)[n - 1], `${name} ${n}`);
    return found[1];
  }

  /** Gives the name, and perhaps a `{ key }`, and waits for the answer to it. */
  async login(name, ...more) {
    this.socket.emit('add user', name, ...more);
    return this.event('login', this.heard.filter(([event]) => event === 'login').length + 1);
  }

  /** Emits and waits for the ack. */
  ask(...event) {
    return within(this.socket.emitWithAck(...event), JSON.stringify(event));
  }

  /** The texts heard from `username`, in order. */
  from(username) {
    const texts = this.heard.filter(([event, data]) => event === 'new message' && data.username === username);
    return texts.map(([, data]) => data.message);
  }

  async connected() {
    if (!this.socket.connected) await within(once(this.socket, 'connect'), 'connect');
    return this;
  }

  /** Waits until the client has changed to WebSocket. */
  async upgraded() {
    await this.connected();
    const { engine } = this.socket.io;
    if (engine.transport.name !== 'websocket') await within(new Promise((resolve) => engine.once('upgrade', resolve)), 'upgrade');
  }
}
