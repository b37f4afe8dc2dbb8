// Recovery packet by packet: what a CONNECT may present, and what it gets when that is forged, too old or too much.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { Chatter, classic, within } from '../lib/chatter.mjs';
import { Poller, Raw } from '../lib/raw.mjs';
import { counts, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const ASK = '&recovery=1';
const LONG = ['--leave-grace', '1h']; // as good as for ever
const numbers = (count) => Array.from({ length: count }, (_, i) => i);

const text = (message, offset) => ['new message', { username: 'speaker', message }, ...(offset ? [offset] : [])];

/** Somebody who speaks, and hears of everybody else. */
async function speak(t, server) {
  const speaker = new Chatter(t, server.url);
  await speaker.login('speaker');
  /** Says these, and waits until the server has relayed them. */
  speaker.says = async (...texts) => {
    for (const message of texts) speaker.socket.emit('new message', message);
    await speaker.ask('new message', ''); // refused
  };
  return speaker;
}

/** Ada, who has heard `login`: her packets, and what her CONNECT presents when she comes back. */
async function enter(t, server, name = 'Ada') {
  const raw = new Raw(t, server.url, ASK);
  const { sid, pid } = await raw.connect();
  await raw.login(name);
  return { raw, sid, pid, auth: { pid, offset: raw.offset() } };
}

/** Presents `auth` in a new session. */
async function present(t, server, auth) {
  const raw = new Raw(t, server.url, ASK);
  return { raw, ...(await raw.connect(auth)) };
}

/** Breaks the connection of one of two sockets, and waits until the server knows: its times begin there. */
async function breaks(server, raw) {
  await raw.reset();
  await counts(server, 'sockets{state="connected"}', 1);
}

/** What a session has got so far, after something that it must get last. */
async function heard(raw, speaker, last) {
  await speaker.says(last);
  await raw.packet(`42["new message",{"username":"speaker","message":"${last}"`);
  return raw.events();
}

test('the packets of a recovery', options, async (t) => {
  const server = await start(t, { args: LONG });
  const speaker = await speak(t, server);
  const { raw, sid, pid, auth } = await enter(t, server);
  await speaker.says('one');
  const [[, , first], [, , second]] = [raw.events()[0], await raw.packet('42["new message"').then(() => raw.events()[1])];
  assert.equal(typeof first, 'string');
  assert.equal(typeof second, 'string');
  await raw.reset();
  await speaker.says('two', 'three');
  const back = await present(t, server, { pid, offset: second });
  assert.deepEqual([back.sid, back.pid], [sid, pid]);
  const events = await heard(back.raw, speaker, 'four');
  assert.deepEqual(events.map((event) => event[1].message), ['two', 'three', 'four']);
  assert.equal(new Set([first, second, ...events.map((event) => event[2])]).size, 5);
  // Once more, from where it was the first time: it is the client who knows what it has had.
  await back.raw.reset();
  const again = await present(t, server, auth);
  assert.equal(again.sid, sid);
  assert.deepEqual((await heard(again.raw, speaker, 'five')).map((event) => event[1].message), ['one', 'two', 'three', 'four', 'five']);
  again.raw.send('42["new message","still Ada"]');
  assert.deepEqual(await speaker.event('new message'), { username: 'Ada', message: 'still Ada' });
  assert.deepEqual(speaker.heard.map(([event]) => event), ['login', 'user joined', 'new message']);
});

test('over polling', options, async (t) => {
  const server = await start(t, { args: LONG });
  const speaker = await speak(t, server);
  const lost = new Poller(server.url, ASK);
  const { sid, pid } = await lost.connect();
  const gone = new AbortController();
  const poll = assert.rejects(lost.poll({ signal: gone.signal }), { name: 'AbortError' });
  gone.abort();
  await poll;
  await speaker.says('missed');
  const back = new Poller(server.url, ASK);
  assert.deepEqual(await back.connect({ pid }), { sid, pid });
  const rest = back.rest.length > 0 ? back.rest : await back.poll();
  assert.deepEqual(rest.map((packet) => classic(JSON.parse(packet.slice(2))).slice(0, 2)), [text('missed')]);
});

const wrong = (secret) => secret.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
// [what a CONNECT presents, made of what is right]. Auth that is text is sent as it stands.
const FORGED = {
  'another secret': ([key, secret], offset) => ({ pid: `${key}.${wrong(secret)}`, offset }),
  'the secret of another socket': ([key], offset, other) => ({ pid: `${key}.${other.split('.')[1]}`, offset }),
  'the secret cut off': ([key, secret], offset) => ({ pid: `${key}.${secret.slice(0, -1)}`, offset }),
  'the secret and more': ([key, secret], offset) => ({ pid: `${key}.${secret}A`, offset }),
  'no secret': ([key], offset) => ({ pid: `${key}.`, offset }),
  'no key': ([, secret], offset) => ({ pid: `.${secret}`, offset }),
  'a key of nobody': ([, secret], offset) => ({ pid: `7fffffff.${secret}`, offset }),
  'a key of another generation': ([key, secret], offset) => ({ pid: `f${key.padStart(8, '0')}.${secret}`, offset }),
  'a key beyond all': ([, secret], offset) => ({ pid: `${'f'.repeat(40)}.${secret}`, offset }),
  'no dot': ([key, secret], offset) => ({ pid: key + secret, offset }),
  'an empty pid': (_, offset) => ({ pid: '', offset }),
  'a long pid': (_, offset) => ({ pid: 'x'.repeat(100_000), offset }),
  'a number for a pid': (_, offset) => ({ pid: 5, offset }),
  'null for a pid': (_, offset) => ({ pid: null, offset }),
  'a list for a pid': ([key, secret], offset) => ({ pid: [`${key}.${secret}`], offset }),
  'an object for a pid': (_, offset) => ({ pid: { pid: {} }, offset }),
  'half an emoji for a pid': (_, offset) => `{"pid":"\\ud83d.x","offset":${JSON.stringify(offset)}}`,
  'no pid': (_, offset) => ({ offset }),
  'a number for an offset': ([key, secret], offset) => ({ pid: `${key}.${secret}`, offset: Number(offset) }),
  'an object for an offset': ([key, secret]) => ({ pid: `${key}.${secret}`, offset: {} }),
  'text for an offset': ([key, secret]) => ({ pid: `${key}.${secret}`, offset: 'x' }),
  'an empty offset': ([key, secret]) => ({ pid: `${key}.${secret}`, offset: '' }),
  'an offset below zero': ([key, secret]) => ({ pid: `${key}.${secret}`, offset: '-1' }),
  'an offset beyond all': ([key, secret]) => ({ pid: `${key}.${secret}`, offset: '18446744073709551616' }),
};

test('what is forged gets a fresh socket with a pid of its own', options, async (t) => {
  const server = await start(t, { args: LONG });
  const speaker = await speak(t, server);
  const other = await enter(t, server, 'Bob');
  const { raw, sid, pid, auth } = await enter(t, server);
  await raw.reset();
  await speaker.says('missed');
  const seen = new Set([pid, other.pid]);
  for (const [name, forge] of Object.entries(FORGED)) {
    const fresh = await present(t, server, forge(pid.split('.'), auth.offset, other.pid));
    assert.notEqual(fresh.sid, sid, name);
    assert.ok(typeof fresh.pid === 'string' && !seen.has(fresh.pid), name);
    seen.add(fresh.pid);
    assert.deepEqual((await heard(fresh.raw, speaker, name)).map((event) => event[1].message), [name]);
    fresh.raw.ws.terminate();
  }
  // None of it has touched the real one, or told anybody anything.
  const back = await present(t, server, auth);
  assert.equal(back.sid, sid);
  await back.raw.packet('42["new message",{"username":"speaker","message":"missed"');
  assert.deepEqual(speaker.heard.map(([event]) => event), ['login', 'user joined', 'user joined']);
});

test('auth that is no object ends the session, as in the reference', options, async (t) => {
  const server = await start(t, { args: LONG });
  const { raw, sid, pid, auth } = await enter(t, server);
  await raw.reset();
  for (const json of [JSON.stringify(pid), 'null', JSON.stringify([pid, auth.offset])]) {
    const bad = new Raw(t, server.url, ASK);
    await bad.packet('0{');
    bad.send(`40${json}`);
    const [code] = await within(bad.closed, 'the session ends');
    assert.equal(code, 1002, json);
  }
  assert.equal((await present(t, server, auth)).sid, sid);
});

test('an offset that has never been gets a fresh socket', options, async (t) => {
  const server = await start(t, { args: LONG });
  const speaker = await speak(t, server);
  // One further is her own `user joined`, which was for all others.
  for (const ahead of [2, 1_000, 2 ** 53]) {
    const { raw, sid, pid, auth } = await enter(t, server, 'Ada');
    await raw.reset();
    const fresh = await present(t, server, { pid, offset: String(BigInt(auth.offset) + BigInt(ahead)) });
    assert.notEqual(fresh.sid, sid);
    assert.notEqual(fresh.pid, pid);
    assert.deepEqual((await heard(fresh.raw, speaker, `${ahead}`)).map((event) => event[1].message), [`${ahead}`]);
    // And from now on nobody gets the old one.
    const late = await present(t, server, auth);
    assert.notEqual(late.sid, sid);
    assert.notEqual(late.pid, pid);
    // The one who came with the pid is Ada, and nobody has noticed.
    const before = speaker.heard.length;
    const [{ numUsers }] = await fresh.raw.login('Ada');
    assert.equal(numUsers, 2);
    await speaker.says('done');
    assert.equal(speaker.heard.length, before);
    late.raw.send('41');
    fresh.raw.send('41');
    await speaker.hears(() => speaker.heard.at(-1)[0] === 'user left', 'Ada leaves');
  }
});

// The official client keeps its last offset when it gets a fresh socket, and presents it with the new pid if that
// socket has heard nothing.
test('an offset of an earlier socket counts from when this one came', options, async (t) => {
  const server = await start(t, { args: LONG });
  const speaker = await speak(t, server);
  await speaker.says('before');
  const { raw, sid, pid } = await enter(t, server);
  await raw.reset();
  await speaker.says('missed');
  for (const offset of ['0', '1', '2']) {
    const back = await present(t, server, { pid, offset });
    assert.deepEqual([back.sid, back.pid], [sid, pid]);
    const events = await heard(back.raw, speaker, `after ${offset}`);
    assert.deepEqual(events.map((event) => event[1].message ?? event[0]).slice(0, 2), ['login', 'missed']);
    await back.raw.reset();
  }
});

test('what was for others alone is not for who presents their offset', options, async (t) => {
  const server = await start(t, { args: LONG });
  const speaker = await speak(t, server);
  const ada = await enter(t, server, 'Ada');
  const bob = await enter(t, server, 'Bob');
  await ada.raw.reset();
  const back = await present(t, server, { pid: ada.pid, offset: bob.auth.offset });
  const events = await heard(back.raw, speaker, 'for all');
  assert.deepEqual(events.filter(([event]) => event === 'login'), []);
  assert.deepEqual(events.at(-1).slice(0, 2), text('for all'));
});

test('a pid opens one socket only, though two come at once', options, async (t) => {
  const server = await start(t, { args: LONG });
  const speaker = await speak(t, server);
  const { raw, sid, auth } = await enter(t, server);
  await raw.reset();
  for (const round of numbers(20)) {
    const rivals = [new Raw(t, server.url, ASK), new Raw(t, server.url, ASK)];
    await Promise.all(rivals.map((rival) => rival.packet('0{')));
    const answers = await Promise.all(rivals.map((rival) => rival.connect(auth)));
    assert.ok(answers.some((answer) => answer.sid === sid));
    // Who came first is taken over without a word, or the other has a socket of its own.
    await speaker.says(`round ${round}`);
    const marked = (rival) => rival.got.some((packet) => packet.includes(`"round ${round}"`));
    const owners = rivals.filter((_, i) => answers[i].sid === sid);
    const ends = owners.map((owner) => Promise.race([owner.closed, owner.packet(`42["new message",{"username":"speaker","message":"round ${round}"`)]));
    await within(Promise.all(ends), 'each owner is closed, or goes on');
    assert.equal(owners.filter(marked).length, 1);
    for (const owner of owners.filter((owner) => !marked(owner))) {
      assert.equal(owner.got.some((packet) => packet.startsWith('41') || packet.startsWith('1')), false);
    }
    for (const rival of rivals) rival.ws.terminate();
  }
  assert.deepEqual(speaker.heard.map(([event]) => event), ['login', 'user joined']);
});

for (const grace of ['1h', '0']) {
  test(`a session that lives is taken over without a word, --leave-grace ${grace}`, options, async (t) => {
    const server = await start(t, { args: ['--leave-grace', grace] });
    const speaker = await speak(t, server);
    const { raw, sid, auth } = await enter(t, server);
    await speaker.says('to the old one');
    await raw.packet('42["new message"');
    const got = [...raw.got];
    const back = await present(t, server, auth);
    assert.equal(back.sid, sid);
    const [code] = await within(raw.closed, 'the old connection ends');
    assert.equal(code, 1006); // no close frame
    assert.deepEqual(raw.got, got);
    assert.deepEqual((await heard(back.raw, speaker, 'x')).map((event) => event[1].message), ['to the old one', 'x']);
    // And once it is gone for good, it is told once.
    back.raw.send('41');
    assert.deepEqual(await speaker.event('user left'), { username: 'Ada', numUsers: 1 });
    assert.deepEqual(speaker.heard.map(([event]) => event), ['login', 'user joined', 'user left']);
    const guest = new Chatter(t, server.url);
    assert.deepEqual(await guest.login('guest'), { numUsers: 2 });
  });
}

test('a live session over polling is taken over: its GET ends with nothing in it', options, async (t) => {
  const server = await start(t, { args: LONG });
  const speaker = await speak(t, server);
  const old = new Poller(server.url, ASK);
  const { sid, pid } = await old.connect();
  const parked = old.poll();
  const raw = new Raw(t, server.url, ASK);
  assert.deepEqual(await raw.connect({ pid }), { sid, pid });
  assert.deepEqual(await parked, ['6']);
  assert.deepEqual(await old.poll(), ['{"code":1,"message":"Session ID unknown"}']);
  assert.deepEqual((await heard(raw, speaker, 'x')).map((event) => event[1].message), ['x']);
});

// With something missed and without: the time alone decides.
for (const missed of [[], ['missed']]) {
  test(`too late for a recovery, but within the grace: ${missed.length} missed`, options, async (t) => {
    const server = await start(t, { args: [...LONG, '--recovery-time', '300ms'] });
    const speaker = await speak(t, server);
    const { raw, sid, pid, auth } = await enter(t, server);
    await breaks(server, raw);
    await speaker.says(...missed);
    await pass(400);
    const fresh = await present(t, server, auth);
    assert.notEqual(fresh.sid, sid);
    assert.notEqual(fresh.pid, pid);
    assert.deepEqual((await heard(fresh.raw, speaker, 'after')).map((event) => event[1].message), ['after']);
    const [{ numUsers }] = await fresh.raw.login('Ada');
    assert.equal(numUsers, 2);
    fresh.raw.send('42["new message","I am back"]');
    assert.deepEqual(await speaker.event('new message'), { username: 'Ada', message: 'I am back' });
    assert.deepEqual(speaker.heard.map(([event]) => event), ['login', 'user joined', 'new message']);
  });
}

test('too late, and back under another name: two people', options, async (t) => {
  const server = await start(t, { args: ['--leave-grace', '3s', '--recovery-time', '200ms'] });
  const speaker = await speak(t, server);
  const { raw, sid, auth } = await enter(t, server);
  const broken = performance.now();
  await breaks(server, raw);
  await pass(300);
  const fresh = await present(t, server, auth);
  assert.notEqual(fresh.sid, sid);
  await fresh.raw.login('Eve');
  assert.deepEqual(await speaker.event('user left'), { username: 'Ada', numUsers: 2 });
  assert.ok(performance.now() - broken >= 3_000);
  assert.deepEqual(speaker.heard, [
    ['login', { numUsers: 1 }],
    ['user joined', { username: 'Ada', numUsers: 2 }],
    ['user joined', { username: 'Eve', numUsers: 3 }],
    ['user left', { username: 'Ada', numUsers: 2 }],
  ]);
});

// What is kept: Ada's own `user joined`, and what is said afterwards. A message is 256 bytes and its packet.
const BOUNDS = {
  'as many packets as are kept': [['--recovery-packets', '20'], numbers(19).map(String), true],
  'one more packet than is kept': [['--recovery-packets', '20'], numbers(20).map(String), false],
  'as many bytes as are kept': [['--recovery-bytes', '10000'], numbers(6).map((i) => `${i}`.padEnd(1_000, '.')), true],
  'more bytes than are kept': [['--recovery-bytes', '10000'], numbers(10).map((i) => `${i}`.padEnd(1_000, '.')), false],
  'one message above all that is kept': [['--recovery-bytes', '1000'], ['x'.repeat(1_000)], false],
};

for (const [name, [args, texts, recovered]] of Object.entries(BOUNDS)) {
  test(`away for ${name}`, options, async (t) => {
    const server = await start(t, { args: [...LONG, ...args] });
    const speaker = await speak(t, server);
    const { raw, sid, pid, auth } = await enter(t, server);
    await raw.reset();
    await speaker.says(...texts);
    const back = await present(t, server, auth);
    assert.equal(back.sid === sid, recovered);
    assert.equal(back.pid === pid, recovered);
    // All of it or none of it.
    const messages = (await heard(back.raw, speaker, 'after')).map((event) => event[1].message);
    assert.deepEqual(messages, [...(recovered ? texts : []), 'after']);
  });
}

// Every packet that is kept counts, though those of the speaker were for all but the speaker.
test('who only speaks has missed nothing, however much is forgotten', options, async (t) => {
  const server = await start(t, { args: [...LONG, '--recovery-packets', '20'] });
  const { raw, sid, auth } = await enter(t, server);
  for (const i of numbers(30)) raw.send(`42["new message","${i}"]`);
  raw.send('421["new message",""]'); // refused
  await raw.packet('431');
  await raw.reset();
  assert.equal((await present(t, server, auth)).sid, sid);
});

test('after a restart a pid is nobody\'s', options, async (t) => {
  const server = await start(t);
  const { raw, sid, pid, auth } = await enter(t, server);
  await server.kill('SIGKILL');
  await within(raw.closed, 'the end');
  await start(t, { port: server.port });
  const fresh = await present(t, server, auth);
  assert.notEqual(fresh.sid, sid);
  assert.notEqual(fresh.pid, pid);
});
