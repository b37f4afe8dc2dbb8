// One history file, written by an earlier commit and read by today's, and back.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Chatter } from '../lib/chatter.mjs';
import { calm, directory, history, startNode, startOne } from '../lib/mixed.mjs';
import { startPeer, startRedis } from '../lib/redis.mjs';

const options = { timeout: 60_000 };
const LONG = 16 * 1024; // bytes, by default of --max-text
const TEXTS = [
  'plain', '"', '\\', '\\u0041', 'a\r\nb', '\u2028x\u2029', '</script>', '{"n":1}', 'null', 'é', 'e\u0301', '😀', '\u202e\u200f x', '\uffff\ufffd',
  '\ud83d', '\ude00', '\ude00\ud83d', 'a\ud800b',
  String.fromCharCode(...Array(256).keys()), 'x'.repeat(LONG), '\u0001'.repeat(LONG - 1) + '!', '\u4e2d'.repeat(LONG / 3),
];
const NAMES = ['Ada', 'Zoë \ud83d', '"\\\u0000!'];
const id = (i) => ['x', '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~', 'y'.repeat(64)][i % 3].slice(0, 60) + i;

for (const [writer, reader] of [['before', 'now'], ['now', 'before']]) {
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    test(`${writer} writes until ${signal}, ${reader} reads, and back`, options, async (t) => {
      const place = directory(t);
      const file = path.join(place, 'history');
      const args = ['--history', file, '--history-bytes', '4MiB', '--event-rate', '100000'];
      // Without the header, in which each start leaves its number.
      const lines = () => readFileSync(file, 'utf8').split('\n').slice(1, -1);
      let server = await startOne(t, writer, { args });
      const stamps = new Map();
      let [chatters, count] = [new Map(), 0];
      const login = async () => {
        chatters = new Map();
        for (const name of NAMES) {
          const chatter = new Chatter(t, server.url, { reconnection: false });
          await chatter.login(name);
          chatters.set(name, chatter);
        }
      };
      /** Each text once, by one after the other; some with an id. */
      const say = async () => {
        for (const text of TEXTS) {
          const [name, i] = [NAMES[count % 3], (count += 1)];
          const stamp = await chatters.get(name).ask('new message', text, ...(i % 2 ? [{ id: id(i) }] : []));
          assert.deepEqual(Object.keys(stamp), ['n', 'time'], JSON.stringify([text.slice(0, 99), stamp]));
          stamps.set(i, { name, text, stamp });
        }
      };
      await login();
      await say();
      const kept = await history(t, server);
      assert.equal(kept.messages.length, TEXTS.length);
      for (const [i, kind] of [reader, writer, reader].entries()) {
        const [before, written] = [await history(t, server), lines()];
        await server.kill(signal);
        calm(server);
        server = await startOne(t, kind, { args });
        assert.deepEqual(await history(t, server), before, 'every field of all messages, and the boot');
        assert.deepEqual(lines(), written, 'the same lines');
        assert.equal(before.boot, kept.boot);
        assert.deepEqual(readdirSync(place).sort(), ['history', 'history.lock'], 'nothing is put aside');
        // What is sent again is known where name and id are all that counts, and what is new is newer.
        await login();
        for (const [i, { name, text, stamp }] of stamps) {
          if (i % 2 && kind === 'before') assert.deepEqual(await chatters.get(name).ask('new message', text, { id: id(i) }), stamp);
        }
        await say();
        const after = (await history(t, server)).messages;
        assert.deepEqual(after.slice(0, before.messages.length), before.messages);
        assert.deepEqual(after.map(({ message }) => message), [...Array(i + 2)].flatMap(() => TEXTS));
        assert.deepEqual(after.map(({ n, time }) => ({ n, time })), [...stamps.values()].map(({ stamp }) => stamp));
        calm(server);
      }
    });
  }

  test(`messages of a server for Node: ${writer} writes, ${reader} reads`, options, async (t) => {
    const redis = await startRedis(t);
    const file = path.join(directory(t), 'history');
    const server = await startNode(t, writer, redis, 'n1', ['--history', file]);
    const peer = await startPeer(t, redis);
    const [nina, witness] = [new Chatter(t, peer.url), await new Chatter(t, server.url).connected()];
    await nina.login('Nina');
    for (const text of ['one', 'two']) nina.socket.emit('new message', text);
    await witness.hears(() => witness.from('Nina').length === 2, 'both');
    nina.socket.close();
    await witness.event('user left');
    const kept = await history(t, server);
    assert.deepEqual(kept.messages.map(({ message, user }) => [message, user]), [['one', undefined], ['two', undefined]]);
    await server.kill('SIGKILL');
    const again = await startOne(t, reader, { args: ['--history', file] });
    assert.deepEqual(await history(t, again), kept);
    calm(again);
  });
}
