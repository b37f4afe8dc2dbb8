// Chromium, and pages of it that are logged in to a chat.
import assert from 'node:assert/strict';
import { X509Certificate, createHash } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { Chatter } from './chatter.mjs';

const WAIT = 30_000; // ms until something that should be on a page is missed

/** Debian's chromium, or the first program of such a name in PATH. */
function executable() {
  const directories = ['/usr/bin', ...(process.env.PATH ?? '').split(path.delimiter)];
  for (const directory of directories) {
    for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
      const file = path.join(directory, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {} // next
    }
  }
  throw new Error('no chromium: `make test` installs it as root on Debian');
}

/** What Chromium calls a certificate by. */
function keyHash(cert) {
  const key = new X509Certificate(readFileSync(cert)).publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(key).digest('base64');
}

/**
 * One browser; it talks to nobody but the servers of the tests, and trusts the certificate in file `cert`, if that is
 * given. `t.after` closes it: of a test, or of a whole file.
 */
export async function launch(t, { cert, ignoreDefaultArgs } = {}) {
  const browser = await chromium.launch({
    executablePath: executable(),
    args: [
      '--no-sandbox',
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-domain-reliability',
      '--disable-sync',
      '--no-pings',
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
      ...(cert ? [`--ignore-certificate-errors-spki-list=${keyHash(cert)}`] : []),
    ],
    ignoreDefaultArgs,
  });
  t.after(() => browser.close());
  return browser;
}

/** What a page may use to talk to the server: run in the page before its own script. */
export const TRANSPORTS = {
  'polling, then WebSocket': () => {},
  'polling only': () => {
    delete window.WebSocket;
  },
  'WebSocket only': () => {
    let real;
    const only = (options) => real({ ...options, transports: ['websocket'] });
    Object.defineProperty(window, 'io', { get: () => real && only, set: (value) => (real = value) });
  },
};

/**
 * Opens the page in a context of its own (its own cookies and cache), which ends with test `t`. The test fails if the
 * page's console complains, of its policy for instance, but not for failed requests: a server may be away.
 * @param options `transports`; `name` to join under; `clock`: whether timers are those of `page.clock`, from the first on;
 *   and those of a context.
 * @returns the page, with `complaints`; `requests`: the transports it has used; `sockets`: the addresses of its WebSockets.
 */
export async function open(t, browser, url, { transports = 'polling, then WebSocket', name, clock = false, ...options } = {}) {
  const context = await browser.newContext({ locale: 'en-GB', timezoneId: 'Europe/Paris', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT);
  page.complaints = [];
  page.requests = new Set();
  page.sockets = [];
  page.on('console', (line) => {
    if (['error', 'warning'].includes(line.type()) && !/^Failed to load resource|WebSocket connection to/.test(line.text())) {
      page.complaints.push(line.text());
    }
  });
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('request', (request) => {
    if (request.url().includes('transport=polling')) page.requests.add('polling');
  });
  page.on('websocket', (socket) => page.sockets.push(socket.url()));
  page.on('websocket', (socket) => socket.on('framereceived', () => page.requests.add('websocket')));
  t.after(async () => {
    if (browser.isConnected()) await context.close();
    assert.deepEqual(page.complaints, []);
  });
  await page.addInitScript(TRANSPORTS[transports]);
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective }) => console.error('policy', violatedDirective));
  });
  if (clock) await page.clock.install();
  await page.goto(url);
  if (name) await join(page, name);
  return page;
}

/** Waits until the page is connected, in the last way that its transports offer if `last`. */
export const connected = (page, last) =>
  page.locator(last ? '#about:has-text("WebSocket")' : '#about:not(:empty)').waitFor({ state: 'attached' });

/** Opens or closes the menu. */
export const menu = (page) => page.locator('summary').click();

/** What the page does while the reader looks at another tab (`hidden`), and when they are back. */
export const hide = (page, hidden) =>
  page.evaluate((hidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, value: hidden });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);

/** The field for messages. */
export const field = (page) => page.getByRole('textbox', { name: 'Message' });

/** Gives the name and waits until the room is there. */
export async function join(page, name) {
  await page.getByLabel('What is your name?').fill(name);
  await page.getByRole('button', { name: 'Join the chat' }).click();
  await field(page).waitFor();
}

/** A user of the chat beside the pages, with the official client, who is logged in. */
export async function guest(t, server, name) {
  const user = await new Chatter(t, server.url).connected();
  await user.login(name);
  return user;
}

export async function say(page, text) {
  await field(page).fill(text);
  await page.keyboard.press('Enter');
}

/** Names stand in marks that keep their direction to themselves. */
const without = (text) => text.replaceAll(/[\u2068\u2069]/g, '');
const marked = (text) => {
  const letters = [...text].map((letter) => letter.replace(/[\\^$.*+?()[\]{}|]/, '\\$&'));
  return new RegExp(`^${['', ...letters, ''].join('[\u2068\u2069]*')}$`);
};

/** Waits until the log has a message of this text. */
export const hears = (page, text) => page.locator('#lines .text').and(page.getByText(text, { exact: true })).last().waitFor();

/** Waits until the log has a note of this text. */
export const notes = (page, text) => page.locator('#lines .note span').filter({ hasText: marked(text) }).last().waitFor();

/** Waits until an element shows this text (the empty one too). */
export async function shows(page, selector, text) {
  await page.locator(selector).filter({ hasText: marked(text) }).waitFor({ state: 'attached' });
}

/** Waits until everything that the page has sent is acknowledged. */
export const settled = (page) => page.locator('#lines:not(:has(.state))').waitFor();

/** The messages of the log: `[author, text]` each. */
export const messages = (page) =>
  page.locator('#lines .message').evaluateAll((all) =>
    all.map((line) => ['bdi', '.text'].map((part) => line.querySelector(part).textContent)));

/** All lines of the log, notes too, without authors, times and days. */
export async function lines(page) {
  return (await page.locator('#lines .text, #lines .note span').allTextContents()).map(without);
}
