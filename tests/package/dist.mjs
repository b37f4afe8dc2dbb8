// What `make package` has left under dist/ (`make test-package`): what is inside, that the same sources give the same bytes,
// and the Linux program where there is nothing else, as the Containerfile puts it there.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { homedir, tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Chatter, within } from '../lib/chatter.mjs';
import { startRedis } from '../lib/redis.mjs';
import { freePort, start } from '../lib/server.mjs';

const options = { timeout: 120_000 };
const top = fileURLToPath(new URL('../..', import.meta.url));
const dist = path.join(top, 'dist');
const run = (command, args, options) => execFileSync(command, args, { cwd: top, maxBuffer: 1 << 28, ...options });
const files = readdirSync(dist).sort();
const archive = (system) => path.join(dist, files.find((name) => name.includes(system)));
const MIB = 1024 * 1024;

/** A directory that goes with the test. */
function directory(t) {
  const made = mkdtempSync(path.join(tmpdir(), 'salon-dist-'));
  t.after(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** The unpacked archive: its directory and the sorted names in it. */
function unpacked(t, system) {
  const root = directory(t);
  if (system.startsWith('linux')) run('tar', ['xzf', archive(system), '-C', root, '--strip-components=1']);
  else run('python3', ['-m', 'zipfile', '-e', archive(system), root]);
  return { root, names: readdirSync(root).sort(), read: (name) => readFileSync(path.join(root, name)) };
}

test('three archives and their sums', () => {
  const [SHA256SUMS, ...archives] = files;
  assert.equal(SHA256SUMS, 'SHA256SUMS');
  assert.deepEqual(archives.map((name) => name.replace(/-\d.*?-/, '-')), [
    'salon-linux-x86_64.tar.gz',
    'salon-windows-i686.zip',
    'salon-windows-x86_64.zip',
  ]);
  assert.match(run('sha256sum', ['--check', '--strict', SHA256SUMS], { cwd: dist }).toString(), /^(.*: OK\n){3}$/);
});

for (const [system, machine, objdump] of [
  ['windows-x86_64', 0x8664, 'x86_64-w64-mingw32-objdump'],
  ['windows-i686', 0x14c, 'i686-w64-mingw32-objdump'],
]) {
  test(`${system}: what IIS needs, at the root`, options, (t) => {
    const { root, names, read } = unpacked(t, system);
    assert.deepEqual(names, ['LICENSE', 'README.md', 'THIRD-PARTY.txt', 'salon.exe', 'web.config']);
    assert.deepEqual(read('web.config'), readFileSync(path.join(top, 'web.config')));
    const program = read('salon.exe');
    const header = program.readUInt32LE(0x3c);
    assert.equal(program.toString('latin1', header, header + 4), 'PE\0\0');
    assert.equal(program.readUInt16LE(header + 4), machine);
    // Every DLL is Windows' own: none of the compiler's (libgcc_s_*.dll).
    const imports = run(objdump, ['-p', path.join(root, 'salon.exe')]).toString().matchAll(/DLL Name: (.*)/g);
    const dlls = [...new Set([...imports].map(([, name]) => name.toLowerCase()))].sort();
    const known = /^(advapi32|api-ms-win-core-synch-l1-2-0|bcrypt|bcryptprimitives|kernel32|msvcrt|ntdll|ws2_32)\.dll$/;
    assert.deepEqual(dlls.filter((name) => !known.test(name)), []);
    assert.ok(dlls.includes('ws2_32.dll'));
  });
}

test('linux: at most 3 MiB, with TLS', options, (t) => {
  const { names, read } = unpacked(t, 'linux');
  assert.deepEqual(names, ['Containerfile', 'LICENSE', 'README.md', 'THIRD-PARTY.txt', 'salon', 'salon.service']);
  assert.ok(read('salon').length <= 3 * MIB, `${read('salon').length} bytes`);
  assert.ok(read('salon').includes('rediss'));
  for (const name of ['Containerfile', 'salon.service']) {
    assert.deepEqual(read(name), readFileSync(path.join(top, 'tests/package', name)));
  }
});

test('licences: every crate that cargo links, the client, the libraries', options, (t) => {
  for (const [system, library, crate] of [['linux', 'musl: ', 'signal-hook'], ['windows-i686', 'MinGW-w64: ', 'ctrlc']]) {
    const text = unpacked(t, system).read('THIRD-PARTY.txt').toString();
    const chapters = [...text.matchAll(/^={80}\n(.*)\n={80}$/gm)].map(([, title]) => title);
    for (const name of ['mio ', 'ring ', 'rustls ', 'socket.io-client ', 'The Rust standard library', library, `${crate} `]) {
      assert.ok(chapters.some((title) => title.startsWith(name)), `${name} in ${system}`);
    }
    // Tests' and build scripts' crates are not in the program.
    assert.ok(!chapters.some((title) => /^(proptest|cc|serde_derive) /.test(title)));
    assert.match(text, /Permission is hereby granted, free of charge/);
  }
});

test('no path of this machine is in a program', options, (t) => {
  for (const system of ['linux', 'windows-x86_64', 'windows-i686']) {
    const { names, read } = unpacked(t, system);
    const program = read(names.find((name) => /^salon(\.exe)?$/.test(name))).toString('latin1');
    assert.ok(program.includes('crates/mio-'), 'where it comes from is there'); // the line numbers of panics
    for (const here of [top, homedir(), '/usr/lib/rustlib']) assert.ok(!program.includes(here), `${here} in ${system}`);
  }
});

test('packed again, in another time zone and with another umask: the same bytes', options, (t) => {
  const again = directory(t);
  const env = { ...process.env, TZ: 'Pacific/Auckland', LC_ALL: 'C' };
  run('sh', ['-c', 'umask 077 && exec node tests/package/pack.mjs "$0"', again], { env });
  for (const file of files) assert.deepEqual(readFileSync(path.join(again, file)), readFileSync(path.join(dist, file)), file);
});

// The rest wants an empty root directory and process 1 of a namespace.
test('this runs as root', () => assert.equal(process.getuid(), 0));

/** The instructions of a Containerfile: `[name, rest]`. Only what ours uses is known. */
function instructions(text) {
  return text.trim().split('\n').map((line) => {
    const found = /^(FROM|COPY|USER|ENV|EXPOSE|HEALTHCHECK|ENTRYPOINT) (.+)$/.exec(line);
    assert.ok(found, `not an instruction that is known here: ${line}`);
    return found.slice(1);
  });
}

/** Builds the image, and gives what is needed to run it. */
function build(t) {
  const tarball = unpacked(t, 'linux');
  const image = { root: directory(t), env: {} };
  chmodSync(image.root, 0o755);
  const exec = (text) => JSON.parse(text); // the exec form: there is no shell
  for (const [name, rest] of instructions(tarball.read('Containerfile').toString())) {
    if (name === 'FROM') assert.equal(rest, 'scratch');
    if (name === 'COPY') {
      const words = rest.split(' ');
      const to = path.join(image.root, words.pop());
      for (const from of words) copyFileSync(path.join(tarball.root, from), path.join(to, from));
    }
    if (name === 'ENV') image.env[rest.split('=')[0]] = rest.split('=')[1];
    if (name === 'EXPOSE') image.exposed = rest;
    if (name === 'USER') image.user = rest;
    if (name === 'ENTRYPOINT') image.entrypoint = exec(rest);
    if (name === 'HEALTHCHECK') {
      const [, flags, command] = /^((?:--(?:interval|timeout|start-period|retries)=\w+ )*)CMD (.*)$/.exec(rest);
      image.health = { flags, command: exec(command) };
    }
  }
  return image;
}

/** Runs the image as process 1 of its own namespace. `signal(name)` is one to that process. */
async function container(t, { root, user, env, entrypoint }, added = {}) {
  const port = await freePort();
  // The kernel takes the leash off a process that changes its user. This comes before what `start` does at the end.
  let inner;
  t.after(() => inner && spawnSync('kill', ['-KILL', inner]));
  const args = ['--pid', '--fork', 'chroot', `--userspec=${user}`, root, ...entrypoint];
  const server = await start(t, { port, bin: '/usr/bin/unshare', args, env: { HOST: '*', ...env, PORT: String(port), ...added } });
  [inner] = readFileSync(`/proc/${server.child.pid}/task/${server.child.pid}/children`, 'utf8').trim().split(' ');
  return { ...server, signal: (name) => process.kill(Number(inner), name) };
}

test('the Containerfile: chat, health check, SIGTERM to process 1', options, async (t) => {
  const image = build(t);
  assert.deepEqual(readdirSync(image.root).sort(), ['LICENSE', 'THIRD-PARTY.txt', 'salon']);
  assert.equal(image.exposed, image.env.PORT);
  const server = await container(t, image);
  const ada = new Chatter(t, server.url, { transports: ['polling'] });
  const bob = new Chatter(t, server.url);
  assert.deepEqual(await ada.login('Ada'), { numUsers: 1 });
  await bob.upgraded();
  await bob.login('Bob');
  bob.socket.emit('new message', 'from nowhere');
  assert.equal((await ada.event('new message')).message, 'from nowhere');

  const healthy = () => {
    const [program, ...args] = image.health.command;
    const env = { ...process.env, ...image.env, PORT: String(server.port) };
    return spawnSync('chroot', [`--userspec=${image.user}`, image.root, program, ...args], { env, encoding: 'utf8' });
  };
  assert.equal(healthy().status, 0, healthy().stderr);
  server.signal('SIGTERM');
  assert.deepEqual(await within(server.ended, 'the end'), [0, null]);
  assert.equal(healthy().status, 1);
});

/** A name server at `address` that knows one name; gives the names it was asked for. */
async function nameServer(t, address, known) {
  const asked = new Set();
  const socket = dgram.createSocket('udp4');
  t.after(() => socket.close());
  socket.on('message', (query, peer) => {
    const labels = [];
    let at = 12;
    for (; query[at] !== 0; at += query[at] + 1) labels.push(query.toString('latin1', at + 1, at + 1 + query[at]));
    const name = labels.join('.');
    const type = query.readUInt16BE(at + 1);
    asked.add(name);
    const found = name === known && type === 1;
    // The question comes back, and behind it the address: a pointer to the name, type A, class IN, one minute, four bytes.
    const answer = Buffer.concat([query.subarray(0, at + 5), found ? Buffer.from('c00c000100010000003c00047f000001', 'hex') : Buffer.alloc(0)]);
    answer.writeUInt16BE(name === known ? 0x8180 : 0x8183, 2);
    answer.writeUInt16BE(found ? 1 : 0, 6);
    answer.writeUInt32BE(0, 8);
    socket.send(answer, peer.port, peer.address);
  });
  socket.bind(53, address);
  await once(socket, 'listening');
  return asked;
}

test('names of hosts: from a name server, from etc/hosts, and one that nobody knows', options, async (t) => {
  const image = build(t);
  mkdirSync(path.join(image.root, 'etc'));
  const resolver = '127.53.53.53';
  const asked = await nameServer(t, resolver, 'redis.salon.test');
  writeFileSync(path.join(image.root, 'etc/resolv.conf'), `nameserver ${resolver}\n`);
  writeFileSync(path.join(image.root, 'etc/hosts'), '127.0.0.1 listed.salon.test\n');
  const redis = await startRedis(t);
  const says = async (host, pattern) => {
    const server = await container(t, image, { REDIS_URL: redis.url.replace('127.0.0.1', host) });
    await server.logs(pattern);
  };
  await says('redis.salon.test', /redis: connected/);
  assert.ok(asked.has('redis.salon.test'));
  await says('listed.salon.test', /redis: connected/);
  assert.ok(!asked.has('listed.salon.test'));
  await says('unknown.salon.test', /redis: no connection/);
  assert.ok(asked.has('unknown.salon.test'));
});

// Minutes each: from a copy elsewhere, with nothing built.
for (const [target, program, system] of [
  ['x86_64-unknown-linux-musl', 'salon', 'linux'],
  ['x86_64-pc-windows-gnu', 'salon.exe', 'windows-x86_64'],
]) {
  test(`built again in another directory: the same bytes, ${target}`, { timeout: 1_800_000 }, (t) => {
    const copy = path.join(directory(t), 'a directory with another name');
    mkdirSync(copy);
    const sources = run('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', 'Cargo.toml', 'Cargo.lock', 'src', 'static', 'tests']);
    for (const name of sources.toString().split('\0').filter(Boolean)) cpSync(path.join(top, name), path.join(copy, name));
    cpSync(path.join(top, 'static/node_modules'), path.join(copy, 'static/node_modules'), { recursive: true });
    run('tests/package/build', [target], { cwd: copy, stdio: 'pipe' });
    const built = readFileSync(path.join(copy, `target/download/${target}/release/${program}`));
    assert.ok(built.equals(unpacked(t, system).read(program)));
  });
}

test('README names the archives as they are', () => {
  const readme = readFileSync(path.join(top, 'README.md'), 'utf8');
  for (const [name] of readme.matchAll(/\bsalon-\d[\w.-]*(?:zip|tar\.gz)/g)) assert.ok(files.includes(name), name);
});
