// make pictures: the screenshots of README, of a real conversation on a real server. Only the clock is played: pages believe
// that it is the time in the left column of TALK, and messages bear it, so the pictures do not depend on when they are taken.
import { fileURLToPath } from 'node:url';
import { join, launch, notes, open, say, settled, shows } from '../lib/browser.mjs';
import { Chatter } from '../lib/chatter.mjs';
import { start } from '../lib/server.mjs';

const OWN = 'Ada'; // whose page it is
const TALK = [
  ['18:02', 'Grace', 'Good evening! Is the workshop still on for Saturday?'],
  ['18:03', 'Ada', 'Yes. Ten o’clock, second floor, the room with the big table.'],
  ['18:05', 'Linus', 'Who brings the projector?\nThe one in the library is broken.'],
  ['18:06', 'Grace', 'I do. The plan is here: https://example.org/plan'],
  ['18:09', 'Chloé', 'J’apporte le café et les croissants.'],
  ['18:10', 'Ada', 'Merci, Chloé!'],
];
const DESKTOP = { width: 640, height: 660 };
const PHONE = { width: 360, height: 740 };

/** Runs `act` with a `t` whose hooks run afterwards, as those of a test do. */
async function scene(act) {
  const hooks = [];
  try {
    await act({ after: (hook) => hooks.push(hook) });
  } finally {
    for (const hook of hooks.reverse()) await hook();
  }
}

/** The end of the conversation, on a server of its own, as a page of this size shows it. */
async function take(t, browser, file, viewport, colorScheme) {
  const server = await start(t, { bin: 'target/release/salon', args: ['--instance', 'salon-1'] });
  const page = await open(t, browser, 'about:blank', { viewport, colorScheme, deviceScaleFactor: 1.5, transports: 'WebSocket only' });
  let now;
  const setTime = (clock) => page.clock.setFixedTime((now = Date.parse(`2026-11-30T${clock}:00+01:00`)));
  await page.routeWebSocket(/socket\.io/, (client) => {
    const played = (frame) => String(frame).replaceAll(/"time":\d+/g, `"time":${now}`);
    const upstream = client.connectToServer();
    upstream.onMessage((frame) => client.send(played(frame)));
  });

  const others = {};
  const arrive = async (name) => {
    others[name] = new Chatter(t, server.url);
    await others[name].login(name);
  };
  for (const name of ['Grace', 'Linus']) await arrive(name);
  await setTime(TALK[0][0]);
  await page.goto(server.url);
  await join(page, OWN);
  for (const [clock, name, text] of TALK) {
    await setTime(clock);
    if (name !== OWN && !others[name]) {
      await arrive(name);
      await notes(page, `${name} joined`);
    }
    if (name === OWN) await say(page, text);
    else others[name].socket.emit('new message', text);
    await page.locator('#lines .text').filter({ hasText: text.split('\n')[0] }).waitFor();
    await settled(page);
  }
  others.Grace.socket.emit('typing');
  await shows(page, '#typing', 'Grace is typing…');
  await page.evaluate(() => document.activeElement.blur()); // a caret blinks
  await page.screenshot({ path: fileURLToPath(new URL(`${file}.png`, import.meta.url)), animations: 'disabled' });
  console.log(`tests/pictures/${file}.png`);
}

await scene(async (t) => {
  const browser = await launch(t);
  await scene((t) => take(t, browser, 'light', DESKTOP, 'light'));
  await scene((t) => take(t, browser, 'dark', DESKTOP, 'dark'));
  await scene((t) => take(t, browser, 'phone', PHONE, 'light'));
});
