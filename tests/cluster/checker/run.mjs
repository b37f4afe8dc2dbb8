// One run: starts the servers and the clients of a seed, carries out the plan round by round, and after each round, when all
// is quiet, waits until the promises hold. What does not come true in time is a violation.
import { mkdirSync, writeFileSync } from 'node:fs';
import { setTimeout as pass } from 'node:timers/promises';
import { Classic } from './classic.mjs';
import * as judge from './judge.mjs';
import { Ledger } from './ledger.mjs';
import { BEAT, startNodes } from './nodes.mjs';
import { Page } from './page.mjs';
import { cast, round } from './plan.mjs';
import { random } from './random.mjs';

const RETURN = 60_000; // ms within which all clients and links are back: both try again after up to 12 s
const SLACK = 5_000; // ms beyond the limits of the promises, for a busy machine
const BURST = 5; // messages of each client at the end of a round
const MOST = 0.9; // share of the acknowledged messages that must be checked

/** Runs the rounds of a seed until `isOver()`. Returns what is to be printed; `violations` is empty if all is well. */
export async function run(t, seed, isOver) {
  const begun = new Run(t, seed);
  await begun.start();
  for (let number = 0; (number === 0 || !isOver()) && !begun.violations.length; number += 1) await begun.round(number);
  const { acked, excepted, checked } = begun.ledger.figures();
  if (checked < MOST * acked) begun.violations.push(`checked: only ${checked} of ${acked} acknowledged messages`);
  const result = { seed, rounds: begun.rounds, acked, checked, excepted, files: begun.cast.files, settled: begun.settled, violations: begun.violations };
  return begun.violations.length || begun.settled > judge.LIMIT ? { ...result, record: begun.save() } : result;
}

class Run {
  #t;
  #pending = new Set(); // actions under way
  #redis = Promise.resolve();
  ledger = new Ledger();
  violations = [];
  rounds = 0;
  settled = 0; // ms: the longest that it took until all promises held
  begin = Date.now();
  record = [];

  constructor(t, seed) {
    this.#t = t;
    this.seed = seed;
    this.cast = cast(seed);
    this.note = (text) => this.record.push(`${Date.now() - this.begin} ms: ${text}`);
  }

