// Who takes part in recovery. To all others the events are what they always were: no pid, no offset.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Poller, Raw } from '../lib/raw.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const QUERIES = ['', '&recovery=1', '&recovery=0', '&recovery=2', '&recovery='];
const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0';
const [Y, n] = [true, false];

// With each of these queries, in this order.
const TABLE = {
  auto: {
    [FIREFOX]: [Y, Y, n, Y, Y],
    'node-XMLHttpRequest': [Y, Y, n, Y, Y],
    'node-XMLHttpRequest/2': [Y, Y, n, Y, Y],
    '': [n, Y, n, n, n],
    'mozilla/5.0': [n, Y, n, n, n],
    'Mozilla': [n, Y, n, n, n],
    'like Mozilla/5.0': [n, Y, n, n, n],
    'Python/3.12 aiohttp/3.9': [n, Y, n, n, n],
  },
  always: {
    [FIREFOX]: [Y, Y, n, Y, Y],
    '': [Y, Y, n, Y, Y],
    'Python/3.12 aiohttp/3.9': [Y, Y, n, Y, Y],
  },
  off: {
    [FIREFOX]: [n, n, n, n, n],
    'node-XMLHttpRequest': [n, n, n, n, n],
    '': [n, n, n, n, n],
  },
};

/** The CONNECT answer and the events that follow, over WebSocket. */
async function overWebSocket(t, url, query, headers, version) {
  const raw = new Raw(t, url, query, { headers, version });
  let answer;
  if (version === 4) answer = await raw.connect();
  else assert.equal(await raw.packet('40'), '40'); // comes by itself
  await raw.login('Ada');
  // An event for one, then one for many.
  const other = new Raw(t, url);
  await other.connect();
  await other.login('Bob');
  await raw.packet('42["user joined"');
  other.ws.terminate();
  raw.ws.terminate();
  return [answer?.pid, raw.events().filter(current)];
}

/** Those who were here before may be announced as gone at any time: at once, or after the grace. */
const current = ([event]) => event !== 'user left';

async function overPolling(url, query, headers) {
  const poller = new Poller(url, query, headers);
  const { pid } = await poller.connect();
  await poller.post('42["add user","Ada"]');
  const events = () => poller.rest.map((packet) => JSON.parse(packet.slice(2))).filter(current);
  while (events().length === 0) poller.rest.push(...(await poller.poll()));
  await poller.post('41');
  return [pid, events()];
}

for (const [recovery, rows] of Object.entries(TABLE)) {
  test(`--recovery ${recovery}`, options, async (t) => {
    const server = await start(t, { args: recovery === 'auto' ? [] : ['--recovery', recovery] });
    for (const [agent, row] of Object.entries(rows)) {
      // fetch has a User-Agent of its own unless it is given one.
      const headers = { 'User-Agent': agent };
      for (const [i, query] of QUERIES.entries()) {
        for (const version of [2, 3, 4]) {
          const [pid, events] = await overWebSocket(t, server.url, query, headers, version);
          const takesPart = version === 4 && row[i];
          const what = `${agent}, ${query}, EIO=${version}`;
          assert.equal(typeof pid, takesPart ? 'string' : 'undefined', what);
          assert.deepEqual(events.map((event) => event[0]).slice(0, 2), ['login', 'user joined']);
          for (const event of events) {
            assert.equal(event.length, takesPart ? 3 : 2, what);
            assert.equal(typeof event.at(-1), takesPart ? 'string' : 'object', what);
          }
        }
        const [pid, [login]] = await overPolling(server.url, query, headers);
        assert.equal(typeof pid, row[i] ? 'string' : 'undefined', `${agent}, ${query}, polling`);
        assert.equal(login.length, row[i] ? 3 : 2);
      }
    }
  });
}

test('who takes no part cannot present the pid of who does', options, async (t) => {
  const server = await start(t);
  const ada = new Raw(t, server.url, '&recovery=1');
  const { sid, pid } = await ada.connect();
  for (const [query, version] of [['&recovery=0', 4], ['', 4]]) {
    const other = new Raw(t, server.url, query, { version });
    const answer = await other.connect({ pid });
    assert.notEqual(answer.sid, sid);
    assert.equal(answer.pid, undefined);
  }
  // And Ada has not been taken over.
  await ada.login('Ada');
});
