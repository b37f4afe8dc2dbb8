// How the page looks and fits: people at the side, small windows, large fonts, forced colours, both directions of writing,
// formats of times, folded texts, and what moves.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { field, guest, hears, join, launch, menu, open, shows } from '../lib/browser.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const browser = await launch({ after });

for (const [width, height, font] of [[640, 310, 16], [320, 256, 16], [780, 340, 16], [360, 640, 32]]) {
  test(`the menu is reachable at ${width}x${height} with fonts of ${font} px`, options, async (t) => {
    const server = await start(t);
    const ada = await open(t, browser, server.url, { viewport: { width, height }, name: 'Ada' });
    await ada.evaluate((font) => (document.documentElement.style.fontSize = `${font}px`), font);
    assert.equal(await ada.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
    await menu(ada);
    const reached = (id) =>
      ada.waitForFunction((id) => {
        const element = document.getElementById(id);
        const { left, right, top, bottom } = element.getBoundingClientRect();
        return document.elementFromPoint((left + right) / 2, (top + bottom) / 2) === element;
      }, id);
    await reached('notify');
    // By the wheel, as people do: a script could scroll what is cut off, too.
    await ada.locator('#notify').hover();
    await ada.mouse.wheel(0, 5000);
    await reached('leave');
    await ada.locator('#language').scrollIntoViewIfNeeded();
    await reached('language');
    await ada.locator('#leave').click();
    await ada.locator('#name').waitFor();
  });
}

test('people are at the side in a wide window, sorted, in their colours; many can be searched', options, async (t) => {
  const server = await start(t);
  const names = Array.from({ length: 22 }, (_, i) => `guest ${String.fromCharCode(97 + i)}`);
  for (const name of names.toReversed()) await guest(t, server, name);
  const ada = await open(t, browser, server.url, { name: 'Ada', viewport: { width: 1100, height: 700 } });
  await ada.locator('#names li').nth(22).waitFor();
  assert.equal(await ada.locator('#count').isVisible(), false);
  const listed = () => ada.locator('#names bdi').allTextContents();
  assert.deepEqual(await listed(), ['Ada', ...names]);
  assert.match(await ada.locator('#names b').first().getAttribute('class'), /^hue\d+$/);
  await ada.getByRole('searchbox', { name: 'Search people' }).fill('Guest C');
  assert.deepEqual(await listed(), ['guest c']);
  // Below, it is behind the number.
  await ada.setViewportSize({ width: 700, height: 600 });
  assert.equal(await ada.locator('#people').isVisible(), false);
  await ada.locator('#count').click();
  await ada.locator('#people').waitFor();
  await ada.mouse.click(100, 300);
  assert.equal(await ada.locator('#people').isVisible(), false);
});

test('on a phone the log uses the whole width', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada', viewport: { width: 360, height: 640 } });
  assert.deepEqual(await ada.locator('#log').evaluate((log) => [log.getBoundingClientRect().left, log.offsetWidth]), [0, 360]);
});

test('the list of names for a mention stands on the field, off the edge of a phone', options, async (t) => {
  const server = await start(t);
  await guest(t, server, 'Wolfeschlegelsteinhausenbergerdorff the Younger of Hohenstein');
  const ada = await open(t, browser, server.url, { name: 'Ada', viewport: { width: 320, height: 568 } });
  await ada.locator('#about').filter({ hasText: '(' }).waitFor({ state: 'attached' }); // with the server's name came those of the users
  await field(ada).pressSequentially('@');
  await ada.locator('#mentions li').waitFor();
  const [list, text] = [await ada.locator('#mentions').boundingBox(), await field(ada).boundingBox()];
  assert.equal(list.x, text.x);
  assert.ok(list.x >= 8 && list.x + list.width <= 312, `${list.x}, ${list.width}`);
  assert.ok(list.y + list.height <= text.y && list.y + list.height > text.y - 8, `${list.y}, ${list.height}, ${text.y}`);
});

test('forced colours show edges', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada', forcedColors: 'active', viewport: { width: 700, height: 600 } });
  await bob.ask('new message', 'hello', { id: 'm' });
  await hears(ada, 'hello');
  for (const selector of ['.text', '#send button', '#count', 'summary', '#text']) {
    const [style, colour] = await ada.locator(selector).first().evaluate((element) => {
      const { borderTopStyle, borderTopColor } = getComputedStyle(element);
      return [borderTopStyle, borderTopColor];
    });
    assert.equal(style, 'solid', selector);
    assert.notEqual(colour, 'rgba(0, 0, 0, 0)', selector);
  }
});

