// Names as they are shown, and whose they are: anybody may take any name, so two can have the same, or one that looks so.

const here = new Map(); // public tag of a user -> name
const twins = new Set(); // looks of names that two users have had at one time; they stay told apart from then on

/** A name without controls and without marks that turn the text around it. */
export const shown = (name) =>
  String(name).replace(/[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu, ' ').trim() || '?';

/** What is left of a name to tell it by: equal for names that look alike. */
export const look = (name) => String(name).normalize('NFKC').replace(/[\p{C}\p{Z}\p{DI}]+/gu, '').toLowerCase();

/** The tag that tells this user from others of that name; empty where there are none. */
export const tag = (user, name) => (user && twins.has(look(name)) ? ` #${user}` : '');

/** A name within a sentence; isolated, so that one from right to left leaves the rest where it is. */
export const label = (user, name) => `\u2068${shown(name)}\u2069${tag(user, name)}`;

/** Notes who is here. Returns whether there are new twins. */
export function arrive(user, name) {
  const known = twins.size;
  const same = look(name);
  for (const [other, otherName] of here) {
    if (other !== user && look(otherName) === same) twins.add(same);
  }
  here.set(user, name);
  return twins.size > known;
}

export const depart = (user) => here.delete(user);

/** All who are here, as far as known: `[user, name]` each. */
export const everybody = () => [...here];

/** Starts anew with this list of `{username, user}`. Returns whether there are new twins. */
export function reset(users) {
  here.clear();
  return users.filter(({ user, username }) => arrive(user, username)).length > 0;
}
