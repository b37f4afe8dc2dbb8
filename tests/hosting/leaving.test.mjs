// How a process ends, and what its clients make of it: in order, at once, or killed.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { test } from 'node:test';
import { frontEnd } from '../lib/azure.mjs';
import { hears, join, launch, open, say, shows } from '../lib/browser.mjs';
import { makeCertificate } from '../lib/certificate.mjs';
import { Chatter, TRANSPORTS, within } from '../lib/chatter.mjs';
import { Poller, Raw } from '../lib/raw.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 180_000 };
const numbers = (count) => Array.from({ length: count }, (_, i) => i);

/** What `GET path` is answered with: `[status, headers]`. `Connection` is one that fetch does not show. */
function ask(url, path, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get(url + path, { headers, agent: false }, (response) => {
      response.resume();
      resolve([response.statusCode, response.headers]);
    });
    request.on('error', reject);
  });
}

test('a drain under load behind a proxy: all come back to the second process, and miss nothing there', options, async (t) => {
  const files = makeCertificate(t);
  // A client whose upgrade fails when it has just paused polling for it asks no more (engine.io-client 6.6), until it
  // misses a ping. So no upgrade may be under way when the first stops, nor take too long.
  const args = ['--trust-proxy', '--upgrade-timeout', '1m'];
  const old = await start(t, { args: [...args, '--drain', '3s'] });
  const fresh = await start(t, { args });
  // The second process is started before the first is stopped; until then it gets nobody.
  const front = await frontEnd(t, [old.port, fresh.port], { ...files, first: true });
  const ca = readFileSync(files.ca);
  const users = numbers(24).map((i) => {
    const transports = Object.values(TRANSPORTS)[i % 3];
    const user = new Chatter(t, front.url, { transports, ca, withCredentials: true });
    user.name = `user ${i}`;
    user.due = []; // what others have said since it is back
    user.socket.on('disconnect', () => (user.back = false));
    // A connection that breaks for another reason is recovered with its name, and gets no second `login`.
    user.socket.on('connect', () => (user.socket.recovered ? (user.back = true) : user.socket.emit('add user', user.name)));
    return user;
  });
  for (const user of users) {
    await user.event('login');
    if (user.socket.io.opts.transports.length > 1) await user.upgraded();
    // From now on: who is back hears all that is said by those who are.
    user.socket.on('login', () => (user.back = true));
  }

  let words = 0;
  const talk = () => {
    for (const user of users.filter(({ socket }) => socket.connected)) {
      const text = `${(words += 1)}`;
      user.socket.emit('new message', text);
      if (user.back) users.filter((other) => other !== user && other.back).forEach(({ due }) => due.push(text));
    }
  };
  const talking = setInterval(talk, 250);
  t.after(() => clearInterval(talking));

  const begin = Date.now();
  const times = users.map(({ socket }) => new Promise((resolve) => socket.once('disconnect', () => resolve(Date.now() - begin))));
  const ended = old.kill('SIGTERM');
  await Promise.all(users.map((user) => user.hears(() => user.back, 'the second process')));
  assert.deepEqual(await ended, [0, null]);
  clearInterval(talking);
  talk();
  for (const user of users) {
    assert.ok(user.due.length > 0);
    const heard = () => new Set(user.heard.map(([, data]) => data.message));
    await user.hears(() => user.due.every((text) => heard().has(text)), `${user.name} has to hear ${user.due}`);
    for (const { name } of users) {
      const texts = user.from(name).map(Number);
      assert.deepEqual(texts, [...new Set(texts)].sort((a, b) => a - b), 'once, and in order');
    }
  }
  // Over the time of the drain, not all at once: 24 of them, 50 ms apart.
  const spread = Math.max(...(await Promise.all(times))) - Math.min(...(await Promise.all(times)));
  assert.ok(spread > 800, `${spread} ms`);
  assert.equal(front.failed, 0);
});

