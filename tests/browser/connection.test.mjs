// The page and its connection: what it says of it, how it leaves, and how it comes back.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { connected, guest, hears, join, launch, lines, menu, messages, notes, open, say, settled, shows, TRANSPORTS } from '../lib/browser.mjs';
import { freePort, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
// With the back-forward cache, which Playwright switches off.
const browser = await launch({ after }, { ignoreDefaultArgs: ['--disable-back-forward-cache'] });
const BUDGET = 18 * 1024; // bytes, compressed: rooms, moderation and all

test('the page is small', options, async (t) => {
  const server = await start(t);
  const sizes = {};
  const ada = await open(t, browser, 'about:blank');
  const answers = [];
  ada.on('response', (answer) => answers.push(answer));
  await ada.goto(server.url);
  await connected(ada);
  for (const answer of answers) {
    const { pathname, origin } = new URL(answer.url());
    assert.equal(origin, server.url, 'everything comes from the server itself');
    if (pathname.startsWith('/socket.io/')) continue;
    assert.equal(answer.headers()['content-encoding'], 'gzip', pathname);
    sizes[pathname] = Number(answer.headers()['content-length']);
    assert.ok(sizes[pathname] > 100 && sizes[pathname] <= gzipSync(await answer.body()).length + 100);
  }
  assert.deepEqual(Object.keys(sizes).toSorted(), ['/', '/icon.svg', '/main.js', '/style.css', '/texts/en.js']);
  const texts = [];
  for (const language of ['de', 'en', 'es', 'fr']) {
    texts.push(Number((await fetch(`${server.url}/texts/${language}.js`, { headers: { 'accept-encoding': 'gzip' } })).headers.get('content-length')));
  }
  sizes['/texts/en.js'] = Math.max(...texts); // of the longest language
  const sum = Object.values(sizes).reduce((sum, size) => sum + size, 0);
  t.diagnostic(`all that one visitor loads: ${sum} bytes compressed`);
  assert.ok(sum <= BUDGET, `${sum} bytes: ${JSON.stringify(sizes)}`);
});

test('the page is guarded by its policy', options, async (t) => {
  const server = await start(t);
  const answer = await fetch(server.url);
  assert.equal(
    answer.headers.get('content-security-policy'),
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
      "base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
  );
  // And the tests would see a violation: here is one.
  const page = await open(t, browser, server.url);
  await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'document.title = 3';
    const reported = new Promise((resolve) => document.addEventListener('securitypolicyviolation', resolve));
    document.body.append(script);
    return reported;
  });
  assert.equal(await page.title(), 'salon');
  assert.match(page.complaints.splice(0).join(), /policy script-src/);
});

test('the banner says what becomes of the connection, and nothing of short breaks', options, async (t) => {
  const port = await freePort();
  const server = await start(t, { port });
  const ada = await open(t, browser, server.url, { clock: true });
  await join(ada, 'Ada');
  assert.equal(await ada.locator('#status').getAttribute('role'), 'status');
  await connected(ada, true);
  await ada.clock.pauseAt(Date.now() + 10_000);
  // Every text that the banner has from here on.
  await ada.evaluate(() => {
    window.said = [];
    const status = document.getElementById('status');
    new MutationObserver(() => window.said.push(status.textContent)).observe(status, { childList: true });
  });
  await ada.context().setOffline(true);
  await shows(ada, '#about', '');
  await ada.context().setOffline(false);
  // The client's first attempt comes within 1.5 s.
  await ada.clock.runFor(1500);
  for (let ms = 0; ms < 900 && (await ada.locator('#about:empty').count()); ms++) await ada.clock.runFor(1);
  await connected(ada);
  await ada.clock.runFor(5000);
  assert.deepEqual((await ada.evaluate(() => window.said)).filter(Boolean), []);

  const time = async () => {
    const now = new Date(await ada.evaluate(() => Date.now()));
    return now.toLocaleTimeString('en-GB', { timeStyle: 'short', timeZone: 'Europe/Paris' });
  };
  const earliest = await time();
  await server.kill('SIGKILL');
  // Over polling the client notices by a timer of 0 ms.
  for (let ms = 0; ms < 500 && !(await ada.locator('#about:empty').count()); ms++) await ada.clock.runFor(1);
  await shows(ada, '#about', '');
  const latest = await time();
  await ada.clock.runFor(2600);
  await ada.locator('#status:not(:empty)').waitFor();
  const said = await ada.locator('#status').textContent();
  const texts = [earliest, latest].map((since) => `Offline since ${since}. Trying to connect again…`);
  assert.ok(texts.includes(said), `${said}, ${earliest} to ${latest}`);
  await start(t, { port });
  // The page's time passes until it has its way, however long that takes by ours; it says so for 4 s of its own.
  const status = ada.locator('#status');
  for (const end = Date.now() + 30_000; Date.now() < end && (await status.textContent()) !== 'Connected again.'; ) {
    await ada.clock.runFor(100);
  }
  await shows(ada, '#status', 'Connected again.');
  await ada.clock.runFor(4000);
  await shows(ada, '#status', '');
});

