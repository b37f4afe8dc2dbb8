// One cluster of servers of an earlier commit and of today: while a cluster is brought up to date, or back, nobody notices.
import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { Chatter } from '../lib/chatter.mjs';
import { calm, directory, history, startNode } from '../lib/mixed.mjs';
import { wire } from '../lib/proxy.mjs';
import { startRedis } from '../lib/redis.mjs';
import { counts, metric } from '../lib/server.mjs';

const options = { timeout: 120_000 };
const numbers = (count) => Array.from({ length: count }, (_, i) => i);
const other = { before: 'now', now: 'before' };
const PAIRS = [['before', 'now'], ['now', 'before']];
const without = (messages) => messages.map(({ n, ...rest }) => rest);

/** Servers of these kinds, called n1, n2 and so on, that start one after the other. */
async function startNodes(t, redis, kinds, args) {
  const servers = [];
  for (const [i, kind] of kinds.entries()) servers.push(await startNode(t, kind, redis, `n${i + 1}`, args));
  return servers;
}

/** A user at each of these servers, one after the other, so that each number is known. */
async function users(t, servers, options) {
  const chatters = [];
  for (const [i, server] of servers.entries()) {
    await counts(server, 'users_elsewhere', i);
    const chatter = new Chatter(t, server.url, options);
    chatter.name = `user ${i + 1}`;
    assert.deepEqual(await chatter.login(chatter.name), { numUsers: i + 1 });
    for (const known of chatters) {
      const joined = (heard) => heard.find(([event, data]) => event === 'user joined' && data.username === chatter.name);
      const [, data] = await known.hears(joined, `${chatter.name} joins`);
      assert.deepEqual(data, { username: chatter.name, numUsers: i + 1 });
    }
    chatters.push(chatter);
  }
  return chatters;
}

for (const kinds of [...PAIRS, ['before', 'now', 'before'], ['now', 'before', 'now']]) {
  test(`all events, all numbers: ${kinds}`, options, async (t) => {
    const servers = await startNodes(t, await startRedis(t), kinds);
    const chatters = await users(t, servers);
    const texts = numbers(50).map((i) => `${i} é\u2028😀"\\`);
    for (const { socket, name } of chatters) {
      socket.emit('typing');
      texts.forEach((text, i) => socket.emit('new message', text, { id: `${name.at(-1)}-${i}` }));
      socket.emit('stop typing');
    }
    for (const listener of chatters) {
      for (const { name } of chatters.filter((chatter) => chatter !== listener)) {
        const of = (heard) => heard.filter(([event, { username }]) => username === name && !event.startsWith('user'));
        await listener.hears((heard) => of(heard).at(-1)?.[0] === 'stop typing', `${name}: stop typing`);
        assert.deepEqual(of(listener.heard), [
          ['typing', { username: name }],
          ...texts.map((message) => ['new message', { username: name, message }]),
          ['stop typing', { username: name }],
        ]);
      }
      assert.equal(listener.from(listener.name).length, 0, 'nobody hears himself');
    }
    // One tag, id and time everywhere, in what is heard and in what is kept.
    const histories = await Promise.all(servers.map((server) => history(t, server)));
    const sorted = histories.map(({ messages }) => without(messages).sort((a, b) => (a.id < b.id ? -1 : 1)));
    assert.equal(sorted[0].length, 50 * kinds.length);
    for (const messages of sorted) assert.deepEqual(messages, sorted[0]);
    for (const listener of chatters) {
      const heard = listener.whole.filter(([event]) => event === 'new message').map(([, data]) => data);
      const kept = sorted[0].filter(({ username }) => username !== listener.name);
      assert.deepEqual(without(heard).sort((a, b) => (a.id < b.id ? -1 : 1)), kept);
    }
    const tags = new Map(sorted[0].map(({ username, user }) => [username, user]));
    const people = chatters.map(({ name }) => ({ username: name, user: tags.get(name) }));
    for (const [i, server] of servers.entries()) {
      await counts(server, 'users_elsewhere', kinds.length - 1);
      const { users: listed, more, server: instance } = await chatters[i].ask('users');
      assert.deepEqual(listed.sort((a, b) => (a.username < b.username ? -1 : 1)), people);
      assert.deepEqual([more, instance], [0, `n${i + 1}`]);
    }
    for (const [i, leaver] of chatters.slice(0, -1).entries()) {
      leaver.socket.disconnect();
      for (const left of chatters.slice(i + 1)) {
        const told = await left.event('user left', i + 1);
        assert.deepEqual(told, { username: leaver.name, numUsers: kinds.length - 1 - i });
      }
      await Promise.all(servers.slice(i + 1).map((server) => counts(server, 'users_elsewhere', kinds.length - 2 - i)));
    }
    for (const server of servers) {
      assert.equal(await metric(server, 'redis_invalid_total'), 0);
      assert.equal(await metric(server, 'redis_dropped_total'), 0);
      calm(server);
    }
  });
}

