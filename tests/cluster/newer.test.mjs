// Servers of newer versions may say more than this one knows: what it knows of it counts, and the rest is passed on.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { Chatter, within } from '../lib/chatter.mjs';
import { startRedis, startServers } from '../lib/redis.mjs';
import { counts, metric } from '../lib/server.mjs';

const options = { timeout: 60_000 };
// The MessagePack of the adapter for Node; it is no dependency of ours.
const { encode } = createRequire(import.meta.resolve('@socket.io/redis-adapter'))('notepack.io');

const BOOT = 'boot-of-the-newer-one';
const MORE = { more: { a: [1, null, 'é'] } };

/** Redis and a salon; `say` publishes as a newer server does, and `asked()` is the next thing that the salon sends to it. */
async function setUp(t, args) {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1, args);
  const [publisher, subscriber] = [await redis.client(), await redis.client()];
  const got = [];
  let wake = () => {};
  await subscriber.subscribe(`socket.io-history#${BOOT}#`, (content) => {
    got.push(JSON.parse(content));
    wake();
  });
  const asked = async () => {
    if (got.length === 0) await within(new Promise((resolve) => (wake = resolve)), 'a question or an answer');
    return got.shift();
  };
  const say = {
    note: (note) => publisher.publish('socket.io-users#/#', JSON.stringify({ node: 'newer', boot: BOOT, beat: 60_000, ...note, ...MORE })),
    peer: (to, content) => publisher.publish(`socket.io-history#${to}#`, JSON.stringify({ from: BOOT, ...content, ...MORE })),
    message: (...data) =>
      publisher.publish('socket.io#/#', encode(['newer!', { type: 2, data: ['new message', ...data], nsp: '/', ...MORE }, { rooms: [], except: [], flags: {}, ...MORE }])),
  };
  const calm = async () => {
    assert.equal(await metric(server, 'redis_invalid_total'), 0);
    assert.doesNotMatch(server.log(), /WARN/);
  };
  return { server, say, asked, calm };
}

test('a note with more fields', options, async (t) => {
  const { server, say, asked, calm } = await setUp(t);
  await say.note({ users: 2, people: [{ username: 'Bob', user: 'bobbob', ...MORE }] });
  await counts(server, 'users_elsewhere', 2);
  const ada = new Chatter(t, server.url);
  assert.deepEqual(await ada.login('Ada'), { numUsers: 3 });
  const { users, more } = await ada.ask('users');
  assert.deepEqual([users.map(({ username }) => username), users[1], more], [['Ada', 'Bob'], { username: 'Bob', user: 'bobbob' }, 1]);
  assert.deepEqual((await asked()).ask, {});
  await calm();
});

test('a question is repeated until it is answered, also to the next start of a server', options, async (t) => {
  const { say, asked, calm } = await setUp(t, ['--presence-beat', '200ms']);
  await say.note({ boot: 'the boot before' });
  await say.note({});
  const { from, ask } = await asked();
  assert.deepEqual([ask, (await asked()).ask], [{}, {}]);
  await say.peer(from, { tell: { boot: 'b', n: 0, messages: [], gap: false, more: false } });
  // What is new since the last question, and half a minute more; another question for all may have been under way.
  let last = await asked();
  while (last.ask.age === undefined) last = await asked();
  assert.ok(last.ask.age >= 30_000 && last.ask.age < 60_000, JSON.stringify(last));
  await calm();
});

test('a question is repeated at once to a server whose link is back', options, async (t) => {
  const { say, asked, calm } = await setUp(t, ['--presence-beat', '1h']);
  await say.note({});
  assert.deepEqual((await asked()).ask, {});
  await say.note({ hello: true });
  assert.deepEqual((await asked()).ask, {});
  await calm();
});

test('a question and an answer with more fields', options, async (t) => {
  const { server, say, asked, calm } = await setUp(t);
  await say.note({});
  const { from } = await asked();
  const message = (i) => ({ more: i, username: 'Bob', message: `text ${i}`, user: 'bobbob', n: i, id: `id-${i}`, colour: 'red', time: 1_700_000_000_000 });
  const answer = (messages, more) => ({ boot: 'b', n: 9, messages, gap: false, more, further: 1 });
  await say.peer(from, { tell: answer([message(1), message(2)], true) });
  assert.deepEqual((await asked()).ask, { since: { boot: 'b', n: 2 }, last: null });
  await say.peer(from, { tell: answer([message(2), message(3)], false) });
  const reader = await new Chatter(t, server.url).connected();
  const { boot, messages } = await reader.ask('history');
  const without = (messages) => messages.map(({ n, ...rest }) => rest);
  assert.deepEqual(without(messages), without([message(1), message(2), message(3)]));
  assert.deepEqual(reader.heard, []);
  // It tells what it was told, and what it does not know of a question does not matter.
  await say.peer(from, { ask: { since: { boot, n: messages[0].n, ...MORE }, ...MORE } });
  assert.deepEqual((await asked()).tell.messages, messages.slice(1));
  await calm();
});

test('a message with more fields is shown and kept with them, and known when it comes again', options, async (t) => {
  const { server, say, calm } = await setUp(t, ['--max-text', '2000']);
  const ada = await new Chatter(t, server.url).connected();
  const full = { reply: { to: 'id-0' }, username: 'Bob', message: 'one', user: 'bobbob', n: 7, id: 'id-1', time: 1_700_000_000_000, colour: 'red' };
  const sparse = { colour: 'blue', username: 'Nina', message: 'from Node' };
  await say.message(full);
  await say.message(full);
  await say.message(sparse);
  // More than a text may have: it is shown, as anything is, but would take the place of too many others.
  const large = { username: 'Nina', message: 'large', picture: 'x'.repeat(2_000) };
  await say.message(large);
  await ada.hears(() => ada.from('Nina').includes('large'), 'large');
  const heard = ada.whole.map(([, data]) => data);
  assert.deepEqual(heard, [{ ...full, n: heard[0].n }, { ...sparse, n: heard[1].n, id: heard[1].id, time: heard[1].time }, large]);
  assert.deepEqual((await ada.ask('history')).messages, heard.slice(0, 2));
  // Somebody else of this name, with this id, says something else.
  const bob = new Chatter(t, server.url);
  await bob.login('Bob');
  await bob.ask('new message', 'two', { id: 'id-1' });
  await ada.hears(() => ada.from('Bob').includes('two'), 'two');
  assert.deepEqual(ada.from('Bob'), ['one', 'two']);
  await calm();
});
