// Who is told what when somebody goes: leaving is announced at once, a broken connection only after the grace, and
// `numUsers` is right in every event.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { Chatter, within } from '../lib/chatter.mjs';
import { Poller, Raw } from '../lib/raw.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const GRACE = 700; // ms
const SILENCE = 4_300; // ms after which a silent client is given up
// Nobody is slower to answer a ping, also on a busy machine, but who is silent on purpose.
const QUICK = ['--ping-interval', '300ms', '--ping-timeout', '4s', '--message-timeout', '300ms'];

/** Ways in which a WebSocket ends. `left`: that was a goodbye. `silent`: the server has to find out. */
const ENDS = {
  'packet 41': { left: true, end: ({ raw }) => raw.send('41') },
  'packet 41, then 1': { left: true, end: ({ raw }) => ['41', '1'].forEach((packet) => raw.send(packet)) },
  // The official client sends it over polling after errors and time-outs.
  'packet 1': { end: ({ raw }) => raw.send('1') },
  'close frame 1000': { end: ({ raw }) => raw.ws.close(1000) },
  'close frame 1001': { end: ({ raw }) => raw.ws.close(1001) },
  'close frame 4000': { end: ({ raw }) => raw.ws.close(4000, 'bye') },
  'close frame without a code': { end: ({ raw }) => raw.ws.close() },
  'TCP FIN': { end: ({ raw }) => raw.ws._socket.end() },
  'TCP reset': { end: ({ raw }) => raw.reset() },
  'ping time-out': { silent: true, end: () => {} },
  'no packet': { end: ({ raw }) => raw.send('x') },
  'no UTF-8': { end: ({ raw }) => raw.ws.send(Buffer.from([0xff]), { binary: false }) },
  'a missing attachment': { end: ({ raw }) => raw.send('451-["x",{"_placeholder":true,"num":0}]') },
};

/** The same over polling. */
const POLLED = {
  'packet 41 over polling': { left: true, end: ({ poller }) => poller.post('41') },
  'packet 41, then 1 over polling': { left: true, end: ({ poller }) => poller.post('41\x1e1') },
  'packet 1 over polling': { end: ({ poller }) => poller.post('1') },
  'a GET that is given up': {
    async end({ poller }) {
      const gone = new AbortController();
      setImmediate(() => gone.abort());
      // It may have been answered before.
      await poller.poll({ signal: gone.signal }).catch(() => {});
      await poller.post('x').catch(() => {});
    },
  },
  'a body that is no payload': { end: ({ poller }) => poller.post('x') },
  'no GET for too long': { silent: true, end: () => {} },
};

async function enter(t, server, name, { silent }, recovery) {
  const query = `&recovery=${Number(recovery)}`;
  const headers = { 'User-Agent': 'test' };
  if (name in POLLED) {
    const poller = new Poller(server.url, query, headers);
    const { pid, sid } = await poller.connect();
    await poller.post(`42["add user",${JSON.stringify(name)}]`);
    const login = () => poller.rest.find((packet) => packet.startsWith('42["login"'));
    // Others who come meanwhile are in earlier answers.
    while (!login()) poller.rest.push(...(await poller.poll()));
    return { name, poller, pid, sid, offset: JSON.parse(login().slice(2))[2] };
  }
  const raw = new Raw(t, server.url, query, { headers, pongs: !silent });
  const { pid, sid } = await raw.connect();
  await raw.login(name);
  return { name, raw, pid, sid, offset: raw.offset() };
}

/** Somebody who is told of everybody else. */
async function watch(t, server) {
  const witness = new Chatter(t, server.url);
  await witness.login('witness');
  witness.left = (name) => witness.heard.filter(([event, { username }]) => event === 'user left' && username === name);
  return witness;
}

/** Every event that names it has the right number of users. */
function counted(witness) {
  let here = 0;
  for (const [event, { numUsers }] of witness.heard) {
    if (event === 'login') here = numUsers;
    else if (event === 'user joined') here += 1;
    else if (event === 'user left') here -= 1;
    else continue;
    assert.equal(numUsers, here, JSON.stringify(witness.heard));
  }
  return here;
}

const ALL = Object.entries({ ...ENDS, ...POLLED });

