// Firefox, driven over WebDriver BiDi, and pages of it that are logged in to a chat.
import assert from 'node:assert/strict';
import { accessSync, constants } from 'node:fs';
import path from 'node:path';
import puppeteer from 'puppeteer-core';

const WAIT = 30_000; // ms until something that should be on a page is missed

/** Debian's firefox-esr, or the first program of such a name in PATH. */
function executable() {
  for (const directory of ['/usr/bin', ...(process.env.PATH ?? '').split(path.delimiter)]) {
    for (const name of ['firefox-esr', 'firefox']) {
      const file = path.join(directory, name);
      try {
        accessSync(file, constants.X_OK);
        return file;
      } catch {} // next
    }
  }
  throw new Error('no firefox-esr: `make test` installs it as root on Debian');
}

/** One browser with these preferences. It talks to nobody but the servers of the tests; `t.after` closes it. */
export async function launch(t, preferences = {}) {
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: executable(),
    defaultViewport: { width: 1100, height: 700 },
    extraPrefsFirefox: {
      // Whatever is not on this machine is asked of a proxy that is not there.
      'network.proxy.type': 1,
      'network.proxy.http': '127.0.0.1',
      'network.proxy.http_port': 9,
      'network.proxy.ssl': '127.0.0.1',
      'network.proxy.ssl_port': 9,
      'intl.accept_languages': 'en-GB, en',
      ...preferences,
    },
  });
  t.after(() => browser.close());
  return browser;
}

/**
 * Opens the page in a context of its own, which ends with test `t`. The test fails if the page's console complains, of its
 * policy for instance. The page is in front: those that were opened before are hidden tabs.
 * @param options `name` to join under; `allowed`: whether the page may notify.
 */
export async function open(t, browser, url, { name, allowed } = {}) {
  const context = await browser.createBrowserContext();
  if (allowed) await context.overridePermissions(url, ['notifications']);
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT);
  page.complaints = [];
  page.on('console', (line) => ['error', 'warn'].includes(line.type()) && page.complaints.push(line.text()));
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  t.after(async () => {
    await context.close();
    assert.deepEqual(page.complaints, []);
  });
  await page.evaluateOnNewDocument(() => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective }) => console.error('policy', violatedDirective));
  });
  await page.goto(url);
  if (name) await join(page, name);
  return page;
}

/** Waits until a function of the page returns something true, and returns that. Also in hidden tabs, which have no frames. */
export const until = async (page, condition, ...args) =>
  (await page.waitForFunction(condition, { polling: 'mutation' }, ...args)).jsonValue();

/** Waits until an element shows this text. */
export const shows = (page, selector, text) =>
  until(page, (selector, text) => document.querySelector(selector)?.textContent.replaceAll(/[\u2068\u2069]/g, '') === text, selector, text);

/** Waits until the log has a message of this text. */
export const hears = (page, text) =>
  until(page, (text) => [...document.querySelectorAll('#lines .text')].some((line) => line.textContent === text), text);

/** Gives the name and waits until the room is there. */
export async function join(page, name) {
  await until(page, () => document.activeElement.id === 'name'); // its script has run
  await page.keyboard.type(name);
  await page.keyboard.press('Enter');
  await until(page, () => document.activeElement.id === 'text');
}