test('each line has its own direction', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  for (const id of ['name', 'text']) assert.equal(await ada.locator(`#${id}`).getAttribute('dir'), 'auto');
  await bob.ask('new message', 'שלום\nhello, this is the longer line\nsmall', { id: 'm' });
  await ada.locator('#lines .text').waitFor();
  const sides = await ada.locator('#lines .text').evaluate((text) => {
    const range = document.createRange();
    const of = (from, to) => {
      range.setStart(text.firstChild, from);
      range.setEnd(text.firstChild, to);
      return range.getBoundingClientRect();
    };
    const [hebrew, english, small] = [of(0, 4), of(5, 35), of(36, 41)];
    return [Math.abs(hebrew.right - english.right) < 3, Math.abs(small.left - english.left) < 3];
  });
  assert.deepEqual(sides, [true, true]);
});

test('times and dates are in the formats of the browser', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  await bob.ask('new message', 'hello', { id: 'm' });
  for (const [locale, clock, day] of [['de-DE', /^\d\d:\d\d$/, /^\S+tag, \d+\. \S+ \d{4}$|^Mittwoch/], ['ja-JP', /^\d\d?:\d\d$/, /年.*月.*日/], ['en-US', /^\d\d?:\d\d\s[AP]M$/, /^\w+, \w+ \d+, \d{4}$/], ['en-GB', /^\d\d:\d\d$/, /^\w+,? \d+ \w+ \d{4}$/]]) {
    const ada = await open(t, browser, server.url, { locale });
    await ada.locator('#name').fill('Ada');
    await ada.keyboard.press('Enter');
    await hears(ada, 'hello');
    assert.match(await ada.locator('.head time').first().textContent(), clock, locale);
    assert.match(await ada.locator('.day time').textContent(), day, locale);
    // The whole of it is said on hover.
    assert.match(await ada.locator('.head time').first().getAttribute('title'), /20\d\d.*\d:\d\d/, locale);
    await ada.locator('.text').first().hover();
    assert.match(await ada.locator('.message').first().getAttribute('title'), /20\d\d.*\d:\d\d/, locale);
    if (locale !== 'de-DE') continue;
    await menu(ada);
    await ada.locator('#language').selectOption('en');
    await ada.locator('html[lang=en]').waitFor();
    assert.match(await ada.locator('.head time').first().textContent(), clock);
    assert.match(await ada.locator('.day time').textContent(), /^\w+,? \d+ \w+ \d{4}$/);
  }
});

test('8,000 line breaks are folded, and unfold', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await bob.ask('new message', `top${'\n'.repeat(8000)}bottom`, { id: 'm' });
  const button = ada.getByRole('button', { name: 'Show all' });
  await button.waitFor();
  const height = () => ada.locator('#lines .text').evaluate((text) => text.offsetHeight);
  assert.ok((await height()) < 300);
  assert.equal(await button.getAttribute('aria-expanded'), 'false');
  await button.click();
  assert.ok((await height()) > 100_000);
  await ada.getByRole('button', { name: 'Show less' }).click();
  assert.ok((await height()) < 300);
});

test('code in back-ticks, emoji alone, and nothing else of Markdown', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const rows = [
    ['see `a < b` and `https://c.example/`', ['a < b', 'https://c.example/'], 'text'],
    ['```\nfn main() {}\n```', ['fn main() {}'], 'text'],
    ['*no* _emphasis_ # here ` alone', [], 'text'],
    ['🎉👍🏽 🇫🇷', [], 'text big'],
    ['🎉 yes', [], 'text'],
    ['42 # *', [], 'text'],
  ];
  for (const [i, [text]] of rows.entries()) await bob.ask('new message', text, { id: `m${i}` });
  await ada.locator('.message').nth(5).waitFor();
  const found = await ada.locator('#lines .text').evaluateAll((all) =>
    all.map((text) => [[...text.querySelectorAll('code')].map((code) => code.textContent), text.className, text.querySelectorAll('a').length]));
  assert.deepEqual(found, rows.map(([, code, name]) => [code, name, 0]));
});

