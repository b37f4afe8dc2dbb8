// A client of the public example: no ids, no key, no history. What it says is said once, and heard while it is connected.
import { Client } from './client.mjs';

export class Classic extends Client {
  kind = 'classic';
  /** The time since which it is connected without a break that was not recovered. */
  since;
  /** Tags of whom it has heard since then: whether they have joined or left last. */
  moves = new Map();
  unsent = 0;
  #isNamed = false; // the server has taken the name on this connection, or on the one that this one has recovered

  connected() {
    if (!this.socket.recovered) {
      this.since = Date.now();
      this.moves.clear();
      this.#isNamed = false;
    }
    this.joined = this.#isNamed;
    if (!this.joined) this.socket.emit('add user', this.name);
  }

  loggedIn() {
    this.#isNamed = true;
    this.joined = true;
  }

  say(message) {
    if (!this.joined) return;
    const { process } = this;
    this.ledger.sent(message, process, this.epoch);
    this.socket.emit('new message', message.text, (answer) => answer?.n && this.ledger.acked(message, process, answer));
  }

  heard() {}

  moved(user, isHere) {
    this.moves.set(user, isHere);
  }
}
