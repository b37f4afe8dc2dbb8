// The licences of everything inside a program: the crates that cargo links for its target, with every licence file of their
// sources; the library of Rust and what it consists of; the C library; the official client in the page.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const LICENCE = /^(licen[cs]e|copying|copyright|notice|unlicen[cs]e)/i;
const run = (command, args, options) => execFileSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, ...options });

/** Debian's account of a package. */
const debian = (name) => readFileSync(`/usr/share/doc/${name}/copyright`, 'utf8');

/** All licence files of a directory, each below its name; a text that was there before is only named. None is an error. */
function texts(directory, title, seen) {
  const names = readdirSync(directory).filter((name) => LICENCE.test(name)).sort();
  const found = names.flatMap((name) => {
    const at = path.join(directory, name);
    const inside = readdirSync(directory, { withFileTypes: true }).find((entry) => entry.name === name);
    return inside.isDirectory() ? readdirSync(at).sort().map((file) => path.join(name, file)) : [name];
  });
  if (found.length === 0) throw new Error(`${title} comes without the text of its licence`);
  return found
    .map((name) => {
      const text = readFileSync(path.join(directory, name), 'utf8').trim();
      const before = seen.get(text);
      if (before === undefined) seen.set(text, `${title}, ${name}`);
      return before === undefined ? `--- ${name}\n\n${text}\n` : `--- ${name}: the same as ${before}\n`;
    })
    .join('\n');
}

/** A chapter of the file. */
const chapter = (title, text) => `${'='.repeat(80)}\n${title}\n${'='.repeat(80)}\n\n${text}\n`;

/** The crates whose code is in the program: neither build scripts nor macros nor tests. */
function crates(target, seen) {
  const metadata = JSON.parse(run('cargo', ['metadata', '--format-version=1', '--locked', `--filter-platform=${target}`]));
  const tree = run('cargo', ['tree', '--locked', '--edges=normal,no-proc-macro', '--prefix=none', `--target=${target}`, '--format={p}']);
  const linked = [...new Set(tree.trim().split('\n').map((line) => line.replace(/ \(.*/, '')))].sort();
  return linked.flatMap((line) => {
    const [name, version] = line.split(' v');
    const crate = metadata.packages.find((found) => found.name === name && found.version === version);
    if (!crate.source) return []; // salon itself
    return chapter(`${name} ${version}: ${crate.license}`, texts(path.dirname(crate.manifest_path), name, seen));
  });
}

/** The packages in the client's bundle, as `static/build.rs` lists them for the copy that the program itself serves. */
function client(seen) {
  const [, list] = /LICENCES[^=]*= \[([^\]]*)\]/.exec(readFileSync('static/build.rs', 'utf8'));
  return [...list.matchAll(/"([^"]+)"/g)].map(([, name]) => {
    const directory = path.join('static/node_modules', name);
    const { version, license } = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8'));
    return chapter(`${name} ${version} (in the page): ${license}`, texts(directory, name, seen));
  });
}

/** The text of THIRD-PARTY.txt for one target. */
export function licences(target) {
  const [library, runtime, compiler] = target.includes('windows')
    ? ['MinGW-w64', `mingw-w64-${target.split('-')[0].replace('_', '-')}-dev`, 'gcc-mingw-w64-base']
    : ['musl', 'musl', 'gcc-12-base'];
  const seen = new Map();
  return [
    `What is inside salon for ${target}, and under which licences. salon itself: see LICENSE.\n\n`,
    ...crates(target, seen),
    ...client(seen),
    chapter('The Rust standard library, with what it consists of', debian('rust-web-src')),
    chapter(`${library}: the C library and start-up code`, debian(runtime)),
    chapter('libgcc, under the GCC Runtime Library Exception', debian(compiler)),
  ].join('');
}