for (const [asked, asking] of PAIRS) {
  test(`what was said before: ${asking} asks ${asked}`, options, async (t) => {
    const redis = await startRedis(t);
    const big = ['--history-bytes', '4MiB', '--history-messages', '2000'];
    const first = await startNode(t, asked, redis, 'n1', big);
    const ada = new Chatter(t, first.url);
    await ada.login('Ada');
    // More than one part of them.
    const texts = numbers(400).map((i) => `${i} \ud800 ${'x'.repeat(1_000)}`);
    await Promise.all(texts.map((text, i) => ada.ask('new message', text, i % 2 ? { id: `id-${i}` } : undefined)));
    const second = await startNode(t, asking, redis, 'n2', big);
    await counts(second, 'history_messages', 400);
    const bob = new Chatter(t, second.url);
    await bob.login('Bob');
    const { messages } = await history(t, first);
    assert.deepEqual(messages.map(({ message }) => message), texts);
    assert.deepEqual(without((await history(t, second)).messages), without(messages));
    // A third learns it once, although both tell.
    const third = await startNode(t, asking, redis, 'n3', big);
    await counts(third, 'history_messages', 400);
    await bob.ask('new message', 'later', { id: 'later' });
    await counts(third, 'history_messages', 401);
    await ada.hears(() => ada.from('Bob').length === 1, 'later');
    const last = without((await history(t, first)).messages);
    for (const server of [second, third]) assert.deepEqual(without((await history(t, server)).messages), last);
    // The newest, and those after a position, are the same too.
    for (const server of [first, second, third]) {
      const reader = await new Chatter(t, server.url).connected();
      const { boot, messages: newest } = await reader.ask('history', { last: 3 });
      assert.deepEqual(without(newest), last.slice(-3));
      const after = await reader.ask('history', { since: { boot, n: newest[1].n } });
      assert.deepEqual([without(after.messages), after.gap, after.more], [last.slice(-1), false, false]);
    }
    assert.deepEqual(bob.from('Ada'), [], 'nothing of it is heard as if it were new');
    [first, second, third].forEach(calm);
  });

  // Today's program knows a message by its user, the earlier one by name and id; so does not know again what was said there.
  if (asking === 'before') test(`a message that is sent again: first ${asked}, then ${asking}`, options, async (t) => {
    const [a, b] = await startNodes(t, await startRedis(t), [asked, asking]);
    const [ada, back] = [new Chatter(t, a.url), new Chatter(t, b.url)];
    const witnesses = [await new Chatter(t, a.url).connected(), await new Chatter(t, b.url).connected()];
    await ada.login('Ada');
    const first = await ada.ask('new message', 'one', { id: 'x' });
    for (const witness of witnesses) await witness.hears(() => witness.from('Ada').length === 1, 'the first');
    await back.login('Ada');
    assert.equal((await back.ask('new message', 'one', { id: 'x' })).time, first.time);
    await back.ask('new message', 'two', { id: 'y' });
    for (const witness of witnesses) await witness.hears(() => witness.from('Ada').length > 1, 'the second');
    for (const witness of witnesses) assert.deepEqual(witness.from('Ada'), ['one', 'two']);
    for (const server of [a, b]) {
      assert.deepEqual((await history(t, server)).messages.map(({ id }) => id), ['x', 'y']);
    }
  });

  test(`a client of ${asked} recovers what was said at ${asking}`, options, async (t) => {
    const [a, b] = await startNodes(t, await startRedis(t), [asked, asking]);
    const broken = await wire(t, a.port);
    const ada = new Chatter(t, broken.url, { transports: ['websocket'], query: { recovery: 1 } });
    const [bob, witness] = [new Chatter(t, b.url), await new Chatter(t, a.url).connected()];
    await ada.login('Ada');
    await bob.login('Bob');
    bob.socket.emit('new message', 'before');
    await ada.hears(() => ada.from('Bob').length === 1, 'before');
    const { id } = ada.socket;
    broken.cut();
    const texts = [...numbers(20).map((i) => `meanwhile ${i}`), 'last'];
    texts.forEach((text) => bob.socket.emit('new message', text));
    await witness.hears(() => witness.from('Bob').includes('last'), 'last');
    broken.heal();
    await ada.hears(() => ada.from('Bob').includes('last'), 'what was missed');
    assert.deepEqual(ada.from('Bob'), ['before', ...texts]);
    assert.deepEqual([ada.socket.recovered, ada.socket.id], [true, id]);
    assert.equal(bob.heard.filter(([event]) => event === 'user left').length, 0);
  });

  test(`${asked} is killed, and stops, beside both`, options, async (t) => {
    const redis = await startRedis(t);
    const beat = ['--presence-beat', '500ms'];
    const servers = await startNodes(t, redis, [asked, asking, asked], beat);
    const [victim, ...rest] = servers;
    const [lost, ...chatters] = await users(t, servers, { reconnection: false });
    const left = (chatter) => chatter.heard.filter(([event]) => event === 'user left').map(([, data]) => data);
    for (const server of servers) await counts(server, 'users_elsewhere', 2);
    await victim.kill('SIGKILL');
    for (const chatter of chatters) {
      assert.deepEqual(await chatter.event('user left'), { username: lost.name, numUsers: 2 });
    }
    for (const server of rest) {
      await server.logs(/node "?n1"? has been silent/);
      await counts(server, 'users_elsewhere', 1);
    }
    // The other program takes its place, its name and its port; and is stopped in order.
    const again = await startNode(t, asking, redis, 'n1', beat, { port: victim.port });
    await counts(again, 'users_elsewhere', 2);
    const back = new Chatter(t, again.url, { reconnection: false });
    assert.deepEqual(await back.login('back'), { numUsers: 3 });
    for (const chatter of chatters) assert.deepEqual(await chatter.event('user joined', chatter === chatters[0] ? 2 : 1), { username: 'back', numUsers: 3 });
    for (const server of rest) await counts(server, 'users_elsewhere', 2);
    for (const [stopped, remaining] of [[again, rest], [rest[0], rest.slice(1)]]) {
      assert.deepEqual(await stopped.kill('SIGTERM'), [0, null]);
      for (const server of remaining) await counts(server, 'users_elsewhere', remaining.length - 1);
    }
    // Whoever was sent away is expected elsewhere, and has not left.
    for (const chatter of chatters) assert.equal(left(chatter).length, 1);
    const last = new Chatter(t, rest[1].url);
    assert.deepEqual(await last.login('last'), { numUsers: 2 });
  });
}

