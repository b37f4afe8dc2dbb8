// Two instances behind a front end that sends the headers and cookies of Azure's. Nothing here was tried on Azure.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { test } from 'node:test';
import { frontEnd } from '../lib/azure.mjs';
import { hears, join, launch, open, say } from '../lib/browser.mjs';
import { makeCertificate } from '../lib/certificate.mjs';
import { Chatter, TRANSPORTS } from '../lib/chatter.mjs';
import { startRedis } from '../lib/redis.mjs';
import { freePort, metrics, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const TOKEN = 'of-this-test'; // without one /metrics is for nobody under IIS

/** Two instances that share a chat, started as Azure starts them: through IIS, or on Linux. */
async function instances(t, { iis }) {
  const redis = await startRedis(t);
  const servers = [];
  for (const name of ['one', 'two']) {
    const port = await freePort();
    // Under IIS `HOST` is not set, and iisnode's pipe would be of no use.
    const env = iis
      ? { HTTP_PLATFORM_PORT: String(port), PORT: String.raw`\\.\pipe\1d2c`, HOST: '' }
      : { WEBSITE_SITE_NAME: 'salon' };
    const args = ['--instance', name, '--metrics-token', TOKEN];
    servers.push(await start(t, { port, args, env: { REDIS_URL: redis.url, ...env } }));
    await servers.at(-1).logs(/connected to "?redis:/);
  }
  return servers;
}

for (const [name, setting] of Object.entries({
  'Windows, through IIS': { iis: true },
  Linux: {},
  'a front end that calls the instance by another name': { rewrites: true },
})) {
  test(`clients that keep cookies stay with their instance: ${name}`, options, async (t) => {
    const files = makeCertificate(t);
    const servers = await instances(t, setting);
    const front = await frontEnd(t, servers.map(({ port }) => port), { ...files, ...setting });
    const ca = readFileSync(files.ca);
    // A page's requests have an Origin, that of the public name; those of programs have none.
    const kinds = Object.values(TRANSPORTS).flatMap((transports) => [{}, { Origin: front.url }].map((headers) => [transports, headers]));
    const users = [...kinds, ...kinds].map(
      // The client puts its cookies into the object of the headers, so each has its own.
      ([transports, headers]) => new Chatter(t, front.url, { transports, ca, extraHeaders: { ...headers }, withCredentials: true }),
    );
    const troubles = [];
    for (const [i, { socket }] of users.entries()) {
      socket.on('connect_error', (error) => troubles.push(`${i}: ${error}`));
      socket.on('disconnect', (reason) => troubles.push(`${i}: ${reason}`));
      socket.io.engine.on('upgradeError', (error) => troubles.push(`${i}: ${error}`));
    }
    for (const [i, user] of users.entries()) await user.login(`user ${i}`);
    const said = users.map((_, i) => `${i} `.padEnd(300 * i, 'é'));
    users.forEach((user, i) => user.socket.emit('new message', said[i]));
    for (const [i, user] of users.entries()) {
      const texts = () => user.heard.filter(([event]) => event === 'new message').map(([, { message }]) => message);
      await user.hears(() => texts().length === users.length - 1, 'all others');
      assert.deepEqual(texts().sort(), said.filter((_, j) => j !== i).sort());
    }
    for (const user of users) {
      if (user.socket.io.opts.transports.includes('websocket')) await user.upgraded();
      else assert.equal(user.socket.io.engine.transport.name, 'polling');
    }
    assert.deepEqual([troubles, front.failed], [[], 0]);
    for (const server of servers) {
      assert.doesNotMatch(server.log(), /refused|does not know/);
      // Both had some of them.
      assert.ok((await metrics(server.url, TOKEN))('sockets{state="connected"}') > 0);
    }
  });
}

test('pages of elsewhere are refused, by the address and origin that the front end names', options, async (t) => {
  const files = makeCertificate(t);
  const [server] = await instances(t, { iis: true });
  const front = await frontEnd(t, [server.port], { ...files, rewrites: true });
  const from = async (Origin) => {
    // Another address than that of the front end, and one that the client has made up.
    const headers = { Origin, 'X-Forwarded-For': '192.0.2.1' };
    const request = https.get(`${front.url}/socket.io/?EIO=4&transport=polling`, { ca: readFileSync(files.ca), headers, localAddress: '127.0.0.2' });
    const [response] = await once(request, 'response');
    response.resume();
    return { 200: 'let in', 403: 'refused' }[response.statusCode];
  };
  assert.equal(await from(front.url), 'let in');
  assert.equal(await from('https://evil.example'), 'refused');
  await server.logs(/refused 127\.0\.0\.2: page of origin "https:\/\/evil\.example", host "127\.0\.0\.1:\d+"/);
  assert.equal(await from(front.url.replace('https', 'http')), 'refused', 'the same host without TLS is another origin');
});

test('the page, in Chromium, over polling alone and with WebSockets that IIS reframes', options, async (t) => {
  const files = makeCertificate(t);
  const servers = await instances(t, { iis: true });
  const front = await frontEnd(t, servers.map(({ port }) => port), { ...files, iis: true });
  const browser = await launch(t, files);
  const ada = await open(t, browser, front.url, { transports: 'polling only' });
  const bob = await open(t, browser, front.url);
  for (const [page, name] of [[ada, 'Ada'], [bob, 'Bob']]) await join(page, name);
  await say(ada, 'over polling');
  await hears(bob, 'over polling');
  await say(bob, 'over both');
  await hears(ada, 'over both');
  assert.deepEqual([[...ada.requests], [...bob.requests].sort()], [['polling'], ['polling', 'websocket']]);
});