test('a page that opens while the server is away says that it is connecting', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url);
  await ada.route(/\/socket\.io\/\?/, (route) => route.abort());
  await ada.reload();
  await shows(ada, '#status', 'Connecting…');
  await ada.getByLabel('What is your name?').fill('Ada');
  await ada.keyboard.press('Enter');
  await ada.unroute(/\/socket\.io\/\?/);
  await shows(ada, '#count', '1 person');
  await shows(ada, '#status', '');
});

test('sent away by the server, a button brings it back', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url);
  let socket;
  await ada.routeWebSocket(/transport=websocket/, (ours) => {
    socket = ours;
    ours.connectToServer();
  });
  await ada.reload();
  await join(ada, 'Ada');
  await connected(ada, true);
  socket.send('41');
  await shows(ada, '#status', 'The server ended the connection.');
  await ada.getByRole('button', { name: 'Connect again' }).click();
  await say(ada, 'back');
  await settled(ada);
});

// The grace is long: only a goodbye is announced at once.
for (const transports of ['polling only', 'WebSocket only']) {
  test(`who leaves has left at once, and may come back: ${transports}`, options, async (t) => {
    const server = await start(t, { args: ['--leave-grace', '60s'] });
    const bob = await guest(t, server, 'Bob');
    const ada = await open(t, browser, server.url, { transports, name: 'Ada' });
    await say(ada, 'before');
    await bob.event('new message');
    await ada.goto(`${server.url}/socket.io/LICENSE`);
    assert.deepEqual((await bob.event('user left')).numUsers, 1);
    await bob.ask('new message', 'meanwhile', { id: 'meanwhile' });
    await ada.evaluate(() => addEventListener('pageshow', ({ persisted }) => (window.persisted = persisted)));
    await ada.evaluate(() => history.back());
    await bob.event('user joined', 2);
    await hears(ada, 'meanwhile');
    await say(ada, 'after');
    await bob.event('new message', 2);
    assert.deepEqual((await messages(ada)).map(([, text]) => text), ['before', 'meanwhile', 'after']);
    assert.equal(await ada.evaluate(() => performance.getEntriesByType('navigation')[0].notRestoredReasons), null);
    // And for good.
    await ada.close({ runBeforeUnload: true });
    await bob.event('user left', 2);
    assert.equal(bob.heard.filter(([event]) => event === 'user joined').length, 2);
  });
}

/**
 * A page that Playwright knows nothing of, so that it does not keep it in the foreground, where nothing can be frozen.
 * `send` is for DevTools, `event` waits for one of theirs; `until` waits for an expression to become true in the page.
 */
