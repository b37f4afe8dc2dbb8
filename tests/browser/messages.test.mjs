// Messages between real pages in a real browser: they arrive once and in order, and whoever sends knows what became of
// them, whatever the network and the server do meanwhile.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { field, hears, join, launch, lines, messages, notes, open, say, settled, shows, TRANSPORTS } from '../lib/browser.mjs';
import { Chatter } from '../lib/chatter.mjs';
import { below, wire } from '../lib/proxy.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const browser = await launch({ after });
const GAP = 'Something may be missing here.';
const said = async (page) => (await lines(page)).filter((line) => !/joined|left|back|away$/.test(line));

for (const transports of Object.keys(TRANSPORTS)) {
  test(`two pages chat: ${transports}`, options, async (t) => {
    const server = await start(t);
    const ada = await open(t, browser, server.url, { transports, name: 'Ada' });
    await shows(ada, '#count', '1 person');
    const bob = await open(t, browser, server.url, { transports, name: 'Bob' });
    for (const page of [ada, bob]) await shows(page, '#count', '2 people');
    await notes(ada, 'Bob joined');

    const texts = [0, 1, 2, 3, 4].map((i) => `from Ada ${i}`);
    for (const text of texts) await say(ada, text);
    await hears(bob, 'from Ada 4');
    await say(bob, 'from Bob');
    await hears(ada, 'from Bob');
    for (const page of [ada, bob]) await settled(page);
    const said = [...texts.map((text) => ['Ada', text]), ['Bob', 'from Bob']];
    assert.deepEqual(await messages(ada), said);
    assert.deepEqual(await messages(bob), said);

    await bob.goto('about:blank');
    await notes(ada, 'Bob left');
    await shows(ada, '#count', '1 person');
    assert.deepEqual(await lines(ada), ['Bob joined', ...texts, 'from Bob', 'Bob left']);
    const used = { 'polling only': ['polling'], 'WebSocket only': ['websocket'] };
    assert.deepEqual([...ada.requests], used[transports] ?? ['polling', 'websocket']);
  });
}

test('the page works below a sub-path', options, async (t) => {
  const server = await start(t);
  const url = await below(t, '/team/chat', server.url);
  const ada = await open(t, browser, url, { name: 'Ada' });
  const bob = await open(t, browser, url, { name: 'Bob' });
  await say(bob, 'hello');
  await hears(ada, 'hello');
  assert.deepEqual([...ada.requests], ['polling', 'websocket']);
});

test('who joins sees what was said, and it is not read aloud', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  for (const text of ['one', 'two', 'three']) await say(ada, text);
  await settled(ada);
  const bob = await open(t, browser, server.url);
  // How the log stood to screen readers when each message was added.
  await bob.evaluate(() => {
    const log = document.getElementById('log');
    window.heard = [];
    new MutationObserver((all) => {
      for (const { addedNodes } of all) {
        for (const line of addedNodes) if (line.matches?.('.message')) window.heard.push([line.message, log.ariaLive]);
      }
    }).observe(document.getElementById('lines'), { childList: true });
  });
  await join(bob, 'Bob');
  await hears(bob, 'three');
  await bob.locator('#log[aria-live=polite]').waitFor();
  await say(ada, 'four');
  await hears(bob, 'four');
  const old = ['one', 'two', 'three'].map((text) => [text, 'off']);
  assert.deepEqual(await bob.evaluate(() => window.heard), [...old, ['four', 'polite']]);
  assert.deepEqual(await messages(bob), ['one', 'two', 'three', 'four'].map((text) => ['Ada', text]));
});

test('what the server refuses is said on the page', options, async (t) => {
  const server = await start(t, { env: { SALON_MAX_NAME: '5', SALON_MAX_TEXT: '20' } });
  const ada = await open(t, browser, server.url);
  await ada.getByLabel('What is your name?').fill('Augusta');
  await ada.getByRole('button', { name: 'Join the chat' }).click();
  await shows(ada, '#trouble', 'Not taken: too long.');
  await join(ada, 'Ada');
  await say(ada, 'x'.repeat(21));
  await shows(ada, '#hint', 'Too long: a message has at most 20 bytes.');
  assert.equal(await field(ada).inputValue(), 'x'.repeat(21), 'it is there to be shortened');
  await say(ada, 'short');
  await settled(ada);
  await shows(ada, '#hint', '');
  assert.deepEqual((await messages(ada)).map(([, text]) => text), ['short']);
});

