// A client that is nothing but packets: literal text out, literal text in, over WebSocket or polling.
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { PATIENCE, classic, within } from './chatter.mjs';

/** A session over WebSocket. Answers pings unless told otherwise; ends with the test. */
export class Raw {
  /** `query` is appended to the address, as `&name=value`. */
  constructor(t, url, query = '', { headers = {}, version = 4, pongs = true } = {}) {
    this.got = []; // packets of Engine.IO, but pings
    this.wakers = new Set();
    const address = `${url.replace('http', 'ws')}/socket.io/?EIO=${version}&transport=websocket${query}`;
    this.ws = new WebSocket(address, { headers, perMessageDeflate: false });
    this.ws.on('error', () => {}); // its close follows
    this.ws.on('message', (data) => {
      const packet = data.toString();
      if (packet !== '2') this.got.push(packet);
      else if (pongs) this.ws.send('3');
      this.wakers.forEach((wake) => wake());
    });
    this.closed = once(this.ws, 'close');
    t.after(() => this.ws.terminate());
  }

  /** The first packet that begins so, when it is there. */
  packet(start) {
    let wake;
    const found = new Promise((resolve) => {
      wake = () => {
        const packet = this.got.find((got) => got.startsWith(start));
        if (packet !== undefined) resolve(packet);
      };
      this.wakers.add(wake);
      wake();
    });
    return within(found, () => `${start}; got ${this.got.slice(-5)}`).finally(() => this.wakers.delete(wake));
  }

  /** Sends CONNECT, and gives what it is answered with: `{ sid, pid }`. `auth` is a value, or JSON text as it is. */
  async connect(auth) {
    await this.packet('0{');
    this.send(`40${auth === undefined ? '' : typeof auth === 'string' ? auth : JSON.stringify(auth)}`);
    return JSON.parse((await this.packet('40')).slice(2));
  }

  send(packet) {
    this.ws.send(packet);
  }

  /** Gives the name, and the answer to it: `[fields, offset]`. */
  async login(name) {
    this.send(`42["add user",${JSON.stringify(name)}]`);
    return classic(JSON.parse((await this.packet('42["login"')).slice(2))).slice(1);
  }

  /** The events so far, as arrays, as the public example has them. */
  events() {
    return this.got.filter((packet) => packet.startsWith('42')).map((packet) => classic(JSON.parse(packet.slice(2))));
  }

  /** The last offset so far. */
  offset() {
    return this.events().at(-1)?.at(-1);
  }

  /** Breaks the connection, and waits until it is gone here. */
  async reset() {
    this.ws._socket.resetAndDestroy();
    await this.closed;
  }
}

/** A session over polling: no loop of its own, each GET is asked for. Answers the pings that come with what it asks for. */
export class Poller {
  constructor(url, query = '', headers = {}) {
    this.address = `${url}/socket.io/?EIO=4&transport=polling`;
    this.query = query;
    this.headers = headers;
  }

  async fetch(options = {}) {
    const signal = AbortSignal.any([AbortSignal.timeout(PATIENCE), ...(options.signal ? [options.signal] : [])]);
    const response = await fetch(this.address + this.query, { headers: this.headers, ...options, signal });
    return response.text();
  }

  /** The handshake, then CONNECT and its answer. */
  async connect(auth) {
    const { sid } = JSON.parse((await this.fetch()).slice(1));
    this.query += `&sid=${sid}`;
    await this.post(`40${auth === undefined ? '' : JSON.stringify(auth)}`);
    [this.answer, ...this.rest] = await this.poll();
    return JSON.parse(this.answer.slice(2));
  }

  post(body) {
    return this.fetch({ method: 'POST', body });
  }

  /** The packets of the next payload that is more than a ping. */
  async poll(options) {
    for (;;) {
      const packets = (await this.fetch(options)).split('\x1e');
      const others = packets.filter((packet) => packet !== '2');
      if (others.length < packets.length) await this.post('3');
      if (others.length > 0) return others;
    }
  }
}
