// What comes on the channels is not trusted: it is dropped and counted, and no client hears anything of it.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { Chatter } from '../lib/chatter.mjs';
import { Raw } from '../lib/raw.mjs';
import { startRedis, startServers } from '../lib/redis.mjs';
import { counts, metric } from '../lib/server.mjs';

const options = { timeout: 60_000 };
// The MessagePack of the adapter for Node; it is no dependency of ours.
const { encode } = createRequire(import.meta.resolve('@socket.io/redis-adapter'))('notepack.io');

const ALL = 'socket.io#/#';
const REQUESTS = 'socket.io-request#/#';
const USERS = 'socket.io-users#/#';

/** A publication that is fine, with these changes. */
const broadcast = ({ uid = 'other!', type = 2, data = ['evil', 1], nsp = '/', opts = {} } = {}) =>
  [uid, { type, data, nsp }, { rooms: [], except: [], flags: {}, ...opts }];
const question = (changes = {}) =>
  ({ uid: 'other!', requestId: 'r', type: 7, packet: { type: 2, data: ['evil'], nsp: '/' }, opts: { rooms: [], except: [] }, ...changes });

/** Bytes that look like chance, and are the same each time. */
function noise(length) {
  let state = 1;
  return Buffer.from(Array.from({ length }, () => (state = (state * 48271) % 2147483647) >> 8));
}

function deep(levels, open, end) {
  return Buffer.concat([...Array(levels).fill(open), ...(end ? [end] : [])].map((part) => Buffer.from(part)));
}

const ANY = [null, true, 7, -1, 1.5, 'text', [], {}, [[]], Buffer.from('bytes')];
const whole = encode(broadcast());

