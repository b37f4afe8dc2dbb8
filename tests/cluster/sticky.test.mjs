// Three servers behind a sticky proxy, and a crowd of official clients: nothing is lost, doubled or out of order.
// SALON_CLIENTS and SALON_SECONDS make it larger and longer (`make cluster`).
import assert from 'node:assert/strict';
import http from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'node:test';
import { Chatter, TRANSPORTS, within } from '../lib/chatter.mjs';
import { startFront } from '../lib/front.mjs';
import { startRedis, startServers } from '../lib/redis.mjs';
import { counts, metric } from '../lib/server.mjs';

const CLIENTS = Number(process.env.SALON_CLIENTS ?? 30);
const SECONDS = Number(process.env.SALON_SECONDS ?? 2);
const RATE = CLIENTS >= 100 ? 20 : 100; // messages a second by all, each heard by all others
const patience = 30_000;

for (const program of ['nginx', 'haproxy']) {
  for (const by of ['cookie', 'address']) {
    test(`${program}, by ${by}: ${CLIENTS} clients`, { timeout: (SECONDS + 90) * 1_000 }, async (t) => {
      const servers = await startServers(t, await startRedis(t), 3);
      const front = await startFront(t, program, by, servers);
      const ways = Object.values(TRANSPORTS);
      const chatters = Array.from({ length: CLIENTS }, (_, i) => {
        // By cookie all come from one address. By address each has its own.
        const agent = new http.Agent({ keepAlive: true, localAddress: `127.0.${1 + (i >> 7)}.${1 + (i & 127)}` });
        t.after(() => agent.destroy());
        const options = by === 'cookie' ? { withCredentials: true } : { agent };
        return new Chatter(t, front.url, { transports: ways[i % ways.length], reconnection: false, ...options });
      });
      await Promise.all(chatters.map((chatter) => chatter.connected()));
      await Promise.all(chatters.filter((_, i) => i % ways.length === 2).map((chatter) => chatter.upgraded()));
      await Promise.all(chatters.map((chatter, i) => chatter.login(`c${i}`)));
      // Each server has some of them, and all count the same.
      for (const server of servers) {
        const own = await metric(server, 'users');
        assert.ok(own > 0 && own < CLIENTS, `${own} of ${CLIENTS}`);
        await counts(server, 'users_elsewhere', CLIENTS - own);
      }
      const said = Array(CLIENTS).fill(0);
      const begin = performance.now();
      for (let n = 0; n < SECONDS * RATE; n++) {
        const i = n % CLIENTS;
        chatters[i].socket.emit('new message', `${said[i]++}`);
        await pause(begin + ((n + 1) * 1_000) / RATE - performance.now());
      }
      const total = said.reduce((sum, count) => sum + count);
      await Promise.all(
        chatters.map((chatter, i) => {
          const heard = () => chatter.heard.filter(([event]) => event === 'new message');
          return within(chatter.hears(() => heard().length >= total - said[i], `all for c${i}`), `all for c${i}`, patience);
        }),
      );
      for (const [i, chatter] of chatters.entries()) {
        for (const [j, count] of said.entries()) {
          const expected = Array.from({ length: i === j ? 0 : count }, (_, n) => `${n}`);
          assert.deepEqual(chatter.from(`c${j}`), expected, `what c${i} heard of c${j}`);
        }
        assert.ok(chatter.socket.connected);
      }
      for (const server of servers) {
        assert.equal(await metric(server, 'redis_dropped_total'), 0);
        assert.equal(await metric(server, 'redis_invalid_total'), 0);
        assert.doesNotMatch(server.log(), /does not know the session/);
      }
    });
  }
}

test('without stickiness polling fails, and the log says why', { timeout: 30_000 }, async (t) => {
  const [one, two] = await startServers(t, await startRedis(t), 2);
  const session = await (await fetch(`${one.url}/socket.io/?EIO=4&transport=polling`)).text();
  const { sid } = JSON.parse(session.slice(1));
  const lost = await fetch(`${two.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`);
  assert.deepEqual([lost.status, await lost.json()], [400, { code: 1, message: 'Session ID unknown' }]);
  await two.logs(/instance n2 does not know the session of a request.*sticky sessions/);
});
