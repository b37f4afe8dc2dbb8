// The official client behind a wire that breaks: whatever was said meanwhile arrives once and in order, in the same
// socket, and nobody else notices.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { Chatter, TRANSPORTS, within } from '../lib/chatter.mjs';
import { wire } from '../lib/proxy.mjs';
import { counts, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const together = { ...options, concurrency: true };
const AWAY = 2_000; // ms without a wire, at least
const TEXTS = 200; // said meanwhile
const LONG = ['--leave-grace', '1h']; // nobody is away for as long as that
// Both ends notice a silent wire soon, and everybody else answers in time, also on a busy machine.
const QUICK = ['--ping-interval', '500ms', '--ping-timeout', '3s', ...LONG];
// A client whose WebSocket is reset when it has just paused polling for it asks no more (engine.io-client 6.6): only its
// own deadline, the sum of both, tells it that it is cut off.
const SOON = ['--ping-interval', '2s', '--ping-timeout', '2s', ...LONG];
const numbers = (count) => Array.from({ length: count }, (_, i) => i);

/**
 * The client's options. The WebSocket of Node's client sends no User-Agent by which salon knows it; a browser's does.
 */
const client = (transports) => ({
  transports,
  ...(transports[0] === 'websocket' && { query: { recovery: 1 } }),
});

/** Waits for the next CONNECT answer that the client gets. */
const back = (user, what) => within(once(user.socket, 'connect'), what);

/** A server, a user behind a wire, and two users that are not: one speaks, one only hears. */
async function stage(t, transports, args = []) {
  const server = await start(t, { args });
  const between = await wire(t, server.port);
  const witness = new Chatter(t, server.url);
  await witness.login('witness');
  const speaker = new Chatter(t, server.url);
  await speaker.login('speaker');
  const ada = new Chatter(t, between.url, client(transports));
  assert.deepEqual(await ada.login('Ada'), { numUsers: 3 });
  if (transports.at(-1) === 'websocket') await ada.upgraded();
  await witness.event('user joined', 2);
  return { server, between, witness, speaker, ada };
}

/** The events of presence that a user has heard. */
const presence = (user) =>
  user.heard.filter(([event]) => event.startsWith('user ')).map(([event, { username, numUsers }]) => [event, username, numUsers]);

/** The end of all: nobody was told that Ada was away, and she is still one of three. */
async function unnoticed({ server, witness, speaker, ada }, t) {
  const guest = new Chatter(t, server.url);
  assert.deepEqual(await guest.login('guest'), { numUsers: 4 });
  for (const user of [witness, speaker, ada]) await user.hears(() => presence(user).at(-1)?.[1] === 'guest', 'the guest');
  assert.deepEqual(presence(witness), [['user joined', 'speaker', 2], ['user joined', 'Ada', 3], ['user joined', 'guest', 4]]);
  assert.deepEqual(presence(speaker), [['user joined', 'Ada', 3], ['user joined', 'guest', 4]]);
  assert.deepEqual(presence(ada), [['user joined', 'guest', 4]]);
  assert.equal(ada.heard.filter(([event]) => event === 'login').length, 1);
}

test('cut for two seconds while another user says 200 messages', { ...together, timeout: 120_000 }, async (t) => {
  const cases = [];
  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    for (const way of ['cut', 'silence']) {
      cases.push(
        t.test(`${name}, ${way}`, options, async (t) => {
          const all = await stage(t, transports, QUICK);
          const { server, between, witness, speaker, ada } = all;
          const { id } = ada.socket;
          const recovered = [];
          ada.socket.on('connect', () => recovered.push(ada.socket.recovered));
          const noticed = once(ada.socket, 'disconnect');
          speaker.socket.emit('new message', 'before');
          await ada.event('new message');

          between[way]();
          const end = pass(AWAY);
          // One half before both ends have noticed (a silent wire), one after.
          for (const i of numbers(TEXTS)) {
            if (i === TEXTS / 2) {
              await within(noticed, 'the client notices');
              await counts(server, 'sockets{state="connected"}', 2, 'when the server notices');
            }
            speaker.socket.emit('new message', `${i}`);
            await pass(5);
          }
          // Buffered by the client, which knows that it is offline.
          for (const i of numbers(3)) ada.socket.emit('new message', `offline ${i}`);
          await end;
          assert.equal(ada.socket.connected, false);
          const connected = back(ada, 'Ada is back');
          between.heal();
          await connected;

          speaker.socket.emit('new message', 'after');
          await ada.hears(() => ada.from('speaker').at(-1) === 'after', 'the last message');
          assert.deepEqual(ada.from('speaker'), ['before', ...numbers(TEXTS).map(String), 'after']);
          assert.deepEqual(recovered, recovered.map(() => true));
          assert.ok(recovered.length > 0);
          assert.equal(ada.socket.id, id);
          ada.socket.emit('new message', 'online');
          for (const user of [witness, speaker]) {
            await user.hears(() => user.from('Ada').at(-1) === 'online', 'what Ada says');
            assert.deepEqual(user.from('Ada'), ['offline 0', 'offline 1', 'offline 2', 'online']);
          }
          await unnoticed(all, t);
        }),
      );
    }
  }
  await Promise.all(cases);
});

