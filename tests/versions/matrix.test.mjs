// Clients of every major version chat with one another in one room, each over each of its transports: everybody must
// hear everybody else's texts once, in order and unchanged.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch } from '../lib/browser.mjs';
import { Chatter, within } from '../lib/chatter.mjs';
import { counts, start } from '../lib/server.mjs';

const require = createRequire(import.meta.url);
const file = (path) => fileURLToPath(new URL(path, import.meta.url));

const TEXTS = ['plain ASCII', 'déjà vu ÿ Ã©', '👍🏽 \u{1d11e}', '你好，世界', '"quoted" \\ \u2028 <b>&amp;'];
const TRANSPORTS = {
  polling: { transports: ['polling'] },
  websocket: { transports: ['websocket'] },
  upgrade: {},
  jsonp: { transports: ['polling'], forceJSONP: true },
};
// Where each client runs: in Node, or as its browser bundle in Chromium.
const NODE = {
  '4.8.4': 'socket.io-client',
  '4.6.2': 'client-4.6.2',
  '4.5.4': 'client-4.5.4',
  '4.0.0': 'client-4.0.0',
  '3.1.3': 'client-3.1.3',
  '2.5.0': 'client-2.5.0',
  '2.0.4': 'client-2.0.4',
};
const BUNDLES = {
  '3.1.3': 'client-3.1.3/dist/socket.io.js',
  '2.5.0': 'client-2.5.0/dist/socket.io.js',
  '1.7.4': 'client-1.7.4/dist/socket.io.js',
  '1.4.8': 'client-1.4.8/socket.io.js',
  '1.3.7': 'client-1.3.7/socket.io.js',
  '1.2.0': 'client-1.2.0/socket.io.js',
  '1.0.6': 'client-1.0.6/socket.io.js',
};
const RUST = file('../../target/rust-client/debug/chatter');

/** What all kinds of users have in common: a name, and what each other has said. */
class User {
  constructor(name) {
    this.name = name;
    this.texts = new Map();
    this.joined = new Promise((resolve, reject) => Object.assign(this, { welcome: resolve, fail: reject }));
  }
  hear(event, data) {
    if (event === 'login') this.welcome();
    if (event !== 'new message') return;
    if (data.message === 'go') return this.talk?.();
    if (!this.texts.has(data.username)) this.texts.set(data.username, []);
    this.texts.get(data.username).push(data.message);
    this.heard?.();
  }
  /** What `name` has said. */
  from(name) {
    const texts = this.texts.get(name);
    return this.unordered ? texts?.toSorted() : texts;
  }
  /** Waits until so many texts of so many others have come; fails if nothing more is heard for so long. */
  async hears(others, each) {
    const complete = () => this.texts.size >= others && [...this.texts.values()].every((texts) => texts.length >= each);
    const missing = () => `${this.name} has heard ${[...this.texts].map(([name, texts]) => `${name}: ${texts.length}`)}`;
    while (!complete()) await within(new Promise((resolve) => (this.heard = resolve)), missing);
  }
}

function inNode(t, url, version, transport) {
  const user = new User(`${version} ${transport} é👍🏽你`);
  const io = require(NODE[version]);
  const socket = (io.io ?? io)(url, { forceNew: true, ...TRANSPORTS[transport] });
  t.after(() => socket.close());
  for (const event of ['login', 'new message']) socket.on(event, (data) => user.hear(event, data));
  socket.on('connect_error', user.fail);
  user.talk = () => TEXTS.forEach((text) => socket.emit('new message', text));
  user.transport = () => socket.io.engine.transport.name;
  socket.emit('add user', user.name);
  return user;
}

/** The bundle of one version in one page, with a client for each of the transports. */
async function inBrowser(browser, url, version, transports) {
  const users = transports.map((transport) => new User(`${version} ${transport} in Chromium é👍🏽你`));
  const context = await browser.newContext(); // connections are limited per context
  const page = await context.newPage();
  page.on('pageerror', (error) => users.forEach((user) => user.fail(error)));
  // A page of the same origin without a script of its own.
  await page.goto(`${url}/socket.io/LICENSE`);
  await page.exposeFunction('hear', (events) => events.forEach(([index, ...event]) => users[index].hear(...event)));
  await page.addScriptTag({ path: file(`../node_modules/${BUNDLES[version]}`) });
  await page.evaluate(() => {
    window.sockets = [];
    const events = [];
    let busy = false;
    // While one call is on its way to Node, events wait for the next.
    window.report = async (...event) => {
      events.push(event);
      if (busy) return;
      busy = true;
      while (events.length > 0) await window.hear(events.splice(0));
      busy = false;
    };
  });
  for (const [index, user] of users.entries()) {
    await page.evaluate(
      ([index, options, name]) => {
        const socket = (window.sockets[index] = window.io(location.origin, options));
        for (const event of ['login', 'new message']) socket.on(event, (data) => window.report(index, event, data));
        socket.emit('add user', name);
      },
      [index, { forceNew: true, ...TRANSPORTS[transports[index]] }, user.name],
    );
    user.talk = () =>
      page.evaluate(([index, texts]) => texts.forEach((text) => window.sockets[index].emit('new message', text)), [index, TEXTS]);
    user.transport = () => page.evaluate((index) => window.sockets[index].io.engine.transport.name, index);
  }
  return users;
}

