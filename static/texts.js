// How texts get onto the page, in the language that it speaks. The texts themselves are in `texts/`, one file for each language.

export const LANGUAGES = { de: 'Deutsch', en: 'English', es: 'Español', fr: 'Français' };
// Private characters around the tag of a user: names have none, so they cannot imitate one.
export const TAG = '\uE000';
export const TAG_END = '\uE001';

let texts; // of the language spoken
let clockFormat, dayFormat, momentFormat, listFormat;

export const $ = (id) => document.getElementById(id);

export function element(name, className, ...content) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...content);
  return made;
}

/** Time of day, for people. */
const clock = (time) => clockFormat.format(time);

/** `Ada, Bob and 3 others`: at most four parts. */
function list(names) {
  const shown = names.length > 4 ? [...names.slice(0, 3), text('others', names.length - 3)] : names;
  return listFormat.format(shown);
}

/** Texts that are made of others in the same way in every language. */
const common = {
  clock,
  day: (time) => dayFormat.format(time),
  // What became of whom, in one line. `groups`: `[key, names]` each.
  presence: (groups) => groups.map(([key, names]) => text(key, names)).join(' · '),
  typists: (names) => (names.length > 3 ? text('several') : list(names)),
};

/** Returns the text of this key; some have arguments. */
function text(key, ...args) {
  const found = texts[key] ?? common[key];
  return typeof found === 'function' ? found(...args) : found;
}

/** The reason that the server gives, in the language of the page if it is one that a page can cause. */
const reason = (said) => texts.reasons[said] ?? said;

/** Gives the element a text that changes with the language; a field has it as its label and placeholder. */
export function say(element, key, ...args) {
  element.dataset.text = key;
  element.args = args;
  const said = key && text(key, ...args);
  if (element.placeholder !== undefined) element.ariaLabel = element.placeholder = said;
  else if (said.includes(TAG)) element.replaceChildren(...withTags(said));
  else element.textContent = said;
  if (key === 'clock') element.title = momentFormat.format(args[0]);
}

const withTags = (said) => said.split(/[\uE000\uE001]/).map((part, i) => (i % 2 ? element('small', 'tag', part) : part));

/** From here on the page speaks the chosen language, or the first of the browser's that it knows. */
export async function speak(chosen) {
  const language = [chosen, ...navigator.languages].map((tag) => tag?.slice(0, 2)).find((tag) => tag in LANGUAGES) ?? 'en';
  texts = (await import(`./texts/${language}.js`)).default({ clock, list, reason });
  const root = document.documentElement;
  root.lang = language;
  // Times and dates are the browser's own, 14:30 or 2:30 PM, unless another language has been chosen.
  const own = navigator.language;
  const other = chosen && !own.startsWith(language);
  const place = other ? `${language}-${new Intl.Locale(own).maximize().region}` : own;
  clockFormat = new Intl.DateTimeFormat(own, { timeStyle: 'short' });
  dayFormat = new Intl.DateTimeFormat(place, { dateStyle: 'full' });
  momentFormat = new Intl.DateTimeFormat(place, { dateStyle: 'full', timeStyle: 'short' });
  listFormat = new Intl.ListFormat(place.startsWith(language) ? place : language);
  for (const element of root.querySelectorAll('[data-text]')) say(element, element.dataset.text, ...(element.args ?? []));
  return language;
}
