// What the log looks like to who reads it: times, days, links, long and hostile texts, what is new.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { field, guest, hears, hide, join, launch, lines, menu, messages, notes, open, say, settled, shows } from '../lib/browser.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const browser = await launch({ after });
const MARKUP = '<img src=x onerror="document.title=1"><b>&lt;bold&amp;</b><script>document.title=2</script>';

test('times, days, and authors once for what they say in one go', options, async (t) => {
  const server = await start(t);
  const [bob, cleo] = [await guest(t, server, 'Bob'), await guest(t, server, 'Cleo')];
  for (const [user, text] of [[bob, '1'], [bob, '2'], [bob, '3'], [cleo, '4'], [bob, '5'], [bob, '6']]) await user.ask('new message', text, { id: text });
  const ada = await open(t, browser, server.url, { transports: 'polling only' });
  // As if each had been said at this time; the rest is the server's.
  const said = ['2026-03-01T22:58:00Z', '2026-03-01T22:59:30Z', '2026-03-01T23:00:30Z', '2026-03-01T23:01:00Z', '2026-03-03T12:00:00Z', '2026-03-03T12:05:01Z'];
  await ada.route(/transport=polling/, async (route) => {
    const answer = await route.fetch().catch(() => undefined);
    if (!answer) return route.abort().catch(() => {});
    const body = (await answer.text()).replaceAll(/("id":"(\d)","time":|"time":)\d+/g, (all, start, id) => (id ? start + Date.parse(said[id - 1]) : all));
    await route.fulfill({ response: answer, body }).catch(() => {});
  });
  await join(ada, 'Ada');
  await hears(ada, '6');
  const days = (await ada.locator('.day').allTextContents()).map((day) => day.replace(',', '')); // browsers differ
  assert.deepEqual(days, ['Sunday 1 March 2026', 'Monday 2 March 2026', 'Tuesday 3 March 2026']);
  assert.deepEqual(await ada.locator('.day time').evaluateAll((all) => all.map((time) => time.dateTime)), ['2026-03-01', '2026-03-02', '2026-03-03']);
  const heads = await ada.locator('.message:not(.follows) .head').allTextContents();
  assert.deepEqual(heads, ['Bob 23:58', 'Bob 00:00', 'Cleo 00:01', 'Bob 13:00', 'Bob 13:05']);
  assert.equal(await ada.locator('.head time').first().getAttribute('datetime'), '2026-03-01T22:58:00.000Z');
  await ada.unrouteAll({ behavior: 'ignoreErrors' });
});

test('links lead where they say, other schemes nowhere', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  bob.socket.emit('new message', 'See https://a.example/b?c=d&e#f, (http://b.example/) and HTTPS://C.example/x_(y). "http://d.example".');
  bob.socket.emit('new message', 'javascript:alert(1) data:text/html,x ftp://a/ https:// http://[ www.x.y https://e.example/\u202egpj.exe http://f.example/<b>');
  bob.socket.emit('new message', 'end');
  await hears(ada, 'end');
  const links = await ada.locator('#lines a').evaluateAll((all) => all.map((a) => [a.textContent, a.href, a.rel, a.target, a.protocol]));
  const found = ['https://a.example/b?c=d&e#f', 'http://b.example/', 'HTTPS://C.example/x_(y)', 'http://d.example', 'www.x.y', 'https://e.example/', 'http://f.example/'];
  assert.deepEqual(links.map(([text]) => text), found);
  for (const [text, href, rel, target, protocol] of links) {
    assert.equal(href, new URL(text.startsWith('www') ? `https://${text}` : text).href);
    assert.equal(rel, 'noopener noreferrer nofollow');
    assert.equal(target, '_blank');
    assert.match(protocol, /^https?:$/);
  }
});

test('Shift+Enter breaks a line, and line breaks and spaces are kept', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const small = (await field(ada).boundingBox()).height;
  await field(ada).pressSequentially('one');
  await ada.keyboard.press('Shift+Enter');
  await field(ada).pressSequentially('  two');
  assert.ok((await field(ada).boundingBox()).height > small + 10, 'the field grows');
  // Enter that ends a composition (of Japanese, say) sends nothing.
  await field(ada).dispatchEvent('keydown', { key: 'Enter', isComposing: true });
  assert.deepEqual(await messages(ada), []);
  await ada.keyboard.press('Enter');
  await settled(ada);
  assert.equal((await bob.event('new message')).message, 'one\n  two');
  assert.equal((await field(ada).boundingBox()).height, small);
  const text = ada.locator('#lines .text');
  assert.equal(await text.evaluate((p) => p.innerText), 'one\n  two');
  assert.equal(await text.evaluate((p) => getComputedStyle(p).whiteSpaceCollapse), 'preserve');
});

test('who is at the end follows, who reads above is told what is new', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada', viewport: { width: 700, height: 400 } });
  /** Waits until the log's end is, or is not, in view. */
  const atEnd = (expected = true) =>
    ada.waitForFunction((expected) => {
      const log = document.getElementById('log');
      return log.scrollTop > 0 && log.scrollHeight - log.scrollTop - log.clientHeight < 2 === expected;
    }, expected);
  for (let i = 0; i < 20; i++) bob.socket.emit('new message', `line ${i}\n`.repeat(2));
  bob.socket.emit('new message', 'last');
  await hears(ada, 'last');
  await atEnd();
  await ada.locator('#log').hover();
  await ada.mouse.wheel(0, -400);
  await atEnd(false);
  await ada.locator('#log').evaluate((log) => (log.scrollTop = log.scrollHeight / 2));
  const top = await ada.locator('#log').evaluate((log) => log.scrollTop);
  for (const i of [1, 2, 3]) bob.socket.emit('new message', `news ${i}`);
  await ada.getByRole('button', { name: '3 new messages' }).waitFor();
  assert.equal(await ada.locator('#log').evaluate((log) => log.scrollTop), top, 'the reader stays where they are');
  await ada.getByRole('button', { name: '3 new messages' }).click();
  await ada.locator('#news').waitFor({ state: 'hidden' });
  await atEnd();
  // What we say ourselves takes us to the end too.
  await ada.locator('#log').evaluate((log) => {
    const scrolled = new Promise((resolve) => log.addEventListener('scroll', resolve, { once: true }));
    log.scrollTop = 0;
    return scrolled;
  });
  bob.socket.emit('new message', 'news 4');
  await ada.getByRole('button', { name: '1 new message', exact: true }).waitFor();
  await say(ada, 'mine');
  await ada.locator('#news').waitFor({ state: 'hidden' });
  await atEnd();
});