test('cut ten times in a row under traffic: nothing lost or doubled', together, async (t) => {
  const cases = Object.entries(TRANSPORTS).map(([name, transports]) =>
    t.test(name, options, async (t) => {
      const all = await stage(t, transports, SOON);
      const { between, speaker, ada } = all;
      const { id } = ada.socket;
      let said = 0;
      const steady = setInterval(() => speaker.socket.emit('new message', `${said++}`), 2);
      t.after(() => clearInterval(steady));
      for (const i of numbers(10)) {
        const gone = once(ada.socket, 'disconnect');
        between.cut();
        await within(gone, `Ada notices cut ${i}`);
        const connected = back(ada, `Ada comes back after cut ${i}`);
        between.heal();
        await connected;
        assert.equal(ada.socket.recovered, true);
        assert.equal(ada.socket.id, id);
        // The next cut meets another moment: of the upgrade, of what is missed, or of new messages.
        await pass(i * 3);
      }
      clearInterval(steady);
      speaker.socket.emit('new message', 'end');
      await ada.hears(() => ada.from('speaker').at(-1) === 'end', 'the end');
      assert.deepEqual(ada.from('speaker'), [...numbers(said).map(String), 'end']);
      assert.ok(said > 20);
      await unnoticed(all, t);
    }),
  );
  await Promise.all(cases);
});

// Only the client notices: the server would believe in the old session for minutes.
for (const grace of ['5s', '0']) {
  test(`the old session is taken over while it is alive, --leave-grace ${grace}`, together, async (t) => {
    const cases = Object.entries(TRANSPORTS).map(([name, transports]) =>
      t.test(name, options, async (t) => {
        const all = await stage(t, transports, ['--leave-grace', grace]);
        const { server, between, speaker, ada } = all;
        const { id } = ada.socket;
        // The server's next word for Ada is to go out on a connection that stands now: the refusal comes over the
        // WebSocket only once the server has changed to it, and over polling it is followed by a GET.
        await ada.ask('new message', '');
        if (transports.at(-1) === 'polling') await within(between.asks('GET'), 'a poll');
        between.silence();
        speaker.socket.emit('new message', 'missed');
        await within(between.swallows('missed'), 'the server writes to the old connection');
        const before = between.swallowed();
        const connected = back(ada, 'Ada is back');
        // As after a ping time-out. Over polling the client says goodbye, which is swallowed too.
        const goodbye = transports.at(-1) === 'polling' && between.asks('POST');
        ada.socket.io.engine.close();
        if (goodbye) await within(goodbye, 'a goodbye');
        between.heal();
        await connected;
        assert.equal(ada.socket.recovered, true);
        assert.equal(ada.socket.id, id);
        await ada.event('new message');
        speaker.socket.emit('new message', 'seen');
        await ada.event('new message', 2);
        assert.deepEqual(ada.from('speaker'), ['missed', 'seen']);

        // The old connection ends, and hears no goodbye and nothing new.
        if (transports.at(-1) === 'websocket') await within(between.buried(), 'the old connection is closed');
        assert.equal(between.swallowed(), before);
        const metrics = await (await fetch(`${server.url}/metrics`)).text();
        const sessions = [...metrics.matchAll(/^salon_sessions{.*} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
        assert.equal(sessions, 3);
        await unnoticed(all, t);
      }),
    );
    await Promise.all(cases);
  });
}

test('a client that had no event yet is recovered too', options, async (t) => {
  const server = await start(t);
  const between = await wire(t, server.port);
  const speaker = new Chatter(t, server.url);
  await speaker.login('speaker');
  speaker.socket.emit('new message', 'too early');
  await speaker.ask('new message', ''); // refused, and with that the one before is relayed
  const guest = await new Chatter(t, between.url, { transports: ['polling'] }).connected();
  const { id } = guest.socket;
  const gone = once(guest.socket, 'disconnect');
  between.cut();
  await within(gone, 'the guest notices');
  speaker.socket.emit('new message', 'missed');
  await speaker.ask('new message', '');
  const connected = back(guest, 'the guest is back');
  between.heal();
  await connected;
  assert.equal(guest.socket.recovered, true);
  assert.equal(guest.socket.id, id);
  await guest.event('new message');
  assert.deepEqual(guest.heard, [['new message', { username: 'speaker', message: 'missed' }]]);
});

test('Node over WebSocket alone takes part only with recovery=1', options, async (t) => {
  const server = await start(t);
  const plain = await new Chatter(t, server.url, { transports: ['websocket'] }).connected();
  assert.equal(plain.socket._pid, undefined);
  assert.deepEqual(await plain.login('plain'), { numUsers: 1 });
  assert.deepEqual(plain.heard, [['login', { numUsers: 1 }]]);
  const asked = await new Chatter(t, server.url, { transports: ['websocket'], query: { recovery: 1 } }).connected();
  assert.match(asked.socket._pid, /./);
  for (const transports of [['polling'], ['polling', 'websocket']]) {
    assert.match((await new Chatter(t, server.url, { transports }).connected()).socket._pid, /./);
  }
});