test('while a process drains, who is there is served, and nobody comes', options, async (t) => {
  const server = await start(t, { args: ['--drain', '20s'] });
  // The oldest are sent away last, and these two are the oldest. The crowd takes its time.
  const [ada, bob] = ['Ada', 'Bob'].map(() => new Raw(t, server.url));
  for (const [user, name] of [[ada, 'Ada'], [bob, 'Bob']]) {
    await user.connect();
    await user.login(name);
  }
  const polling = new Poller(server.url);
  await polling.connect();
  const crowd = numbers(60).map(() => new Raw(t, server.url));
  for (const member of crowd) await member.connect();

  server.child.kill('SIGTERM');
  await crowd[59].closed;
  for (let said = 0; said < 3; said++) {
    ada.send(`42["new message","${said}"]`);
    await bob.packet(`42["new message",{"username":"Ada","message":"${said}"`);
    for (const [path, headers] of [
      ['/healthz', {}],
      ['/socket.io/?EIO=4&transport=polling', {}],
      ['/socket.io/?EIO=4&transport=websocket', {
        Connection: 'Upgrade',
        Upgrade: 'websocket',
        'Sec-WebSocket-Version': '13',
        'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
      }],
    ]) {
      const [status, fields] = await ask(server.url, path, headers);
      assert.deepEqual([status, fields.connection, fields['content-length']], [503, 'close', '0'], path);
      assert.match(fields['retry-after'], /^\d+$/);
    }
    const [status, fields] = await ask(server.url, '/');
    assert.deepEqual([status, fields.connection], [200, 'close'], 'the page is still there');
  }
  // Those who poll are told with their next GET, or with the one that waits.
  await Promise.all([ada.closed, bob.closed]);
  assert.match((await polling.poll()).at(-1), /^42/);
  assert.deepEqual(await polling.poll(), ['1'], 'in a payload of its own');
  assert.deepEqual(await server.ended, [0, null]);
  await assert.rejects(ask(server.url, '/healthz'), { code: 'ECONNREFUSED' });
});

test('--drain 0 sends all away at once', options, async (t) => {
  const server = await start(t, { args: ['--drain', '0'] });
  const crowd = numbers(40).map(() => new Raw(t, server.url));
  for (const member of crowd) await member.connect();
  const begin = Date.now();
  const ended = server.kill('SIGINT');
  await Promise.all(crowd.map(({ closed }) => closed));
  assert.deepEqual(await ended, [0, null]);
  assert.ok(Date.now() - begin < 1000, `${Date.now() - begin} ms`);
});

test('a second signal ends it at once', options, async (t) => {
  const server = await start(t, { args: ['--drain', '1m'] });
  const deaf = new Poller(server.url);
  await deaf.connect(); // never asks again, and would be waited for
  server.child.kill('SIGTERM');
  await server.logs(/stopping/);
  const begin = Date.now();
  assert.deepEqual(await server.kill('SIGTERM'), [0, null]);
  assert.ok(Date.now() - begin < 1000, `${Date.now() - begin} ms`);
  assert.match(server.log(), /at once/);
});

test('killed and started again: clients come back by themselves', options, async (t) => {
  const first = await start(t);
  const users = Object.values(TRANSPORTS).map((transports) => new Chatter(t, first.url, { transports }));
  for (const [i, user] of users.entries()) await user.login(`user ${i}`);
  const browser = await launch(t);
  const pages = await Promise.all(['polling, then WebSocket', 'polling only'].map((transports) => open(t, browser, first.url, { transports })));
  for (const [i, page] of pages.entries()) await join(page, `page ${i}`);

  const gone = Promise.all(users.map((user) => once(user.socket, 'disconnect')));
  assert.deepEqual(await first.kill('SIGKILL'), [null, 'SIGKILL']);
  await within(gone, 'disconnect');
  for (const page of pages) await page.locator('#status:has-text("Offline since")').waitFor();
  await start(t, { port: first.port });
  // Each comes back in its own time, and a page says so for 4 s only.
  const back = pages.map((page) => shows(page, '#status', 'Connected again.'));
  const logins = users.map(async (user, i) => (await user.connected()).login(`user ${i}`));
  await Promise.all([...back, ...logins]);
  await say(pages[0], 'back');
  await hears(pages[1], 'back');
  for (const user of users) await user.hears(() => user.from('page 0').includes('back'), 'page 0');
});
