// Redis goes away in every way it can: the chat goes on at each server, and comes together again.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { describe, test } from 'node:test';
import { Chatter } from '../lib/chatter.mjs';
import { startRedis, startServers } from '../lib/redis.mjs';
import { counts, freePort, metric, start } from '../lib/server.mjs';

const options = { timeout: 90_000 };
const KEPT = ['--history-messages', '100000', '--history-bytes', '64MiB'];

/** Somebody who talks at one server, and listeners there and at another: `{ ada, near, far }`. */
async function startTalk(t, [one, two]) {
  const ada = new Chatter(t, one.url);
  await ada.login('Ada');
  const near = await new Chatter(t, one.url).connected();
  const far = await new Chatter(t, two.url).connected();
  let said = 0;
  const say = () => ada.socket.emit('new message', `${said++}`);
  const talk = setInterval(say, 2);
  t.after(() => clearInterval(talk));
  await far.hears(() => far.from('Ada').length > 0, 'the first of Ada');
  return {
    near,
    far,
    /** What is said from now on crosses. */
    async crosses() {
      const next = said;
      await far.hears(() => far.from('Ada').some((text) => Number(text) >= next), `${next} of Ada`);
    },
    /** Nothing was lost or said twice, here or there. There, what was said while Redis was away may come late. */
    async ends() {
      clearInterval(talk);
      await near.hears(() => near.from('Ada').length === said, `all ${said} of Ada`);
      assert.deepEqual(near.from('Ada'), Array.from({ length: said }, (_, i) => `${i}`));
      await far.hears(() => far.from('Ada').length >= said, `all ${said} of Ada there`);
      const there = far.from('Ada').map(Number).toSorted((a, b) => a - b);
      assert.deepEqual(there, Array.from({ length: said }, (_, i) => i));
      assert.ok(near.socket.connected && far.socket.connected);
    },
  };
}

