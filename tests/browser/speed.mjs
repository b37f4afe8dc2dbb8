// make speed: the page under load, what its script costs the main thread by Chromium's trace, and what it keeps. Not part of
// make test, beside whose other tests the machine is too busy for it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { field, join, launch, open, say } from '../lib/browser.mjs';
import { start } from '../lib/server.mjs';

const options = { timeout: 600_000 };
const browser = await launch({ after });
const TRIES = 3;
const LONGEST = 50; // ms of CPU time of one task with script in it, median of the tries
const SCRIPT = new Set(['FunctionCall', 'EvaluateScript', 'v8.run', 'EventDispatch', 'FireAnimationFrame', 'TimerFire', 'RunMicrotasks', 'XHRReadyStateChange']);
const MEMORY = 20 * 2 ** 20; // bytes by which the heap may have grown after ten thousand messages

/**
 * A page that is really logged in, and hears of more than the server says: `hear` plays these events, 25 to a task as they
 * come when there are many, and then a last message, and waits until it is on the page. Only little of that is script.
 */
async function played(t) {
  const server = await start(t);
  const page = await open(t, browser, 'about:blank', { transports: 'WebSocket only', viewport: { width: 1100, height: 700 } });
  await page.addInitScript(() => {
    const Real = window.WebSocket;
    window.WebSocket = class extends Real {
      constructor(...all) {
        super(...all);
        window.wire = this;
      }
    };
  });
  await page.goto(server.url);
  await join(page, 'Ada');
  await page.locator('#names li').waitFor();
  const hear = (events) =>
    page.evaluate(async (packets) => {
      const { port1, port2 } = new MessageChannel();
      for (const [i, data] of packets.entries()) {
        window.wire.dispatchEvent(new MessageEvent('message', { data }));
        if (i % 25) continue;
        await new Promise((resolve) => {
          port1.onmessage = resolve;
          port2.postMessage(0);
        });
      }
      const [, { message }] = JSON.parse(packets.at(-1).slice(2));
      while (document.getElementById('lines').lastElementChild.message !== message) await new Promise(requestAnimationFrame);
      await new Promise(requestAnimationFrame);
    }, [...events, ['new message', spoken(1)]].map((event) => `42${JSON.stringify(event)}`));
  return { page, hear };
}

/** The longest task with script in it while `act` runs, in ms of the main thread's CPU time. */
async function longest(page, act) {
  await browser.startTracing(page, { categories: ['devtools.timeline', 'toplevel', 'v8.execute', 'disabled-by-default-devtools.timeline'] });
  await act();
  const { traceEvents } = JSON.parse(await browser.stopTracing());
  const threads = traceEvents.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain').map(({ pid, tid }) => `${pid}:${tid}`);
  const main = traceEvents.filter(({ pid, tid, ph }) => ph === 'X' && threads.includes(`${pid}:${tid}`));
  const tasks = main.filter(({ name }) => name === 'RunTask' || name === 'ThreadControllerImpl::RunTask');
  const scripts = main.filter(({ name }) => SCRIPT.has(name)).sort((a, b) => a.ts - b.ts);
  let worst = 0;
  for (const { ts, dur, tdur, pid, tid } of tasks) {
    if ((tdur ?? 0) <= worst * 1000) continue;
    if (scripts.some((script) => script.pid === pid && script.tid === tid && script.ts >= ts && script.ts < ts + dur)) worst = tdur / 1000;
  }
  assert.ok(scripts.length > 10, 'the trace has scripts');
  return worst;
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const times = (count, make) => Array.from({ length: count }, (_, i) => make(i));
const tag = (i) => `u${i % 1000}`.padEnd(6, '_');
let said = 0;
function spoken(i) {
  said++;
  const message = i % 10 ? `message ${said} with some words, as people write` : `see https://example.org/${said} and \`code\``;
  return { username: `guest ${i % 1000}`, user: tag(i), message, n: 1e6 + said, id: `id${said}`, time: Date.now() + said };
}
const burst = (count) => times(count, (i) => ['new message', spoken(i)]);

test('a burst of 200, a crowd of 1,000, and ten thousand messages: no long task, bounded memory', options, async (t) => {
  const worst = { crowd: [], burst: [], stream: [] };
  for (let round = 0; round < TRIES; round++) {
    const { page, hear } = await played(t);
    const crowd = times(1000, (i) => ['user joined', { username: `guest ${i}`, user: tag(i), numUsers: i + 2 }]);
    worst.crowd.push(await longest(page, async () => {
      await hear(crowd);
      await page.waitForFunction(() => document.getElementById('names').childElementCount > 1000);
    }));
    worst.burst.push(await longest(page, () => hear(burst(200))));
    const heap = async () => {
      const devtools = await page.context().newCDPSession(page);
      await devtools.send('HeapProfiler.collectGarbage');
      return (await devtools.send('Runtime.getHeapUsage')).usedSize;
    };
    await hear(burst(2000));
    const before = await heap();
    worst.stream.push(await longest(page, () => hear(burst(8000))));
    const grown = (await heap()) - before;
    assert.ok(grown < MEMORY, `${grown} bytes`);
    assert.ok((await page.locator('#lines li').count()) <= 1001);
    t.diagnostic(`round ${round}: ${JSON.stringify(worst)}, heap ${grown}`);
    await say(page, 'still here');
    assert.equal(await field(page).inputValue(), '');
    await page.context().close();
  }
  for (const [what, all] of Object.entries(worst)) assert.ok(median(all) <= LONGEST, `${what}: ${all} ms`);
});
