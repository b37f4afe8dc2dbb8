// One history on several servers: who starts later gets what was said before, and a message is known again everywhere.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Chatter, within } from '../lib/chatter.mjs';
import { wire } from '../lib/proxy.mjs';
import { startPeer, startRedis } from '../lib/redis.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const numbers = (count) => Array.from({ length: count }, (_, i) => i);

/** A salon that has both connections to Redis. */
async function node(t, redis, ...args) {
  const server = await start(t, { args: ['--redis', redis.url, ...args] });
  await server.logs(/redis: connected/);
  return server;
}

/** All that a server keeps, asked for part by part. */
async function history(t, server) {
  const chatter = await new Chatter(t, server.url).connected();
  const messages = [];
  for (let asked = {}; ; asked = { since: { boot: asked.boot, n: messages.at(-1).n } }) {
    const answer = await chatter.ask('history', asked);
    messages.push(...answer.messages);
    if (!answer.more) return messages;
    asked = answer;
  }
}

const without = (messages) => messages.map(({ n, ...rest }) => rest);
const sorted = (messages) => without(messages).sort((a, b) => (a.id < b.id ? -1 : 1));

test('two servers and a late third have the same messages, in an order of their own', options, async (t) => {
  const redis = await startRedis(t);
  const big = ['--history-bytes', '4MiB', '--history-messages', '2000'];
  const [a, b] = [await node(t, redis, ...big), await node(t, redis, ...big)];
  const [ada, bob] = [new Chatter(t, a.url), new Chatter(t, b.url)];
  await ada.login('Ada');
  await bob.login('Bob');
  // More than one part of them.
  const text = 'x'.repeat(1_000);
  const say = (who, name, i) => who.ask('new message', `${i} ${text}`, { id: `${name}-${i}` });
  await Promise.all(numbers(250).flatMap((i) => [say(ada, 'ada', i), say(bob, 'bob', i)]));
  await ada.hears(() => ada.from('Bob').length === 250, 'all of Bob');
  await bob.hears(() => bob.from('Ada').length === 250, 'all of Ada');
  const c = await node(t, redis, ...big);
  const carl = new Chatter(t, c.url);
  await carl.login('Carl');
  const late = await carl.ask('new message', 'I am late', { id: 'late' });
  await ada.hears(() => ada.from('Carl').length === 1, 'Carl');
  await bob.hears(() => bob.from('Carl').length === 1, 'Carl');
  const histories = [await history(t, a), await history(t, b), await history(t, c)];
  for (const messages of histories) {
    assert.equal(messages.length, 501);
    assert.deepEqual(sorted(messages), sorted(histories[0]));
    for (const [i, { n }] of messages.entries()) assert.ok(i === 0 || n > messages[i - 1].n);
    for (const name of ['ada', 'bob']) {
      const own = messages.filter(({ id }) => id.startsWith(name)).map(({ id }) => id);
      assert.deepEqual(own, numbers(250).map((i) => `${name}-${i}`));
    }
  }
  // What was said before is before, and nobody was told of it as if it were new.
  assert.equal(histories[2].at(-1).id, 'late');
  assert.equal(histories[2].at(-1).n, late.n);
  assert.deepEqual(carl.heard.map(([event]) => event).filter((event) => event === 'new message'), []);
});

