// Writing: keys, drafts, limits, and what becomes of a message that the server or the network does not take.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { field, guest, hears, join, launch, menu, messages, open, say, settled, shows } from '../lib/browser.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const browser = await launch({ after });
const PHONE = { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true };

test('a message above the limits is refused before it is sent, with the limit, and stays in the field', options, async (t) => {
  const server = await start(t, { args: ['--max-payload', '1000', '--max-text', '800'] });
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  for (const [text, limit] of [['é'.repeat(401), 800], ['"'.repeat(450), 800], ['x'.repeat(5000), 800]]) {
    await say(ada, text);
    await shows(ada, '#hint', `Too long: a message has at most ${limit} bytes.`);
    assert.equal(await field(ada).inputValue(), text);
  }
  await say(ada, 'after');
  assert.equal((await bob.event('new message')).message, 'after');
  await settled(ada);
  assert.deepEqual((await messages(ada)).map(([, text]) => text), ['after']);
});

test('a counter appears near the limit', options, async (t) => {
  const server = await start(t, { args: ['--max-text', '100'] });
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  for (const [text, counter] of [['x'.repeat(80), ''], ['x'.repeat(95), '5 bytes left'], ['é'.repeat(48), '4 bytes left'], ['x'.repeat(103), '3 bytes too many'], ['', '']]) {
    await field(ada).fill(text);
    await shows(ada, '#counter', counter);
    assert.equal(await ada.locator('#counter.bad').count(), Number(counter.endsWith('many')));
  }
});

test('a message that ends the connection twice fails, and those behind it go on', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { transports: 'WebSocket only' });
  let poisoned = 0;
  await ada.routeWebSocket(/transport=websocket/, (ours) => {
    const real = ours.connectToServer();
    ours.onMessage((text) => {
      if (!String(text).includes('poison')) return real.send(text);
      poisoned++;
      ours.close({ code: 4000 });
      real.close();
    });
  });
  await ada.reload();
  await join(ada, 'Ada');
  await say(ada, 'poison');
  await say(ada, 'behind it');
  assert.equal((await bob.event('new message')).message, 'behind it');
  await shows(ada, '.state.bad span', 'Not sent.');
  assert.equal(poisoned, 2);
  await ada.locator('.message:has-text("behind it"):not(:has(.state))').waitFor();
  ada.complaints = ada.complaints.filter((line) => !/already in CLOSING or CLOSED/.test(line)); // the broken WebSockets
});

test('a text that the server refuses as too long comes back into the field', options, async (t) => {
  const server = await start(t, { args: ['--max-text', '20'] });
  const ada = await open(t, browser, server.url, { transports: 'WebSocket only' });
  // An older server, which does not tell its limits.
  await ada.routeWebSocket(/transport=websocket/, (ours) => {
    ours.connectToServer().onMessage((text) => ours.send(String(text).replace(/,"maxText":\d+,"maxPayload":\d+/, '')));
  });
  await ada.reload();
  await join(ada, 'Ada');
  await say(ada, 'x'.repeat(21));
  await ada.waitForFunction(() => document.getElementById('text').value.length === 21);
  await shows(ada, '#hint', 'Not sent: too long.');
  assert.deepEqual(await messages(ada), []);
  assert.equal(await ada.getByRole('button', { name: 'Retry' }).count(), 0);
});

test('Enter that ends a composition sends nothing, in the order of Safari either', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await field(ada).fill('にほん');
  for (const event of [{ isComposing: true, keyCode: 13 }, { isComposing: false, keyCode: 229 }]) {
    const kept = await field(ada).evaluate((field, event) => {
      const key = new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true, ...event });
      field.dispatchEvent(key);
      return field.value && !key.defaultPrevented;
    }, event);
    assert.equal(kept, true, JSON.stringify(event));
  }
  assert.deepEqual(await messages(ada), []);
  await ada.keyboard.press('Enter');
  await hears(ada, 'にほん');
});

