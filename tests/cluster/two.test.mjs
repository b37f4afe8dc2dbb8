// Two salon servers and one Redis are one chat: every event crosses once and in order, and the number of users is that of both.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Chatter, TRANSPORTS } from '../lib/chatter.mjs';
import { wire } from '../lib/proxy.mjs';
import { startRedis, startServers } from '../lib/redis.mjs';
import { counts, metric, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };

test('every event crosses once, in order per sender, over all transports', options, async (t) => {
  const servers = await startServers(t, await startRedis(t), 2);
  const chatters = [];
  for (const [i, server] of servers.entries()) {
    for (const [name, transports] of Object.entries(TRANSPORTS)) {
      const chatter = await new Chatter(t, server.url, { transports }).connected();
      chatter.name = `${name} at n${i + 1}`;
      chatters.push(chatter);
    }
  }
  // One after the other, so that each number is known.
  for (const [i, chatter] of chatters.entries()) {
    const elsewhere = chatters.slice(0, i).filter((_, j) => j < 3 !== i < 3).length;
    await counts(servers[i < 3 ? 0 : 1], 'users_elsewhere', elsewhere);
    assert.deepEqual(await chatter.login(chatter.name), { numUsers: i + 1 });
  }
  const texts = Array.from({ length: 200 }, (_, i) => `${i} é\u2028😀"\\`);
  for (const { socket } of chatters) {
    socket.emit('typing');
    texts.forEach((text) => socket.emit('new message', text));
    socket.emit('stop typing');
  }
  for (const listener of chatters) {
    for (const [i, { name }] of chatters.entries()) {
      if (name === listener.name) continue;
      const of = (heard) => heard.filter(([, data]) => data.username === name);
      await listener.hears((heard) => of(heard).at(-1)?.[0] === 'stop typing', `${name}: stop typing`);
      const joined = chatters.indexOf(listener) === i ? [] : [['user joined', { username: name, numUsers: i + 1 }]];
      assert.deepEqual(of(listener.heard), [
        ...joined,
        ['typing', { username: name }],
        ...texts.map((message) => ['new message', { username: name, message }]),
        ['stop typing', { username: name }],
      ]);
    }
    assert.equal(listener.from(listener.name).length, 0, 'nobody hears himself');
  }
  const [first, ...others] = chatters;
  first.socket.disconnect();
  for (const other of others) {
    assert.deepEqual(await other.event('user left'), { username: first.name, numUsers: 5 });
  }
  await counts(servers[1], 'users_elsewhere', 2);
  for (const server of servers) {
    assert.equal(await metric(server, 'redis_invalid_total'), 0);
    assert.equal(await metric(server, 'redis_dropped_total'), 0);
  }
});

test('the number of users: a server that dies, one that stops, one that comes late', options, async (t) => {
  const redis = await startRedis(t);
  const args = ['--presence-beat', '200ms'];
  const [one, two] = await startServers(t, redis, 2, args);
  const ada = new Chatter(t, one.url);
  await ada.login('Ada');
  for (const name of ['Bob', 'Bea']) {
    await new Chatter(t, two.url, { reconnection: false }).login(name);
    await ada.hears((heard) => heard.some(([, data]) => data.username === name), name);
  }
  await counts(one, 'users_elsewhere', 2);
  await two.kill('SIGKILL');
  // The last of them leaves nobody but Ada.
  const left = await ada.hears((heard) => {
    const gone = heard.filter(([event]) => event === 'user left').map(([, data]) => data);
    return gone.length === 2 && gone;
  }, 'user left of both');
  assert.deepEqual(left.map(({ username }) => username).sort(), ['Bea', 'Bob']);
  assert.deepEqual(left.map(({ numUsers }) => numUsers), [1, 1]);
  assert.equal(await metric(one, 'users_elsewhere'), 0);
  await one.logs(/node "n2" has been silent/);

  // Under the same name, as a restart has it; and long before the next beat.
  const again = await start(t, { args: ['--instance', 'n2', '--redis', redis.url, '--presence-beat', '1h'] });
  await counts(again, 'users_elsewhere', 1);
  assert.deepEqual(await new Chatter(t, again.url).login('Cid'), { numUsers: 2 });
  assert.deepEqual(await ada.event('user joined', 3), { username: 'Cid', numUsers: 2 });
  await counts(one, 'users_elsewhere', 1);
  const third = await start(t, { args: ['--instance', 'n3', '--redis', redis.url] });
  await counts(third, 'users_elsewhere', 2);

  // Whom a stopping server sends away is somewhere else, or soon will be.
  await again.kill('SIGTERM');
  await counts(one, 'users_elsewhere', 0);
  await counts(third, 'users_elsewhere', 1);
  assert.equal(ada.heard.filter(([event]) => event === 'user left').length, 2);
});

test('who comes back to the same server recovers what others have said elsewhere', options, async (t) => {
  const [one, two] = await startServers(t, await startRedis(t), 2);
  const broken = await wire(t, one.port);
  const ada = new Chatter(t, broken.url, { transports: ['websocket'], query: { recovery: 1 } });
  const bob = new Chatter(t, two.url);
  await ada.login('Ada');
  await bob.login('Bob');
  bob.socket.emit('new message', 'before');
  await ada.hears(() => ada.from('Bob').length === 1, 'before');
  const { id } = ada.socket;
  broken.cut();
  const texts = Array.from({ length: 20 }, (_, i) => `meanwhile ${i}`);
  texts.forEach((text) => bob.socket.emit('new message', text));
  // It has reached the server that Ada comes back to.
  const cid = new Chatter(t, one.url);
  await cid.connected();
  bob.socket.emit('new message', 'last');
  await cid.hears(() => cid.from('Bob').includes('last'), 'last');
  broken.heal();
  await ada.hears(() => ada.from('Bob').includes('last'), 'what was missed');
  assert.deepEqual(ada.from('Bob'), ['before', ...texts, 'last']);
  assert.equal(ada.socket.recovered, true);
  assert.equal(ada.socket.id, id);
  assert.equal(bob.heard.filter(([event]) => event === 'user left').length, 0);
});