test('a message that is sent again to another server is known there', options, async (t) => {
  const redis = await startRedis(t);
  const [a, b] = [await node(t, redis), await node(t, redis)];
  const [ada, back, witness] = [new Chatter(t, a.url), new Chatter(t, b.url), new Chatter(t, b.url)];
  const key = 'k'.repeat(20);
  await ada.login('Ada', { key });
  await witness.login('witness');
  const first = await ada.ask('new message', 'one', { id: 'x' });
  await witness.hears(() => witness.from('Ada').length === 1, 'the first');
  await back.login('Ada', { key });
  const again = await back.ask('new message', 'one', { id: 'x' });
  assert.equal(again.time, first.time);
  assert.equal(again.n, witness.whole.find(([event]) => event === 'new message')[1].n);
  await back.ask('new message', 'two', { id: 'y' });
  await ada.hears(() => ada.from('Ada').length === 1, 'the second');
  await witness.hears(() => witness.from('Ada').length === 2, 'the second');
  assert.deepEqual([ada.from('Ada'), witness.from('Ada')], [['two'], ['one', 'two']]);
  // Somebody else of that name silences nobody, with a key or without.
  for (const [i, more] of [[{ key: 'l'.repeat(20) }], []].entries()) {
    const other = new Chatter(t, [a, b][i].url);
    await other.login('Ada', ...more);
    await other.ask('new message', `other ${i}`, { id: 'z' });
    await witness.hears(() => witness.from('Ada').at(-1) === `other ${i}`, `other ${i}`);
  }
  await ada.ask('new message', 'three', { id: 'z' });
  await witness.hears(() => witness.from('Ada').at(-1) === 'three', 'three');
  assert.doesNotMatch(JSON.stringify([witness.whole, await history(t, a)]), /owner|key/);
});

test('a server that was away learns what it has missed before it answers, and writes it', options, async (t) => {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'salon-history-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const redis = await startRedis(t);
  const a = await node(t, redis);
  const file = ['--history', path.join(directory, 'b')];
  const b = await node(t, redis, ...file);
  const [ada, bob] = [new Chatter(t, a.url), new Chatter(t, b.url, { reconnection: false })];
  await ada.login('Ada');
  await bob.login('Bob');
  await ada.ask('new message', 'one', { id: '1' });
  await bob.hears(() => bob.from('Ada').length === 1, 'one');
  const { boot, n } = await bob.ask('history');
  await b.kill('SIGKILL');
  await ada.ask('new message', 'two', { id: '2' });
  // As soon as it listens, and before it has spoken with anybody.
  const again = await start(t, { args: ['--redis', redis.url, ...file] });
  const reader = await new Chatter(t, again.url).connected();
  const missed = await reader.ask('history', { since: { boot, n } });
  assert.deepEqual(missed.messages.map(({ id }) => id), ['2']);
  assert.equal(missed.gap, false);
  await again.kill('SIGKILL');
  await redis.kill();
  const alone = await start(t, { args: file });
  assert.deepEqual((await history(t, alone)).map(({ id }) => id), ['1', '2']);
});

test('what was said before a start is told once the node that has it is back', options, async (t) => {
  const redis = await startRedis(t);
  const broken = await wire(t, redis.port);
  const a = await node(t, { url: broken.url.replace('http', 'redis') });
  const ada = new Chatter(t, a.url);
  await ada.login('Ada');
  const spy = await redis.client();
  const published = new Promise((resolve) => spy.pSubscribe('socket.io#/#*', (content) => content.includes('one') && resolve()));
  await ada.ask('new message', 'one', { id: '1' });
  await within(published, 'the publication');
  // Redis's answer is here as well, so that it is not published again.
  for (const _ of numbers(3)) await ada.ask('users');
  broken.cut();
  await a.logs(/redis: lost/);
  const b = await node(t, redis);
  const bob = await new Chatter(t, b.url).connected();
  assert.deepEqual((await bob.ask('history')).messages, []);
  broken.heal();
  // Otherwise Bob, who has caught up, would never hear of it.
  await bob.hears(() => bob.from('Ada').length === 1, 'one');
  assert.deepEqual(bob.from('Ada'), ['one']);
});

