// The reader's place: nothing moves while they read, the new is marked, the old comes on scrolling up, a reload keeps it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { field, guest, hears, hide, join, launch, lines, messages, open, say, settled } from '../lib/browser.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 120_000 };
const browser = await launch({ after });
const NEW = 'New since you were away';

/** Scrolls to this position, and waits until the page knows. */
const scrollTo = (page, top) =>
  page.locator('#log').evaluate((log, top) => {
    const scrolled = new Promise((resolve) => log.addEventListener('scroll', resolve, { once: true }));
    log.scrollTop = top;
    return scrolled;
  }, top);

/** Where a message stands in the window, when two frames have passed. Its text rises for a moment when it is new. */
const placeOf = (page, text) =>
  page.evaluate(async (text) => {
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
    const found = [...document.querySelectorAll('#lines .text')].find((line) => line.textContent === text);
    return Math.round(found.parentNode.getBoundingClientRect().top);
  }, text);

/** The texts of the log and its line above the new, without who came and went. */
const texts = async (page) => (await lines(page)).filter((line) => !/ joined| left|came/.test(line));

test('nothing moves while one reads, whatever comes and goes; the oldest lines go on return', options, async (t) => {
  const server = await start(t, { args: ['--event-burst', '10000'] });
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  for (let i = 0; i < 1010; i++) bob.socket.emit('new message', `line ${i}`);
  await hears(ada, 'line 1009');
  await scrollTo(ada, await ada.locator('#log').evaluate((log) => log.scrollHeight * 0.9));
  const seen = await ada.evaluate(() => document.elementFromPoint(200, innerHeight / 2).closest('.message').querySelector('.text').textContent);
  const before = await placeOf(ada, seen);
  for (let i = 0; i < 30; i++) bob.socket.emit('new message', `new ${i}`);
  await hears(ada, 'new 29');
  assert.equal(await placeOf(ada, seen), before);
  assert.ok((await ada.locator('#lines li').count()) > 1030);
  // There is a bound all the same, and even then the text stays.
  for (let i = 0; i < 2100; i++) bob.socket.emit('new message', `more ${i}`);
  await hears(ada, 'more 2099');
  assert.equal(await placeOf(ada, seen), before);
  assert.ok((await ada.locator('#lines li').count()) <= 3001);
  await ada.locator('#news').click();
  await ada.waitForFunction(() => document.querySelectorAll('#lines li').length <= 1001);
  await ada.waitForFunction(() => {
    const log = document.getElementById('log');
    return log.scrollHeight - log.scrollTop - log.clientHeight < 2;
  });
});

test('a line says what is new after a hidden tab, a lost connection and a reload', options, async (t) => {
  const server = await start(t, { args: ['--recovery', 'off'] });
  const bob = await guest(t, server, 'Bob');
  const speak = (text) => bob.ask('new message', text, { id: text.replaceAll(' ', '-') });
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await speak('seen');
  await hears(ada, 'seen');
  await hide(ada, true);
  await hide(ada, false);
  assert.deepEqual(await texts(ada), ['seen'], 'nothing came');
  await hide(ada, true);
  await speak('hidden 1');
  await speak('hidden 2');
  await hears(ada, 'hidden 2');
  await hide(ada, false);
  assert.deepEqual(await texts(ada), ['seen', NEW, 'hidden 1', 'hidden 2']);

  await ada.context().setOffline(true);
  await ada.locator('#about:empty').waitFor({ state: 'attached' });
  assert.deepEqual(await texts(ada), ['seen', 'hidden 1', 'hidden 2'], 'it is read');
  await speak('missed 1');
  await speak('missed 2');
  await ada.context().setOffline(false);
  await hears(ada, 'missed 2');
  assert.deepEqual(await texts(ada), ['seen', 'hidden 1', 'hidden 2', NEW, 'missed 1', 'missed 2']);

  // While the tab reloads somebody speaks.
  await ada.goto(`${server.url}/socket.io/LICENSE`);
  await speak('away');
  await ada.goBack();
  await hears(ada, 'away');
  assert.deepEqual((await texts(ada)).slice(-3), ['missed 2', NEW, 'away']);
  await ada.reload();
  await hears(ada, 'away');
  assert.ok(!(await texts(ada)).includes(NEW));
  // What we say ourselves is not new.
  await say(ada, 'mine');
  await settled(ada);
  await ada.reload();
  await hears(ada, 'mine');
  assert.ok(!(await texts(ada)).includes(NEW));
});

test('a reader who returns is where the new begins', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada', viewport: { width: 700, height: 400 } });
  for (let i = 0; i < 20; i++) await bob.ask('new message', `old ${i}`, { id: `old${i}` });
  await hears(ada, 'old 19');
  await hide(ada, true);
  for (let i = 0; i < 30; i++) await bob.ask('new message', `new ${i}`, { id: `new${i}` });
  await hears(ada, 'new 29');
  await hide(ada, false);
  const view = await ada.locator('#log').boundingBox();
  const line = await ada.locator('.since').boundingBox();
  assert.ok(line.y > view.y && line.y < view.y + view.height / 2, `${line.y} in ${view.y} and ${view.height}`);
  await ada.getByRole('button', { name: '30 new messages' }).click();
  await ada.locator('#news').waitFor({ state: 'hidden' });
});