/** What accepts connections and answers each command with what `answer(words)` gives; `undefined` is silence. */
async function startFake(t, answer) {
  const server = net.createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {});
    let text = '';
    socket.setEncoding('latin1').on('data', (data) => {
      text += data;
      for (;;) {
        const head = text.match(/^\*(\d+)\r\n/);
        if (!head) return;
        let at = head[0].length;
        const words = [];
        while (words.length < Number(head[1])) {
          const line = text.slice(at).match(/^\$(\d+)\r\n/);
          if (!line || text.length < at + line[0].length + Number(line[1]) + 2) return;
          at += line[0].length;
          words.push(text.slice(at, at + Number(line[1])));
          at += Number(line[1]) + 2;
        }
        text = text.slice(at);
        const reply = answer(words, socket);
        if (reply !== undefined) socket.write(reply);
      }
    });
  });
  const open = new Set();
  t.after(() => {
    server.close();
    open.forEach((socket) => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `redis://127.0.0.1:${server.address().port}` };
}

/** The answers of a Redis that does what it is asked. */
const GOOD = {
  PING: () => '+PONG\r\n',
  PUBLISH: () => ':0\r\n',
  ...Object.fromEntries(
    ['subscribe', 'psubscribe'].map((name) => [
      name.toUpperCase(),
      ([, channel]) => `*3\r\n$${name.length}\r\n${name}\r\n$${channel.length}\r\n${channel}\r\n:1\r\n`,
    ]),
  ),
};

// Some of these are slow by nature, so they run beside each other.
describe('Redis goes away', { concurrency: true, ...options }, () => {
  test('killed and restarted under traffic', options, async (t) => {
    const redis = await startRedis(t);
    const servers = await startServers(t, redis, 2, KEPT);
    const talk = await startTalk(t, servers);
    for (const times of [1, 2]) {
      await redis.kill();
      await Promise.all(servers.map((server) => counts(server, 'redis_up', 0)));
      const before = talk.near.from('Ada').length;
      await talk.near.hears(() => talk.near.from('Ada').length > before + 50, 'the chat goes on');
      await redis.restart();
      for (const server of servers) {
        await server.logs(/redis: connected to redis:.* after/, times + 1);
        const lines = server.log().split('\n').filter((line) => line.includes('redis:'));
        assert.equal(lines.length, 2 * times + 1, server.log());
        assert.equal(lines.filter((line) => line.includes('WARN')).length, times);
      }
      await talk.crosses();
    }
    await talk.ends();
    assert.equal(await metric(servers[0], 'redis_unconfirmed'), 0);
    // The presence of both is known to both again.
    await counts(servers[1], 'users_elsewhere', 1);
  });

  test('CLIENT KILL', options, async (t) => {
    const redis = await startRedis(t);
    const servers = await startServers(t, redis, 2, KEPT);
    const talk = await startTalk(t, servers);
    const admin = await redis.client();
    for (const [times, type] of [[2, 'pubsub'], [3, 'normal']]) {
      await admin.sendCommand(['CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes']);
      await Promise.all(servers.map((server) => server.logs(/redis: connected/, times)));
      await talk.crosses();
    }
    await talk.ends();
  });

  test('it stands still, with all connections open', options, async (t) => {
    const redis = await startRedis(t);
    const servers = await startServers(t, redis, 2, KEPT);
    const talk = await startTalk(t, servers);
    redis.signal('SIGSTOP');
    const begin = performance.now();
    // A publication is not answered for ten seconds.
    await servers[0].logs(/WARN .*redis:.*does not answer/, 1, 20_000);
    const time = performance.now() - begin;
    assert.ok(time > 9_000 && time < 15_000, `${time} ms`);
    redis.signal('SIGCONT');
    await servers[0].logs(/redis: connected/, 2, 20_000);
    await talk.crosses();
    await talk.ends();
  });

  test('wrong, then right password', options, async (t) => {
    const redis = await startRedis(t, { args: ['--requirepass', 'right'] });
    const at = (password) => redis.url.replace('//', `//:${password}@`);
    const early = await start(t, { args: ['--redis', at('wrong%21')] });
    await early.logs(/WARN .*redis:.*WRONGPASS/);
    assert.deepEqual(await new Chatter(t, early.url).login('Ada'), { numUsers: 1 });
    const [late] = await startServers(t, { url: at('right') }, 1);
    const admin = await redis.client({ url: at('right') });
    await admin.sendCommand(['CONFIG', 'SET', 'requirepass', 'wrong!']);
    await admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']);
    await admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']);
    await late.logs(/WARN .*redis:.*WRONGPASS/);
    await early.logs(/redis: connected/, 1, 20_000);
    // Tried slowly, and said once.
    for (const server of [early, late]) {
      assert.equal(server.log().match(/WRONGPASS/g).length, 1, server.log());
      assert.doesNotMatch(server.log(), /wrong|right/);
    }
    await admin.sendCommand(['CONFIG', 'SET', 'requirepass', 'right']);
    await late.logs(/redis: connected/, 2, 20_000);
    assert.doesNotMatch(late.log(), /wrong|right/);
  });

  test('a user and a password', options, async (t) => {
    const args = '--user salon on >pass:word@ &* +@all --user default off'.split(' ');
    const redis = await startRedis(t, { args });
    const login = 'salon:pass%3Aword%40@';
    const servers = await startServers(t, { url: `${redis.url.replace('//', `//${login}`)}/3` }, 2);
    const talk = await startTalk(t, servers);
    await talk.ends();
    assert.doesNotMatch(servers[0].log(), /word/);
  });

  test('it refuses to publish: memory full, a slot elsewhere', options, async (t) => {
    for (const error of ['OOM command not allowed when used memory > maxmemory', 'MOVED 3999 127.0.0.1:6381']) {
      const fake = await startFake(t, (words) => {
        return words[0] === 'PUBLISH' ? `-${error}\r\n` : GOOD[words[0]](words);
      });
      const begin = Date.now();
      const [server] = await startServers(t, fake, 1);
      const ada = new Chatter(t, server.url);
      await ada.login('Ada');
      await server.logs(new RegExp(`WARN .*redis:.*${error.split(' ')[0]}`));
      const bob = await new Chatter(t, server.url).connected();
      for (let i = 0; i < 100; i++) ada.socket.emit('new message', `${i}`);
      await bob.hears(() => bob.from('Ada').length === 100, 'all of Ada');
      // What is said of users: at the start, and once Ada is here; and that she is.
      await counts(server, 'redis_dropped_total', 103);
      assert.equal(await metric(server, 'redis_up'), 1);
      const lines = server.log().match(/WARN/g).length;
      const most = 1 + Math.floor((Date.now() - begin) / 10_000);
      assert.ok(lines <= most, `${lines} lines: one in ten seconds, not one for each`);
    }
  });

  for (const [name, greeting] of [
    ['it says nothing at all', undefined],
    ['it speaks another protocol', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
    ['arrays without end', '*1\r\n'.repeat(10_000)],
    ['a length above all limits', '$999999999999\r\n'],
    ['a number without end', `*${'1'.repeat(100)}`],
    ['answers that nobody has asked for', '+OK\r\n'.repeat(100)],
    ['noise', Buffer.from(Array.from({ length: 100_000 }, (_, i) => (i * 7919) & 255))],
  ]) {
    test(`${name}`, options, async (t) => {
      let commands = 0;
      const fake = await startFake(t, () => {
        commands += 1;
        return greeting;
      });
      const server = await start(t, { args: ['--redis', fake.url] });
      await server.logs(/WARN .*redis: no connection/, 1, 15_000);
      assert.deepEqual(await new Chatter(t, server.url).login('Ada'), { numUsers: 1 });
      assert.equal(await metric(server, 'redis_up'), 0);
      assert.ok(commands > 0);
      assert.equal(server.log().match(/WARN/g).length, 1, server.log());
    });
  }

  test('nobody is there, and then somebody is', options, async (t) => {
    const port = await freePort();
    const server = await start(t, { args: ['--redis', `redis://localhost:${port}`] });
    await server.logs(/WARN .*redis: no connection/);
    await startRedis(t, { port });
    await server.logs(/redis: connected/);
    const lost = await start(t, { args: ['--redis', 'redis://salon.invalid'] });
    await lost.logs(/WARN .*redis: no connection to redis:\/\/salon.invalid/);
    assert.deepEqual(await new Chatter(t, lost.url).login('Ada'), { numUsers: 1 });
  });
});
