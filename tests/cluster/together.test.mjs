// Users move, servers and links fail, and all servers of a cluster still agree on who is here, and lose no message.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Emitter } from '@socket.io/redis-emitter';
import { Chatter } from '../lib/chatter.mjs';
import { wire } from '../lib/proxy.mjs';
import { startRedis, startServers } from '../lib/redis.mjs';
import { counts, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const QUICK = ['--presence-beat', '200ms', '--leave-grace', '300ms'];
const numbers = (count) => Array.from({ length: count }, (_, i) => i);

/** The events of that name about users: `[username, numUsers]`. */
const about = (chatter, name) =>
  chatter.heard.filter(([event]) => event === name).map(([, { username, numUsers }]) => [username, numUsers]);
const key = (name) => name.padEnd(20, '.');
const told = (chatter, name, ...expected) =>
  chatter.hears(() => about(chatter, name).some((one) => JSON.stringify(one) === JSON.stringify(expected)), `${name} ${expected}`);

/** The names that a server lists, with their tags. */
async function listed(chatter) {
  const { users } = await chatter.ask('users');
  return users.toSorted((a, b) => (a.username < b.username ? -1 : 1));
}

/** A salon whose link to Redis goes through a wire that can break: `[server, link]`. */
async function startBehindWire(t, redis, name, args) {
  const link = await wire(t, redis.port);
  const server = await start(t, { args: ['--instance', name, '--redis', link.url.replace('http', 'redis'), ...args] });
  await server.logs(/redis: connected/);
  return [server, link];
}

test('a server dies: a user with a key who comes to another has never been away', options, async (t) => {
  const [one, two] = await startServers(t, await startRedis(t), 2, QUICK);
  const ada = new Chatter(t, one.url);
  await ada.login('Ada');
  await counts(two, 'users_elsewhere', 1);
  const [bob, bea] = [new Chatter(t, two.url, { reconnection: false }), new Chatter(t, two.url, { reconnection: false })];
  await bob.login('Bob', { key: key('bob') });
  await bea.login('Bea');
  await told(ada, 'user joined', 'Bea', 3);
  await counts(one, 'users_elsewhere', 2);
  await two.kill('SIGKILL');
  const again = new Chatter(t, one.url);
  assert.equal((await again.login('Bob', { key: key('bob') })).numUsers, 3);
  // Bea has no key: she is gone, and whoever comes in that name is somebody else.
  await told(ada, 'user left', 'Bea', 2);
  await new Chatter(t, one.url).login('Bea');
  await ada.event('user joined', 3);
  assert.deepEqual(about(ada, 'user joined').map(([name]) => name), ['Bob', 'Bea', 'Bea']);
  assert.deepEqual(about(ada, 'user left'), [['Bea', 2]]);
  assert.deepEqual((await listed(ada)).map(({ username }) => username), ['Ada', 'Bea', 'Bob']);
});

test('a user with a key who has changed servers has not left, whatever the old one says', options, async (t) => {
  const servers = await startServers(t, await startRedis(t), 3, QUICK);
  const [one, two] = servers;
  const witnesses = await Promise.all(servers.map((server) => new Chatter(t, server.url).connected()));
  const old = new Chatter(t, two.url);
  await old.login('Bob', { key: key('bob') });
  for (const witness of witnesses) await told(witness, 'user joined', 'Bob', 1);
  await counts(one, 'users_elsewhere', 1);
  const bob = new Chatter(t, one.url);
  await bob.login('Bob', { key: key('bob') });
  // What is said after the note of the new server says that the note has come.
  await bob.ask('new message', 'here');
  for (const witness of witnesses) await witness.event('new message');
  old.socket.close();
  await counts(two, 'users', 0);
  const cid = new Chatter(t, two.url);
  await cid.login('Cid');
  for (const witness of witnesses) {
    await told(witness, 'user joined', 'Cid', 2);
    assert.deepEqual(about(witness, 'user left'), []);
    assert.deepEqual(about(witness, 'user joined'), [['Bob', 1], ['Cid', 2]]);
    // A client that takes any event with a name for one about a user must not take this for a departure.
    for (const [event, data] of witness.heard) if (event === 'user count') assert.deepEqual(Object.keys(data), ['numUsers']);
    assert.deepEqual((await listed(witness)).map(({ username }) => username), ['Bob', 'Cid']);
  }
});

test('kill -9 and a start at once: who was there has left', options, async (t) => {
  const redis = await startRedis(t);
  const [one] = await startServers(t, redis, 1, [...QUICK, '--presence-beat', '1h']);
  const port = ['--instance', 'again', '--redis', redis.url, '--presence-beat', '1h'];
  const two = await start(t, { args: port });
  await two.logs(/redis: connected/);
  const ada = new Chatter(t, one.url);
  await ada.login('Ada');
  await counts(two, 'users_elsewhere', 1);
  await new Chatter(t, two.url, { reconnection: false }).login('Bob');
  await told(ada, 'user joined', 'Bob', 2);
  await two.kill('SIGKILL');
  const again = await start(t, { args: port });
  await again.logs(/redis: connected/);
  await told(ada, 'user left', 'Bob', 1);
  await counts(one, 'users_elsewhere', 0);
  await counts(again, 'users_elsewhere', 1);
});

test('our own link is away: nobody is forgotten, and what has changed is told when it is back', options, async (t) => {
  const redis = await startRedis(t);
  const [two] = await startServers(t, redis, 1, QUICK);
  const [one, link] = await startBehindWire(t, redis, 'one', QUICK);
  const ada = new Chatter(t, one.url);
  await ada.login('Ada');
  await counts(two, 'users_elsewhere', 1);
  const [bob, bea] = [new Chatter(t, two.url), new Chatter(t, two.url)];
  await bob.login('Bob');
  await bea.login('Bea');
  await told(ada, 'user joined', 'Bea', 3);
  await counts(one, 'users_elsewhere', 2);
  link.cut();
  await one.logs(/WARN .*redis: lost the connection/);
  bea.socket.close();
  await told(bob, 'user left', 'Bea', 2);
  await new Chatter(t, two.url).login('Cid');
  // The other server forgets us long before our link is back.
  await told(bob, 'user left', 'Ada', 2);
  assert.deepEqual(about(ada, 'user left'), []);
  assert.deepEqual((await listed(ada)).map(({ username }) => username), ['Ada', 'Bea', 'Bob']);
  link.heal();
  await told(ada, 'user joined', 'Cid', 3);
  await told(ada, 'user left', 'Bea', 3);
  await told(bob, 'user joined', 'Ada', 3);
  assert.deepEqual(about(ada, 'user left'), [['Bea', 3]]);
  assert.deepEqual(about(ada, 'user joined').map(([name]) => name), ['Bob', 'Bea', 'Cid']);
  assert.deepEqual(await listed(ada), await listed(bob));
});

test('what is said while a link is away is heard once, also from a file after Redis was lost', options, async (t) => {
  const redis = await startRedis(t);
  const [two] = await startServers(t, redis, 1, QUICK);
  const directory = mkdtempSync(path.join(os.tmpdir(), 'salon-together-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = [...QUICK, '--history', path.join(directory, 'file')];
  const [one, link] = await startBehindWire(t, redis, 'one', file);
  const [ada, bob] = [new Chatter(t, one.url, { reconnection: false }), new Chatter(t, two.url)];
  await ada.login('Ada');
  await counts(two, 'users_elsewhere', 1);
  await bob.login('Bob');
  await told(ada, 'user joined', 'Bob', 2);
  link.cut();
  await one.logs(/WARN .*redis: lost the connection/);
  for (const i of numbers(20)) {
    await ada.ask('new message', `a${i}`, { id: `a${i}` });
    await bob.ask('new message', `b${i}`, { id: `b${i}` });
  }
  assert.deepEqual([ada.from('Bob'), bob.from('Ada')], [[], []]);
  link.heal();
  await ada.hears(() => ada.from('Bob').length >= 20, 'all of Bob');
  await bob.hears(() => bob.from('Ada').length >= 20, 'all of Ada');
  // Only the file of a server that dies has this, and Redis has lost everything.
  link.cut();
  await one.logs(/WARN .*redis: lost the connection/, 2);
  for (const i of numbers(20)) await ada.ask('new message', `c${i}`, { id: `c${i}` });
  await one.kill('SIGKILL');
  await redis.kill();
  await redis.restart();
  await two.logs(/redis: connected/, 2);
  const [again] = await startServers(t, redis, 1, [...file, '--instance', 'one']);
  await bob.hears(() => bob.from('Ada').length >= 40, 'all of Ada');
  const carl = await new Chatter(t, again.url).connected();
  await bob.ask('new message', 'last', { id: 'last' });
  await carl.hears(() => carl.from('Bob').length >= 1, 'the last');
  assert.deepEqual(ada.from('Bob'), numbers(20).map((i) => `b${i}`));
  assert.deepEqual(bob.from('Ada'), [...numbers(20).map((i) => `a${i}`), ...numbers(20).map((i) => `c${i}`)]);
  assert.deepEqual(carl.from('Bob'), ['last']);
});

test('people come and go at the same moment on three servers: all count the same', options, async (t) => {
  const servers = await startServers(t, await startRedis(t), 3, QUICK);
  const witnesses = await Promise.all(servers.map((server) => new Chatter(t, server.url).connected()));
  const crowd = servers.flatMap((server, i) => numbers(8).map((j) => [new Chatter(t, server.url), `${i}${j}`]));
  await Promise.all(crowd.map(([chatter]) => chatter.connected()));
  const agree = (count) =>
    Promise.all(witnesses.map((witness) => witness.hears((heard) => heard.at(-1)?.[1].numUsers === count, `the number ${count}`)));
  await Promise.all(crowd.map(([chatter, name]) => chatter.login(name)));
  await agree(24);
  crowd.filter((_, i) => i % 2).forEach(([chatter]) => chatter.socket.close());
  await agree(12);
  const lists = await Promise.all(witnesses.map(listed));
  assert.deepEqual(lists[0].map(({ username }) => username), crowd.filter((_, i) => i % 2 === 0).map(([, name]) => name));
  for (const list of lists) assert.deepEqual(list, lists[0]);
});

test('what other servers say of a user who is known, or is still at one of them, is not heard again', options, async (t) => {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1, QUICK);
  const witness = await new Chatter(t, server.url).connected();
  const publisher = await redis.client();
  const emitter = new Emitter(publisher);
  const bob = { username: 'Bob', user: 'abcdef' };
  const note = (node, ...people) =>
    publisher.publish('socket.io-users#/#', JSON.stringify({ node, boot: node, users: people.length, people, beat: 60_000, hello: false, bye: false }));
  // The first report says who was here before; the next one, however soon after the start, says who has come.
  await note('n8');
  await note('n9', { username: 'Ada', user: 'aaaaaa' });
  await witness.event('user count');
  await note('n8', bob);
  await note('n9', { username: 'Ada', user: 'aaaaaa' }, bob);
  await told(witness, 'user joined', 'Bob', 2);
  emitter.emit('user joined', { ...bob, numUsers: 2 });
  emitter.emit('user left', { ...bob, numUsers: 1 });
  emitter.emit('user left', { username: 'Ada', user: 'aaaaaa', numUsers: 1 });
  await told(witness, 'user left', 'Ada', 1);
  await note('n9', bob);
  await note('n8');
  await counts(server, 'users_elsewhere', 1);
  emitter.emit('user left', { ...bob, numUsers: 0 });
  await told(witness, 'user left', 'Bob', 0);
  // Since he is still reported, he may be back soon.
  const users = witness.heard.filter(([event]) => ['user joined', 'user left'].includes(event));
  assert.deepEqual(users.slice(0, 3).map(([event, data]) => [event, data.username]), [['user joined', 'Bob'], ['user left', 'Ada'], ['user left', 'Bob']]);
});

test('a server that starts hears that a user has left, and from a report that the user is here', options, async (t) => {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1, QUICK);
  const witness = await new Chatter(t, server.url).connected();
  const publisher = await redis.client();
  const [bob, cid] = [{ username: 'Bob', user: 'abcdef' }, { username: 'Cid', user: 'cccccc' }];
  const note = (...people) =>
    publisher.publish('socket.io-users#/#', JSON.stringify({ node: 'n9', boot: 'n9', users: people.length, people, beat: 60_000, hello: false, bye: false }));
  // He has moved to n9, and where he was says so late.
  const reported = note(bob);
  new Emitter(publisher).emit('user left', { ...bob, numUsers: 0 });
  await reported;
  await witness.event('user count');
  await note(bob, cid);
  await told(witness, 'user joined', 'Cid', 2);
  const last = witness.heard.findLast(([event, { username }]) => username === 'Bob' && event !== 'user count');
  assert.notEqual(last?.[0], 'user left');
  assert.deepEqual((await listed(witness)).map(({ username }) => username), ['Bob', 'Cid']);
});

test('whom clients still know is listed, so that newcomers know as much as they', options, async (t) => {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1, ['--presence-beat', '200ms', '--leave-grace', '1h']);
  const witness = await new Chatter(t, server.url).connected();
  const publisher = await redis.client();
  const bob = { username: 'Bob', user: createHash('sha1').update(key('bob')).digest('base64url').slice(0, 6) };
  const note = (...people) =>
    publisher.publish('socket.io-users#/#', JSON.stringify({ node: 'n9', boot: 'n9', users: people.length, people, beat: 60_000, hello: false, bye: false }));
  await note(bob);
  await witness.hears((heard) => heard.at(-1)?.[1].numUsers === 1, 'the number 1');
  // His server has lost him, and perhaps he only moves.
  await note();
  await witness.hears((heard) => heard.at(-1)?.[1].numUsers === 0, 'the number 0');
  assert.deepEqual(await listed(witness), [bob]);
  const joined = about(witness, 'user joined');
  const moved = new Chatter(t, server.url);
  await moved.login('Bob', { key: key('bob') });
  await witness.hears((heard) => heard.at(-1)?.[1].numUsers === 1, 'the number 1 again');
  assert.deepEqual(about(witness, 'user joined'), joined);
  assert.deepEqual(await listed(witness), [bob]);
});
