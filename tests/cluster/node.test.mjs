// One salon server and one for Node with the official adapter are one cluster: events cross both ways, and what the Node
// side asks all servers is answered here too, so that it never runs into its time-outs (3 s).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAdapter as createOldAdapter } from 'adapter-7.2.0';
import { Chatter, within } from '../lib/chatter.mjs';
import { startPeer, startRedis, startServers } from '../lib/redis.mjs';
import { metric } from '../lib/server.mjs';

const options = { timeout: 60_000 };

async function startBoth(t) {
  const redis = await startRedis(t);
  const [salon] = await startServers(t, redis, 1);
  const peer = await startPeer(t, redis);
  const [ada, bob] = [new Chatter(t, salon.url), new Chatter(t, peer.url)];
  await Promise.all([ada.connected(), bob.connected()]);
  return { redis, salon, peer, ada, bob };
}

/** Is done long before a time-out of the adapter. */
async function quickly(promise, what) {
  const begin = performance.now();
  const result = await within(promise, what);
  assert.ok(performance.now() - begin < 1_500, `${what} takes ${performance.now() - begin} ms`);
  return result;
}

test('messages, typing, joined and left cross both ways', options, async (t) => {
  const { salon, ada, bob } = await startBoth(t);
  await ada.login('Ada');
  assert.deepEqual(await bob.event('user joined'), { username: 'Ada', numUsers: 1 });
  await bob.login('Bob');
  // The number is that of its own: the reference counts so.
  assert.deepEqual(await ada.event('user joined'), { username: 'Bob', numUsers: 1 });
  const whole = ['hi é', 'quotes " \\ \u2028', 'x'.repeat(300), 'y'.repeat(10_000), '0'];
  // The adapter for Node writes half an emoji wrongly, so only salon is asked to.
  const half = ['a half emoji: \ud83d'];
  for (const [from, to, name, texts] of [[ada, bob, 'Ada', [...half, ...whole]], [bob, ada, 'Bob', whole]]) {
    for (const event of ['typing', 'stop typing']) {
      from.socket.emit(event);
      assert.deepEqual(await to.event(event), { username: name });
    }
    const many = Array.from({ length: 200 }, (_, i) => `${i}`);
    [...texts, ...many].forEach((text) => from.socket.emit('new message', text));
    await to.hears(() => to.from(name).length >= texts.length + many.length, 'all');
    assert.deepEqual(to.from(name), [...texts, ...many].map((text) => text.toWellFormed()));
    assert.equal(from.from(name).length, 0);
  }
  ada.socket.disconnect();
  assert.deepEqual(await bob.event('user left'), { username: 'Ada', numUsers: 0 });
  const eva = new Chatter(t, salon.url);
  await eva.login('Eva');
  bob.socket.disconnect();
  assert.deepEqual(await eva.event('user left'), { username: 'Bob', numUsers: 0 });
  assert.equal(await metric(salon, 'redis_invalid_total'), 0);
});

test('values of all kinds arrive as between two servers for Node', options, async (t) => {
  const { peer, ada } = await startBoth(t);
  const tree = { list: [1, -1, 0.5, 2 ** 53, null, true], text: 'é', empty: {}, nested: { bytes: Buffer.from([1, 2, 255]) } };
  peer.io.emit('values', tree, Buffer.alloc(70_000, 7), new Date(1e12), undefined, 'last');
  const [, ...values] = await ada.hears((heard) => heard.find(([event]) => event === 'values'), 'values');
  assert.deepEqual(values, [tree, Buffer.alloc(70_000, 7), new Date(1e12).toISOString(), null, 'last']);
  // To one socket, to a room that nobody is in, and to all but one.
  peer.io.to(ada.socket.id).emit('one', 1);
  await ada.event('one');
  peer.io.to('nobody').emit('not you');
  peer.io.except(ada.socket.id).emit('not you');
  peer.io.volatile.compress(true).emit('last');
  await ada.event('last');
  assert.equal(ada.heard.some(([event]) => event === 'not you'), false);
});

/** Values that adapters write in their own ways: dates at each limit of a form, `undefined`, binary data of each length. */
const DATES = [0, 1, 7e9 + 5, -1, -999, -1e12, -1e12 + 7, 2 ** 32 * 1e3 - 1, 2 ** 32 * 1e3, 2 ** 34 * 1e3 - 1, 2 ** 34 * 1e3,
  -62_135_596_800_000, -62_167_219_200_000, -62_167_219_200_001, 253_402_300_799_999, 253_402_300_800_000, 8.64e15, -8.64e15, NaN];