test('a draft outlives a reload and the way back', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await field(ada).fill('half a\nthought');
  const height = (await field(ada).boundingBox()).height;
  await ada.reload();
  await field(ada).waitFor();
  assert.equal(await field(ada).inputValue(), 'half a\nthought');
  assert.equal((await field(ada).boundingBox()).height, height);
  await ada.goto(`${server.url}/socket.io/LICENSE`);
  await ada.goBack();
  await field(ada).waitFor();
  assert.equal(await field(ada).inputValue(), 'half a\nthought');
  // What was sent is none, and who leaves takes it along.
  await say(ada, 'sent');
  await settled(ada);
  await ada.reload();
  await field(ada).waitFor();
  assert.equal(await field(ada).inputValue(), '');
  await field(ada).fill('of Ada');
  await menu(ada);
  await ada.getByRole('button', { name: 'Leave' }).click();
  await join(ada, 'Eve');
  assert.equal(await field(ada).inputValue(), '');
});

test('on a phone Enter breaks the line, the button sends, and the keyboard stays', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { ...PHONE, name: 'Ada' });
  assert.equal(await field(ada).getAttribute('enterkeyhint'), 'enter');
  await field(ada).tap();
  await ada.keyboard.type('one');
  await ada.keyboard.press('Enter');
  await ada.keyboard.type('two');
  assert.equal(await field(ada).inputValue(), 'one\ntwo');
  await ada.getByRole('button', { name: 'Send' }).tap();
  assert.equal((await bob.event('new message')).message, 'one\ntwo');
  assert.equal(await ada.evaluate(() => document.activeElement.id), 'text');
  // With a keyboard of keys there is a way, too.
  await ada.keyboard.type('three');
  await ada.keyboard.press('Control+Enter');
  assert.equal((await bob.event('new message', 2)).message, 'three');
  const other = await open(t, browser, server.url, { name: 'Cleo' });
  assert.equal(await field(other).getAttribute('enterkeyhint'), 'send');
});

test('the button of what is new lies above a draft of seven lines', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { ...PHONE, name: 'Ada' });
  for (let i = 0; i < 20; i++) await bob.ask('new message', `line ${i}`, { id: `${i}` });
  await hears(ada, 'line 19');
  await field(ada).fill('1\n2\n3\n4\n5\n6\n7');
  await ada.locator('#log').evaluate((log) => {
    const scrolled = new Promise((resolve) => log.addEventListener('scroll', resolve, { once: true }));
    log.scrollTop = 0;
    return scrolled;
  });
  await bob.ask('new message', 'new', { id: 'new' });
  await ada.locator('#news').waitFor();
  const [news, text] = [await ada.locator('#news').boundingBox(), await field(ada).boundingBox()];
  assert.ok(news.y + news.height <= text.y, `${news.y} + ${news.height} > ${text.y}`);
});

test('a pasted or dropped file is answered with a sentence', options, async (t) => {
  const server = await start(t);
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  const give = (kind, text) =>
    field(ada).evaluate((field, [kind, text]) => {
      const data = new DataTransfer();
      data.items.add(new File(['x'], 'picture.png', { type: 'image/png' }));
      if (text) data.setData('text/plain', text);
      const event = new (kind === 'paste' ? ClipboardEvent : DragEvent)(kind, { clipboardData: data, dataTransfer: data, bubbles: true, cancelable: true });
      field.dispatchEvent(event);
      return event.defaultPrevented;
    }, [kind, text]);
  await give('paste');
  await shows(ada, '#hint', 'Files and pictures cannot be sent here, only text.');
  await field(ada).fill('words');
  await shows(ada, '#hint', '');
  await give('paste', 'cells of a table come as text and picture');
  await shows(ada, '#hint', '');
  assert.equal(await give('dragover'), true);
  assert.equal(await give('drop'), true, 'the browser does not leave for the file');
  await shows(ada, '#hint', 'Files and pictures cannot be sent here, only text.');
  assert.equal(await field(ada).inputValue(), 'words');
});