/** By channel: what makes no sense there. */
const SENSELESS = {
  [ALL]: [
    ...Array.from(whole, (_, length) => whole.subarray(0, length)),
    ...ANY.map((value) => encode(value)),
    ...[[], ['a'], ['a', {}], ['a', {}, {}, {}], [broadcast(), broadcast()]].map((value) => encode(value)),
    // As seen to break the clients of a server for Node.
    Buffer.from([0x93, 0xa1, 0x78, 0x80, 0x80]),
    ...ANY.filter((value) => typeof value !== 'string').map((uid) => encode(broadcast({ uid }))),
    ...[...ANY, 0, 1, 3, 4, 5, 6, 2.5, '2'].map((type) => encode(broadcast({ type }))),
    ...ANY.map((data) => encode(broadcast({ data }))),
    ...['connect', 'disconnect', 'connect_error', 'newListener'].map((name) => encode(broadcast({ data: [name] }))),
    ...[null, {}, [], true].map((name) => encode(broadcast({ data: [name, 1] }))),
    ...ANY.filter((value) => typeof value !== 'string').map((nsp) => encode(broadcast({ nsp }))),
    ...ANY.filter((value) => !Array.isArray(value)).map((rooms) => encode(broadcast({ opts: { rooms } }))),
    ...[[1], [[]], ['x'.repeat(100_000)], Array(50_000).fill('r')].map((rooms) => encode(broadcast({ opts: { rooms } }))),
    ...[[1], ['x'.repeat(100_000)]].map((except) => encode(broadcast({ opts: { except } }))),
    // A placeholder for nothing would end the connection of every client.
    encode(broadcast({ data: ['evil', { _placeholder: true, num: 7 }, Buffer.from('x')] })),
    encode(broadcast({ data: ['evil', ...Array(1_000).fill(Buffer.from('x'))] })),
    encode(broadcast({ data: ['evil', 'x'.repeat(2_000_000)] })),
    encode(broadcast({ data: ['evil', Buffer.alloc(2_000_000)] })),
    // A map whose key is no string, an extension, lengths that lie.
    Buffer.concat([Buffer.from([0x93, 0xa1, 0x78, 0x83, 0xa4]), Buffer.from('type'), Buffer.from([2, 0xa4]), Buffer.from('data'),
      Buffer.from([0x92, 0xa1, 0x61, 0x81, 1, 1, 0xa3]), Buffer.from('nsp'), Buffer.from([0xa1, 0x2f, 0x81, 0xa5]),
      Buffer.from('rooms'), Buffer.from([0x90])]),
    Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([0xdf, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([0xdb, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([0xc6, 0xff, 0xff, 0xff, 0xff]),
    deep(1_000_000, [0x91]),
    deep(1_000_000, [0x91], [0xc0]),
    deep(300_000, [0x81, 0xa1, 0x61], [0xc0]),
    encode(broadcast({ data: ['evil', Array(100).fill().reduce((tree) => [tree], 'deep')] })),
    noise(1 << 20),
  ],
  [REQUESTS]: [
    ...['', '{', '{}x', '{"uid":7}', '{"type":-1}', '{"type":256}', '{"type":"1"}', '{"opts":{"rooms":7}}',
      '{"rooms":"r"}', '{"sid":{}}', '[]', 'null', '"text"', `{"a":${'['.repeat(500_000)}`],
    ...ANY.map((value) => encode(value)),
    ...['uid', 'requestId', 'packet', 'opts'].flatMap((key) => [encode(question({ [key]: 7 })), encode(question({ [key]: [] }))]),
    encode(question()).subarray(0, 40),
    deep(1_000_000, [0x91]),
    noise(1 << 20),
  ],
  [USERS]: [
    ...['', '{', '7', 'null', '{"users":-1}', '{"users":1e99}', '{"node":7}', '{"node":"x","boot":"y","users":1000000000}',
      `{"node":"${'x'.repeat(1_000)}","boot":"y","users":1}`, '{"node":"x","boot":"y","users":1,"people":[7]}',
      `{"node":"x","boot":"y","users":1,"people":[{"user":"u","username":"${'x'.repeat(5_000)}"}]}`,
      JSON.stringify({ node: 'x', boot: 'y', users: 300, people: Array(10_000).fill({ user: 'u', username: 'n' }) })],
    noise(1 << 20),
  ],
};

test('what makes no sense is dropped and counted', options, async (t) => {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1);
  const ada = new Chatter(t, server.url, { reconnection: false });
  await ada.login('Ada');
  const raw = new Raw(t, server.url);
  await raw.connect();
  const client = await redis.client();
  let sent = 0;
  for (const [channel, contents] of Object.entries(SENSELESS)) {
    for (const content of contents) {
      await client.publish(channel, Buffer.from(content));
      const what = `after ${Buffer.from(content).subarray(0, 200).toString('latin1')} on ${channel}`;
      await counts(server, 'redis_invalid_total', ++sent, what);
    }
  }
  // No client has heard anything, and all goes on.
  await client.publish(ALL, encode(broadcast({ data: ['fine', 1] })));
  assert.equal(await ada.event('fine'), 1);
  assert.deepEqual(ada.heard.map(([event]) => event), ['login', 'fine']);
  await raw.packet('42["fine"');
  assert.deepEqual(raw.got.slice(2), ['42["fine",1]']);
  assert.ok(ada.socket.connected && raw.ws.readyState === 1);
  assert.equal(await metric(server, 'users_elsewhere'), 0);
  assert.equal(await metric(server, 'redis_up'), 1);
  // One line in a while, not one for each.
  const lines = server.log().match(/invalid publication on/g).length;
  assert.ok(lines >= 1 && lines < 10, `${lines} lines`);
});

test('odd things that make sense', options, async (t) => {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1);
  const ada = await new Chatter(t, server.url, { reconnection: false }).connected();
  const client = await redis.client();
  const publish = (value) => client.publish(ALL, encode(value));
  // Another namespace, and a namespace that is not ours, are nobody's business here.
  await publish(broadcast({ nsp: '/other' }));
  await publish(broadcast({ nsp: '42["evil"]' }));
  await client.publish('socket.io#/other#', whole.subarray(0, 5));
  await client.publish(REQUESTS, JSON.stringify({ uid: 'other!', type: 99, requestId: 'x' }));
  await client.publish(REQUESTS, JSON.stringify({ uid: 'other!', type: 4, opts: { rooms: ['nobody'] }, close: true }));
  // Flags and fields that nobody knows.
  await publish([...broadcast({ data: ['known', 1], opts: { flags: { volatile: true, odd: [] }, odd: {} } })]);
  assert.equal(await ada.event('known'), 1);
  // Without attachments this is an object like others.
  await publish(broadcast({ data: ['looks binary', { _placeholder: true, num: 0 }] }));
  assert.deepEqual(await ada.event('looks binary'), { _placeholder: true, num: 0 });
  // Strings that need escapes in JSON, numbers that it does not have.
  const texts = ['"', '\\', '\u0000\u001f', '\u2028', '</script>', '😀'];
  await publish(broadcast({ data: ['texts', ...texts, { [texts[0]]: Infinity }] }));
  const [, ...heard] = await ada.hears((all) => all.find(([event]) => event === 'texts'), 'texts');
  assert.deepEqual(heard, [...texts, { '"': null }]);
  assert.deepEqual(ada.heard.map(([event]) => event), ['known', 'looks binary', 'texts']);
  assert.equal(await metric(server, 'redis_invalid_total'), 0);
});

/** MessagePack of a broadcast whose one value is these bytes. */
const odd = (bytes) => {
  const [whole, value] = [encode(broadcast({ data: ['odd', 'VALUE'] })), encode('VALUE')];
  const at = whole.indexOf(value);
  return Buffer.concat([whole.subarray(0, at), Buffer.from(bytes), whole.subarray(at + value.length)]);
};

test('extensions that nobody knows are null', options, async (t) => {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1);
  const ada = await new Chatter(t, server.url, { reconnection: false }).connected();
  const client = await redis.client();
  const body = (n) => Array(n).fill(7);
  const extensions = [[0xd4, 5, ...body(1)], [0xd5, 0, ...body(2)], [0xd6, 1, ...body(4)], [0xd7, 0x80, ...body(8)], [0xd8, 0xff, ...body(16)],
    [0xc7, 3, 0xff, ...body(3)], [0xc7, 0, 9], [0xc8, 1, 0, 0x7f, ...body(256)], [0xc9, 0, 0, 0, 2, 0xfe, ...body(2)]];
  for (const [i, extension] of extensions.entries()) {
    await client.publish(ALL, odd(extension));
    await client.publish(ALL, odd([0x82, 0xa1, 0x61, ...extension, 0xa1, 0x62, 1]));
    assert.equal(await ada.event('odd', 2 * i + 1), null);
    assert.deepEqual(await ada.event('odd', 2 * i + 2), { a: null, b: 1 });
  }
  assert.equal(await metric(server, 'redis_invalid_total'), 0);
});

/** Processor time of a server so far, in ms. */
const processor = async ({ child }) => Number((await readFile(`/proc/${child.pid}/schedstat`, 'utf8')).split(' ')[0]) / 1e6;

test('what is too long is refused at the door, at once', { ...options, skip: process.platform !== 'linux' }, async (t) => {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1);
  const ada = await new Chatter(t, server.url).connected();
  const client = await redis.client();
  const million = Array.from({ length: 1_000_000 }, (_, i) => `${i}`);
  const long = 'x'.repeat(8_000_000);
  const orders = [2, 3].map((type) => ({ uid: 'other!', type, opts: { rooms: [], except: [] }, rooms: million }));
  const people = Array(300_000).fill({ user: 'u', username: 'n' });
  const contents = [
    ...orders.map((order) => [REQUESTS, JSON.stringify(order)]),
    [REQUESTS, JSON.stringify({ ...orders[0], rooms: [long] })],
    [USERS, JSON.stringify({ node: 'x', boot: 'y', users: 300_000, people })],
    [ALL, encode(broadcast({ data: ['evil', long] }))],
  ];
  const resident = await metric(server, 'resident_bytes');
  const begin = await processor(server);
  for (const [i, [channel, content]] of contents.entries()) {
    await client.publish(channel, content);
    await counts(server, 'redis_invalid_total', i + 1, channel);
  }
  // Nearly all of it is for receiving them, and for /metrics.
  const spent = (await processor(server)) - begin;
  t.diagnostic(`${spent} ms, ${(await metric(server, 'resident_bytes')) - resident} bytes`);
  assert.ok(spent < 1_000, `${spent} ms`);
  await server.logs(/redis: invalid publication on "socket.io-request#\/#" ignored: longer than --max-payload and 512 KiB/);
  await client.publish(ALL, encode(broadcast({ data: ['fine', 1] })));
  assert.equal(await ada.event('fine'), 1);
  assert.equal(await metric(server, 'redis_up'), 1);
});

