// What belongs to another place than the sources, README has the only copy of: the unit file and the Containerfile.
import { readFileSync } from 'node:fs';

export const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

/** The code block of README that is marked with this file's name. */
export function cut(name) {
  const block = new RegExp(`^\`\`\`\\w+ ${name}\n([^]*?)^\`\`\`$`, 'm').exec(readme);
  if (!block) throw new Error(`README.md has no code block ${name}`);
  return block[1];
}
