// make checker SEED=1 SEEDS=10 MINUTES=5: so many runs, one after the other, one line each. Status 1 if a promise is broken.
import { run } from './run.mjs';
import { report } from './report.mjs';

const [seed, seeds, minutes] = [['SEED', Date.now() % 1_000_000], ['SEEDS', 1], ['MINUTES', 5]].map(([name, usual]) => Number(process.env[name] || usual));

for (let i = 0; i < seeds; i += 1) {
  const hooks = [];
  const end = Date.now() + minutes * 60_000;
  const result = await run({ after: (hook) => hooks.push(hook) }, seed + i, () => Date.now() > end);
  console.log(report(result));
  if (result.violations.length) process.exitCode = 1;
  for (const hook of hooks.reverse()) await hook();
}
process.exit();