test('what others write does not forge a line of the log', options, async (t) => {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1, ['--presence-beat', '1s']);
  const client = await redis.client();
  const forged = 'x\n2026-01-01T00:00:00Z WARN  forged\u2028\u001b[31m" quoted';
  // A channel, the name of a node that falls silent, and one that is called like this one.
  await client.publish(`socket.io#/#${forged}#`, 'nonsense');
  await server.logs(/invalid publication on "socket.io#\/#x\\n2026/);
  await client.publish(USERS, JSON.stringify({ node: forged, boot: 'y', users: 1, beat: 100 }));
  await server.logs(/has been silent/);
  await client.publish(USERS, JSON.stringify({ node: 'n1', boot: forged, users: 1, beat: 100 }));
  await server.logs(/another node is named/);
  for (const line of server.log().trimEnd().split('\n')) {
    assert.match(line, /^\d{4}-\d\d-\d\dT[\d:]+Z (INFO |WARN )/);
    assert.doesNotMatch(line, /\u2028|\u001b/);
  }
});

test('a crowd of nodes is bounded', options, async (t) => {
  const redis = await startRedis(t);
  const [server] = await startServers(t, redis, 1);
  const client = await redis.client();
  const told = Array.from({ length: 3_000 }, (_, i) => JSON.stringify({ node: `x${i}`, boot: `b${i}`, users: 1, beat: 60_000 }));
  // The client gives up what is not sent within some seconds.
  while (told.length > 0) await Promise.all(told.splice(0, 100).map((note) => client.publish(USERS, note)));
  await counts(server, 'redis_invalid_total', 2_000);
  assert.equal(await metric(server, 'users_elsewhere'), 1_000);
});
