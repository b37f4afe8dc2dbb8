// The WebSocket budget, with official clients and a platform that refuses more than it allows.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { frontEnd } from '../lib/azure.mjs';
import { makeCertificate } from '../lib/certificate.mjs';
import { Chatter, within } from '../lib/chatter.mjs';
import { metrics, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const ALLOWED = 5;

/** salon behind a platform that allows five WebSockets, and a way for clients to come, with all that goes wrong for them. */
async function platform(t, { args = [], env = {} }) {
  const files = makeCertificate(t);
  // A client whose upgrade is given up when it has just paused polling for it asks no more (engine.io-client 6.6).
  const server = await start(t, { args: ['--trust-proxy', '--upgrade-timeout', '1m', ...args], env });
  const front = await frontEnd(t, [server.port], { ...files, websockets: ALLOWED });
  const troubles = [];
  async function come(name, transports = ['polling', 'websocket']) {
    const user = new Chatter(t, front.url, { transports, ca: readFileSync(files.ca), reconnection: false });
    const { io } = user.socket;
    user.socket.on('connect_error', (error) => troubles.push(`${name}: ${error}`));
    user.handshake = new Promise((resolve) => io.engine.once('handshake', resolve));
    // Whether it upgrades, or tries and fails, is settled before it is in the room.
    user.settled = new Promise((resolve) => {
      io.engine.once('upgrade', resolve);
      io.engine.once('upgradeError', (error) => resolve(troubles.push(`${name}: ${error}`)));
    });
    await user.login(name);
    const { upgrades } = await user.handshake;
    if (upgrades.length && transports.length > 1) await within(user.settled, `the upgrade of ${name}`);
    user.transport = () => io.engine.transport.name;
    return user;
  }
  return { server, front, troubles, come };
}

const count = (users, name) => users.filter((user) => user.transport() === name).length;

for (const [how, setting] of [
  ['--max-websockets', { args: ['--max-websockets', `${ALLOWED}`] }],
  ["Azure's variable", { env: { WEBSOCKET_CONCURRENT_REQUEST_LIMIT: `${ALLOWED}` } }],
]) {
  test(`twelve clients, five WebSockets, no failed attempt: ${how}`, options, async (t) => {
    const { server, front, troubles, come } = await platform(t, setting);
    // All at once, as after a restart.
    const users = await Promise.all(Array.from({ length: 12 }, (_, i) => come(`user ${i}`)));
    assert.deepEqual([count(users, 'websocket'), count(users, 'polling')], [5, 7]);

    // Everybody hears everybody, whatever they use.
    users.forEach((user, i) => user.socket.emit('new message', `from ${i}`));
    for (const user of users) {
      await user.hears((heard) => heard.filter(([event]) => event === 'new message').length === 11, 'the eleven others');
    }

    const seen = await metrics(server.url);
    assert.deepEqual([seen('websockets'), seen('websockets_limit'), seen('websockets_promised')], [5, 5, 0]);
    assert.equal(seen('sessions{transport="polling"}'), 7);

    // One leaves, and the next that comes upgrades; the one after that does not.
    users.find((user) => user.transport() === 'websocket').socket.close();
    while ((await metrics(server.url))('websockets') === 5);
    const [next, late] = [await come('next'), await come('late')];
    assert.deepEqual([next.transport(), late.transport()], ['websocket', 'polling']);

    assert.deepEqual(troubles, []);
    assert.deepEqual([front.refused, front.failed], [0, 0], 'the platform has refused nobody, and salon neither');
    assert.equal((await metrics(server.url))('websockets_refused_total'), 0);
  });
}

test('without a budget the platform refuses, and clients see it fail', options, async (t) => {
  const { front, troubles, come } = await platform(t, {});
  const users = await Promise.all(Array.from({ length: 8 }, (_, i) => come(`user ${i}`)));
  assert.deepEqual([count(users, 'websocket'), count(users, 'polling')], [5, 3]);
  assert.deepEqual([front.refused, troubles.length], [3, 3]);
});

test('a client that uses WebSocket only tries again until there is room', options, async (t) => {
  const server = await start(t, { args: ['--max-websockets', '1'] });
  const first = await new Chatter(t, server.url, { transports: ['websocket'] }).connected();
  const second = new Chatter(t, server.url, { transports: ['websocket'] });
  let refused = 0;
  const thrice = new Promise((resolve) => second.socket.on('connect_error', () => (refused += 1) === 3 && resolve()));
  await within(thrice, 'three refusals');
  assert.ok((await metrics(server.url))('websockets_refused_total') >= 3);
  first.socket.close();
  await second.connected();
});

for (const [transports, name, other] of [
  ['polling', 'polling', 'websocket'],
  ['websocket', 'websocket', 'polling'],
]) {
  test(`--transports ${transports}`, options, async (t) => {
    const server = await start(t, { args: ['--transports', transports] });
    const user = new Chatter(t, server.url, { transports: transports === 'polling' ? ['polling', 'websocket'] : ['websocket'] });
    await user.login('Ada');
    assert.equal(user.socket.io.engine.transport.name, name);
    const refused = await new Promise((resolve) => new Chatter(t, server.url, { transports: [other] }).socket.once('connect_error', resolve));
    assert.match(`${refused}`, /error/);
  });
}
