// Clients at the door of --password: each kind that can say one comes in with it, and is told `password` without.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { test } from 'node:test';
import { TRANSPORTS, within } from '../lib/chatter.mjs';
import { Raw } from '../lib/raw.mjs';
import { metric, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const PASSWORD = 'sésame & 1';
const require = createRequire(import.meta.url);

/** How each client says it, and hears that it is wrong. */
const NEW = { say: (password) => ({ auth: { password } }), refused: ['connect_error', (error) => error.message] };
const OLD = { say: (password) => ({ query: { password } }), refused: ['error', (error) => error] };
const CLIENTS = {
  'socket.io-client': NEW,
  'client-4.0.0': NEW,
  'client-3.1.3': NEW,
  'client-2.5.0': OLD,
  'client-2.0.4': OLD,
};

for (const [name, { say, refused: [event, text] }] of Object.entries(CLIENTS)) {
  test(name, options, async (t) => {
    const server = await start(t, { env: { SALON_PASSWORD: PASSWORD } });
    const client = require(name);
    const connect = (more) => {
      const socket = (client.io ?? client)(server.url, { forceNew: true, reconnection: false, ...more });
      t.after(() => socket.close());
      return socket;
    };
    for (const transports of Object.values(TRANSPORTS)) {
      for (const more of [{}, say('other'), say('')]) {
        const socket = connect({ transports, ...more });
        const [why] = await within(once(socket, event), 'the refusal');
        assert.equal(text(why), 'password');
        assert.equal(socket.connected, false);
      }
      const socket = connect({ transports, ...say(PASSWORD) });
      await within(once(socket, 'connect'), 'the connection');
      socket.emit('add user', name);
      await within(once(socket, 'login'), 'the login');
    }
    assert.equal(await metric(server, 'limits_total{limit="passwords"}'), 6);
    assert.doesNotMatch(server.log(), /sésame|s%C3|other/);
  });
}

test('a pid is no password', options, async (t) => {
  const server = await start(t, { env: { SALON_PASSWORD: PASSWORD } });
  const old = new Raw(t, server.url, '&recovery=1');
  const { pid } = await old.connect({ password: PASSWORD });
  await old.login('Ada');
  const offset = old.offset();
  await old.reset();
  for (const [auth, answer] of [[{ pid, offset }, '44'], [{ pid, offset, password: 'other' }, '44'], [{ pid, offset, password: PASSWORD }, '40']]) {
    const raw = new Raw(t, server.url, '&recovery=1');
    await raw.packet('0{');
    raw.send(`40${JSON.stringify(auth)}`);
    const got = await raw.packet('4');
    assert.ok(got.startsWith(answer), `${JSON.stringify(auth)}: ${got}`);
    if (answer === '40') assert.equal(JSON.parse(got.slice(2)).pid, pid);
    else assert.equal(got, '44{"message":"password"}');
  }
});