test('three servers are replaced one by one, and then the other way round', options, async (t) => {
  const redis = await startRedis(t);
  const files = directory(t);
  const nodes = numbers(3).map((i) => ({ name: `n${i + 1}`, kind: 'before', args: ['--history', path.join(files, String(i))] }));
  for (const node of nodes) node.server = await startNode(t, node.kind, redis, node.name, node.args);
  for (const node of nodes) {
    node.chatter = new Chatter(t, node.server.url);
    node.chatter.socket.on('connect', () => node.chatter.socket.emit('add user', node.name));
    await node.chatter.event('login');
  }
  const said = [];
  /** One message at each of these, so that all others have something to learn. */
  const say = async (nodes) => {
    for (const { name, chatter } of nodes) {
      const id = `${name}-${said.length}`;
      said.push({ id, ...(await chatter.ask('new message', id, { id })) });
    }
  };
  await say(nodes);
  for (const turn of [...nodes, ...nodes]) {
    const logins = turn.chatter.heard.filter(([event]) => event === 'login').length;
    calm(turn.server);
    await turn.server.kill('SIGTERM');
    await say(nodes.filter((node) => node !== turn));
    turn.kind = other[turn.kind];
    turn.server = await startNode(t, turn.kind, redis, turn.name, turn.args, { port: turn.server.port });
    assert.ok((await turn.chatter.event('login', logins + 1)).numUsers <= 3);
    await say(nodes);
    for (const { server } of nodes) {
      await counts(server, 'history_messages', said.length);
      await counts(server, 'users_elsewhere', 2);
    }
  }
  for (const { server, chatter } of nodes) {
    const { messages } = await history(t, server);
    assert.deepEqual(messages.map(({ id }) => id).sort(), said.map(({ id }) => id).sort());
    for (const { id, time } of said) assert.equal(messages.find((message) => message.id === id).time, time);
    const heard = chatter.whole.filter(([event]) => event === 'new message').map(([, { id }]) => id);
    assert.equal(new Set(heard).size, heard.length, 'nothing is heard twice');
    assert.equal(chatter.heard.filter(([event]) => event === 'user left').length, 0);
    calm(server);
  }
});