const ODD = {
  ...Object.fromEntries(DATES.map((ms) => [`date ${ms}`, new Date(ms)])),
  'a date in an object': { at: new Date(-5), list: [new Date(5), new Date(NaN)] },
  undefined: undefined,
  'undefined in an array': [undefined, 1, [undefined]],
  'undefined in an object': { gone: undefined, here: 1, nested: { gone: undefined } },
  ...Object.fromEntries([0, 1, 2, 4, 8, 16, 212, 215, 255, 256, 300, 65_536].map((n) => [`${n} bytes`, new Uint8Array(n).fill(0).buffer])),
  'bytes in an object': { files: [new Uint8Array([0]), { file: new Uint8Array(8).buffer }], text: 'é' },
  'a view': new Uint8Array([1, 2, 3]),
};

test('dates, undefined and binary data of adapters 7 and 8 arrive as at a Node server', options, async (t) => {
  const redis = await startRedis(t);
  const [salon] = await startServers(t, redis, 1);
  const [old, current, receiver] = [await startPeer(t, redis, createOldAdapter), await startPeer(t, redis), await startPeer(t, redis)];
  const [ada, bob] = [new Chatter(t, salon.url), new Chatter(t, receiver.url)];
  await Promise.all([ada.connected(), bob.connected()]);
  for (const [version, { io }] of Object.entries({ 7: old, 8: current })) {
    for (const [what, value] of Object.entries(ODD)) {
      const name = `${what}, adapter ${version}`;
      io.emit(name, value, 'last');
      const [here, there] = await Promise.all([ada, bob].map((one) => one.hears((all) => all.find(([event]) => event === name), name)));
      assert.deepEqual(here, there);
      assert.equal(here.length, 3, name);
    }
  }
  assert.deepEqual([...new Set(ada.heard.flatMap(([name, value]) => (/^date NaN/.test(name) ? [value] : [])))], [new Date(0).toISOString()]);
  assert.equal(await metric(salon, 'redis_invalid_total'), 0);
});

test('an answer or a publication that is too long for the queue is dropped, and the log says so', options, async (t) => {
  const redis = await startRedis(t);
  const [salon] = await startServers(t, redis, 1, ['--max-queue', '524288', '--soft-queue', '400000', '--recovery-bytes', '200000']);
  const peer = await startPeer(t, redis);
  const chatters = Array.from({ length: 3 }, () => new Chatter(t, salon.url, { transports: ['websocket'] }));
  await Promise.all(chatters.map((chatter) => chatter.connected()));
  const rooms = Array.from({ length: 900 }, (_, i) => `${i} ${'r'.repeat(200)}`);
  const line = (number, channel, length) =>
    salon.logs(new RegExp(`redis: a publication of ${length} bytes on "${channel}" is dropped: .*see --max-queue \\(${number} suppressed\\)`));
  assert.equal((await quickly(peer.io.fetchSockets(), 'fetchSockets')).length, 3);
  peer.io.socketsJoin(rooms);
  await assert.rejects(peer.io.fetchSockets(), /timeout/);
  await line(0, 'socket\\.io-response#/#', '[5-9]\\d{5}');
  assert.equal(await metric(salon, 'redis_dropped_total'), 1);
  // The names of the rooms, once, are short enough.
  assert.equal((await quickly(peer.io.of('/').adapter.allRooms(), 'allRooms')).size, rooms.length + 3);
  peer.io.socketsLeave(rooms);
  assert.equal((await quickly(peer.io.fetchSockets(), 'fetchSockets')).length, 3);
  assert.equal(await metric(salon, 'redis_up'), 1);
});