test('a message shows as sending, then as failed, and Retry sends it once', options, async (t) => {
  const server = await start(t);
  const between = await wire(t, server.port);
  const ada = await open(t, browser, between.url, { name: 'Ada' });
  const bob = await open(t, browser, server.url, { name: 'Bob' });
  await say(ada, 'whole');
  await settled(ada);
  await ada.clock.install();
  between.silence();
  await say(ada, 'swallowed');
  await shows(ada, '.state span', 'Sending…');
  await ada.clock.fastForward(10_500);
  await shows(ada, '.state.bad span', 'Not sent.');
  await ada.clock.resume();
  between.heal();
  between.cut();
  between.heal();
  await ada.getByRole('button', { name: 'Retry' }).click();
  await hears(bob, 'swallowed');
  await settled(ada);
  for (const page of [ada, bob]) assert.deepEqual(await messages(page), [['Ada', 'whole'], ['Ada', 'swallowed']]);
});

test('a message whose answer is lost is sent again, and known by its id', options, async (t) => {
  const server = await start(t);
  const bob = await open(t, browser, server.url, { name: 'Bob' });
  const ada = await open(t, browser, server.url);
  let socket;
  let deaf = false;
  await ada.routeWebSocket(/transport=websocket/, (ours) => {
    socket = ours;
    const real = ours.connectToServer();
    real.onMessage((text) => deaf && text.startsWith('43') || ours.send(text));
  });
  await ada.reload();
  await join(ada, 'Ada');
  await shows(ada, '#about', `Connected to 127.0.0.1:${server.port} (${instance(server)}) over WebSocket.`);
  deaf = true;
  await say(ada, 'once');
  await hears(bob, 'once');
  await shows(ada, '.state span', 'Sending…');
  deaf = false;
  await socket.close({ code: 4000 });
  await settled(ada);
  await say(ada, 'then');
  await hears(bob, 'then');
  for (const page of [ada, bob]) assert.deepEqual(await messages(page), [['Ada', 'once'], ['Ada', 'then']]);
});

test('what was missed is asked for again if no answer comes', options, async (t) => {
  const server = await start(t);
  const bob = new Chatter(t, server.url);
  await bob.login('Bob');
  await bob.ask('new message', 'before');
  const ada = await open(t, browser, 'about:blank', { clock: true, transports: 'WebSocket only' });
  let swallow;
  const swallowed = new Promise((resolve) => (swallow = resolve));
  let asked = 0;
  await ada.routeWebSocket(/transport=websocket/, (ours) => {
    const real = ours.connectToServer();
    ours.onMessage((text) => (String(text).includes('["history"') && (asked += 1) === 1 ? swallow() : real.send(text)));
  });
  await ada.goto(server.url);
  await join(ada, 'Ada');
  await swallowed;
  await bob.ask('new message', 'meanwhile');
  await hears(ada, 'meanwhile');
  await ada.clock.fastForward(10_500);
  await hears(ada, 'before');
  assert.deepEqual((await messages(ada)).map(([, text]) => text), ['before', 'meanwhile']);
});

test('the name is given again if the connection broke before the server had it', options, async (t) => {
  const first = await start(t);
  const ada = await open(t, browser, 'about:blank', { transports: 'WebSocket only' });
  let swallow;
  const swallowed = new Promise((resolve) => (swallow = resolve));
  let logins = 0;
  let socket;
  await ada.routeWebSocket(/transport=websocket/, (ours) => {
    socket = ours;
    const real = ours.connectToServer();
    ours.onMessage((text) => (String(text).includes('["add user"') && (logins += 1) === 2 ? swallow() : real.send(text)));
  });
  await ada.goto(first.url);
  await join(ada, 'Ada');
  await first.kill('SIGKILL');
  const second = await start(t, { port: first.port });
  const bob = new Chatter(t, second.url);
  await bob.login('Bob');
  await swallowed;
  // An event with its offset, without which nothing could be recovered.
  await bob.ask('new message', 'hello');
  await hears(ada, 'hello');
  await socket.close({ code: 4000 });
  assert.equal((await bob.event('user joined')).username, 'Ada');
  await say(ada, 'here');
  await bob.hears(() => bob.from('Ada').length === 1, 'here');
  await settled(ada);
  assert.equal(logins, 3);
});