async function unattended(t, url, script) {
  const devtools = await browser.newBrowserCDPSession();
  const { browserContextId } = await devtools.send('Target.createBrowserContext');
  t.after(() => devtools.send('Target.disposeBrowserContext', { browserContextId }));
  const { targetId } = await devtools.send('Target.createTarget', { url: 'about:blank', browserContextId });
  const { sessionId } = await devtools.send('Target.attachToTarget', { targetId, flatten: false });
  const answers = [];
  const events = {};
  const event = (method) => new Promise((resolve) => (events[method] = resolve));
  devtools.on('Target.receivedMessageFromTarget', (event) => {
    const { id, method, result, error } = JSON.parse(event.message);
    events[method]?.();
    answers[id]?.(error ? Promise.reject(new Error(error.message)) : result);
  });
  const send = async (method, params = {}) => {
    const answer = new Promise((resolve) => answers.push(resolve));
    const message = JSON.stringify({ id: answers.length - 1, method, params });
    await devtools.send('Target.sendMessageToTarget', { sessionId, message });
    return answer;
  };
  const evaluate = async (expression) => {
    const { result } = await send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    return result.value;
  };
  const until = (expression) =>
    evaluate(`new Promise((resolve) => {
      const look = () => ${expression} ? resolve(true) : setTimeout(look, 20);
      look();
    })`);
  await send('Page.enable');
  await send('Page.addScriptToEvaluateOnNewDocument', { source: `(${script})()` });
  await send('Page.navigate', { url });
  await until(`location.href.startsWith('${url}') && document.querySelector('#about')?.textContent`);
  return { send, event, evaluate, until };
}

for (const transports of ['polling only', 'polling, then WebSocket']) {
  test(`a page that sleeps in the background wakes up well: ${transports}`, options, async (t) => {
    const server = await start(t, { args: ['--ping-interval', '300ms', '--ping-timeout', '300ms', '--leave-grace', '0'] });
    const bob = await guest(t, server, 'Bob');
    const ada = await unattended(t, server.url, TRANSPORTS[transports]);
    const type = (id, text) => ada.evaluate(`document.querySelector('#${id}').value = '${text}'`);
    await type('name', 'Ada');
    await ada.evaluate(`document.querySelector('#join').requestSubmit()`);
    await bob.event('user joined');
    await ada.until(`!document.querySelector('#room').hidden`);
    await type('text', 'before');
    await ada.evaluate(`document.querySelector('#send').requestSubmit()`);
    await bob.event('new message');

    await ada.evaluate(`document.addEventListener('freeze', () => (window.frozen = true))`);
    await ada.send('Page.setWebLifecycleState', { state: 'frozen' });
    await bob.event('user left');
    for (let i = 0; i < 20; i++) await bob.ask('new message', `missed ${i}`);
    await ada.send('Page.setWebLifecycleState', { state: 'active' });
    assert.equal(await ada.evaluate('window.frozen'), true);
    await bob.event('user joined', 2);
    await type('text', 'after');
    await ada.evaluate(`document.querySelector('#send').requestSubmit()`);
    await bob.event('new message', 2);
    await ada.until(`!document.querySelector('.state')`);
    const missed = Array.from({ length: 20 }, (_, i) => `missed ${i}`);
    // They are put into the log a few at a time.
    await ada.until(`document.querySelectorAll('#lines .text').length >= 22`);
    const texts = await ada.evaluate(`[...document.querySelectorAll('#lines .text')].map((text) => text.textContent)`);
    assert.deepEqual(texts, ['before', ...missed, 'after']);
    // Nobody has looked at it all the while.
    assert.equal(await ada.evaluate('document.title'), '(20) salon');
  });
}

test('a draft outlives a crash of the page', options, async (t) => {
  const server = await start(t);
  const ada = await unattended(t, server.url, TRANSPORTS['WebSocket only']);
  await ada.evaluate(`document.querySelector('#name').value = 'Ada', document.querySelector('#join').requestSubmit()`);
  await ada.until(`document.activeElement.id === 'text'`);
  await ada.send('Input.insertText', { text: 'half a thought' });
  const crashed = ada.event('Inspector.targetCrashed');
  ada.send('Page.crash').catch(() => {}); // the answer may be that it has crashed, or none
  await crashed;
  const loaded = ada.event('Page.loadEventFired');
  await ada.send('Page.navigate', { url: server.url });
  await loaded;
  await ada.until(`!document.querySelector('#room').hidden`);
  assert.equal(await ada.evaluate(`document.querySelector('#text').value`), 'half a thought');
});

test('a tab that is left by its button asks for a name again', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const bob = await guest(t, server, 'Bob');
  await notes(ada, 'Bob joined');
  await menu(ada);
  await ada.getByRole('button', { name: 'Leave' }).click();
  await bob.event('user left');
  await join(ada, 'Augusta');
  assert.equal((await bob.event('user joined')).username, 'Augusta');
  assert.deepEqual(await lines(ada), []);
});
