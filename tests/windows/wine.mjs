// The Windows program under Wine (`make test-windows`): what is its own. The official client on all transports and Redis
// over TLS are the ordinary groups with SALON_BIN=tests/windows/salon.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Chatter, within } from '../lib/chatter.mjs';
import { wire } from '../lib/proxy.mjs';
import { Poller, Raw } from '../lib/raw.mjs';
import { freePort, metrics, start as startAny } from '../lib/server.mjs';

const options = { timeout: 120_000 };
const start = (t, options) => startAny(t, { bin: 'tests/windows/salon', ...options });
const numbers = (count) => Array.from({ length: count }, (_, i) => i);

test('the page and the client are in the program', options, async (t) => {
  const { url } = await start(t);
  const load = async (path) => {
    const answer = await fetch(url + path);
    assert.equal(answer.status, 200);
    return answer.text();
  };
  assert.match(await load('/'), /<title>salon<\/title>[^]*src="main.js"/);
  assert.match(await load('/main.js'), /\bio\(/);
  const client = new URL('../../static/node_modules/socket.io-client/dist/socket.io.min.js', import.meta.url);
  assert.equal(await load('/socket.io/socket.io.min.js'), readFileSync(client, 'utf8'));
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
});

test('HttpPlatformHandler gives the port: on 127.0.0.1 only, and nobody can take it away', options, async (t) => {
  const port = await freePort();
  const env = { HTTP_PLATFORM_PORT: String(port), PORT: '1', HOST: undefined };
  const server = await start(t, { port, env });
  await server.logs(new RegExp(`listens on http://127\\.0\\.0\\.1:${port}`));
  const second = spawnSync('tests/windows/salon', [], { env: { ...process.env, ...env }, encoding: 'utf8' });
  assert.equal(second.status, 1);
  assert.match(second.stderr, new RegExp(`salon: cannot listen on port ${port} of 127\\.0\\.0\\.1: `));
  assert.equal((await fetch(`${server.url}/healthz`)).status, 200);
});

test('200 clients hear each of 50 messages, once and in order', options, async (t) => {
  const { url } = await start(t);
  const clients = numbers(200).map((i) => new Chatter(t, url, { transports: i % 4 ? ['websocket'] : ['polling'] }));
  await Promise.all(clients.map((client) => client.connected()));
  await clients[0].login('Ada');
  const texts = numbers(50).map((n) => `${n}`.padEnd(500, '.'));
  texts.forEach((text) => clients[0].socket.emit('new message', text));
  for (const client of clients.slice(1)) {
    await client.hears(() => client.from('Ada').length >= texts.length, 'all of Ada');
    assert.deepEqual(client.from('Ada'), texts);
  }
  // Half of them break off; the others are still served.
  clients.slice(100).forEach((client) => client.socket.io.engine.close());
  clients[0].socket.emit('new message', 'the end');
  for (const client of clients.slice(1, 100)) await client.hears(() => client.from('Ada').at(-1) === 'the end', 'the end');
});

test('a reader that rests gets everything, written in many parts', options, async (t) => {
  const { url } = await start(t, { args: ['--max-queue', '32MiB', '--soft-queue', '32MiB'] });
  const slow = new Raw(t, url);
  await slow.connect();
  const ada = await new Chatter(t, url, { transports: ['websocket'] }).connected();
  await ada.login('Ada');
  slow.ws.pause();
  const texts = numbers(800).map((n) => `${n} `.padEnd(12_000, 'x'));
  texts.forEach((text) => ada.socket.emit('new message', text));
  // An answer to what came last: all of it is queued for the slow one, far more than sockets hold.
  await ada.ask('new message', '');
  assert.ok((await metrics(url))('queued_bytes') > 1_000_000);
  slow.ws.resume();
  await slow.packet(`42["new message",{"username":"Ada","message":"799 `);
  const heard = slow.events().filter(([event]) => event === 'new message').map(([, { message }]) => message);
  assert.deepEqual(heard, texts);
});

test('a reader that never reads is dropped, and the others are not harmed', options, async (t) => {
  const { url } = await start(t, { args: ['--max-queue', '512KiB', '--soft-queue', '128KiB', '--recovery-bytes', '128KiB'] });
  const slow = new Raw(t, url);
  await slow.connect();
  const [ada, bob] = [new Chatter(t, url), new Chatter(t, url)];
  for (const user of [ada, bob]) await user.upgraded();
  await ada.login('Ada');
  slow.ws.pause();
  let said = 0;
  while ((await metrics(url))('websockets') === 3) {
    assert.ok(said < 5_000, 'still there after 60 MB');
    ada.socket.emit('new message', `${said++}`.padEnd(12_000, 'x'));
    await ada.ask('new message', '');
  }
  await bob.hears(() => bob.from('Ada').length === said, 'all of Ada');
});

test('Ctrl+C: clients are sent away, and the status is 0', options, async (t) => {
  const server = await start(t, { args: ['--drain', '1s'] });
  const socket = new Raw(t, server.url);
  await socket.connect();
  const poller = new Poller(server.url);
  await poller.connect();
  const parked = poller.poll();
  assert.deepEqual(await within(server.kill('SIGINT'), 'the end'), [0, null]);
  assert.equal((await socket.closed)[0], 1001);
  assert.match((await parked).join(), /1$/);
  assert.match(server.log(), /stopping[^]*stopped/);
});

test('killed without notice, as IIS does it: official clients go on with the next', options, async (t) => {
  const first = await start(t);
  const iis = await wire(t, first.port);
  const ada = new Chatter(t, iis.url);
  await ada.login('Ada');
  await ada.upgraded();
  const gone = once(ada.socket, 'disconnect');
  await first.kill('SIGKILL');
  // Windows closes the connections of a dead process; Wine may keep them open, and then nobody would ever know.
  iis.cut();
  await within(gone, 'disconnect');
  await start(t, { port: first.port });
  iis.heal();
  await ada.connected();
  assert.deepEqual(await ada.login('Ada'), { numUsers: 1 });
});