test('a goodbye is announced at once, and so is every end of a client without a pid', options, async (t) => {
  // If anything waited for the grace, it would wait for ever.
  const server = await start(t, { args: [...QUICK, '--leave-grace', '1h'] });
  const witness = await watch(t, server);
  const goes = async (name, way, recovery, times) => {
    const guest = await enter(t, server, name, way, recovery);
    assert.equal(typeof guest.pid, recovery ? 'string' : 'undefined');
    await way.end(guest);
    if (recovery && !way.left) return;
    await witness.hears(() => witness.left(name).length === times, `${name}: user left`);
    guest.raw?.ws.terminate(); // without a socket the session would go on
  };
  await Promise.all(ALL.map(([name, way]) => goes(name, way, false, 1)));
  assert.equal(counted(witness), 1);
  await Promise.all(ALL.map(([name, way]) => goes(name, way, true, 2)));
  const broken = ALL.filter(([, way]) => !way.left);
  // The server knows of the end of all others when it has no session left but that of the witness.
  const sessions = async () => {
    const metrics = await (await fetch(`${server.url}/metrics`)).text();
    return [...metrics.matchAll(/^salon_sessions{.*} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
  };
  await within((async () => { while ((await sessions()) > 1) await pass(5); })(), 'the end of all sessions');
  const last = new Chatter(t, server.url);
  assert.deepEqual(await last.login('last'), { numUsers: broken.length + 2 });
  await witness.hears((heard) => heard.at(-1)[1].username === 'last', 'the last');
  for (const [name] of broken) assert.equal(witness.left(name).length, 1, name);
  counted(witness);
});

test('a broken connection is announced after the grace, once; a return after that too', options, async (t) => {
  const server = await start(t, { args: [...QUICK, '--leave-grace', `${GRACE}ms`] });
  const witness = await watch(t, server);
  const broken = ALL.filter(([, way]) => !way.left);
  await Promise.all(
    broken.map(async ([name, way]) => {
      const guest = await enter(t, server, name, way, true);
      const begin = performance.now();
      await way.end(guest);
      await witness.hears(() => witness.left(name).length > 0, `${name}: user left`);
      assert.ok(performance.now() - begin >= GRACE, `${name}: ${performance.now() - begin} ms`);
      // What is held can be recovered all the same, and is announced as somebody who comes.
      const back = new Raw(t, server.url, '&recovery=1');
      const { sid, pid } = await back.connect({ pid: guest.pid, offset: guest.offset });
      assert.deepEqual([sid, pid], [guest.sid, guest.pid], name);
      await back.packet('42["login"');
      const joined = () => witness.heard.filter(([event, { username }]) => event === 'user joined' && username === name);
      await witness.hears(() => joined().length === 2, `${name}: user joined`);
      back.send('42["new message","I am back"]');
      await witness.hears(() => witness.from(name).length === 1, `${name} is back`);
      back.send('41');
      await witness.hears(() => witness.left(name).length === 2, `${name}: user left`);
    }),
  );
  assert.equal(counted(witness), 1);
  for (const [name] of broken) assert.equal(witness.left(name).length, 2, name);
});

test('--leave-grace 0: every end is announced at once', options, async (t) => {
  const server = await start(t, { args: [...QUICK, '--leave-grace', '0'] });
  const witness = await watch(t, server);
  await Promise.all(
    ALL.map(async ([name, way]) => {
      const guest = await enter(t, server, name, way, true);
      const begin = performance.now();
      await way.end(guest);
      await witness.hears(() => witness.left(name).length === 1, `${name}: user left`);
      // The default is 5 s.
      const time = performance.now() - begin - (way.silent ? SILENCE : 0);
      assert.ok(time < 5_000, `${name}: ${time} ms`);
    }),
  );
  assert.equal(counted(witness), 1);
});

test('back within the grace, in time for each way to break', options, async (t) => {
  const server = await start(t, { args: [...QUICK, '--leave-grace', '1h'] });
  const witness = await watch(t, server);
  const broken = ALL.filter(([, way]) => !way.left);
  await Promise.all(
    broken.map(async ([name, way]) => {
      const guest = await enter(t, server, name, way, true);
      await way.end(guest);
      if (guest.raw) await guest.raw.closed;
      const back = new Raw(t, server.url, '&recovery=1');
      const { sid, pid } = await back.connect({ pid: guest.pid, offset: guest.offset });
      assert.deepEqual([sid, pid], [guest.sid, guest.pid], name);
      back.send('42["new message","I am back"]');
      await witness.hears(() => witness.from(name).length === 1, `${name} is back`);
      assert.equal(back.got.some((packet) => packet.startsWith('42["login"')), false);
    }),
  );
  assert.equal(counted(witness), broken.length + 1);
  assert.deepEqual(witness.heard.filter(([event]) => event === 'user left'), []);
  assert.equal(witness.heard.filter(([event]) => event === 'user joined').length, broken.length);
});

test('a client without a pid that comes back is somebody new', options, async (t) => {
  const server = await start(t);
  const witness = await watch(t, server);
  for (const n of [1, 2]) {
    const ada = await enter(t, server, 'Ada', {}, false);
    await ada.raw.reset();
    assert.deepEqual(await witness.event('user left', n), { username: 'Ada', numUsers: 1 });
  }
  assert.deepEqual(witness.heard.map(([event]) => event), ['login', 'user joined', 'user left', 'user joined', 'user left']);
});

test('who takes the name of somebody within the grace is somebody else', options, async (t) => {
  const server = await start(t, { args: ['--leave-grace', '3s'] });
  const witness = await watch(t, server);
  const ada = await enter(t, server, 'Ada', {}, true);
  await ada.raw.reset();
  const other = await enter(t, server, 'Ada', {}, true); // presents nothing
  assert.equal(other.raw.events()[0][1].numUsers, 3);
  await witness.event('user left');
  assert.deepEqual(witness.heard.map(([event, { numUsers }]) => [event, numUsers]), [
    ['login', 1],
    ['user joined', 2],
    ['user joined', 3],
    ['user left', 2],
  ]);
});

test('when the server stops, nobody is told that anybody leaves', options, async (t) => {
  // A busy machine may take a while from the reset to the signal. The grace ends within the drain.
  const server = await start(t, { args: ['--leave-grace', '2s', '--drain', '4s'] });
  const witnesses = [
    await watch(t, server),
    await watch(t, server),
    new Chatter(t, server.url, { transports: ['polling'] }),
  ];
  await witnesses[2].login('polling');
  await enter(t, server, 'with a pid', {}, true);
  await enter(t, server, 'without a pid', {}, false);
  // This one never polls, so the server waits for it while the grace of the other ends.
  await enter(t, server, 'packet 1 over polling', {}, true);
  await (await enter(t, server, 'broken', {}, true)).raw.reset();
  const gone = witnesses.map(({ socket }) => new Promise((resolve) => socket.once('disconnect', resolve)));
  const [code] = await server.kill('SIGTERM');
  assert.equal(code, 0);
  await within(Promise.all(gone), 'everybody is sent away');
  for (const { heard } of witnesses) assert.deepEqual(heard.filter(([event]) => event === 'user left'), []);
});
