// Who is here, who types, who came and went: as pages show it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { connected, field, guest, hears, join, launch, lines, messages, notes, open, say, settled, shows } from '../lib/browser.mjs';
import { startRedis } from '../lib/redis.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const browser = await launch({ after });

/** From here on the page's time passes only when the test says so. It is connected in its last way: that takes time too. */
async function pauseClock(page) {
  await connected(page, true);
  await page.clock.pauseAt(Date.now() + 10_000);
}

/** The names in the open list of people. */
const listed = async (page) =>
  (await page.locator('#names li').allTextContents()).map((name) => name.replaceAll(/[\u2068\u2069]/g, ''));

test('who types is named, and forgotten in time', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { clock: true });
  await join(ada, 'Ada');
  const users = {};
  for (const name of ['Bob', 'Cleo', 'Dora', 'Emil']) users[name] = await guest(t, server, name);
  await shows(ada, '#count', '5 people');
  await pauseClock(ada);

  users.Bob.socket.emit('typing');
  await shows(ada, '#typing', 'Bob is typing…');
  users.Cleo.socket.emit('typing');
  await shows(ada, '#typing', 'Bob and Cleo are typing…');
  users.Dora.socket.emit('typing');
  await shows(ada, '#typing', 'Bob, Cleo and Dora are typing…');
  users.Emil.socket.emit('typing');
  await shows(ada, '#typing', 'Several people are typing…');
  // It ends with the author's message, with a word about it, or with the departure.
  users.Emil.socket.emit('new message', 'done');
  await shows(ada, '#typing', 'Bob, Cleo and Dora are typing…');
  users.Dora.socket.emit('stop typing');
  await shows(ada, '#typing', 'Bob and Cleo are typing…');
  users.Cleo.socket.close();
  await shows(ada, '#typing', 'Bob is typing…');
  // Who goes on says so again; who says nothing more is forgotten after six seconds.
  await ada.clock.fastForward(5000);
  users.Bob.socket.emit('typing');
  await users.Bob.ask('new message', ''); // refused, but answered after it
  users.Emil.socket.emit('typing');
  await shows(ada, '#typing', 'Bob and Emil are typing…');
  await ada.clock.fastForward(5000);
  await shows(ada, '#typing', 'Bob and Emil are typing…');
  await ada.clock.fastForward(1100);
  await shows(ada, '#typing', '');
});

test('typing is said with the first key and every three seconds, and taken back', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { clock: true });
  await join(ada, 'Ada');
  await pauseClock(ada);
  const typing = () => bob.heard.map(([event]) => event).filter((event) => event.endsWith('typing'));
  const text = field(ada);
  await text.press('a');
  await bob.event('typing', 1);
  for (const key of 'bcd') {
    await ada.clock.runFor(1000);
    await text.press(key);
  }
  await bob.event('typing', 2);
  assert.deepEqual(typing(), ['typing', 'typing']);
  await ada.clock.runFor(3100);
  await bob.event('stop typing', 1);
  await text.press('e');
  await bob.event('typing', 3);
  await text.fill('');
  await bob.event('stop typing', 2);
  await text.press('f');
  await text.press('Enter');
  await bob.event('stop typing', 3);
  await bob.event('new message');
  assert.deepEqual(typing(), ['typing', 'typing', 'stop typing', 'typing', 'stop typing', 'typing', 'stop typing']);
});