const instance = (server) => /instance ([\w-]+)/.exec(server.log())[1];

test('offline, killed and back: 200 messages of 4 pages, none lost or doubled', { timeout: 120_000 }, async (t) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'salon-page-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const args = ['--history', path.join(directory, 'history')];
  const first = await start(t, { args });
  const ways = ['polling, then WebSocket', 'polling, then WebSocket', 'polling only', 'WebSocket only'];
  const pages = [];
  for (const [i, transports] of ways.entries()) pages.push(await open(t, browser, first.url, { transports, name: `user ${i}` }));
  const texts = (i) => Array.from({ length: 50 }, (_, k) => `${i}: ${k}`);
  const all = pages.map((page, i) =>
    page.evaluate(async (texts) => {
      const field = document.getElementById('text');
      for (const text of texts) {
        field.value = text;
        document.getElementById('send').requestSubmit();
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
    }, texts(i)));
  // Each of these comes in the midst of it, and every page goes on writing.
  await hears(pages[0], '1: 5');
  await pages[1].context().setOffline(true);
  await hears(pages[0], '3: 15');
  await pages[2].context().setOffline(true);
  await hears(pages[0], '3: 22');
  await first.kill('SIGKILL');
  await pages[1].context().setOffline(false);
  await start(t, { port: first.port, args });
  await pages[2].context().setOffline(false);
  await Promise.all(all);
  for (const page of pages) await settled(page);
  for (const page of pages) for (const i of pages.keys()) await hears(page, `${i}: 49`);
  for (const page of pages) {
    const heard = await messages(page);
    for (const i of pages.keys()) {
      const from = heard.filter(([name]) => name === `user ${i}`).map(([, text]) => text);
      assert.deepEqual(from.toSorted(), texts(i).toSorted());
      assert.deepEqual(from, texts(i), 'in the order in which they were written');
    }
    assert.equal(heard.length, 200);
    assert.deepEqual(heard, await messages(pages[0]), 'the same order everywhere');
    assert.ok(!(await lines(page)).includes(GAP));
  }
});

test('what was missed and is gone leaves a mark', options, async (t) => {
  const server = await start(t, { args: ['--history-messages', '5', '--recovery', 'off'] });
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const bob = await new Chatter(t, server.url).connected();
  await bob.login('Bob');
  await bob.ask('new message', 'before', { id: 'before' });
  await hears(ada, 'before');
  await ada.context().setOffline(true);
  await shows(ada, '#about', '');
  for (let i = 0; i < 10; i++) await bob.ask('new message', `missed ${i}`, { id: `m${i}` });
  await ada.context().setOffline(false);
  await hears(ada, 'missed 9');
  const kept = [5, 6, 7, 8, 9].map((i) => `missed ${i}`);
  assert.deepEqual(await said(ada), ['before', GAP, ...kept]);

  // A short absence leaves none; a server that forgot everything does.
  await ada.context().setOffline(true);
  await shows(ada, '#about', '');
  await bob.ask('new message', 'missed 10', { id: 'm10' });
  await ada.context().setOffline(false);
  await hears(ada, 'missed 10');
  await server.kill('SIGKILL');
  const again = await start(t, { port: server.port });
  await notes(ada, GAP).then(() => ada.locator(`.note:has-text("${GAP}")`).nth(1).waitFor());
  await say(ada, 'after');
  await settled(ada);
  const cleo = await open(t, browser, again.url, { name: 'Cleo' });
  await hears(cleo, 'after');
  const seen = ['before', GAP, ...kept, 'missed 10', GAP, 'after'];
  assert.deepEqual(await said(ada), seen);
});