test('servers for Node are heard and not disturbed', options, async (t) => {
  const redis = await startRedis(t);
  const a = await node(t, redis);
  const peer = await startPeer(t, redis);
  const [ada, nina] = [new Chatter(t, a.url), new Chatter(t, peer.url)];
  await ada.login('Ada');
  await nina.login('Nina');
  await ada.hears(() => ada.heard.some(([event, { username }]) => event === 'user joined' && username === 'Nina'), 'Nina');
  nina.socket.emit('new message', 'from Node');
  await ada.hears(() => ada.from('Nina').length === 1, 'a message from Node');
  const [, heard] = ada.whole.find(([event]) => event === 'new message');
  assert.deepEqual(Object.keys(heard), ['username', 'message', 'n', 'id', 'time']);
  const { id } = await ada.ask('new message', 'from salon', { id: 'x' });
  await nina.hears(() => nina.from('Ada').length === 1, 'a message from salon');
  assert.deepEqual((await history(t, a)).map(({ message }) => message), ['from Node', 'from salon']);
  // What is no message of the chat is passed on as it is, and not kept.
  const odd = [{ username: 'Nina', message: 5 }, { username: 'Nina', message: 'x', n: -1 }, 'text'];
  for (const data of odd) peer.io.emit('new message', data);
  await ada.hears(() => ada.whole.filter(([event]) => event === 'new message').length === 4, 'odd ones');
  assert.deepEqual(ada.whole.slice(-3).map(([, data]) => data), odd);
  assert.equal((await history(t, a)).length, 2);
  nina.socket.close();
  await ada.event('user left');
});

test('what others tell of their history is bounded and judged', options, async (t) => {
  const redis = await startRedis(t);
  const a = await node(t, redis);
  const spy = await redis.client();
  const asked = [];
  await spy.pSubscribe('socket.io-history#*', (content, channel) => asked.push([channel, content]));
  const publisher = await redis.client();
  // A node that says hello is asked.
  const note = { node: 'evil', boot: 'evil-boot', users: 0, people: [], beat: 1000, hello: false, bye: false };
  await publisher.publish('socket.io-users#/#', JSON.stringify(note));
  await within((async () => { while (asked.length === 0) await new Promise(setImmediate); })(), 'the question');
  assert.equal(asked[0][0], 'socket.io-history#evil-boot#');
  const { from } = JSON.parse(asked[0][1]);
  const channel = `socket.io-history#${from}#`;
  const fine = { username: 'Eve', message: 'fine', user: 'abcdef', n: 1, id: 'fine', time: 1 };
  const bad = [5, null, {}, [], { ...fine, id: 'a b' }, { ...fine, id: 5 }, { ...fine, time: -1 }, { ...fine, time: 1e300 },
    { ...fine, username: 'x'.repeat(65) }, { ...fine, message: 'x'.repeat(20_000) }, { ...fine, message: {} }];
  const answer = (messages, more = false) => ({ boot: 'b', n: 9, messages, gap: false, more });
  for (const content of [
    'nonsense', '[]', '{}', '{"from":5}', '{"from":"evil-boot"}', JSON.stringify({ from: 'x'.repeat(100), ask: {} }),
    JSON.stringify({ from: 'somebody else', tell: answer([{ ...fine, id: 'not asked' }]) }),
    JSON.stringify({ from: 'evil-boot', tell: 7 }), JSON.stringify({ from: 'evil-boot', tell: { messages: 'x' } }),
    JSON.stringify({ from: 'evil-boot', ask: 'nonsense' }), `{"from":"evil-boot","tell":${'['.repeat(100_000)}}`,
    JSON.stringify({ from: 'evil-boot', tell: answer([...bad, fine, fine]) }),
  ]) await publisher.publish(channel, content);
  // However long somebody goes on, it ends.
  const more = answer([{ ...fine, id: 'more' }], true);
  for (const _ of numbers(200)) await publisher.publish(channel, JSON.stringify({ from: 'evil-boot', tell: more }));
  const kept = await history(t, a);
  assert.deepEqual(kept.map(({ id }) => id), ['fine', 'more']);
  assert.ok(asked.filter(([to]) => to === 'socket.io-history#evil-boot#').length < 70);
});
