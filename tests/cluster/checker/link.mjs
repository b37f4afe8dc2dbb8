// A TCP proxy in front of one server, whose connections can be broken, by the role that a connection has. Its target may
// change, as behind a load balancer.
import { once } from 'node:events';
import net from 'node:net';
import { abort } from '../../lib/proxy.mjs';

/**
 * States of a role: `whole`; `cut`: its connections are reset, new ones too; `stall`: nothing moves, and later goes on as if
 * it had been slow; `lost`: what is sent vanishes, and the connections are reset when the role is whole again.
 */
export class Link {
  #pairs = new Set();
  #states = new Map();
  #server;

  /** `target()` gives the port, or nothing: then connections are reset. `roleOf(bytes)` tells by the first bytes of one. */
  constructor(target, roleOf = () => 'all') {
    this.target = target;
    this.roleOf = roleOf;
  }

  async listen() {
    this.#server = net.createServer({ allowHalfOpen: true, noDelay: true }, (outer) => this.#accept(outer));
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = this.#server.address().port;
    return this;
  }

  state(role) {
    return this.#states.get(role) ?? 'whole';
  }

  set(role, state) {
    this.#states.set(role, state);
    for (const pair of this.#pairs) if (pair.role === role) this.#apply(pair);
  }

  /** Resets all connections; new ones go to what is the target then. */
  reset() {
    for (const pair of this.#pairs) this.#abort(pair);
  }

  close() {
    this.#server.close();
    this.reset();
  }

  #accept(outer) {
    const pair = { outer, inner: undefined, role: undefined, first: undefined, isLost: false };
    this.#pairs.add(pair);
    outer.on('error', () => this.#abort(pair));
    outer.once('data', (bytes) => {
      pair.role = this.roleOf(bytes);
      pair.first = bytes;
      outer.pause();
      this.#apply(pair);
    });
    outer.on('close', () => pair.inner || this.#pairs.delete(pair));
  }

  #apply(pair) {
    const state = this.state(pair.role);
    const sockets = [pair.outer, pair.inner].filter(Boolean);
    if (state === 'cut' || (state === 'whole' && pair.isLost)) return this.#abort(pair);
    if (state === 'stall') return sockets.forEach((socket) => socket.pause());
    if (state === 'lost') {
      pair.isLost = true;
      return sockets.forEach((socket) => socket.resume());
    }
    if (!pair.inner) return this.#connect(pair);
    sockets.forEach((socket) => socket.resume());
  }

  #connect(pair) {
    const port = this.target();
    if (port === undefined) return this.#abort(pair);
    pair.inner = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    pair.inner.write(pair.first);
    for (const [from, to] of [[pair.outer, pair.inner], [pair.inner, pair.outer]]) {
      from.on('data', (bytes) => pair.isLost || to.write(bytes));
      from.on('end', () => pair.isLost || to.end());
      from.on('close', () => pair.outer.destroyed && pair.inner.destroyed && this.#pairs.delete(pair));
    }
    pair.inner.on('error', () => this.#abort(pair));
    pair.outer.resume();
  }

  #abort(pair) {
    this.#pairs.delete(pair);
    for (const socket of [pair.outer, pair.inner]) if (socket && !socket.destroyed) abort(socket);
  }
}
