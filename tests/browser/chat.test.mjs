// Real pages in a real browser chat with each other through the server under test.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { join, launch, line, lines, open, say, shows, TRANSPORTS } from '../lib/browser.mjs';
import { below } from '../lib/proxy.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const OUT = new URL('../out/', import.meta.url).pathname;
const MARKUP = '<img src=x onerror="document.title=1"><b>&lt;bold&amp;</b>';

for (const transports of Object.keys(TRANSPORTS)) {
  test(`two pages chat: ${transports}`, options, async (t) => {
    const server = await start(t);
    const browser = await launch(t);
    const ada = await open(browser, server.url, { transports });
    await join(ada, 'Ada');
    await shows(ada, '#people', '1 participant');
    const bob = await open(browser, server.url, { transports });
    await join(bob, 'Bob');
    for (const page of [ada, bob]) await shows(page, '#people', '2 participants');
    await line(ada, 'Bob joined');

    for (let i = 0; i < 5; i++) await say(ada, `from Ada ${i}`);
    await line(bob, 'Ada from Ada 4');
    await say(bob, 'from Bob');
    await line(ada, 'Bob from Bob');

    // The typing indicator comes with the first key and goes with the message, an emptied field, or a pause.
    const text = ada.getByLabel('Message', { exact: true });
    await text.pressSequentially('Hello');
    await shows(bob, '#typing', 'Ada is typing…');
    await text.press('Enter');
    await line(bob, 'Ada Hello');
    await shows(bob, '#typing', '');
    await text.pressSequentially('x');
    await shows(bob, '#typing', 'Ada is typing…');
    await text.press('Backspace');
    await shows(bob, '#typing', '');
    await text.pressSequentially('x');
    await shows(bob, '#typing', 'Ada is typing…');
    await shows(bob, '#typing', '');

    await bob.context().close();
    await line(ada, 'Bob left');
    await shows(ada, '#people', '1 participant');
    assert.deepEqual(await lines(ada), [
      'Welcome, Ada!',
      'Bob joined',
      ...[0, 1, 2, 3, 4].map((i) => `Ada from Ada ${i}`),
      'Bob from Bob',
      'Ada Hello',
      'Bob left',
    ]);
    const used = { 'polling only': ['polling'], 'WebSocket only': ['websocket'] };
    assert.deepEqual([...ada.requests], used[transports] ?? ['polling', 'websocket']);
    assert.deepEqual(ada.complaints, []);
    assert.deepEqual(bob.complaints, []);
  });
}

test('names and messages with markup show as text', options, async (t) => {
  const server = await start(t);
  const browser = await launch(t);
  const ada = await open(browser, server.url);
  await join(ada, 'Ada');
  const mallory = await open(browser, server.url);
  const name = '<i id=m>M</i><script>document.title=2</script>';
  await join(mallory, name);
  await line(ada, `${name} joined`);
  await say(mallory, MARKUP);
  await line(ada, `${name} ${MARKUP}`);
  await mallory.getByLabel('Message', { exact: true }).pressSequentially('x');
  await shows(ada, '#typing', `${name} is typing…`);
  await mallory.context().close();
  await line(ada, `${name} left`);
  const tags = await ada.locator('#room *').evaluateAll((all) => all.map((element) => element.localName));
  assert.deepEqual([...new Set(tags)].sort(), ['b', 'button', 'form', 'input', 'li', 'ol', 'p', 'span']);
  assert.equal(await ada.title(), 'salon');
  assert.deepEqual(ada.complaints, []);
});

for (const transports of ['polling, then WebSocket', 'polling only']) {
  test(`a page comes back by itself after the server died: ${transports}`, options, async (t) => {
    const first = await start(t);
    const browser = await launch(t);
    const pages = [];
    for (const name of ['Ada', 'Bob']) {
      const page = await open(browser, first.url, { transports });
      await join(page, name);
      pages.push(page);
    }
    const [ada, bob] = pages;
    await line(ada, 'Bob joined');
    await first.kill('SIGKILL');
    for (const page of pages) {
      await line(page, 'You are disconnected. Trying to connect again…');
      assert.equal(await page.getByRole('button', { name: 'Send' }).isDisabled(), true);
    }
    await say(ada, 'written while offline');
    await start(t, { port: first.port });
    for (const page of pages) {
      await line(page, 'You are connected again.');
      await shows(page, '#people', '2 participants');
    }
    assert.equal(await ada.getByLabel('Message', { exact: true }).inputValue(), 'written while offline');
    await ada.getByRole('button', { name: 'Send' }).click();
    await line(bob, 'Ada written while offline');
    await say(bob, 'seen');
    await line(ada, 'Bob seen');
    for (const page of pages) {
      const all = await lines(page);
      assert.equal(all.filter((text) => text.startsWith('You are')).length, 2, all.join('\n'));
      assert.equal(all.filter((text) => text === 'Ada written while offline').length, 1, all.join('\n'));
      assert.deepEqual(page.complaints, []);
    }
  });
}

