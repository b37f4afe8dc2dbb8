// Acknowledged messages stay: servers are killed at random moments, also while they write their file anew; a file cannot be
// written; many messages are sent again.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { Chatter, within } from '../lib/chatter.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 120_000 };
const numbers = (count) => Array.from({ length: count }, (_, i) => i);

function directory(t) {
  const made = mkdtempSync(path.join(os.tmpdir(), 'salon-history-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** All that the server keeps, asked for part by part. */
async function history(chatter) {
  const messages = [];
  for (let asked = {}; ; asked = { since: { boot: asked.boot, n: messages.at(-1).n } }) {
    const answer = await chatter.ask('history', asked);
    messages.push(...answer.messages);
    if (!answer.more) return { ...answer, messages };
    asked = answer;
  }
}

/** Says messages as fast as they are acknowledged, a few at a time, until the connection ends. */
async function speak(url, name, text, acknowledged) {
  const ws = new WebSocket(`${url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`, { perMessageDeflate: false });
  ws.on('error', () => {}); // its close follows
  const closed = once(ws, 'close');
  let said = 0;
  const run = Math.random().toString(36).slice(2);
  const say = () => ws.send(`42${(said += 1)}["new message","${text}",{"id":"${run}-${said}"}]`);
  ws.on('message', (data) => {
    const packet = data.toString();
    if (packet.startsWith('0')) ws.send('40');
    else if (packet.startsWith('40')) ws.send(`42["add user","${name}"]`);
    else if (packet.startsWith('42["login"')) numbers(8).forEach(say);
    else if (packet.startsWith('43')) {
      const [, number, json] = packet.match(/^43(\d+)(.*)$/);
      acknowledged.set(`${run}-${number}`, JSON.parse(json)[0]);
      say();
    }
  });
  await closed;
}

// [flags, milliseconds from the first acknowledgement to the kill, the text of messages, how many must be kept in the end].
// A file that has doubled and grown by 64 KiB is written anew a second after the first message. To have that in each life,
// the second row keeps only few messages.
const LIVES = {
  'while the file grows': [['--history-messages', '1000000', '--history-bytes', '512MiB'], () => Math.random() * 150, 'short', 300],
  'while the file is written anew': [['--history-messages', '50'], () => 950 + Math.random() * 150, 'x'.repeat(4_000), 50],
  'while a start writes the file anew': [
    ['--history-messages', '2000', '--history-bytes', '16MiB'],
    () => Math.random() * 150,
    'x'.repeat(4_000),
    150,
  ],
};

for (const [name, [args, life, text, least]] of Object.entries(LIVES)) {
  test(`killed 100 times ${name}: what was acknowledged is there once`, options, async (t) => {
    let [messages, renewed, halfway] = [0, 0, 0];
    // Several servers at once, so that the kills come at all kinds of moments.
    const lane = async () => {
      const file = path.join(directory(t), 'history');
      const acknowledged = new Map();
      let { boot, port } = {};
      for (const round of numbers(11)) {
        const server = await start(t, { port, args: ['--history', file, ...args] });
        port = server.port;
        const reader = new Chatter(t, server.url, { transports: ['websocket'], reconnection: false });
        const kept = await history(await reader.connected());
        boot ??= kept.boot;
        assert.equal(kept.boot, boot);
        const byId = new Map(kept.messages.map((message) => [message.id, message]));
        assert.equal(byId.size, kept.messages.length, 'no message twice');
        const oldest = kept.messages[0]?.n ?? 0;
        for (const [id, { n, time }] of acknowledged) {
          if (n < oldest) continue;
          const message = byId.get(id);
          assert.ok(message, `${id} (${n}) was acknowledged in round ${round - 1}`);
          assert.deepEqual([message.n, message.time, message.message], [n, time, text]);
        }
        for (const [i, { n }] of kept.messages.entries()) assert.ok(i === 0 || n > kept.messages[i - 1].n, 'in order');
        // Messages that are kept now must stay too, although some were not acknowledged.
        acknowledged.clear();
        for (const { id, n, time } of kept.messages) acknowledged.set(id, { n, time });
        reader.socket.close();
        messages = Math.max(messages, kept.messages.length);
        if (round === 10) break;
        const before = statSync(file).ino;
        const speakers = numbers(2).map((i) => speak(server.url, `speaker ${i}`, text, acknowledged));
        await within((async () => {
          const first = acknowledged.size;
          while (acknowledged.size === first) await new Promise(setImmediate);
        })(), 'the first acknowledgement');
        await new Promise((resolve) => setTimeout(resolve, life()));
        await server.kill('SIGKILL');
        await Promise.all(speakers);
        renewed += Number(statSync(file).ino !== before);
        halfway += Number(existsSync(`${file}.new`));
        if (name.includes('start')) {
          const again = await start(t, { port, args: ['--history', file, ...args] });
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 30));
          await again.kill('SIGKILL');
          halfway += Number(existsSync(`${file}.new`));
        }
      }
    };
    await Promise.all(numbers(10).map(lane));
    t.diagnostic(`at most ${messages} messages; the file was written anew in ${renewed} lives, and ${halfway} ended half-way`);
    assert.ok(messages >= least);
    if (least === 50) assert.ok(renewed > 10 && renewed < 100, `${renewed}`);
  });
}

test('a full disk: one warning, the chat goes on, and all is written when there is room', options, async (t) => {
  const file = path.join(directory(t), 'history');
  // A limit of file sizes needs no privileges. With its signal ignored, write(2) fails as on a full disk.
  const server = await start(t, {
    args: ['--history', file, '--recovery', 'off'],
    wrap: ['sh', '-c', 'trap "" XFSZ; exec prlimit --fsize=20000:unlimited -- "$@"', 'sh'],
  });
  const [ada, bob] = [new Chatter(t, server.url), new Chatter(t, server.url)];
  await ada.login('Ada');
  await bob.login('Bob');
  const text = 'x'.repeat(1_000);
  for (const i of numbers(40)) assert.equal((await ada.ask('new message', `${i} ${text}`, { id: `id-${i}` })).n, i + 1);
  await bob.hears(() => bob.from('Ada').length === 40, 'all messages');
  assert.equal((await history(bob)).messages.length, 40);
  assert.equal(server.log().match(/WARN/g).length, 1, server.log());
  assert.match(server.log(), /cannot be written: .*; the chat goes on in memory/);
  const written = async () => /^salon_history_written (\d)$/m.exec(await (await fetch(`${server.url}/metrics`)).text())[1];
  assert.equal(await written(), '0');
  const { spawnSync } = await import('node:child_process');
  assert.equal(spawnSync('prlimit', ['--pid', String(server.child.pid), '--fsize=unlimited']).status, 0);
  await ada.ask('new message', 'the last', { id: 'last' });
  await within((async () => { while ((await written()) === '0') await new Promise((resolve) => setTimeout(resolve, 50)); })(), 'written again');
  assert.match(server.log(), /is written again/);
  await server.kill('SIGKILL');
  const again = await start(t, { args: ['--history', file] });
  const { messages } = await history(await new Chatter(t, again.url).connected());
  assert.deepEqual(messages.map(({ id }) => id), [...numbers(40).map((i) => `id-${i}`), 'last']);
  assert.doesNotMatch(again.log(), /WARN/);
});

test('1,000 messages that are sent again, by four of one key, are there once', options, async (t) => {
  const server = await start(t, { args: ['--history-messages', '2000'] });
  const witness = await new Chatter(t, server.url).connected();
  const same = numbers(4).map(() => new Chatter(t, server.url));
  for (const chatter of same) await chatter.login('Ada', { key: 'k'.repeat(20) });
  const stamps = await Promise.all(
    numbers(1_000).map((i) => same[i % 4].ask('new message', `${i % 10}`, { id: `id-${i % 10}` })),
  );
  for (const [i, stamp] of stamps.entries()) assert.deepEqual(stamp, stamps[i % 10]);
  same[0].socket.emit('new message', 'end');
  await witness.hears(() => witness.from('Ada').at(-1) === 'end', 'the end');
  assert.deepEqual(witness.from('Ada').sort(), [...numbers(10).map(String), 'end']);
  assert.equal((await history(witness)).messages.length, 11);
});

test('two processes do not write one file', options, async (t) => {
  const file = path.join(directory(t), 'history');
  const first = await start(t, { args: ['--history', file] });
  const ada = new Chatter(t, first.url);
  await ada.login('Ada');
  await ada.ask('new message', 'one', { id: '1' });
  // The second process waits for the first one to end, and then loads its file.
  const second = start(t, { args: ['--history', file] });
  await ada.ask('new message', 'two', { id: '2' });
  await first.kill();
  const reader = await new Chatter(t, (await second).url).connected();
  assert.deepEqual((await history(reader)).messages.map(({ message }) => message), ['one', 'two']);
  assert.match(readFileSync(file, 'utf8'), /^{"salon":"history","version":1,/);
});