test('a hidden page counts in its title, and notifies only who has asked', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { permissions: ['notifications'] });
  await ada.evaluate(() => {
    window.shown = [];
    const Real = window.Notification;
    window.Notification = class extends Real {
      constructor(...all) {
        super(...all);
        window.shown.push([all[0], all[1].body]);
      }
    };
  });
  await join(ada, 'Ada');
  await hide(ada, true);
  bob.socket.emit('new message', 'one');
  bob.socket.emit('new message', 'two');
  await hears(ada, 'two');
  assert.equal(await ada.title(), '(2) salon');
  await hide(ada, false);
  assert.equal(await ada.title(), 'salon');
  const button = ada.locator('#notify');
  assert.deepEqual([await ada.evaluate(() => window.shown), await button.getAttribute('aria-pressed')], [[], 'false']);

  await menu(ada);
  await button.click();
  await ada.locator('#notify[aria-pressed=true]').waitFor();
  bob.socket.emit('new message', 'seen');
  await hears(ada, 'seen');
  await hide(ada, true);
  bob.socket.emit('new message', '<b>three</b>');
  await hears(ada, '<b>three</b>');
  assert.deepEqual(await ada.evaluate(() => window.shown), [['Bob', '<b>three</b>']]);
  await button.click();
  bob.socket.emit('new message', 'four');
  await hears(ada, 'four');
  assert.equal((await ada.evaluate(() => window.shown)).length, 1);

  const cleo = await open(t, browser, server.url, { name: 'Cleo' });
  await cleo.evaluate(() => (Notification.requestPermission = async () => 'denied'));
  await menu(cleo);
  await cleo.getByRole('button', { name: 'Notifications' }).click();
  await shows(cleo, '#status', 'Your browser blocks notifications of this site.');
});

test('markup, direction marks, invisible and endless texts do no harm', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada', viewport: { width: 320, height: 568 } });
  const names = ['<i id=m>M</i><script>x</script>', '\u202eevil\u2066', '\u200b.\u200d', 'n'.repeat(64), 'Z\u0337\u0321\u034d'.repeat(16), 'عبد\u2069 الله'];
  const texts = [MARKUP, '\u202etxt.exe\u202d\u2066 after', '\u200b\u200b.\u2060', 'w'.repeat(10_000), 'a\u0300\u0301\u0302\u0303'.repeat(1000), '\n'.repeat(50) + 'deep', 'http://x.y/' + '.'.repeat(10_000), 'x\ud83d'];
  const users = [];
  for (const name of names) users.push(await guest(t, server, name));
  for (const user of users) {
    user.socket.emit('typing');
    for (const text of texts) await user.ask('new message', text, { id: `${users.indexOf(user)}-${texts.indexOf(text)}` });
  }
  users[0].socket.emit('new message', 'the end');
  await hears(ada, 'the end');
  assert.equal((await messages(ada)).length, names.length * texts.length + 1);
  assert.ok((await messages(ada)).every(([author]) => author.length > 0 && !/[\u202a-\u202e\u2066-\u2069]/.test(author)));
  assert.equal((await messages(ada))[0][1], MARKUP);
  const tags = await ada.locator('#room *').evaluateAll((all) => all.map((element) => element.localName));
  const allowed = ['a', 'b', 'bdi', 'button', 'div', 'form', 'h2', 'label', 'li', 'ol', 'p', 'small', 'span', 'textarea', 'time', 'ul'];
  assert.deepEqual([...new Set(tags)].filter((tag) => !allowed.includes(tag)), []);
  assert.equal(await ada.title(), 'salon');
  await ada.locator('#count').click();
  await ada.locator('#names li').nth(6).waitFor();
  const wide = await ada.evaluate(() => [document.documentElement.scrollWidth - innerWidth, ...['log', 'names'].map((id) => document.getElementById(id)).map((box) => box.scrollWidth - box.clientWidth)]);
  assert.deepEqual(wide, [0, 0, 0]);
  // No text reaches into the lines around it.
  const tall = await ada.locator('#lines .message').evaluateAll((all) => all.filter((line) => getComputedStyle(line).overflowY !== 'clip').length);
  assert.equal(tall, 0);
  for (const user of users) user.socket.close();
  await shows(ada, '#count', '1 person');
  await say(ada, 'still here');
  await settled(ada);
  assert.ok((await lines(ada)).includes('still here'));
});

test('a log without end keeps its newest lines', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  for (let i = 0; i < 1010; i++) bob.socket.emit('new message', `${i}`);
  await hears(ada, '1009');
  const count = await ada.locator('#lines li').count();
  assert.ok(count === 1000 || count === 1001, `${count} lines`);
  assert.equal(await ada.locator('#lines li').first().getAttribute('class'), 'day', 'the day goes on being shown');
});
