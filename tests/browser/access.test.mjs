// The page for everybody: by keyboard alone, to screen readers, in light and dark, on small phones, in two languages.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, test } from 'node:test';
import { connected, field, guest, hears, hide, join, launch, menu, messages, notes, open, say, settled, shows } from '../lib/browser.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 120_000 };
const browser = await launch({ after });
const OUT = new URL('../out/page/', import.meta.url).pathname;
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const LEVELS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
const DEVICES = { desktop: { width: 1100, height: 700 }, phone: { width: 320, height: 568 } };
mkdirSync(OUT, { recursive: true });

/** Fails if axe finds something that is against level A or AA. */
async function audit(page, what, forced) {
  await page.evaluate(AXE);
  const rules = { 'color-contrast': { enabled: !forced } }; // forced colours are the user's
  const { violations, passes } = await page.evaluate((options) => window.axe.run(options), { runOnly: { type: 'tag', values: LEVELS }, rules });
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`)]), [], what);
  assert.ok(passes.some(({ id }) => id === (forced ? 'button-name' : 'color-contrast')), 'it looked at something');
}

/**
 * The lowest contrast of text on the page with what is behind it (WCAG 2.2, 1.4.3), and where. Colours of any notation
 * are made RGB by a canvas.
 */
const contrast = (page) =>
  page.evaluate(() => {
    const brush = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
      brush.clearRect(0, 0, 1, 1);
      brush.fillStyle = colour;
      brush.fillRect(0, 0, 1, 1);
      return [...brush.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => {
      const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const behind = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = rgba(getComputedStyle(at).backgroundColor);
        if (colour[3] === 255) return colour;
        if (colour[3] > 0) throw new Error('half transparent');
      }
      throw new Error('nothing behind it');
    };
    let lowest = [Infinity];
    for (const element of document.querySelectorAll('body *')) {
      const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) || element.placeholder;
      if (!text || !element.checkVisibility()) continue;
      const pseudo = element.placeholder && !element.value ? '::placeholder' : null;
      const [one, two] = [rgba(getComputedStyle(element, pseudo).color), behind(element)].map(luminance);
      const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
      if (ratio < lowest[0]) lowest = [ratio, element.outerHTML];
    }
    return lowest;
  });

/** Sizes of windows, with a language each. */
const SIZES = [
  ['desktop', DEVICES.desktop, 'en-GB'],
  ['phone', DEVICES.phone, 'es-ES'],
  ['320x256', { width: 320, height: 256 }, 'de-DE'],
  ['640x310', { width: 640, height: 310 }, 'fr-FR'],
];
const COLOURS = {
  light: { colorScheme: 'light', forcedColors: 'none' },
  dark: { colorScheme: 'dark', forcedColors: 'none' },
  forced: { colorScheme: 'dark', forcedColors: 'active' },
};
const OFFLINE = { en: /^Offline since \d\d:\d\d\. /, fr: /^Hors ligne depuis \d\d:\d\d\. /, de: /^Offline seit \d\d:\d\d\. /, es: /^Sin conexión desde las \d\d?:\d\d\. / };

for (const [device, viewport, locale] of SIZES) {
  test(`every state of the page, light, dark and in forced colours: ${device}`, options, async (t) => {
    const server = await start(t, { args: ['--max-text', '600'] });
    const users = {};
    const page = await open(t, browser, server.url, { viewport, reducedMotion: 'reduce', locale });
    const language = locale.slice(0, 2);
    const inspect = async (state) => {
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, `${device}, ${state} is too wide`);
      for (const [colours, media] of Object.entries(COLOURS)) {
        const what = `${device}, ${state}, ${colours}`;
        await page.emulateMedia(media);
        await page.screenshot({ path: `${OUT}${what.replaceAll(/\W+/g, '-')}.png` });
        await audit(page, what, colours === 'forced');
        if (colours === 'forced') continue;
        const [ratio, where] = await contrast(page);
        assert.ok(ratio >= 4.5, `${what}: ${ratio}: ${where}`);
      }
      await page.emulateMedia(COLOURS.light);
    };
    await page.locator(`html[lang=${language}]`).waitFor();
    await connected(page);
    await page.locator('#about-room:not(:empty)').waitFor();
    await inspect('entrance');
    await page.locator('#name').fill(' ');
    await page.locator('#join button').click();
    await page.locator('#trouble:not(:empty)').waitFor();
    await inspect('nameless');
    await page.locator('#name').fill('Ada');
    await page.locator('#join button').click();
    await page.locator('#empty').waitFor();
    await inspect('empty');
    for (const name of ['Grace Hopper', 'Žofie', '名前', 'سلمى']) users[name] = await guest(t, server, name);
    for (const [name, user] of Object.entries(users)) await user.ask('new message', `I am ${name}.`);
    await users['Grace Hopper'].ask('new message', '@Ada: `code`, https://example.org/a-rather-long-address/of-something?that=matters', { id: 'link' });
    await users['Grace Hopper'].ask('new message', 'long\n'.repeat(30), { id: 'long' });
    await page.locator('.folded').waitFor();
    const twin = await guest(t, server, 'Ada');
    await page.locator('#text').fill('Hello everybody,\nis somebody here?');
    await page.keyboard.press('Enter');
    await page.locator('.message.mine:not(:has(.state))').waitFor();
    await twin.ask('new message', 'Another Ada: a longer text, so that one can see how lines break.', { id: 'twin' });
    users['名前'].socket.emit('typing');
    users['Žofie'].socket.emit('typing');
    await page.locator('#typing :not(:empty)').first().waitFor();
    await inspect('busy');
    await page.locator('#text').fill('x'.repeat(620));
    await page.keyboard.press('Enter');
    await page.locator('#hint:not(:empty)').waitFor();
    await inspect('refused');
    await page.locator('#text').fill('');
    await page.locator('#text').pressSequentially('hello @');
    await page.locator('#mentions li').nth(1).waitFor();
    await page.keyboard.press('ArrowDown');
    await inspect('mention');
    await page.keyboard.press('Escape');
    await page.locator('#text').fill('');
    await menu(page);
    for (const part of ['#leave', '#language']) await page.locator(part).scrollIntoViewIfNeeded();
    await inspect('menu');
    await page.keyboard.press('Escape');
    if (await page.locator('#count').isVisible()) await page.locator('#count').click();
    await page.locator('#names li').nth(5).waitFor();
    await inspect('people');
    if (await page.locator('#count').isVisible()) await page.locator('#count').click();
    // A name in each of the colours.
    const count = await page.evaluate(() => {
      const all = [...document.styleSheets[0].cssRules].filter(({ selectorText }) => /^\.hue\d+$/.test(selectorText));
      const line = document.querySelector('.message');
      for (const { selectorText } of all) {
        const copy = line.parentNode.appendChild(line.cloneNode(true));
        copy.querySelector('b').className = selectorText.slice(1);
      }
      return new Set(all.map(({ selectorText }) => getComputedStyle(document.querySelector(`b${selectorText}`)).color)).size;
    });
    assert.equal(count, 12);
    assert.equal(await page.locator('#lines [style]').count(), 0);
    await inspect('colours');
    await page.locator('#lines .message').evaluateAll((all) => all.filter((line) => line.at === undefined).forEach((copy) => copy.remove()));
    await hide(page, true);
    await twin.ask('new message', 'You cannot see this yet.', { id: 'hidden' });
    await hears(page, 'You cannot see this yet.');
    await hide(page, false);
    await page.locator('.since').waitFor();
    await inspect('new');
    // The page hears of it in the next frame, which may be late on a busy machine.
    await page.locator('#log').evaluate((log) => {
      const scrolled = new Promise((resolve) => log.addEventListener('scroll', resolve, { once: true }));
      log.scrollTop = log.scrollTop ? 0 : 50;
      return scrolled;
    });
    await twin.ask('new message', 'You cannot see this yet.', { id: 'news' });
    await page.locator('#news').waitFor();
    await server.kill('SIGKILL');
    await page.locator('#status:not(:empty)').waitFor();
    assert.match(await page.locator('#status').textContent(), OFFLINE[language]);
    await page.locator('#text').fill('unsent');
    await page.keyboard.press('Enter');
    await page.locator('.state').waitFor();
    await inspect('offline');
  });
}

/** The page as Chromium tells it to screen readers: a line for each role with its name, or text, in order. */
async function tree(page) {
  const devtools = await page.context().newCDPSession(page);
  const { nodes } = await devtools.send('Accessibility.getFullAXTree');
  const known = new Map(nodes.map((node) => [node.nodeId, node]));
  const silent = ['generic', 'none', 'InlineTextBox', 'LabelText', 'LineBreak', 'time'];
  const whole = ['button', 'DisclosureTriangle', 'heading', 'link', 'textbox']; // what is in them is their name or value
  const walk = ({ role, name, ignored, childIds }, depth) => {
    const shown = !ignored && !silent.includes(role.value);
    const text = (role.value === 'StaticText' ? name.value : `${role.value} ${name?.value ?? ''}`).replaceAll(/[\u2068\u2069]/g, '').trim();
    const inside = whole.includes(role.value) ? [] : childIds.flatMap((id) => walk(known.get(id), depth + shown));
    return shown && text ? ['  '.repeat(depth) + text, ...inside] : inside;
  };
  return walk(nodes[0], 0).join('\n').replaceAll(/\d\d:\d\d/g, 'TIME').replaceAll(/\w+day,? \d+ \w+ \d{4}/g, 'DAY');
}

const ENTRANCE = `RootWebArea salon
  banner
    heading salon
    group
      DisclosureTriangle Menu
  status
  main
    form
      paragraph
        A small chat room. Pick a name and talk with whoever is here.
      paragraph
        Nobody is here now.
      What is your name?
      textbox What is your name?
      button Join the chat
      status`;
const ROOM = (count, people) => `RootWebArea salon
  banner
    heading salon${count}
    group
      DisclosureTriangle Menu
  status
  main
    heading Messages
    log Messages
      list
        listitem
          DAY
        listitem
          Bob joined
        listitem
          paragraph
            Bob
            TIME
          paragraph
            see
            link https://example.org/
            code
              code
        listitem
          paragraph
            Ada
            TIME
          paragraph
            hello
    form
      paragraph
        Bob
        is typing…
      status
      paragraph${people ? '' : '\n      listbox 2 people\n        option Bob\n          Bob'}
      textbox Message
      button Send${people}`;
const PEOPLE = `
  complementary 2 people
    heading 2 people
    list 2 people
      listitem
        Ada
        you
      listitem
        Bob`;

for (const [device, viewport] of Object.entries(DEVICES)) {
  test(`the accessibility tree has its order, roles and names: ${device}`, options, async (t) => {
    const server = await start(t);
    const page = await open(t, browser, server.url, { viewport });
    await connected(page, true);
    await shows(page, '#about-room', 'Nobody is here now.');
    assert.equal(await tree(page), ENTRANCE);
    await join(page, 'Ada');
    const bob = await guest(t, server, 'Bob');
    await bob.ask('new message', 'see https://example.org/ `code`', { id: 'm' });
    await hears(page, 'see https://example.org/ code');
    await say(page, 'hello');
    await settled(page);
    bob.socket.emit('typing');
    await shows(page, '#typing', 'Bob is typing…');
    if (device === 'desktop') {
      await page.locator('#names li').nth(1).waitFor();
      assert.equal(await tree(page), ROOM('', PEOPLE));
    } else {
      await page.locator('#count').click();
      await page.locator('#names li').nth(1).waitFor();
      assert.equal(await tree(page), ROOM('\n    button 2 people', PEOPLE));
      await page.keyboard.press('Escape');
      await field(page).pressSequentially('@');
      await page.locator('#mentions').waitFor();
      assert.equal(await tree(page), ROOM('\n    button 2 people', ''));
    }
  });
}

test('all by keyboard', options, async (t) => {
  const server = await start(t, { args: ['--max-text', '100'] });
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { viewport: { width: 700, height: 400 } });
  const press = async (...keys) => {
    for (const key of keys) await ada.keyboard.press(key);
  };
  const focus = () => ada.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  await connected(ada); // its script has run
  assert.equal(await focus(), 'name');
  await ada.keyboard.type('Ada');
  await press('Enter');
  await field(ada).waitFor();
  assert.equal(await focus(), 'text');
  await ada.keyboard.type('hello');
  await press('Enter');
  await bob.event('new message');
  await ada.keyboard.type('x'.repeat(101));
  await press('Enter');
  await shows(ada, '#hint', 'Too long: a message has at most 100 bytes.');
  await press('ControlOrMeta+a', 'Delete');

  // Backwards from the field: the log, the menu, the people.
  await press('Shift+Tab');
  assert.equal(await focus(), 'log');
  for (let i = 0; i < 12; i++) bob.socket.emit('new message', `${i}\n\n`);
  bob.socket.emit('new message', 'last');
  await hears(ada, 'last');
  await press('Home');
  await ada.waitForFunction(() => document.getElementById('log').scrollTop === 0);
  bob.socket.emit('new message', 'new');
  const news = ada.getByRole('button', { name: '1 new message' });
  await news.waitFor();
  await press('Shift+Tab');
  assert.equal(await focus(), 'Menu');
  await press('Enter', 'Tab', 'Tab', 'Tab');
  assert.equal(await focus(), 'leave');
  await press('Escape');
  assert.equal(await focus(), 'Menu');
  assert.equal(await ada.locator('#menu').getAttribute('open'), null);
  await press('Shift+Tab');
  assert.equal(await focus(), 'count');
  await press('Enter');
  await ada.locator('#names li').nth(1).waitFor();
  assert.equal(await focus(), 'names');
  await press('Escape');
  assert.equal(await focus(), 'count');
  assert.equal(await ada.locator('#people').isVisible(), false);
  await press('Tab', 'Tab', 'Tab');
  assert.equal(await focus(), 'news');
  await press('Enter');
  assert.equal(await focus(), 'log');
  await news.waitFor({ state: 'hidden' });

  // A name by Tab, and by the arrows.
  await field(ada).focus();
  await ada.keyboard.type('hello @b');
  await ada.locator('#mentions li').waitFor();
  await press('Tab');
  assert.equal(await field(ada).inputValue(), 'hello @Bob ');
  await ada.keyboard.type('and @');
  await press('ArrowDown', 'Enter');
  assert.equal(await field(ada).inputValue(), 'hello @Bob and @Bob ');
  // Forwards from the field: Send.
  await press('Tab', 'Space');
  await hears(ada, 'hello @Bob and @Bob');
  await press('Shift+Tab', 'Shift+Tab', 'Shift+Tab', 'Enter', 'Tab', 'Tab', 'ArrowDown', 'ArrowDown');
  await ada.locator('html[lang=fr]').waitFor();
  await press('Tab', 'Enter');
  await ada.getByLabel('Comment vous appelez-vous').waitFor();
  await bob.event('user left');
});

test('the focus stays where the reader has put it', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  await ada.evaluate(() => {
    window.moves = [];
    for (const event of ['focusin', 'focusout']) addEventListener(event, ({ target }) => window.moves.push([event, target.id]));
  });
  await ada.locator('#log').focus();
  bob.socket.emit('new message', 'see https://a.example');
  bob.socket.emit('typing');
  await hears(ada, 'see https://a.example');
  bob.socket.close();
  await notes(ada, 'Bob left');
  await server.kill('SIGKILL');
  await ada.locator('#status:not(:empty)').waitFor();
  await start(t, { port: server.port });
  await shows(ada, '#status', 'Connected again.');
  await shows(ada, '#count', '1 person');
  assert.deepEqual(await ada.evaluate(() => window.moves), [['focusout', 'text'], ['focusin', 'log']]);

  // A tab that is reloaded is in the room again, and lets the reader be.
  await say(ada, 'before');
  await settled(ada);
  await ada.reload();
  await hears(ada, 'before');
  assert.equal(await ada.evaluate(() => document.activeElement.localName), 'body');
  assert.equal(await ada.locator('.message.mine').count(), 1, 'and knows what was its own');
});

test('the whole page speaks one language, and changes it', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  const ada = await open(t, browser, server.url, { name: 'Ada' });
  bob.socket.emit('typing');
  await shows(ada, '#typing', 'Bob is typing…');
  await guest(t, server, 'Cleo');
  await notes(ada, 'Cleo joined');
  await ada.locator('#names li').nth(2).waitFor();
  const texts = () =>
    ada.locator('[data-text]').evaluateAll((all) =>
      all.filter(({ dataset }) => dataset.text).map((element) => [element.dataset.text, element.placeholder ?? element.textContent]));
  const english = await texts();
  await menu(ada);
  const choose = (language) => ada.locator('#language').selectOption(language);
  for (const [language, own] of [['fr', ['menu', 'message', 'messages', 'notify', 'clock']], ['de', ['clock']], ['es', ['clock', 'people']]]) {
    await choose(language);
    await ada.locator(`html[lang=${language}]`).waitFor();
    const other = await texts();
    assert.deepEqual(other.map(([key]) => key), english.map(([key]) => key));
    const same = english.filter(([, text], i) => text === other[i][1]).map(([key]) => key);
    assert.deepEqual([...new Set(same)].filter((key) => !['typists', ...own].includes(key)), [], language);
  }
  await shows(ada, '#typing', 'Bob está escribiendo…');
  // A reload keeps it.
  await ada.reload();
  await ada.getByRole('button', { name: 'Enviar' }).waitFor();
  await menu(ada);
  await choose('en');
  await ada.locator('html[lang=en]').waitFor();
  await ada.getByRole('button', { name: 'Send' }).waitFor();
});

test('less motion for those who ask for it', options, async (t) => {
  const server = await start(t);
  for (const [reducedMotion, expected] of [['no-preference', true], ['reduce', false]]) {
    const ada = await open(t, browser, server.url, { name: 'Ada', reducedMotion });
    const moves = ada.evaluate(() => new Promise((resolve) => {
      new MutationObserver(() => resolve(document.getAnimations().length > 0)).observe(document.getElementById('lines'), { childList: true });
    }));
    await say(ada, 'hello');
    assert.equal(await moves, expected, reducedMotion);
  }
});

test('a small phone with its keyboard open', options, async (t) => {
  const server = await start(t);
  const bob = await guest(t, server, 'Bob');
  for (let i = 0; i < 20; i++) await bob.ask('new message', `line ${i}`, { id: `${i}` });
  const ada = await open(t, browser, server.url, { viewport: DEVICES.phone, hasTouch: true, isMobile: true, name: 'Ada' });
  await hears(ada, 'line 19');
  const box = (selector) => ada.locator(selector).boundingBox();
  const fits = async (height, what) => {
    await ada.waitForFunction((height) => Math.round(document.body.getBoundingClientRect().height) === height, height);
    for (const selector of ['#text', '#send button']) {
      const { x, y, width, height: tall } = await box(selector);
      assert.ok(x >= 0 && x + width <= 320 && y >= 0 && y + tall <= height, `${what}: ${selector}`);
    }
    assert.ok((await box('#log')).height >= 90, `${what}: the log is ${(await box('#log')).height} pixels high`);
    await ada.waitForFunction(() => {
      const [log, last] = [document.getElementById('log'), document.querySelector('#lines').lastElementChild].map((element) => element.getBoundingClientRect());
      return last.bottom <= log.bottom + 1;
    });
    await ada.screenshot({ path: `${OUT}keyboard-${what}.png` });
  };
  // Android makes the page smaller, which the page asks for.
  assert.match(await ada.locator('meta[name=viewport]').getAttribute('content'), /interactive-widget=resizes-content/);
  await ada.setViewportSize({ width: 320, height: 260 });
  await fits(260, 'android');
  await ada.setViewportSize(DEVICES.phone);
  await fits(568, 'closed');
  // iOS lays the keyboard over it, and tells by the visual viewport.
  await ada.evaluate(() => {
    Object.defineProperty(visualViewport, 'height', { configurable: true, value: 280 });
    visualViewport.dispatchEvent(new Event('resize'));
  });
  await fits(280, 'ios');
});

test('without script, and on paper', options, async (t) => {
  const server = await start(t);
  const plain = await open(t, browser, server.url, { javaScriptEnabled: false, viewport: DEVICES.phone });
  assert.equal(await plain.title(), 'salon');
  assert.match(await plain.locator('meta[name=description]').getAttribute('content'), /chat/);
  await plain.locator('noscript p').nth(1).waitFor();
  const [english, french] = await plain.locator('noscript p').allTextContents();
  assert.match(english, /It needs JavaScript/);
  assert.match(french, /Il lui faut JavaScript/);
  assert.equal(await plain.locator('form:visible, button:visible, input:visible').count(), 0, 'nothing that would not work');
  const icon = await plain.locator('link[rel=icon]').getAttribute('href');
  assert.match((await fetch(new URL(icon, server.url))).headers.get('content-type'), /^image\/svg\+xml/);
  await plain.screenshot({ path: `${OUT}noscript.png` });

  const bob = await guest(t, server, 'Bob');
  for (let i = 0; i < 60; i++) await bob.ask('new message', `line ${i}`, { id: `${i}` });
  const ada = await open(t, browser, server.url, { name: 'Ada', viewport: DEVICES.desktop, colorScheme: 'dark' });
  await hears(ada, 'line 59');
  await ada.emulateMedia({ media: 'print' });
  for (const selector of ['form#send', '#menu', '#people']) assert.equal(await ada.locator(selector).isVisible(), false);
  const [clipped, height] = await ada.evaluate(() => {
    const log = document.getElementById('log');
    return [log.scrollHeight - log.clientHeight, document.documentElement.scrollHeight];
  });
  assert.ok(clipped <= 0 && height > 1500, `all messages are printed: ${clipped} pixels are not, of ${height}`);
  const [ratio, where] = await contrast(ada);
  assert.ok(ratio >= 4.5, `${ratio}: ${where}`);
  await ada.screenshot({ path: `${OUT}print.png` });
  assert.equal((await messages(ada)).length, 60);
});
