// Chromium, and pages of it that are logged in to a chat.
import { X509Certificate, createHash } from 'node:crypto';
import { accessSync, constants, readFileSync } from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const WAIT = 15_000; // ms until something that should be on a page is missed

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
 * One browser, closed with the test; it talks to nobody but the servers of the tests, and trusts the certificate in file
 * `cert`, if that is given.
 */
export async function launch(t, { cert } = {}) {
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
 * Opens the page in a context of its own (its own cookies and cache).
 * @returns the page, with `complaints`: what its console reported, besides failed requests while a server is away; and
 * `requests`: the transports it has used; `sockets`: the addresses of its WebSockets.
 */
export async function open(browser, url, { transports = 'polling, then WebSocket', ...options } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT);
  page.complaints = [];
  page.requests = new Set();
  page.sockets = [];
  page.on('console', (line) => {
    if (['error', 'warning'].includes(line.type()) && !/net::ERR_|WebSocket connection to/.test(line.text())) {
      page.complaints.push(line.text());
    }
  });
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('request', (request) => {
    if (request.url().includes('transport=polling')) page.requests.add('polling');
  });
  page.on('websocket', (socket) => page.sockets.push(socket.url()));
  page.on('websocket', (socket) => socket.on('framereceived', () => page.requests.add('websocket')));
  await page.addInitScript(TRANSPORTS[transports]);
  await page.goto(url);
  return page;
}

/** Gives the name and waits until the room is there. */
export async function join(page, name) {
  await page.getByLabel('What is your name?').fill(name);
  await page.getByRole('button', { name: 'Join the chat' }).click();
  await page.getByLabel('Message', { exact: true }).waitFor();
}

export async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

/** Waits until the log has a line of exactly this text (of a message: name, space, text). */
export const line = (page, text) => page.locator('#log li').and(page.getByText(text, { exact: true })).waitFor();

/** The lines of the log. */
export const lines = (page) => page.locator('#log li').allTextContents();

/** Waits until an element shows this text (the empty one too). */
export async function shows(page, selector, text) {
  const found = text ? page.locator(selector).and(page.getByText(text, { exact: true })) : page.locator(`${selector}:empty`);
  await found.waitFor({ state: 'attached' });
}
