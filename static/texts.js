// All that the page says, in the languages it speaks, and how it gets onto the page.

const TRANSPORTS = { polling: 'polling', websocket: 'WebSocket' };

const english = {
  question: 'What is your name?',
  join: 'Join the chat',
  nameless: 'Please enter a name.',
  unfit: (reason) => `Not taken: ${reason}.`,
  messages: 'Messages',
  message: 'Message',
  send: 'Send',
  people: (count) => (count === 1 ? '1 person' : `${count} people`),
  you: (name) => `${name} (you)`,
  others: (count) => (count === 1 ? '1 other' : `${count} others`),
  several: () => 'Several people',
  typing: (subject, many) => `${subject} ${many ? 'are' : 'is'} typing…`,
  came: (names) => `${names} joined`,
  went: (names) => `${names} left`,
  passed: (names) => `${names} came and went`,
  returned: (names) => `${names} left and came back`,
  sending: 'Sending…',
  failed: 'Not sent.',
  refused: (reason) => `Not sent: ${reason}.`,
  retry: 'Retry',
  news: (count) => (count === 1 ? '1 new message' : `${count} new messages`),
  gap: 'Something may be missing here.',
  connecting: 'Connecting…',
  offline: (since) => `Offline since ${clock(since)}. Trying to connect again…`,
  back: 'Connected again.',
  ended: 'The server ended the connection.',
  again: 'Connect again',
  about: (transport, host, server) => `Connected to ${host}${server ? ` (${server})` : ''} over ${TRANSPORTS[transport]}.`,
  notify: 'Notifications',
  blocked: 'Your browser blocks notifications of this site.',
  leave: 'Leave',
  other: 'Français',
};

const REASONS = { 'too long': 'trop long' }; // what the server says that a page can cause

const french = {
  question: 'Comment vous appelez-vous ?',
  join: 'Entrer dans le salon',
  nameless: 'Veuillez saisir un nom.',
  unfit: (reason) => `Refusé : ${REASONS[reason] ?? reason}.`,
  messages: 'Messages',
  message: 'Message',
  send: 'Envoyer',
  people: (count) => (count < 2 ? `${count} personne` : `${count} personnes`),
  you: (name) => `${name} (vous)`,
  others: (count) => (count < 2 ? `${count} autre` : `${count} autres`),
  several: () => 'Plusieurs personnes',
  typing: (subject, many) => `${subject} ${many ? 'écrivent' : 'écrit'}…`,
  came: (names, many) => `${names} ${many ? 'ont' : 'a'} rejoint le salon`,
  went: (names, many) => `${names} ${many ? 'ont' : 'a'} quitté le salon`,
  passed: (names, many) => `${names} ${many ? 'n’ont' : 'n’a'} fait que passer`,
  returned: (names, many) => `${names} ${many ? 'sont' : 'est'} de retour`,
  sending: 'Envoi…',
  failed: 'Pas envoyé.',
  refused: (reason) => `Pas envoyé : ${REASONS[reason] ?? reason}.`,
  retry: 'Réessayer',
  news: (count) => (count < 2 ? `${count} nouveau message` : `${count} nouveaux messages`),
  gap: 'Il manque peut-être quelque chose ici.',
  connecting: 'Connexion…',
  offline: (since) => `Hors ligne depuis ${clock(since)}. Nouvelle tentative…`,
  back: 'Connexion rétablie.',
  ended: 'Le serveur a mis fin à la connexion.',
  again: 'Se reconnecter',
  about: (transport, host, server) => `Connecté à ${host}${server ? ` (${server})` : ''} par ${TRANSPORTS[transport]}.`,
  notify: 'Notifications',
  blocked: 'Votre navigateur bloque les notifications de ce site.',
  leave: 'Quitter',
  other: 'English',
};

const TEXTS = { en: english, fr: french };
let language;
let clockFormat, dayFormat, listFormat;

/** The text of this key; some have arguments. */
export function text(key, ...args) {
  const found = TEXTS[language][key];
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
export function speak(...wanted) {
  language = [...wanted, 'en'].map((tag) => tag?.slice(0, 2)).find((tag) => tag in TEXTS);
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

/** Time of day, for people. */
export const clock = (time) => clockFormat.format(time);
english.clock = french.clock = clock;
english.day = french.day = (time) => dayFormat.format(time);

/** `Ada, Bob and 3 others`: at most four parts. */
export function list(names) {
  const shown = names.length > 4 ? [...names.slice(0, 3), text('others', names.length - 3)] : names;
  return listFormat.format(shown);
}

/** What became of whom, in one line. `groups`: `[key, names]` each. */
english.presence = french.presence = (groups) =>
  groups.map(([key, names]) => text(key, list(names), names.length > 1)).join(' · ');
english.typists = french.typists = (names) =>
  names.length ? text('typing', names.length > 3 ? text('several') : list(names), names.length > 1) : '';
