// What it costs when nobody says anything.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Chatter, TRANSPORTS } from '../lib/chatter.mjs';
import { Raw } from '../lib/raw.mjs';
import { metrics, start } from '../lib/server.mjs';

const options = { timeout: 60_000, skip: process.platform !== 'linux' && 'only Linux tells how often a process was woken' };

/** How often a process went to sleep, which is how often it was woken. */
const sleeps = ({ child: { pid } }) => Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

/** A session over polling on connections that stay, which answers its pings until the test ends. */
async function poller(t, url) {
  const agent = new http.Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  let query = '/socket.io/?EIO=4&transport=polling';
  const ask = (method, body = '') =>
    new Promise((resolve, reject) => {
      const request = http.request(url + query, { method, agent, headers: { 'Content-Length': body.length } }, async (response) => {
        let text = '';
        try {
          for await (const chunk of response.setEncoding('utf8')) text += chunk;
        } catch (error) {
          return reject(error);
        }
        resolve(text);
      });
      request.on('error', reject).end(body);
    });
  query += `&sid=${JSON.parse((await ask('GET')).slice(1)).sid}`;
  await ask('POST', '40');
  const session = { pings: 0 };
  const poll = async () => {
    for (;;) {
      for (const packet of (await ask('GET')).split('\x1e')) {
        if (packet !== '2') continue;
        session.pings += 1;
        await ask('POST', '3');
      }
    }
  };
  poll().catch((error) => (session.error = error)); // ends with the test, or is seen below
  return session;
}

describe('nobody says anything', { concurrency: true }, () => {
  test('a process without clients is not woken in 30 seconds', options, async (t) => {
    const server = await start(t);
    // It has worked before: nothing of that may be left.
    for (const transports of Object.values(TRANSPORTS)) {
      const user = new Chatter(t, server.url, { transports });
      await user.login('Ada');
      user.socket.close();
    }
    // One connection is that of the question.
    while ((await metrics(server.url))('connections') > 1) await delay(100);
    for (let last; last !== sleeps(server); await delay(500)) last = sleeps(server);
    const before = sleeps(server);
    await delay(30_000);
    assert.equal(sleeps(server), before);
  });

  test('1,000 sessions cost at most three wake-ups a second by timers', options, async (t) => {
    const seconds = 10;
    const server = await start(t, { args: ['--ping-interval', `${seconds}s`] });
    const sessions = [];
    // They come one after the other over a whole interval, so that their pings are due at all times.
    const begin = Date.now();
    for (let i = 0; i < 1000; i++) {
      await delay(begin + i * seconds - Date.now());
      if (i % 2) {
        const raw = new Raw(t, server.url);
        raw.pings = 0;
        raw.ws.on('message', (data) => (raw.pings += data.toString() === '2'));
        sessions.push(raw.connect().then(() => raw));
      } else {
        sessions.push(poller(t, server.url));
      }
    }
    const all = await Promise.all(sessions);
    const [before, pings] = [await metrics(server.url), all.map((session) => session.pings)];
    const window = 1.5 * seconds; // each has a ping in it
    await delay(window * 1000);
    const after = await metrics(server.url);
    const rate = (cause) => (after(`turns_total{cause="${cause}"}`) - before(`turns_total{cause="${cause}"}`)) / window;
    t.diagnostic(`${rate('timer')} wake-ups a second by timers, ${rate('bytes')} by bytes`);
    assert.ok(rate('timer') <= 3, `${rate('timer')} a second`);
    assert.ok(rate('timer') > 0);
    assert.equal(after('sessions{transport="websocket"}') + after('sessions{transport="polling"}'), 1000);
    for (const [i, session] of all.entries()) assert.ok(session.pings - pings[i] >= 1 && !session.error, `${i}: ${session.error ?? session.pings}`);
  });
});
