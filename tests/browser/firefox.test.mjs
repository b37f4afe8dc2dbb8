// The page in Firefox: what depends on the browser, from its policy to the place of reading.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { guest } from '../lib/browser.mjs';
import { hears, join, launch, open, shows, until } from '../lib/firefox.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const browser = await launch({ after });
const value = (page) => page.$eval('#text', (field) => field.value);

test('two pages chat by keys, and the policy lets the page be', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url);
  await shows(ada, '#about-room', 'Nobody is here now.');
  await join(ada, 'Ada');
  await shows(ada, '#empty', 'Nothing has been said yet. You are the first one here.');
  await until(ada, () => document.getElementById('about').textContent.includes('WebSocket'));
  await ada.keyboard.type('first');
  await ada.keyboard.press('Enter');
  const bob = await open(t, browser, server.url, { name: 'Bob' });
  await until(bob, () => document.querySelectorAll('#names bdi').length === 2);
  const height = await bob.$eval('#text', (field) => field.offsetHeight);
  await bob.keyboard.type('hello @a');
  await until(bob, () => document.querySelector('#mentions li'));
  await bob.keyboard.press('Tab');
  assert.equal(await value(bob), 'hello @Ada ');
  await bob.keyboard.down('Shift');
  await bob.keyboard.press('Enter');
  await bob.keyboard.up('Shift');
  await bob.keyboard.type('second line');
  assert.equal(await value(bob), 'hello @Ada \nsecond line');
  assert.ok((await bob.$eval('#text', (field) => field.offsetHeight)) > height + 10, 'the field grows');
  await bob.keyboard.press('Enter');
  assert.equal(await value(bob), '');
  await bob.keyboard.type('by the button');
  await bob.click('#send button');
  assert.equal(await bob.evaluate(() => document.activeElement.id), 'text', 'the focus stays in the field');
  await until(bob, () => !document.querySelector('.state'));
  // Ada's tab is hidden.
  await hears(ada, 'by the button');
  assert.equal(await ada.title(), '(2, @1) salon');
  await ada.bringToFront();
  await until(ada, () => document.title === 'salon');
  await hears(ada, 'hello @Ada \nsecond line');
  assert.deepEqual(await ada.$$eval('#lines > :not(.day)', (all) => all.map((line) => line.className)), ['message mine', 'note', 'note since', 'message mention', 'message follows']);
  // The tests would see a violation.
  await ada.evaluate(() => {
    const reported = new Promise((resolve) => document.addEventListener('securitypolicyviolation', resolve));
    document.body.append(Object.assign(document.createElement('script'), { textContent: 'document.title = 3' }));
    return reported.then(() => {});
  });
  assert.equal(await ada.title(), 'salon');
  assert.match(ada.complaints.splice(0).join(), /policy script-src/);
});

test('the draft, the switch of notifications and who one is outlive a reload', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada', allowed: true });
  await ada.click('summary');
  await ada.click('#notify');
  await until(ada, () => document.getElementById('notify').ariaPressed === 'true');
  await ada.focus('#text');
  await ada.keyboard.type('before');
  await ada.keyboard.press('Enter');
  await until(ada, () => document.querySelector('.mine:not(:has(.state))'));
  await ada.keyboard.type('half a thought');
  const heightOf = () => ada.$eval('#text', (field) => field.offsetHeight);
  const height = await heightOf();
  await ada.reload();
  await hears(ada, 'before');
  assert.equal(await value(ada), 'half a thought');
  assert.equal(await heightOf(), height);
  assert.equal(await ada.$eval('#notify', (button) => button.ariaPressed), 'true');
  await ada.focus('#text');
  await ada.keyboard.press('Enter');
  await bob.event('new message', 2);
  await until(ada, () => document.querySelectorAll('.mine').length === 2);
  const said = bob.whole.filter(([event]) => event === 'new message');
  assert.equal(said[0][1].user, said[1][1].user);
});

test('the button Leave is heard at once', options, async (t) => {
  const server = await start(t, { args: ['--leave-grace', '60s'] });
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await ada.keyboard.type('a draft');
  await ada.click('summary');
  await ada.click('#leave');
  await bob.event('user left');
  await join(ada, 'Eve');
  assert.equal(await value(ada), '');
  assert.equal((await bob.event('user joined', 2)).username, 'Eve');
});

test('older messages come on scrolling up, and the text stays where it is', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  for (let i = 0; i < 180; i++) await bob.ask('new message', `line ${i}`, { id: `m${i}` });
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await hears(ada, 'line 179');
  await until(ada, () => document.getElementById('log').ariaLive === 'polite'); // the log has been laid out
  const placeOf = (text) =>
    ada.evaluate((text) => {
      const found = [...document.querySelectorAll('#lines .text')].find((line) => line.textContent === text);
      return found.parentNode.getBoundingClientRect().top;
    }, text);
  // Before the page hears of it.
  const [seen, place] = await ada.evaluate(() => {
    document.getElementById('log').scrollTop = 300;
    const line = [...document.querySelectorAll('.message')].find((line) => line.getBoundingClientRect().top > innerHeight / 2);
    return [line.querySelector('.text').textContent, line.getBoundingClientRect().top];
  });
  await hears(ada, 'line 31');
  await ada.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  assert.ok(Math.abs((await placeOf(seen)) - place) <= 1);
  // New ones do not move it either, and it outlives a reload.
  await bob.ask('new message', 'new', { id: 'new' });
  await shows(ada, '#news', '1 new message');
  assert.ok(Math.abs((await placeOf(seen)) - place) <= 1);
  await ada.reload();
  await hears(ada, seen);
  await ada.waitForFunction((seen, place) => {
    const found = [...document.querySelectorAll('#lines .text')].find((line) => line.textContent === seen);
    return Math.abs(found.parentNode.getBoundingClientRect().top - place) <= 1;
  }, {}, seen, place);
});

test('a German browser, dark, gets its texts, formats and colours', options, async (t) => {
  const german = await launch(t, { 'intl.accept_languages': 'de-DE, de', 'ui.systemUsesDarkTheme': 1 });
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  await bob.ask('new message', 'שלום\nhello, this is the longer line', { id: 'm' });
  const ada = await open(t, german, server.url);
  await shows(ada, '#about-room', '1 Person ist gerade da.');
  assert.equal(await ada.evaluate(() => document.documentElement.lang), 'de');
  await join(ada, 'Ada');
  const line = await (await ada.waitForSelector('.message')).evaluate((line) => {
    const range = document.createRange();
    const right = (from, to) => {
      range.setStart(line.querySelector('.text').firstChild, from);
      range.setEnd(line.querySelector('.text').firstChild, to);
      return range.getBoundingClientRect().right;
    };
    return { time: line.querySelector('time').textContent, apart: Math.abs(right(0, 4) - right(5, 35)) };
  });
  assert.match(line.time, /^\d\d:\d\d$/);
  assert.ok(line.apart < 3, 'each line has its own direction');
  const luminance = (selector, property) =>
    ada.$eval(selector, (element, property) => getComputedStyle(element)[property].match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0), property);
  assert.ok((await luminance('body', 'backgroundColor')) < 150 && (await luminance('body', 'color')) > 600);
});
