// What is passed on leaves as the bytes that came; binary, acks, namespaces and auth with the official client. The other
// end is the conformance app, which answers `message` with the same arguments.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Chatter, PATIENCE, TRANSPORTS, within } from '../lib/chatter.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
// Its own times are those of the official suites, which are too short for a busy machine.
const TIMES = ['--ping-interval', '25s', '--ping-timeout', '20s', '--connect-timeout', '45s'];
const app = (t) => start(t, { bin: 'target/debug/examples/conformance', args: TIMES });

const EXACT = [
  '1e400',
  '-0',
  '12345678901234567890',
  '0.10000000000000000001',
  '{"b":1,"a":2,"b":3,"1":0}',
  '"cut \\ud83d"',
  '"\\udc4d\\u0000\\/"',
  '[ 1 ,\\t2 ]'.replace('\\t', '\t'),
  '"é\u2028👍"',
];

/** Sends raw packets over polling, and gives those that come back. */
async function poll(url, packets) {
  const path = `${url}/socket.io/?EIO=4&transport=polling`;
  const fetched = async (query, body) => {
    const signal = AbortSignal.timeout(PATIENCE);
    const response = await fetch(path + query, { signal, ...(body && { method: 'POST', body }) });
    return response.text();
  };
  const { sid } = JSON.parse((await fetched('')).slice(1));
  await fetched(`&sid=${sid}`, ['40', ...packets].join('\x1e'));
  const got = [];
  while (got.length < packets.length + 2) got.push(...(await fetched(`&sid=${sid}`)).split('\x1e'));
  return got.slice(2);
}

test('arguments come back byte for byte, over polling', options, async (t) => {
  const server = await app(t);
  const back = await poll(server.url, EXACT.map((json) => `42["message",${json}]`));
  assert.deepEqual(back, EXACT.map((json) => `42["message-back",${json}]`));
});

test('arguments come back byte for byte, over WebSocket and in acks', options, async (t) => {
  const server = await app(t);
  const { WebSocket } = await import('ws');
  const socket = new WebSocket(`${server.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`);
  t.after(() => socket.terminate());
  const got = [];
  const all = new Promise((resolve) => {
    socket.on('message', (data) => {
      if (data.toString().startsWith('0')) {
        socket.send('40');
        for (const json of EXACT) socket.send(`42["message",${json}]`);
        EXACT.forEach((json, i) => socket.send(`42${i}["message-with-ack",${json}]`));
      } else if (got.push(data.toString()) === 2 + 2 * EXACT.length) resolve();
    });
  });
  await within(all, () => JSON.stringify(got));
  assert.deepEqual(got.slice(2), [
    ...EXACT.map((json) => `42["message-back",${json}]`),
    ...EXACT.map((json, i) => `43${i}[${json}]`),
  ]);
});

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  test(`binary, acks, namespaces, auth: ${name}`, options, async (t) => {
    const server = await app(t);
    const auth = { token: 'é', deep: [1, { a: null }] };
    const one = new Chatter(t, server.url, { transports, auth });
    assert.deepEqual(await one.event('auth'), auth);

    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
    const args = [1, bytes, { a: [Buffer.from([]), 'text'] }, Buffer.from('é')];
    one.socket.emit('message', ...args);
    const back = await one.hears((heard) => heard.find(([event]) => event === 'message-back'));
    assert.deepEqual(back, ['message-back', ...args]);
    const answer = await within(
      new Promise((resolve) => one.socket.emit('message-with-ack', ...args, (...answer) => resolve(answer))),
      'the ack',
    );
    assert.deepEqual(answer, args);

    // A second namespace on the same connection, and leaving the first.
    const other = new Chatter(t, server.url, { transports }, '/custom');
    const shared = one.socket.io.socket('/custom');
    t.after(() => shared.close());
    const shown = await within(new Promise((resolve) => shared.once('auth', resolve)), 'auth in /custom');
    assert.deepEqual(shown, {});
    assert.deepEqual(await other.event('auth'), {});
    one.socket.disconnect();
    const stays = shared.io.engine;
    one.socket.connect();
    await one.connected();
    assert.equal(shared.connected, true);
    assert.equal(one.socket.io.engine, stays);
    assert.deepEqual(await one.event('auth', 2), auth);
  });
}
