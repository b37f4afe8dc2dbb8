// node tests/package/pack.mjs [DIRECTORY]: the downloads, from what tests/package/build has left under target/download.
// The same inputs give the same bytes: fixed order, times, owners and modes. SOURCE_DATE_EPOCH is the time of all files;
// without it that of the last commit.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { licences } from './licences.mjs';

const TARGETS = {
  'windows-x86_64': 'x86_64-pc-windows-gnu',
  'windows-i686': 'i686-pc-windows-gnu',
  'linux-x86_64': 'x86_64-unknown-linux-musl',
};
// Beside this file, and in the archive for Linux.
const LINUX = ['salon.service', 'Containerfile'];

const run = (command, args, options) => execFileSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, ...options });
const dist = path.resolve(process.argv[2] ?? 'dist');
const time = Number(process.env.SOURCE_DATE_EPOCH ?? run('git', ['log', '-1', '--format=%ct']));
const version = /^version = "(.+)"/m.exec(readFileSync('Cargo.toml', 'utf8'))[1];

rmSync(dist, { recursive: true, force: true });
for (const [system, target] of Object.entries(TARGETS)) {
  const windows = system.startsWith('windows');
  const name = `salon-${version}-${system}`;
  const program = windows ? 'salon.exe' : 'salon';
  const stage = path.join(dist, name);
  mkdirSync(stage, { recursive: true });
  const files = {
    [program]: readFileSync(`target/download/${target}/release/${program}`),
    'README.md': readFileSync('README.md'),
    LICENSE: readFileSync('LICENSE'),
    'THIRD-PARTY.txt': licences(target),
    ...(windows ? { 'web.config': readFileSync('web.config') } : Object.fromEntries(LINUX.map((file) => [file, readFileSync(`tests/package/${file}`)]))),
  };
  const names = Object.keys(files).sort();
  for (const file of names) {
    const at = path.join(stage, file);
    writeFileSync(at, files[file]);
    chmodSync(at, file === program ? 0o755 : 0o644);
    utimesSync(at, time, time);
  }
  if (windows) {
    // A site's files are at the root of the zip. -X: without owners. A zip has local time, so a zone has to be fixed.
    run('zip', ['-q', '-X', '-9', `${stage}.zip`, ...names], { cwd: stage, env: { ...process.env, TZ: 'UTC' } });
  } else {
    const fixed = ['--format=ustar', '--owner=0', '--group=0', '--numeric-owner', '--sort=name', '--mode=u=rwX,go=rX', `--mtime=@${time}`];
    run('tar', [...fixed, '-cf', `${stage}.tar`, '-C', dist, name]);
    run('gzip', ['-n', '-9', `${stage}.tar`]);
  }
  rmSync(stage, { recursive: true });
}

let sums = '';
for (const [system] of Object.entries(TARGETS)) {
  const name = `salon-${version}-${system}.${system.startsWith('windows') ? 'zip' : 'tar.gz'}`;
  const bytes = readFileSync(path.join(dist, name));
  const sum = createHash('sha256').update(bytes).digest('hex');
  sums += `${sum}  ${name}\n`;
  console.log(`${String(bytes.length).padStart(9)}  ${sum}  ${name}`);
}
writeFileSync(path.join(dist, 'SHA256SUMS'), sums);