test('older messages come on scrolling up, as far as the server has them, and the text stays', options, async (t) => {
  const server = await start(t, { args: ['--history-messages', '230'] });
  const bob = await guest(t, server, 'Bob');
  for (let i = 0; i < 250; i++) await bob.ask('new message', `line ${i}`, { id: `m${i}` });
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await hears(ada, 'line 249');
  assert.equal((await messages(ada)).length, 100);
  const before = await ada.locator('#log').evaluate((log) => log.scrollHeight - log.clientHeight - log.scrollTop);
  assert.ok(before < 2, 'at the end');
  // Before the page hears of it.
  const [seen, place] = await ada.locator('#log').evaluate((log) => {
    log.scrollTop = 300;
    const text = document.elementFromPoint(200, innerHeight / 2).closest('.message').querySelector('.text');
    return [text.textContent, Math.round(text.parentNode.getBoundingClientRect().top)];
  });
  await hears(ada, 'line 100');
  const moved = (await placeOf(ada, seen)) - place;
  assert.ok(Math.abs(moved) <= 1, `${seen}: ${moved}`);
  for (const first of [50, 20]) {
    await ada.locator('#log').evaluate((log) => (log.scrollTop = 0));
    await hears(ada, `line ${first}`);
  }
  assert.deepEqual((await messages(ada)).map(([, text]) => text), Array.from({ length: 230 }, (_, i) => `line ${i + 20}`));
  assert.equal(await ada.locator('#news').isVisible(), false, 'the old is not new');
});

test('the place of reading outlives a reload', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  for (let i = 0; i < 180; i++) await bob.ask('new message', `line ${i}`, { id: `m${i}` });
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await hears(ada, 'line 179');
  for (let i = 0; i < 2; i++) await scrollTo(ada, 200);
  await hears(ada, 'line 31');
  await scrollTo(ada, 1000);
  const seen = await ada.evaluate(() => document.elementFromPoint(200, innerHeight / 2).closest('.message').querySelector('.text').textContent);
  const place = await placeOf(ada, seen);
  await ada.reload();
  await hears(ada, seen);
  await ada.waitForFunction(([seen, place]) => {
    const found = [...document.querySelectorAll('#lines .text')].find((line) => line.textContent === seen);
    return Math.abs(found.parentNode.getBoundingClientRect().top - place) < 2;
  }, [seen, place]);
});

test('a mention marks its line, and counts apart in the title', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada Lovelace' });
  await hide(ada, true);
  const rows = [['@Ada Lovelace, hello', true], ['hello @ada lovelace!', true], ['@Ada Lovelaces', false], ['Ada Lovelace', false], ['@Ada', false]];
  for (const [i, [text]] of rows.entries()) await bob.ask('new message', text, { id: `m${i}` });
  await hears(ada, '@Ada');
  const marked = await ada.locator('#lines .message').evaluateAll((all) => all.map((line) => line.classList.contains('mention')));
  assert.deepEqual(marked, rows.map(([, expected]) => expected));
  assert.equal(await ada.title(), '(5, @2) salon');
  await hide(ada, false);
  assert.equal(await ada.title(), 'salon');
});

test('a name after an at sign is completed from the list', options, async (t) => {
  const server = await start(t);
  for (const name of ['Grace Hopper', 'Greta', 'Linus']) await guest(t, server, name);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await ada.locator('#names li').nth(3).waitFor();
  const suggested = () => ada.locator('#mentions li').allTextContents();
  await field(ada).pressSequentially('mail@g');
  assert.equal(await ada.locator('#mentions').isVisible(), false);
  await field(ada).fill('');
  await field(ada).pressSequentially('so @gr');
  await ada.locator('#mentions').waitFor();
  assert.deepEqual((await suggested()).toSorted(), ['Grace Hopper', 'Greta']);
  await ada.keyboard.type('ace h');
  assert.deepEqual(await suggested(), ['Grace Hopper']);
  await ada.keyboard.press('Escape');
  assert.equal(await ada.locator('#mentions').isVisible(), false);
  await ada.keyboard.type('o');
  await ada.locator('#mentions li').click();
  assert.equal(await field(ada).inputValue(), 'so @Grace Hopper ');
  assert.equal(await ada.evaluate(() => document.activeElement.id), 'text');
  // Enter without a choice sends.
  await ada.keyboard.type('@li');
  await ada.locator('#mentions').waitFor();
  await ada.keyboard.press('ArrowDown');
  const active = await field(ada).getAttribute('aria-activedescendant');
  assert.equal(await ada.locator(`#${active}`).getAttribute('aria-selected'), 'true');
  await ada.keyboard.press('ArrowUp');
  await ada.keyboard.press('Enter');
  await hears(ada, 'so @Grace Hopper @li');
  assert.equal(await ada.locator('#mentions').isVisible(), false);
});

test('the switch of notifications outlives a reload', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada', permissions: ['notifications'] });
  assert.equal(await ada.locator('#notify').getAttribute('aria-pressed'), 'false');
  await ada.locator('summary').click();
  await ada.locator('#notify').click();
  await ada.locator('#notify[aria-pressed=true]').waitFor();
  await ada.reload();
  await field(ada).waitFor();
  assert.equal(await ada.locator('#notify').getAttribute('aria-pressed'), 'true');
});

test('the days are those of the server, whatever our clock says', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  await bob.ask('new message', 'one', { id: 'one' });
  const ada = await open(t, browser, 'about:blank');
  await ada.clock.install({ time: Date.now() + 25 * 3600_000 });
  await ada.goto(server.url);
  await join(ada, 'Ada');
  await hears(ada, 'one');
  await guest(t, server, 'Cleo');
  await ada.locator('.note').waitFor();
  await bob.ask('new message', 'two', { id: 'two' });
  await hears(ada, 'two');
  await say(ada, 'three');
  await settled(ada);
  assert.equal(await ada.locator('.day').count(), 1);
});