test('what the Node side asks all servers is answered', options, async (t) => {
  const { salon, peer, ada, bob } = await startBoth(t);
  const { io } = peer;
  const ids = [ada.socket.id, bob.socket.id].sort();
  const found = await quickly(io.fetchSockets(), 'fetchSockets');
  assert.deepEqual(found.map(({ id }) => id).sort(), ids);
  const remote = found.find(({ id }) => id === ada.socket.id);
  assert.deepEqual([...remote.rooms], [ada.socket.id]);
  assert.deepEqual(remote.handshake.headers, {});
  assert.deepEqual([...(await quickly(io.of('/').adapter.allRooms(), 'allRooms'))].sort(), ids);

  // Nobody listens here, but the caller waits for all.
  const answers = await quickly(
    new Promise((resolve, reject) => io.serverSideEmit('hello', (error, all) => (error ? reject(error) : resolve(all)))),
    'serverSideEmit',
  );
  assert.deepEqual(answers, [null]);
  io.serverSideEmit('without an answer');

  ada.socket.on('question', (number, answer) => answer({ from: 'Ada', number, bytes: Buffer.from([9]) }));
  bob.socket.on('question', (number, answer) => answer({ from: 'Bob', number, bytes: Buffer.from([9]) }));
  const both = await quickly(io.timeout(2_000).emitWithAck('question', 7), 'a broadcast with acks');
  both.sort((a, b) => a.from.localeCompare(b.from));
  assert.deepEqual(both, ['Ada', 'Bob'].map((from) => ({ from, number: 7, bytes: Buffer.from([9]) })));
  const [only] = await quickly(io.to(ada.socket.id).timeout(2_000).emitWithAck('question', 8), 'a question to one');
  assert.equal(only.number, 8);
  assert.deepEqual(await quickly(io.to('nobody').timeout(2_000).emitWithAck('question', 9), 'to nobody'), []);

  io.in(ada.socket.id).socketsJoin(['red', 'blue']);
  const inRed = await quickly(io.in('red').fetchSockets(), 'fetchSockets of a room');
  assert.deepEqual(inRed.map(({ id, rooms }) => [id, [...rooms].sort()]), [[ada.socket.id, [ada.socket.id, 'blue', 'red'].sort()]]);
  io.to('red').to('blue').emit('to the room', 1);
  await ada.event('to the room');
  io.in('red').socketsLeave('blue');
  io.to('blue').emit('to the room', 2);
  io.to('red').emit('to the room', 3);
  await ada.event('to the room', 2);
  assert.deepEqual(ada.heard.filter(([event]) => event === 'to the room').map(([, number]) => number), [1, 3]);
  assert.equal(bob.heard.some(([event]) => event === 'to the room'), false);

  // Out of the namespace; then another one with its connection.
  const ends = (chatter) => within(new Promise((resolve) => chatter.socket.once('disconnect', resolve)), 'disconnect');
  const ended = ends(ada);
  io.in('red').disconnectSockets();
  assert.equal(await ended, 'io server disconnect');
  const eva = await new Chatter(t, salon.url).connected();
  const closed = within(new Promise((resolve) => eva.socket.io.engine.once('close', resolve)), 'close');
  io.in(eva.socket.id).disconnectSockets(true);
  await closed;
  assert.deepEqual((await quickly(io.fetchSockets(), 'fetchSockets')).map(({ id }) => id), [bob.socket.id]);
  assert.equal(await metric(salon, 'redis_invalid_total'), 0);
});

test('requests in the form of older adapters', options, async (t) => {
  const { redis, ada } = await startBoth(t);
  const client = await redis.client();
  const listener = await redis.client();
  const heard = [];
  let wake = () => {};
  await listener.subscribe('socket.io-response#/#', (text) => {
    heard.push(JSON.parse(text));
    wake();
  });
  const answers = (requestId, count) =>
    within(
      new Promise((resolve) => {
        wake = () => {
          const found = heard.filter((one) => one.requestId === requestId);
          if (found.length === count) resolve(found);
        };
        wake();
      }),
      () => `${count} answers to ${requestId}; heard ${JSON.stringify(heard)}`,
    );
  const ask = (request) => client.publish('socket.io-request#/#', JSON.stringify({ uid: 'other!', ...request }));
  const { id } = ada.socket;
  await ask({ requestId: 'a', type: 0, rooms: [id] });
  assert.deepEqual((await answers('a', 2)).map(({ sockets }) => sockets).sort(), [[], [id]]);
  // Node answers only for sockets of its own, so its answer is missing.
  await ask({ requestId: 'b', type: 2, sid: id, room: 'green' });
  await ask({ requestId: 'c', type: 0, rooms: ['green'] });
  assert.deepEqual((await answers('c', 2)).map(({ sockets }) => sockets).sort(), [[], [id]]);
  await ask({ requestId: 'd', type: 3, sid: id, room: 'green' });
  await ask({ requestId: 'e', type: 0, rooms: ['green'] });
  assert.deepEqual((await answers('e', 2)).map(({ sockets }) => sockets), [[], []]);
  const ended = within(new Promise((resolve) => ada.socket.once('disconnect', resolve)), 'disconnect');
  await ask({ requestId: 'f', type: 4, sid: id, close: true });
  await ended;
  for (const requestId of ['b', 'd', 'f']) await answers(requestId, 1);
});
