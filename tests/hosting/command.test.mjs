// The program as a platform starts it: --check, ports, --probe, and who may read what it tells of itself.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort, metrics, start } from '../lib/server.mjs';

const options = { timeout: 60_000 };
const program = path.resolve(fileURLToPath(new URL('../..', import.meta.url)), process.env.SALON_BIN ?? 'target/debug/salon');
const PIPE = String.raw`\\.\pipe\6b1c2e1e-5a0f`;

/** Runs the program to its end, with no variables but these: `{ status, text, lines }`. */
function run(args, env = {}) {
  const { status, stdout, stderr } = spawnSync(program, args, { env, encoding: 'utf8', timeout: 10_000 });
  return { status, text: stdout + stderr, lines: stdout.split('\n') };
}

/** What --check says of an option: `[value, source]`. */
function setting({ lines }, flag) {
  const line = lines.find((line) => line.startsWith(`${flag} `)) ?? assert.fail(`no ${flag} in ${lines.join('\n')}`);
  return /^\S+ +(.*?) +(\S+)$/.exec(line).slice(1);
}

test('--check on good configurations: every value, where it came from, status 0', options, () => {
  const env = { SALON_LOG: 'warn', PORT: '8080', REDIS_URL: 'rediss://user:hush-hush@redis.example:6380', SALON_METRICS_TOKEN: 'open-sesame' };
  const checked = run(['--check', '--ping-interval', '20s', '--max-connections', '200', '--max-per-address', '99', '--max-half-open', '100', '--base=/chat/'], env);
  assert.equal(checked.status, 0, checked.text);
  const flags = run(['--help']).text.match(/^ {2}--(?!check|probe)[a-z-]+/gm).map((flag) => flag.slice(4));
  assert.deepEqual(checked.lines.filter(Boolean).map((line) => line.split(' ')[0]), flags, 'every option');
  for (const [flag, value, source] of [
    ['log', 'warn', 'SALON_LOG'],
    ['port', '8080', 'PORT'],
    ['ping-interval', '20s', '--ping-interval'],
    ['base', '/chat/', '--base'],
    ['ping-timeout', '20s', 'default'],
    ['trust-proxy', 'no', 'default'],
    ['redis', '(a secret)', 'REDIS_URL'],
  ]) {
    assert.deepEqual(setting(checked, flag), [value, source]);
  }
  assert.doesNotMatch(checked.text, /hush|sesame/);
});

test('--check shows how many half-open connections there may be', options, () => {
  const lines = (...args) => run(['--check', '--max-per-address', '9', ...args]).lines.filter((line) => line.startsWith('max-half-open ')).map((line) => line.replace(/ +/g, ' '));
  const [chosen, half] = ['max-half-open 1000 default', 'half of --max-connections'];
  assert.deepEqual(lines('--max-connections', '50'), [chosen, `max-half-open 25 ${half}`]);
  assert.deepEqual(lines('--max-connections', '51'), [chosen, `max-half-open 26 ${half}`]);
  assert.deepEqual(lines('--max-connections', '50', '--max-half-open', '26'), ['max-half-open 26 --max-half-open', `max-half-open 25 ${half}`]);
  assert.deepEqual(lines('--max-connections', '50', '--max-half-open', '25'), ['max-half-open 25 --max-half-open']);
  assert.deepEqual(lines(), [chosen]);
});