/** A program that prints each event it hears as a line `[event, data]`, and ends with its standard input. */
function asProgram(t, name, program, args) {
  const user = new User(name);
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text) => (complaints += text));
  child.on('error', user.fail);
  child.on('close', () => user.fail(new Error(complaints)));
  createInterface({ input: child.stdout }).on('line', (line) => user.hear(...JSON.parse(line)));
  user.complaints = () => complaints;
  return user;
}

function inPython(t, url, version, mode, transport, texts = TEXTS) {
  const name = `Python ${version} ${mode} ${transport} é👍🏽你`;
  const args = [file('chatter.py'), url, mode, transport, name, JSON.stringify(texts)];
  const user = asProgram(t, name, file(`../out/python-${version}/bin/python`), args);
  user.unordered = mode === 'sync'; // that client runs each handler in a thread of its own
  return user;
}

function inRust(t, url, transport) {
  const name = `Rust ${transport} é👍🏽你`;
  return asProgram(t, name, RUST, [url, transport, name, JSON.stringify(TEXTS)]);
}

test('every version over every transport in one room', { timeout: 300_000 }, async (t) => {
  const server = await start(t);
  const { url } = server;
  const browser = await launch(t);
  const users = [];
  const joined = (users) => Promise.all(users.map((user) => within(user.joined, `${user.name} joins`)));
  for (const version of ['5', '4']) {
    for (const mode of ['sync', 'asyncio']) {
      for (const transport of ['polling', 'websocket', 'both']) users.push(inPython(t, url, version, mode, transport));
    }
  }
  for (const transport of ['polling', 'websocket', 'upgrade']) users.push(inRust(t, url, transport));
  for (const version of Object.keys(NODE)) {
    users.push(...['polling', 'websocket', 'upgrade'].map((transport) => inNode(t, url, version, transport)));
  }
  for (const version of Object.keys(BUNDLES)) {
    const transports = version < '2' ? Object.keys(TRANSPORTS) : ['jsonp'];
    users.push(...(await inBrowser(browser, url, version, transports)));
    await joined(users);
  }

  const conductor = await new Chatter(t, url).connected();
  await conductor.login('conductor');
  conductor.socket.emit('new message', 'go');
  for (const user of users) {
    await user.hears(users.length - 1, TEXTS.length);
    const expectedTexts = user.unordered ? TEXTS.toSorted() : TEXTS;
    for (const { name } of users) {
      assert.deepEqual(user.from(name), name === user.name ? undefined : expectedTexts, `${user.name} heard ${name}`);
    }
    const [, transport] = user.name.split(' ');
    const expected = { polling: 'polling', jsonp: 'polling', websocket: 'websocket', upgrade: 'websocket' }[transport];
    if (user.transport) assert.equal(await user.transport(), expected, user.name);
    assert.equal(user.complaints?.() ?? '', '');
  }
  const pollers = users.filter(({ name }) => / (polling|jsonp) /.test(name)).length;
  await counts(server, 'sessions{transport="polling"}', pollers);
  await counts(server, 'sessions{transport="websocket"}', users.length + 1 - pollers);
});

test('100 messages at once reach python-socketio over polling', { timeout: 60_000 }, async (t) => {
  const { url } = await start(t);
  const users = ['5', '4'].flatMap((version) => ['sync', 'asyncio'].map((mode) => inPython(t, url, version, mode, 'polling')));
  await Promise.all(users.map((user) => within(user.joined, `${user.name} joins`)));
  const speaker = await new Chatter(t, url).connected();
  await speaker.login('speaker');
  const texts = Array.from({ length: 100 }, (_, i) => `${i} é`);
  for (const text of texts) speaker.socket.emit('new message', text);
  for (const user of users) {
    await user.hears(1, 100);
    assert.deepEqual(user.from('speaker'), user.unordered ? texts.toSorted() : texts);
    assert.equal(user.complaints(), '');
  }
});

test('old protocols can be refused', { timeout: 30_000 }, async (t) => {
  const { url } = await start(t, { args: ['--old-clients', 'no'] });
  const old = inNode(t, url, '2.5.0', 'polling');
  await assert.rejects(within(old.joined, 'a refusal'));
  for (const version of [2, 3]) {
    const response = await fetch(`${url}/socket.io/?EIO=${version}&transport=polling`);
    assert.equal(await response.text(), '{"code":5,"message":"Unsupported protocol version"}');
  }
  await within(inNode(t, url, '3.1.3', 'upgrade').joined, 'a newer client joins');
});