test('two users of one name, or of names that look the same, are told apart', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const first = await guest(t, server, 'Bob');
  first.socket.emit('new message', 'from the first');
  await hears(ada, 'from the first');
  assert.equal(await ada.locator('.head small').count(), 0);
  const colour = () => ada.locator('.message b').first().getAttribute('class');
  const before = await colour();
  const second = await guest(t, server, 'B\u200bo\u2060b');
  second.socket.emit('new message', 'from the second');
  await hears(ada, 'from the second');
  const tags = await ada.locator('.head small').allTextContents();
  for (const tag of tags) assert.match(tag, /^#[\w-]{6}$/);
  assert.notEqual(tags[0], tags[1]);
  assert.deepEqual(await ada.locator('.message.follows').count(), 0);
  assert.ok((await colour()) && before);
  await shows(ada, '#count', '3 people');
  await ada.locator('#names li').nth(2).waitFor();
  const names = (await listed(ada)).map((name) => name.replaceAll(/[\u200b\u2060]/g, ''));
  assert.deepEqual(names.toSorted(), ['Ada you', ...tags.map((tag) => `Bob ${tag}`)].toSorted());
  second.socket.emit('typing');
  await ada.locator('#typing').filter({ hasText: tags[1] }).waitFor();

  // A newcomer who hears of both at once.
  const cleo = await open(t, browser, server.url, { name: 'Cleo' });
  await hears(cleo, 'from the second');
  await cleo.locator('.head small').nth(1).waitFor();
  assert.deepEqual(await cleo.locator('.head small').allTextContents(), tags);
});

test('many arrivals and departures are one line, and the list of people is right', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const names = ['Bob', 'Cleo', 'Dora', 'Emil', 'Fritz', 'Gina', 'Hans'];
  const users = [];
  for (const name of names) users.push(await guest(t, server, name));
  await notes(ada, 'Bob, Cleo, Dora and 4 others joined');
  await ada.locator('#names li').nth(7).waitFor();
  assert.deepEqual((await listed(ada)).toSorted(), ['Ada you', ...names]);
  for (const user of users.slice(0, 2)) user.socket.close();
  await notes(ada, 'Dora, Emil, Fritz and 2 others joined · Bob and Cleo came and went');
  await shows(ada, '#count', '6 people');
  users[2].socket.emit('new message', 'between');
  await hears(ada, 'between');
  users[2].socket.close();
  await notes(ada, 'Dora left');
  await guest(t, server, 'Ines');
  await notes(ada, 'Ines joined · Dora left');
  assert.deepEqual(await lines(ada), [
    'Dora, Emil, Fritz and 2 others joined · Bob and Cleo came and went',
    'between',
    'Ines joined · Dora left',
  ]);
  await ada.locator('#names').getByText('Ines').waitFor();
  assert.deepEqual((await listed(ada)).toSorted(), ['Ada you', 'Emil', 'Fritz', 'Gina', 'Hans', 'Ines']);
});

test('one chat on two servers: people, messages and history are those of both', options, async (t) => {
  const redis = await startRedis(t);
  const nodes = [];
  for (const name of ['north', 'south']) nodes.push(await start(t, { args: ['--redis', redis.url, '--instance', name] }));
  const ada = await open(t, browser, nodes[0].url, { name: 'Ada' });
  const bob = await open(t, browser, nodes[1].url, { name: 'Bob' });
  for (const page of [ada, bob]) await shows(page, '#count', '2 people');
  await shows(ada, '#about', `Connected to 127.0.0.1:${nodes[0].port} (north) over WebSocket.`);
  await shows(bob, '#about', `Connected to 127.0.0.1:${nodes[1].port} (south) over WebSocket.`);
  await say(ada, 'hello south');
  await hears(bob, 'hello south');
  await say(bob, 'hello north');
  await hears(ada, 'hello north');
  for (const page of [ada, bob]) {
    await settled(page);
    assert.deepEqual(await messages(page), [['Ada', 'hello south'], ['Bob', 'hello north']]);
    await page.locator('#names li').nth(1).waitFor();
  }
  assert.deepEqual((await listed(ada)).toSorted(), ['Ada you', 'Bob']);
  const cleo = await open(t, browser, nodes[1].url, { name: 'Cleo' });
  await hears(cleo, 'hello north');
  assert.deepEqual(await messages(cleo), [['Ada', 'hello south'], ['Bob', 'hello north']]);
});
