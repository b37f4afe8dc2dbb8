// A client that follows static/main.js and static/messages.js: it keeps its key, resends with the same id what was not acknowledged, wherever it
// is connected then, catches up by `history` and knows messages by their ids.
import { Client } from './client.mjs';

const ANSWER = 10_000; // ms
const LAST = { before: { time: 1e15, id: '' }, last: 100 };

export class Page extends Client {
  kind = 'page';
  key = `key-of-${this.name}`.padEnd(20, '-');
  #position;
  #catchingUp = true;
  #isNamed = false; // the server has taken the name on this connection, or on the one that this one has recovered
  #unsent = new Map(); // id -> message
  /** Text -> ids under which it is shown. */
  shown = new Map();
  /** The time of the first answer to `history`: a newcomer need not have what was said before. */
  since;
  /** Tags of the people who are here, as the page lists them. */
  people = new Set();

  /** As the page does after a reload: all is forgotten but name and key. */
  reload() {
    for (const message of this.#unsent.values()) message.abandoned = true;
    this.#unsent.clear();
    this.#position = undefined;
    this.shown.clear();
    this.since = undefined;
    this.people.clear();
    this.socket.disconnect();
    this.epoch += 1;
    this.socket.connect();
  }

  say(message) {
    this.#show(`id of ${message.text}`.replaceAll(' ', '-'), message.text);
    this.#unsent.set(message.text, message);
    if (this.joined) this.#transmit(message);
  }

  get unsent() {
    return this.#unsent.size;
  }

  connected() {
    if (!this.socket.recovered) this.#isNamed = false;
    if (this.#isNamed) this.#ready();
    else this.#login();
  }

  disconnected() {
    this.#catchingUp = true;
  }

  #login() {
    this.socket.emit('add user', this.name, { key: this.key });
  }

  loggedIn() {
    this.#isNamed = true;
    if (!this.joined) this.#ready();
  }

  #ready() {
    this.joined = true;
    this.#askPeople();
    this.#catchUp();
    for (const message of this.#unsent.values()) this.#transmit(message);
  }

  #askPeople() {
    this.#ask('users', undefined, (answer) => (this.people = new Set(answer.users.map(({ user }) => user))));
  }

  #catchUp() {
    this.#ask('history', this.#position ? { since: this.#position } : LAST, (answer) => {
      const { boot, n, messages } = answer;
      const more = answer.more && this.#position;
      for (const { id, message } of messages) this.#show(id, message);
      this.since ??= Date.now();
      this.#position = { boot, n: more ? messages.at(-1).n : n };
      if (more) this.#catchUp();
      else this.#catchingUp = false;
    });
  }

  /** Asks while this connection lasts. */
  #ask(event, question, take) {
    const { epoch, process } = this;
    const again = () => this.joined && this.epoch === epoch && this.process === process;
    const args = question === undefined ? [] : [question];
    this.socket.timeout(ANSWER).emit(event, ...args, (error, answer) => {
      if (!again()) return;
      if (!error) return take(answer);
      this.note(`${this.name}: no answer to ${event}`);
      this.#ask(event, question, take);
    });
  }

  #transmit(message) {
    const { process } = this;
    const id = `id of ${message.text}`.replaceAll(' ', '-');
    this.ledger.sent(message, process, this.epoch);
    this.socket.timeout(ANSWER).emit('new message', message.text, { id }, (error, answer) => {
      if (!this.#unsent.has(message.text)) return;
      if (error) {
        // Where the page says that it failed, and its user tries again; else it is sent after the next login.
        if (this.joined && this.process === process) this.#transmit(message);
        return;
      }
      if (answer.error) throw new Error(`${message.text} is refused: ${answer.error}`);
      this.#unsent.delete(message.text);
      this.ledger.acked(message, process, answer);
      this.#advance(answer.n);
    });
  }

  #advance(n) {
    if (!this.#catchingUp && n > this.#position?.n) this.#position.n = n;
  }

  heard({ id, message, n }) {
    this.#show(id, message);
    this.#advance(n);
  }

  #show(id, text) {
    if (!this.shown.has(text)) this.shown.set(text, new Set());
    this.shown.get(text).add(id);
  }

  moved(user, isHere) {
    if (isHere) this.people.add(user);
    else this.people.delete(user);
  }
}