test('the page works below a sub-path', options, async (t) => {
  const server = await start(t);
  const url = await below(t, '/team/chat', server.url);
  const browser = await launch(t);
  const ada = await open(browser, url);
  await join(ada, 'Ada');
  const bob = await open(browser, url);
  await join(bob, 'Bob');
  await say(bob, 'hello');
  await line(ada, 'Bob hello');
  assert.deepEqual([...ada.requests], ['polling', 'websocket']);
  assert.deepEqual(ada.complaints, []);
});

// The public example's server, which the reference is, refuses nothing.
const judges = !process.env.SALON_BIN?.endsWith('reference.mjs');
test('what the server refuses is said on the page', { ...options, skip: !judges }, async (t) => {
  const server = await start(t, { env: { SALON_MAX_NAME: '5', SALON_MAX_TEXT: '20' } });
  const browser = await launch(t);
  const ada = await open(browser, server.url);
  await ada.getByLabel('What is your name?').fill('Augusta');
  await ada.getByRole('button', { name: 'Join the chat' }).click();
  await ada.locator('#trouble:not(:empty)').waitFor();
  await join(ada, 'Ada');
  assert.deepEqual(await lines(ada), ['Welcome, Ada!']);
  await say(ada, 'x'.repeat(21));
  await ada.locator('#log .bad').getByText('Your message was not sent: ').waitFor();
});

test('the page is guarded by its policy', options, async (t) => {
  const server = await start(t);
  const browser = await launch(t);
  const answer = await fetch(server.url);
  assert.equal(
    answer.headers.get('content-security-policy'),
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
      "base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
  );
  // And the tests above would see a violation: here is one.
  const page = await open(browser, server.url);
  await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'document.title = 3';
    const reported = new Promise((resolve) => document.addEventListener('securitypolicyviolation', resolve));
    document.body.append(script);
    return reported;
  });
  assert.equal(await page.title(), 'salon');
  assert.match(page.complaints.join(), /Content Security Policy/);
});

// For people to look at; they also show that nothing is wider than the screen.
for (const [device, viewport] of Object.entries({ desktop: { width: 1100, height: 700 }, phone: { width: 320, height: 568 } })) {
  test(`screenshots: ${device}`, options, async (t) => {
    mkdirSync(OUT, { recursive: true });
    const server = await start(t);
    const browser = await launch(t);
    const other = await open(browser, server.url);
    for (const colorScheme of ['light', 'dark']) {
      const page = await open(browser, server.url, { viewport, colorScheme });
      const shoot = async (name) => {
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${name}: ${wide} pixels too wide`);
        await page.screenshot({ path: `${OUT}${device}-${colorScheme}-${name}.png` });
      };
      await shoot('entrance');
      await join(page, 'Ada');
      if (colorScheme === 'light') await join(other, 'Grace Hopper');
      await say(page, 'Hello everybody, is somebody here?');
      await say(other, 'Yes! A longer answer, so that one can see how lines break when there is more text than fits into one of them.');
      await say(other, 'x'.repeat(200));
      await say(page, MARKUP);
      for (const name of ['Bob', 'Žofie', '名前']) {
        const guest = await open(browser, server.url);
        await join(guest, name);
        await say(guest, `I am ${name}.`);
        await line(page, `${name} I am ${name}.`);
        await guest.context().close();
        await line(page, `${name} left`);
      }
      await other.getByLabel('Message', { exact: true }).pressSequentially('x');
      await shows(page, '#typing', 'Grace Hopper is typing…');
      await shoot('room');
      await page.context().close();
    }
  });
}
