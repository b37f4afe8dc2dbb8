// The page at the door of a server with a password: it asks, keeps the password for the tab, and drops it when it is refused.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { field, join, launch, open, shows } from '../lib/browser.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const browser = await launch({ after });
const PASSWORD = 'sésame & 1';
const password = (page) => page.getByLabel('Password');

test('asked, refused, taken, kept for the tab, and dropped', options, async (t) => {
  const first = await start(t, { env: { SALON_PASSWORD: PASSWORD } });
  const page = await open(t, browser, first.url);
  await password(page).waitFor();
  await shows(page, '#trouble', '');
  const name = page.getByLabel('What is your name?');
  assert.equal(await name.evaluate((field) => field === document.activeElement), true);
  const enter = async (text) => {
    await name.fill('Ada');
    await password(page).fill(text);
    await page.keyboard.press('Enter');
  };
  await enter('other');
  await shows(page, '#trouble', 'That is not the password.');
  assert.equal(await password(page).evaluate((field) => field === document.activeElement), true);
  await enter(PASSWORD);
  await field(page).waitFor();
  assert.equal(new URL(page.url()).search, '');
  await page.reload();
  await field(page).waitFor();
  assert.equal(await password(page).isVisible(), false);

  // Another tab has to ask for it, too.
  const other = await open(t, browser, first.url);
  await password(other).waitFor();

  // Whoever is in is not asked until the connection is a new one.
  await first.kill('SIGKILL');
  const second = await start(t, { port: first.port, env: { SALON_PASSWORD: 'changed' } });
  await password(page).waitFor();
  await shows(page, '#trouble', 'That is not the password.');
  assert.equal(await page.evaluate(() => sessionStorage.password), '""');
  await enter('changed');
  await field(page).waitFor();
  assert.doesNotMatch(first.log() + second.log(), /sésame|changed|other/);
});

test('without a password nothing is asked', options, async (t) => {
  const server = await start(t);
  const page = await open(t, browser, server.url);
  await join(page, 'Ada');
  assert.equal(await page.locator('#password').isVisible(), false);
});
