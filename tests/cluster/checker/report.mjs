// What is printed of a run.

/** One line; of a run with violations also the first of them, and how to have it again. */
export function report({ seed, rounds, acked, checked, excepted, files, settled, violations, record }) {
  const kind = files ? 'with files' : 'without files';
  const figures = `${rounds} rounds ${kind}: ${acked} acknowledged, ${checked} checked, ${excepted} excepted; right after ${settled} ms at most`;
  if (!violations.length) return `ok: seed ${seed}, ${figures}${record ? `, which was late: see ${record}` : ''}`;
  const shown = violations.slice(0, 10).map((violation) => `  ${violation}`);
  return [`VIOLATED: seed ${seed}, ${figures}`, ...shown, `  ${violations.length} in all, with what happened in ${record}; again: make checker SEED=${seed}`].join('\n');
}
