// What all clients of a run have: an official client behind a link of its own, and what was heard on it.
import { createRequire } from 'node:module';
import { Link } from './link.mjs';

const require = createRequire(import.meta.url);

export class Client {
  /** The process of a salon that it is connected to. */
  process;
  /** Counts connections that begin anew; one that was recovered goes on. */
  epoch = 0;
  /** Whether the server knows its name on this connection. */
  joined = false;
  /** The public tag that it was given last. */
  tag;
  numUsers;
  /** `new message` as heard: `{ text, process, epoch, at }`. */
  live = [];
  isAway = false;

  /**
   * `spec` is a line of the plan's cast; `choices` the generator of this client; `salons` by name; `ledger` of all that is
   * said; `note(text)` writes to the record of the run.
   */
  constructor(spec, { choices, salons, ledger, note }) {
    Object.assign(this, { spec, name: spec.name, choices, salons, ledger, note });
    this.salon = salons[spec.salon];
    this.link = new Link(() => {
      this.reached = this.salon.process;
      return this.salon.port;
    });
  }

  async begin(t) {
    await this.link.listen();
    const io = require(this.spec.version ?? 'socket.io-client');
    this.socket = io(`http://127.0.0.1:${this.link.port}`, {
      forceNew: true,
      transports: this.spec.transports,
      reconnectionDelay: 100,
      reconnectionDelayMax: 500,
      timeout: 4_000,
      ...(this.spec.recovery && { query: { recovery: 1 } }),
    });
    t.after(() => {
      this.socket.disconnect();
      this.link.close();
    });
    this.socket.on('connect', () => {
      this.process = this.reached;
      if (!this.socket.recovered) this.epoch += 1;
      this.note(`${this.name} ${this.socket.recovered ? 'recovered' : 'connected'} at ${this.process}`);
      this.connected();
    });
    this.socket.on('disconnect', (reason) => {
      this.note(`${this.name} disconnected: ${reason}`);
      this.joined = false;
      this.disconnected();
      this.seek();
      // What the button of the page does.
      if (reason === 'io server disconnect') this.socket.connect();
    });
    this.socket.on('connect_error', () => this.seek());
    this.socket.on('new message', (message) => {
      this.live.push({ text: message.message, process: this.process, epoch: this.epoch, at: Date.now() });
      this.heard(message);
    });
    this.socket.on('user count', ({ numUsers }) => (this.numUsers = numUsers));
    for (const [event, isHere] of [['user joined', true], ['user left', false]]) {
      this.socket.on(event, ({ numUsers, user }) => {
        this.numUsers = numUsers;
        this.moved(user, isHere);
      });
    }
    this.socket.on('login', ({ numUsers, user }) => {
      this.numUsers = numUsers;
      this.tag = user;
      this.loggedIn();
    });
  }

  /** What a load balancer does: from a salon that is away to another, if there is one. */
  seek() {
    const up = Object.values(this.salons).filter(({ state }) => state === 'up');
    if (this.spec.roams && this.salon.state !== 'up' && up.length) this.salon = this.choices.pick(up);
  }

  roam(salon) {
    this.salon = salon;
    this.seek();
    this.link.reset();
  }

  leave() {
    this.isAway = true;
    this.joined = false;
    this.socket.disconnect();
  }

  return() {
    this.isAway = false;
    this.socket.connect();
  }

  disconnected() {}
}