test('--check on bad configurations: what looks wrong, status 1', options, () => {
  const fine = ['--check', '--max-connections', '200', '--max-per-address', '99'];
  for (const [args, env, words] of [
    [['--trust-proxy', '--ping-interval', '40s'], {}, /--ping-interval plus --ping-timeout is above 55 s/],
    [[], { SALON_PING_INTERVALL: '5s' }, /SALON_PING_INTERVALL: no such option/],
    [['--max-per-address', '200'], {}, /--max-per-address allows one to use up --max-connections/],
    [['--max-packets', '100'], {}, /--max-packets is below --event-burst/],
    [['--max-payload', '10MB', '--max-text', '8MB', '--history-messages', '0'], {}, /--max-queue and --max-held must have room/],
    [['--max-connections', '1000000'], {}, /ulimit -n is \d+: too low for --max-connections 1000000/],
    [['--redis', 'redis://redis.example:6379'], {}, /--redis without TLS to a public host/],
    [['--origins', '*'], {}, /--origins \*/],
    [['--host', '127.0.0.1'], {}, /--max-per-address has no effect .* use --trust-proxy/],
    [['--max-websockets', '5', '--transports', 'websocket'], {}, /--max-websockets without polling/],
    // What cannot be used at all is said here too, and the rest is still checked.
    [['--ping-interval', 'often', '--origins', '*'], { PORT: PIPE }, /(?=[^]*ping-interval: "often")(?=[^]*--origins \*)[^]*PORT: .* named pipe/],
  ]) {
    const checked = run([...fine, ...args], env);
    assert.equal(checked.status, 1, `${args}: ${checked.text}`);
    assert.match(checked.text, words);
    const warnings = checked.lines.filter((line) => line.startsWith('warning: '));
    assert.equal(warnings.length, `${words}`.includes('often') ? 3 : 1, checked.text);
  }
  // The same without what makes it wrong.
  for (const [args, env] of [
    [['--ping-interval', '40s'], {}],
    [['--redis', 'redis://10.0.0.5'], {}],
    [['--redis', 'rediss://redis.example:6380'], {}],
    [['--origins', 'https://chat.example'], {}],
    [['--max-payload', '10MB', '--max-text', '8MB', '--max-queue', '12MB', '--history-messages', '0'], {}],
    [['--host', '127.0.0.1', '--trust-proxy'], {}],
  ]) {
    const checked = run([...fine, ...args], env);
    assert.deepEqual([checked.status, checked.text.includes('warning')], [0, false], checked.text);
  }
});

test('the port is the first of three variables, and 3000 without any', options, () => {
  for (const [env, port, source, host, trusts] of [
    [{}, '3000', 'default', '*', 'no'],
    [{ PORT: '5000' }, '5000', 'PORT', '*', 'no'],
    [{ PORT: '5000', ASPNETCORE_PORT: '6000' }, '6000', 'ASPNETCORE_PORT', '127.0.0.1', 'yes'],
    [{ PORT: PIPE, ASPNETCORE_PORT: '6000', HTTP_PLATFORM_PORT: '7000' }, '7000', 'HTTP_PLATFORM_PORT', '127.0.0.1', 'yes'],
    [{ PORT: '5000', WEBSITE_SITE_NAME: 'chat' }, '5000', 'PORT', '*', 'yes'],
    [{ HTTP_PLATFORM_PORT: '7000', HOST: '0.0.0.0', SALON_TRUST_PROXY: 'no' }, '7000', 'HTTP_PLATFORM_PORT', '0.0.0.0', 'no'],
  ]) {
    const checked = run(['--check', '--max-connections', '200', '--max-per-address', '99'], env);
    assert.deepEqual(setting(checked, 'port'), [port, source]);
    assert.equal(setting(checked, 'host')[0], host);
    assert.equal(setting(checked, 'trust-proxy')[0], trusts);
  }
  const { status, text } = run([], { PORT: PIPE });
  assert.notEqual(status, 0);
  assert.match(text, /^salon: PORT: .* a named pipe, as iisnode gives it: salon needs HttpPlatformHandler\n$/);
});

test('--probe asks /healthz: status 0 or 1, whatever is wrong', options, async (t) => {
  const server = await start(t, { args: ['--base', '/chat', '--drain', '1m'] });
  const probe = (...args) => run(['--probe', ...args], { PORT: String(server.port) });
  assert.deepEqual(probe(), { status: 0, text: '', lines: [''] });
  assert.deepEqual([probe('--base', '/chat').status, probe('--base', '/elsewhere').status], [0, 0]);
  assert.equal(probe('--ping-interval', 'often').status, 1);
  // Somebody is there who keeps the stopping server.
  const response = await fetch(`${server.url}/chat/socket.io/?EIO=4&transport=polling`);
  await response.text();
  server.child.kill('SIGTERM');
  await server.logs(/stopping/);
  const stopping = probe();
  assert.equal(stopping.status, 1);
  assert.match(stopping.text, /^salon: 127\.0\.0\.1:\d+ answers with status 503\n$/);
  await server.kill('SIGKILL');
  assert.match(probe().text, /^salon: no answer from 127\.0\.0\.1:\d+: /);
  assert.equal(probe().status, 1);
});

