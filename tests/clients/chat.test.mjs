// The official client, on each transport: the table of the chat event for event, order, refusals, upgrades under load.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Chatter, TRANSPORTS, within } from '../lib/chatter.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const numbers = (count) => Array.from({ length: count }, (_, i) => i);

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`the events of the chat: ${name}`, options, async (t) => {
    const server = await start(t);
    const ada = new Chatter(t, server.url, { transports });
    assert.deepEqual(await ada.login('Ada'), { numUsers: 1 });
    // Connected and without a name: hears everything, counts for nothing.
    const guest = await new Chatter(t, server.url, { transports }).connected();
    const bob = new Chatter(t, server.url, { transports });
    assert.deepEqual(await bob.login('Bób 👍🏽'), { numUsers: 2 });
    for (const user of [ada, guest]) assert.deepEqual(await user.event('user joined'), { username: 'Bób 👍🏽', numUsers: 2 });

    ada.socket.emit('add user', 'Somebody else');
    ada.socket.emit('typing');
    ada.socket.emit('new message', 'hello <b>', 'ignored');
    ada.socket.emit('stop typing', 'ignored');
    for (const user of [bob, guest]) {
      await user.event('stop typing');
      const rest = user.heard.filter(([event]) => !['login', 'user joined'].includes(event));
      assert.deepEqual(rest, [
        ['typing', { username: 'Ada' }],
        ['new message', { username: 'Ada', message: 'hello <b>' }],
        ['stop typing', { username: 'Ada' }],
      ]);
    }
    guest.socket.emit('typing');
    guest.socket.emit('stop typing');
    guest.socket.emit('no such event', 1, [2]);
    guest.socket.close();
    bob.socket.close();
    assert.deepEqual(await ada.event('user left'), { username: 'Bób 👍🏽', numUsers: 1 });
    assert.deepEqual(ada.heard.map(([event]) => event), ['login', 'user joined', 'user left']);
    assert.equal(ada.socket.io.engine.transport.name, transports.at(-1));
  });

  test(`everybody hears everything once and in order: ${name}`, options, async (t) => {
    const server = await start(t);
    const users = numbers(6).map((i) => new Chatter(t, server.url, { transports }));
    for (const [i, user] of users.entries()) await user.login(`user ${i}`);
    // Bursts, and single messages while the others talk.
    for (const burst of [40, 1, 1, 40, 1, 17]) {
      for (const user of users) for (const _ of numbers(burst)) user.socket.emit('new message', `${(user.said = (user.said ?? 0) + 1)}`);
      await users[0].hears(() => users[0].from('user 5').length === users[5].said, 'the burst');
    }
    for (const [i, user] of users.entries()) {
      for (const other of numbers(6)) {
        const expected = other === i ? [] : numbers(100).map((n) => `${n + 1}`);
        await user.hears(() => user.from(`user ${other}`).length >= expected.length, `all of user ${other}`);
        assert.deepEqual(user.from(`user ${other}`), expected);
      }
    }
  });
}

test('what is refused is not relayed, and the sender learns why', options, async (t) => {
  const server = await start(t, { args: ['--max-name', '5', '--max-text', '8'] });
  const witness = await new Chatter(t, server.url).connected();
  const user = await new Chatter(t, server.url).connected();
  const refused = async (...event) => {
    const { error, ...rest } = await user.ask(...event);
    assert.ok(typeof error === 'string' && error.length > 0, JSON.stringify(event));
    assert.deepEqual(rest, {});
  };
  await refused('new message', 'no name yet');
  for (const name of ['', ' \t\n', '123456', '👍👍👍👍👍👍', '\u200b\ufeff', '\u2800\u3164', '\0\xad', 5, null, true, ['a'], { a: 1 }]) await refused('add user', name);
  await refused('add user');
  assert.deepEqual(await user.login('👍👍👍👍👍'), { numUsers: 1 });
  for (const text of ['', '  ', '\u200b\ufe0f', '123456789', 'ééééé', 7, null, ['a'], { toString: 1 }]) await refused('new message', text);
  await refused('new message');
  user.socket.emit('new message', '12345678');
  await witness.event('new message');
  assert.deepEqual(witness.heard.map(([event]) => event), ['user joined', 'new message']);
});

test('a namespace that is not there', options, async (t) => {
  const server = await start(t);
  const lost = new Chatter(t, server.url, {}, '/lost');
  const error = await new Promise((resolve) => lost.socket.once('connect_error', resolve));
  assert.equal(error.message, 'Invalid namespace');
  assert.equal(lost.socket.active, false);
});

test('100 upgrades under steady traffic: nothing lost, doubled or out of order', options, async (t) => {
  const server = await start(t);
  const speaker = new Chatter(t, server.url);
  await speaker.login('speaker');
  await speaker.upgraded();
  let said = 0;
  const steady = setInterval(() => speaker.socket.emit('new message', `${said++}`), 2);
  t.after(() => clearInterval(steady));
  const comers = [];
  // Ten at a time, so that upgrades overlap each other as well.
  for (const _ of numbers(10)) {
    const group = numbers(10).map(() => new Chatter(t, server.url));
    await Promise.all(group.map((comer) => comer.upgraded()));
    comers.push(...group);
  }
  for (const comer of comers) await comer.hears(() => comer.from('speaker').length > 5, 'messages after the upgrade');
  clearInterval(steady);
  speaker.socket.emit('new message', 'end');
  for (const comer of comers) {
    await comer.hears(() => comer.from('speaker').at(-1) === 'end', 'the end');
    const texts = comer.from('speaker').slice(0, -1).map(Number);
    assert.deepEqual(texts, numbers(said).slice(texts[0]));
  }
});

test('thousands of events before the connection, over polling: all arrive, and all acks', options, async (t) => {
  const server = await start(t);
  const witness = await new Chatter(t, server.url).connected();
  const user = new Chatter(t, server.url, { transports: ['polling'] });
  user.socket.emit('add user', 'Ada');
  // All are in one payload: the client has no connection yet.
  const texts = numbers(2500).map(String);
  const acks = texts.map((text) => user.ask('new message', text));
  assert.equal(user.socket.connected, false);
  const stamps = await Promise.all(acks);
  assert.deepEqual(stamps.map(({ n }) => n), numbers(2500).map((n) => n + 1));
  await witness.hears(() => witness.from('Ada').length === 2500, 'all messages');
  assert.deepEqual(witness.from('Ada'), texts);
});

test('clients come back by themselves after a restart', options, async (t) => {
  const first = await start(t);
  const ada = new Chatter(t, first.url);
  await ada.login('Ada');
  const gone = once(ada.socket, 'disconnect');
  await first.kill();
  await within(gone, 'disconnect');
  await start(t, { port: first.port });
  const bob = new Chatter(t, first.url);
  await bob.login('Bob');
  await ada.connected();
  assert.equal(ada.socket.recovered, false);
  assert.deepEqual(await ada.login('Ada'), { numUsers: 2 });
  bob.socket.emit('new message', 'there you are');
  assert.equal((await ada.event('new message')).message, 'there you are');
});
