// The short form of make checker: one round of faults each, with history files and without.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cast, round } from './checker/plan.mjs';
import { report } from './checker/report.mjs';
import { run } from './checker/run.mjs';

describe('a round of the checker', { concurrency: true }, () => {
  for (const seed of [52, 12]) {
    test(`seed ${seed}, ${cast(seed).files ? 'with' : 'without'} files`, { timeout: 180_000 }, async (t) => {
      const result = await run(t, seed, () => true);
      assert.deepEqual(result.violations, [], report(result));
      assert.ok(result.acked > 100, report(result));
      t.diagnostic(report(result));
    });
  }
});

test('the same seed is the same plan, another seed another', () => {
  assert.deepEqual([cast(7), round(7, 3)], [cast(7), round(7, 3)]);
  assert.notDeepEqual(round(7, 3), round(7, 4));
  assert.notDeepEqual(round(7, 3), round(8, 3));
});
