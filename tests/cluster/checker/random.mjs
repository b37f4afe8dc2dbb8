// The generator that decides everything a run decides: the same seed gives the same plan and the same choices.

/**
 * A generator of numbers (mulberry32). `stream` tells generators of one seed apart, so that what one part of a run draws
 * does not depend on how often another part draws.
 */
export function random(seed, stream = 0) {
  let state = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) + Math.imul(stream + 1, 0xc2b2ae35)) >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    /** A whole number from `low` to `high`, both included. */
    between: (low, high) => low + Math.floor(next() * (high - low + 1)),
    chance: (share) => next() < share,
    pick: (list) => list[Math.floor(next() * list.length)],
    /** A key of `weights`, each as often as its weight says. */
    weighted(weights) {
      let left = next() * Object.values(weights).reduce((sum, weight) => sum + weight);
      return Object.keys(weights).find((key) => (left -= weights[key]) < 0) ?? Object.keys(weights)[0];
    },
    /** The time to the next event, in ms, of events that come at random, on average every `mean` ms. */
    gap: (mean) => Math.ceil(-Math.log(1 - next()) * mean),
  };
}
