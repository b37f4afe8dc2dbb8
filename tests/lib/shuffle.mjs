// node tests/lib/shuffle.mjs SEED FILE...: runs these files of tests in an order that SEED decides, and the tests of each
// file and of each `describe` too; the same seed gives the same order. Node 20 has no option for that.
//
// The process that runs one of the files has this module twice: preloaded, and in the place of node:test, of which it
// shows everything, but for a `test` and a `describe` that wait until all of the file are known.
import { register } from 'node:module';
import * as real from 'node:test';
import { tap } from 'node:test/reporters';
import { pathToFileURL } from 'node:url';

export * from 'node:test';

/** A shuffled copy (Fisher and Yates), by the generator of Lehmer. */
function shuffle(list, seed) {
  const shuffled = [...list];
  let state = (seed % 2147483646) + 1;
  for (let i = shuffled.length - 1; i > 0; i--) {
    state = (state * 48271) % 2147483647;
    const j = state % (i + 1);
    [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
  }
  return shuffled;
}

const collected = [];
const registerAll = () => shuffle(collected.splice(0), Number(process.env.SHUFFLE_SEED)).forEach((define) => define());

export function test(...args) {
  collected.push(() => real.test(...args));
}

export function describe(...args) {
  const body = args.pop();
  collected.push(() => real.describe(...args, () => {
    body();
    registerAll();
  }));
}

if (process.env.NODE_TEST_CONTEXT) {
  // Not for the programs that the tests start.
  delete process.env.NODE_OPTIONS;
  const hook = `export const resolve = (name, context, next) =>
    next(name === 'node:test' && context.parentURL.endsWith('.test.mjs') ? '${import.meta.url}' : name, context);`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
  // Node is about to load the file itself. It is loaded once, and here one learns when that is done.
  import(pathToFileURL(process.argv[1])).then(registerAll);
} else {
  const [seed, ...files] = process.argv.slice(2);
  Object.assign(process.env, { SHUFFLE_SEED: seed, NODE_OPTIONS: `--import=${import.meta.url}` });
  const tests = real.run({ files: shuffle(files, Number(seed)), concurrency: true });
  tests.on('test:fail', () => (process.exitCode = 1));
  tests.compose(tap).pipe(process.stdout);
}
