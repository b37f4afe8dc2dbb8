// `typing` is not kept for recovery: however often somebody types, a client that is recovered has missed no message, and shows
// nobody as typing who has stopped.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { once } from 'node:events';
import { Chatter, TRANSPORTS, within } from '../lib/chatter.mjs';
import { wire } from '../lib/proxy.mjs';
import { startPeer, startRedis } from '../lib/redis.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const FEW = ['--recovery-packets', '20'];
const TEXTS = ['one', 'two', 'three'];

/** Where the typist is: at the server of the one who is cut off, at another one, or at a Node server. */
const PLACES = {
  'the same server': async () => [[]],
  'another salon': async (t) => {
    const redis = await startRedis(t);
    const args = ['--redis', redis.url];
    const other = await start(t, { args });
    await other.logs(/redis: connected/);
    return [args, other.url];
  },
  'a Node server': async (t) => {
    const redis = await startRedis(t);
    return [['--redis', redis.url], (await startPeer(t, redis)).url];
  },
};

for (const [place, open] of Object.entries(PLACES)) {
  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    test(`typing at ${place}: ${name}`, options, async (t) => {
      const [args, url] = await open(t);
      const server = await start(t, { args: [...FEW, ...args] });
      if (url) await server.logs(/redis: connected/);
      const between = await wire(t, server.port);
      const ada = new Chatter(t, between.url, { transports, query: { recovery: 1 } });
      await ada.login('Ada');
      const typist = new Chatter(t, url ?? server.url);
      await typist.login('typist');
      const witness = await new Chatter(t, server.url).connected();
      typist.socket.emit('typing');
      await ada.event('typing');

      const gone = once(ada.socket, 'disconnect');
      between.cut();
      await within(gone, 'Ada notices');
      for (const text of TEXTS) typist.socket.emit('new message', text);
      for (let i = 0; i < 200; i++) typist.socket.emit(i % 2 ? 'typing' : 'stop typing');
      typist.socket.emit('stop typing');
      await witness.event('stop typing', 101);
      const connected = once(ada.socket, 'connect');
      between.heal();
      await within(connected, 'Ada is back');
      assert.equal(ada.socket.recovered, true);
      typist.socket.emit('new message', 'last');
      await ada.hears(() => ada.from('typist').at(-1) === 'last', 'the last message');
      assert.deepEqual(ada.from('typist'), [...TEXTS, 'last']);
      const typing = ada.heard.filter(([event]) => event.includes('typing'));
      assert.deepEqual(typing, [['typing', { username: 'typist' }], ['stop typing', { username: 'typist' }]]);
      assert.equal(witness.heard.filter(([event]) => event.includes('typing')).length, 202, 'who is connected hears all');
      typist.socket.close();
      await ada.event('user left');
    });
  }
}

test('a client that has missed only typing has missed nothing, however much is forgotten', options, async (t) => {
  const server = await start(t, { args: FEW });
  const between = await wire(t, server.port);
  const ada = new Chatter(t, between.url);
  await ada.login('Ada');
  const typist = new Chatter(t, server.url);
  await typist.login('typist');
  await ada.event('user joined');
  for (let i = 0; i < 30; i++) ada.socket.emit('new message', `${i}`);
  await typist.hears(() => typist.from('Ada').length === 30, 'all of Ada');
  typist.socket.emit('typing');
  await ada.event('typing');
  const gone = once(ada.socket, 'disconnect');
  between.cut();
  await within(gone, 'Ada notices');
  typist.socket.emit('stop typing');
  const connected = once(ada.socket, 'connect');
  between.heal();
  await within(connected, 'Ada is back');
  assert.equal(ada.socket.recovered, true);
  await ada.event('stop typing');
});

test('typing of a Node server with something binary in it is passed on whole', options, async (t) => {
  const redis = await startRedis(t);
  const peer = await startPeer(t, redis);
  const server = await start(t, { args: ['--redis', redis.url] });
  await server.logs(/redis: connected/);
  const ada = await new Chatter(t, server.url).connected();
  peer.io.emit('typing', { username: 'Nina', blob: Buffer.from([1, 2, 3]) });
  const { blob } = await ada.event('typing');
  assert.deepEqual([...blob], [1, 2, 3]);
});
