// How texts get onto the page, in the language that it speaks. The texts themselves are in `texts/`, one file for each language.

const LANGUAGES = ['en', 'fr'];

let language;
let texts; // of this language
let clockFormat, dayFormat, listFormat;

export const $ = (id) => document.getElementById(id);

export function element(name, className, content = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = content;
  return made;
}

/** Time of day, for people. */
export const clock = (time) => clockFormat.format(time);

/** `Ada, Bob and 3 others`: at most four parts. */
export function list(names) {
  const shown = names.length > 4 ? [...names.slice(0, 3), text('others', names.length - 3)] : names;
  return listFormat.format(shown);
}

/** Texts that are made of others in the same way in every language. */
const common = {
  clock,
  day: (time) => dayFormat.format(time),
  // What became of whom, in one line. `groups`: `[key, names]` each.
  presence: (groups) => groups.map(([key, names]) => text(key, names)).join(' · '),
  typists: (names) =>
    names.length ? text('typing', names.length > 3 ? text('several') : list(names), names.length > 1) : '',
};

/** Returns the text of this key; some have arguments. */
export function text(key, ...args) {
  const found = texts[key] ?? common[key];
  return typeof found === 'function' ? found(...args) : found;
}

/** Gives the element a text that changes with the language. */
export function say(element, key, ...args) {
  element.dataset.text = key;
  element.args = args;
  if (element.placeholder === undefined) element.textContent = key && text(key, ...args);
  else element.placeholder = text(key);
}

/** From here on the page speaks this language, or the first of these that it knows. */
export async function speak(...wanted) {
  const tag = [...wanted, 'en'].map((tag) => tag?.slice(0, 2)).find((tag) => LANGUAGES.includes(tag));
  texts = (await import(`./texts/${tag}.js`)).default;
  language = tag;
  const root = document.documentElement;
  root.lang = language;
  const place = navigator.languages.find((tag) => tag.startsWith(language)) ?? language; // 14:30 or 2:30 PM
  clockFormat = new Intl.DateTimeFormat(place, { timeStyle: 'short' });
  dayFormat = new Intl.DateTimeFormat(place, { dateStyle: 'full' });
  listFormat = new Intl.ListFormat(place);
  for (const element of root.querySelectorAll('[data-text]')) say(element, element.dataset.text, ...(element.args ?? []));
}

/** The other language: the one that a button offers. */
export const otherLanguage = () => (language === 'en' ? 'fr' : 'en');
