// Names as they are shown, and whose they are: anybody may take any name, so two can have the same, or one that looks so.
import { element, TAG, TAG_END } from './texts.js';

const HUES = 12; // as many as style.css has
const MOST = 5000; // looks that are remembered

// Letters of Cyrillic and Greek that look like Latin ones. Not all of Unicode's confusables: those that fonts draw alike.
const LIKE = 'АAаaВBЕEеeЁËёëЅSѕsІIіiЇÏїïЈJјjКKкkМMмmНHнhОOоoРPрpСCсcТTтtУYуyҮYүyХXхxԁdҺHһhԚQԛqԜWԝwӀIӏl' +
  'ΑAαaΒBΕEΖZΗHΙIιiΚKκkΜMΝNνvΟOοoΡPρpΤTΥYυuΧXχxγyϲcϳj';
const latin = new Map(LIKE.match(/../gu).map(([from, to]) => [from, to]));
const owners = new Map(); // look -> the only user seen with it, or `true` if there were several

/** A name without controls, without marks that turn the text around it, and without what marks a tag. */
export const shown = (name) =>
  String(name).replace(/[\p{Cc}\p{Co}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu, ' ').trim() || '?';

/** What is left of a name to tell it by: equal for names that look alike. */
export function look(name) {
  const visible = String(name).normalize('NFKC').replace(/[\p{C}\p{Z}\p{DI}]+/gu, '');
  return visible.replace(/[\u0370-\u052f]/g, (letter) => latin.get(letter) ?? letter).toLowerCase()
    .replace(/[i|1ı]/g, 'l').replaceAll('0', 'o').replaceAll('rn', 'm').replaceAll('vv', 'w');
}

/** Notes that this user has the name. Returns its look if another user has been seen with it and that is new. */
export function meet(user = '', name) {
  const same = look(name);
  const owner = owners.get(same);
  if (owner === undefined) {
    owners.set(same, user);
    if (owners.size > MOST) owners.delete(owners.keys().next().value);
  } else if (owner !== true && owner !== user) {
    owners.set(same, true);
    return same;
  }
}

/** The tag that tells this user from others of that name; empty where there are none. */
export const tag = (user, name) => (user && owners.get(look(name)) === true ? `#${user}` : '');

/** A name within a sentence; isolated, so that one from right to left leaves the rest where it is. */
export function label(user, name) {
  const mark = tag(user, name);
  return `\u2068${shown(name)}\u2069${mark && ` ${TAG}${mark}${TAG_END}`}`;
}

/** A name that stands alone, in its colour: the same on every page, and another for a second user of it. */
export function signature(user, name) {
  const mark = tag(user, name);
  let hash = 7;
  for (const unit of look(name) + mark) hash = (hash * 31 + unit.codePointAt(0)) >>> 0;
  const made = element('b', `hue${hash % HUES}`, element('bdi', '', shown(name)));
  if (mark) made.append(' ', element('small', 'tag', mark));
  return made;
}