  async start() {
    Object.assign(this, await startNodes(this.#t, this.cast));
    this.clients = this.cast.clients.map((spec, i) => {
      const parts = { choices: random(this.seed, -1 - i), salons: this.salons, ledger: this.ledger, note: this.note };
      return new (spec.kind === 'page' ? Page : Classic)(spec, parts);
    });
    this.byName = Object.fromEntries(this.clients.map((client) => [client.name, client]));
    await Promise.all(this.clients.map((client) => client.begin(this.#t)));
    await this.#comesTrue('all clients are there', RETURN, () => this.clients.filter(({ joined }) => !joined).map(({ name }) => name));
  }

  async round(number) {
    const { length, actions } = round(this.seed, number);
    this.note(`round ${number}`);
    const start = performance.now();
    for (const action of actions) {
      await pass(Math.max(0, start + action.at - performance.now()));
      this.#carryOut(action);
    }
    await pass(Math.max(0, start + length - performance.now()));
    await Promise.all(this.#pending);
    this.note('quiet');
    await this.#settle();
    this.rounds += 1;
  }

  #carryOut({ at, do: what, ...rest }) {
    if (what !== 'say') this.note(`${what} ${Object.values(rest).join(' ')}`);
    const done = this.#act(what, rest).catch((error) => this.violations.push(`${what} ${Object.values(rest).join(' ')}: ${error.message}`));
    this.#pending.add(done);
    done.finally(() => this.#pending.delete(done));
  }

  async #act(what, { who, salon, role, state, count }) {
    const client = this.byName[who];
    const node = this.salons[salon];
    switch (what) {
      case 'say':
        for (let i = 0; i < count && !client.isAway; i += 1) this.#say(client);
        return;
      case 'break client': return client.link.set('all', state);
      case 'heal client': return client.link.set('all', 'whole');
      case 'roam': return client.roam(node);
      case 'leave': return client.leave();
      case 'return': return client.return();
      case 'reload': return client.reload();
      case 'break link': return node.break(role, state);
      case 'heal link': return node.heal();
      case 'redis kill': return this.#afterRedis(() => this.redis.kill());
      case 'redis start': return this.#afterRedis(() => this.redis.restart());
      case 'redis stop': return this.#afterRedis(() => this.redis.signal('SIGSTOP'));
      case 'redis continue': return this.#afterRedis(() => this.redis.signal('SIGCONT'));
      case 'kill': return (node.ending = this.#end(node, () => node.kill()));
      case 'drain': return (node.ending = this.#end(node, () => node.drain()));
      case 'start':
        await node.ending;
        return node.start();
      default: throw new Error(`unknown action ${what}`);
    }
  }

  /** One change of Redis after the other: it may not be killed before it has started. */
  #afterRedis(change) {
    this.#redis = this.#redis.then(change);
    return this.#redis;
  }

  #say(client) {
    const message = this.ledger.next(client.name);
    client.say(message);
    return message;
  }

  /** Ends a salon. Without a file, what only it has is read from the others before. */
  async #end(node, end) {
    if (!this.cast.files) {
      const others = Object.values(this.salons).filter((other) => other !== node && other.state === 'up');
      const { process } = node;
      const kept = await Promise.all(others.map((other) => other.history()));
      const texts = new Set(kept.flat().map(({ message }) => message));
      this.ledger.except(process, texts, others.map((other) => other.process));
    }
    await end();
  }

  /** All is whole again: waits until the promises hold, then for a burst in order, and looks again. */
  async #settle() {
    await Promise.all(Object.values(this.salons).map((salon) => salon.joins()));
    await this.#comesTrue('all clients are back', RETURN, () =>
      this.clients.filter(({ joined, unsent }) => !joined || unsent).map(({ name, unsent }) => `${name} (${unsent} unsent)`));
    const start = Date.now();
    await this.#comesTrue('the promises', judge.LIMIT + SLACK, () => this.#faults());
    this.settled = Math.max(this.settled, Date.now() - start);
    if (this.violations.length) return;
    const epochs = new Map(this.clients.map((client) => [client, client.epoch]));
    const said = [];
    for (let i = 0; i < BURST; i += 1) for (const client of this.clients.filter(({ joined }) => joined)) said.push(this.#say(client));
    await this.#comesTrue('the burst', BEAT + SLACK, async () => {
      const faults = await this.#faults();
      // On a machine that is too busy a ping may time out; who is new then has not heard all of it.
      const clients = this.clients.filter((client) => client.epoch === epochs.get(client));
      return [...faults, ...judge.burst({ said, clients, histories: this.histories })];
    });
    this.note('checked');
  }

  async #faults() {
    const each = async (ask) => Object.fromEntries(await Promise.all(Object.values(this.salons).map(async (salon) => [salon.name, await ask(salon)])));
    this.histories = await each((salon) => salon.history());
    const answers = await each(async (salon) => ({ users: await salon.users(), counts: await salon.counts() }));
    const { ledger, clients, histories, cast: { files } } = this;
    return [...judge.messages({ ledger, clients, histories, files }), ...judge.order({ ledger, clients }), ...judge.people({ clients, answers })];
  }

  /** Waits until `find` finds no fault; after `limit` what it finds is a violation. */
  async #comesTrue(what, limit, find) {
    const late = Date.now() + limit - SLACK;
    for (const end = Date.now() + limit; ; await pass(200)) {
      const faults = await find();
      if (!faults.length) return;
      if (Date.now() > late) this.note(`late: ${faults.length} faults, first ${faults[0]}`);
      if (Date.now() < end) continue;
      this.note(`violation: ${what}`);
      return this.violations.push(...faults.map((fault) => `${what}: ${fault}`));
    }
  }

  /** Writes all that is known of the run to a directory, and returns its name. */
  save() {
    const directory = `tests/out/checker/seed-${this.seed}`;
    mkdirSync(directory, { recursive: true });
    const write = (name, lines) => writeFileSync(`${directory}/${name}`, `${lines.join('\n')}\n`);
    const about = judge.evidence(this.violations, { ledger: this.ledger, histories: this.histories ?? {}, start: this.begin });
    write('violations', [...this.violations, '', ...about]);
    write('record', this.record);
    for (const { name, logs } of Object.values(this.salons ?? {})) write(`${name}.log`, logs.map((server) => server.log()));
    return directory;
  }
}