test('who may read /metrics', options, async (t) => {
  const port = await freePort();
  const read = (headers = {}, method = 'GET') =>
    new Promise((resolve, reject) => {
      http
        .request(`http://127.0.0.1:${port}/metrics`, { method, headers, agent: false }, (response) => response.resume() && resolve(response.statusCode))
        .on('error', reject)
        .end();
    });
  const bearer = (token) => ({ Authorization: `Bearer ${token}` });
  const iis = { HTTP_PLATFORM_PORT: String(port), HOST: '' };
  const forwarded = { Forwarded: 'for=192.0.2.1', 'X-Forwarded-For': '192.0.2.1', 'X-Forwarded-Host': 'a', 'X-Forwarded-Proto': 'https' };
  const others = { Via: '1.1 a', 'X-Real-IP': '192.0.2.1', 'CF-Connecting-IP': '192.0.2.1', 'True-Client-IP': '192.0.2.1', 'X-Original-URL': '/' };
  const azure = { 'X-Forwarded-TlsVersion': '1.3', 'x-forwarded-anything': '', 'X-ARR-LOG-ID': '1', 'CLIENT-IP': '192.0.2.1:4711' };
  for (const [name, env, rows] of [
    ['no token', {}, [
      [{}, 200],
      [bearer('open-sesame'), 200],
      [{ Host: 'localhost' }, 200],
      [{ Host: 'evil.example' }, 404], // a page of that host may have had its name resolved to this machine
      [{}, 405, 'POST'],
      [others, 404, 'POST'],
      ...Object.entries({ ...forwarded, ...azure, ...others }).map(([field, value]) => [{ [field]: value }, 404]),
    ]],
    ['a token', { SALON_METRICS_TOKEN: 'open-sesame' }, [
      [{}, 404],
      [bearer('open-sesame'), 200],
      [{ authorization: 'bearer open-sesame' }, 200],
      [{ ...bearer('open-sesame'), ...forwarded, ...azure, ...others, Host: 'chat.example' }, 200],
      [bearer('open-sesame'), 405, 'DELETE'],
      [bearer('open-sesam'), 404],
      [bearer('open-sesame '), 200], // white space at the end of a field is not part of it
      [{ Authorization: 'open-sesame' }, 404],
    ]],
    ['no token, a port of IIS', iis, [[{}, 404], [bearer('none'), 404]]],
    ['a token, a port of IIS', { ...iis, SALON_METRICS_TOKEN: 'open-sesame' }, [[{}, 404], [bearer('open-sesame'), 200]]],
    ['on Azure without IIS', { WEBSITE_SITE_NAME: 'chat' }, [[{}, 200], [{ 'X-ARR-LOG-ID': '1' }, 404]]],
  ]) {
    const server = await start(t, { port, env });
    for (const [headers, status, method] of rows) assert.equal(await read(headers, method), status, `${name}: ${JSON.stringify(headers)}`);
    await server.kill();
    assert.doesNotMatch(server.log(), /sesam/);
  }
});

test('what /metrics tells, and that it moves', options, async (t) => {
  const server = await start(t, { args: ['--max-websockets', '5'] });
  const before = await metrics(server.url);
  const names = [
    'uptime_seconds',
    'sessions{transport="polling"}',
    'sessions{transport="websocket"}',
    'connections',
    'queued_bytes',
    'websockets',
    'websockets_limit',
    'websockets_promised',
    'websockets_refused_total',
    'messages_received_total',
    'messages_sent_total',
    'sessions_ended_total{reason="evicted"}',
    ...['queue', 'soft_queue', 'write_time', 'address_sessions'].map((limit) => `limits_total{limit="${limit}"}`),
    'requests_refused_total{kind="unknown_sid"}',
    'turns_total{cause="timer"}',
    'turns_total{cause="bytes"}',
    'lag_seconds_max',
    ...(process.platform === 'linux' ? ['resident_bytes'] : []),
  ];
  for (const name of names) assert.ok(before(name) >= 0, name);
  const ask = async (query, init) => (await fetch(`${server.url}/socket.io/?EIO=4&transport=polling${query}`, init)).text();
  const { sid } = JSON.parse((await ask('')).slice(1));
  await ask(`&sid=${sid}`, { method: 'POST', body: '40' });
  const queued = (await metrics(server.url))('queued_bytes');
  const entry = 64; // what it costs to queue a packet
  assert.equal(queued, (await ask(`&sid=${sid}`)).length + entry);
  await ask('&sid=AAAAAAAAAAAAAAAAAAAA');
  const after = await metrics(server.url);
  for (const [name, change] of [
    ['sessions{transport="polling"}', 1],
    ['websockets_promised', 1],
    ['messages_received_total', 1],
    ['messages_sent_total', 1],
    ['requests_refused_total{kind="unknown_sid"}', 1],
  ]) {
    assert.equal(after(name) - before(name), change, name);
  }
  assert.ok(after('uptime_seconds') > before('uptime_seconds'));
});