test('links keep balanced brackets, end at Chinese punctuation, and begin with www', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const rows = [
    ['https://en.wikipedia.org/wiki/Rust_(programming_language)', 'https://en.wikipedia.org/wiki/Rust_(programming_language)'],
    ['(see https://a.example/b_(c)).', 'https://a.example/b_(c)'],
    ['看看https://example.com/a，很好用', 'https://example.com/a'],
    ['（https://example.com/b）', 'https://example.com/b'],
    ['www.example.com!', 'www.example.com'],
    ['[https://d.example/[x]]', 'https://d.example/[x]'],
    ['wwwhat.example awww.example.com www.', undefined],
  ];
  for (const [i, [text]] of rows.entries()) await bob.ask('new message', text, { id: `m${i}` });
  await ada.locator('.message').nth(6).waitFor();
  const found = await ada.locator('#lines .text').evaluateAll((all) => all.map((text) => text.querySelector('a')?.textContent));
  assert.deepEqual(found, rows.map(([, link]) => link));
  assert.equal(await ada.locator('a:text-is("www.example.com")').evaluate((a) => a.href), 'https://www.example.com/');
});

test('the banner moves nothing, and the verb of who types is whole at 320 pixels', options, async (t) => {
  const server = await start(t);
  const users = [];
  for (const name of ['Wolfeschlegelsteinhausenbergerdorff', 'Maximiliane von Hohenstein', 'Bob']) users.push(await guest(t, server, name));
  const ada = await open(t, browser, server.url, { name: 'Ada', viewport: { width: 320, height: 568 } });
  for (const user of users) user.socket.emit('typing');
  await ada.locator('#typing').filter({ hasText: 'Bob' }).waitFor();
  const verb = ada.locator('#typing span').last();
  assert.equal(await verb.textContent(), ' are typing…');
  const [right, hidden] = await verb.evaluate((verb) => [verb.getBoundingClientRect().right, verb.scrollWidth - verb.clientWidth]);
  assert.ok(right <= 320 && hidden <= 1, `${right}, ${hidden}`);
  const box = () => ada.locator('#log').evaluate((log) => JSON.stringify(log.getBoundingClientRect()));
  const before = await box();
  await server.kill('SIGKILL');
  await ada.locator('#status:not(:empty)').waitFor();
  assert.equal(await box(), before);
});

test('the focus has a full ring by the keyboard, a quiet one by the pointer', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const ring = () => field(ada).evaluate((field) => getComputedStyle(field).outlineWidth);
  await field(ada).click();
  assert.equal(await ring(), '1px');
  await ada.keyboard.press('Tab');
  await ada.keyboard.press('Shift+Tab');
  assert.equal(await ring(), '3px');
});

test('the entrance and the empty room say what this is, and how many are here', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url);
  await shows(ada, '#about-room', 'Nobody is here now.');
  const bob = await guest(t, server, 'Bob');
  await shows(ada, '#about-room', '1 person is here now.');
  assert.ok(!(await ada.locator('body').innerText()).includes('Bob'));
  await join(ada, 'Ada');
  await shows(ada, '#empty', 'Nothing has been said yet. 2 people are here: say hello!');
  await bob.ask('new message', 'hello', { id: 'm' });
  await hears(ada, 'hello');
  assert.equal(await ada.locator('#empty').isVisible(), false);
});

test('names that only look alike, and two authors of one name in the log, have tags that no name can imitate', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const say = async (name, text) => {
    const user = await guest(t, server, name);
    await user.ask('new message', text, { id: text });
    return user;
  };
  await say('Olga', 'latin');
  await say('Оlgа', 'cyrillic');
  const gone = await say('Pat', 'first');
  gone.socket.close();
  await ada.locator('.note').filter({ hasText: 'left' }).waitFor();
  await say('Pat', 'second');
  await say('Ida #abc123', 'imitator');
  await say('Uma \ue000#abc123\ue001', 'private');
  await say('Ada (you)', 'you');
  await hears(ada, 'you');
  const tags = await ada.locator('#lines .message').evaluateAll((all) =>
    Object.fromEntries(all.map((line) => [line.message, line.querySelectorAll('.head .tag').length])));
  assert.deepEqual(tags, { latin: 1, cyrillic: 1, first: 1, second: 1, imitator: 0, private: 0, you: 0 });
  await ada.locator('#names li').filter({ hasText: 'Ada (you)' }).waitFor();
  assert.equal(await ada.locator('#names .you').count(), 1);
  assert.equal(await ada.locator('#names li').filter({ has: ada.locator('.you') }).locator('bdi').textContent(), 'Ada');
  assert.equal(await ada.locator('.note .tag').filter({ hasText: 'abc123' }).count(), 0);
});
