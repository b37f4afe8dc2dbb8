// The menu: notifications, the language, and the way out.
import { banner, part } from './connection.js';
import { remember } from './me.js';
import { shown, tag } from './names.js';
import { $, element, LANGUAGES, speak } from './texts.js';

const [menu, notify, language] = ['menu', 'notify', 'language'].map($);
let notifying; // only for who has asked for it, in this tab

for (const [code, name] of Object.entries(LANGUAGES)) {
  language.append(Object.assign(element('option', '', name), { value: code, lang: code }));
}
language.value = await speak(remember('language'));
language.addEventListener('change', () => speak(remember('language', language.value)));

menu.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  menu.open = false;
  menu.firstElementChild.focus();
});
document.addEventListener('click', ({ target }) => menu.contains(target) || (menu.open = false));

function set(wanted) {
  notifying = remember('notify', wanted);
  notify.ariaPressed = Boolean(wanted);
}
set(Boolean(remember('notify')) && window.Notification?.permission === 'granted');

notify.addEventListener('click', async () => {
  const permission = notifying ? 'unwanted' : await Notification.requestPermission();
  set(permission === 'granted');
  if (permission === 'denied') banner('blocked');
});

/** Notifies of a message, if that is wanted. */
export function announce({ username, user, message }) {
  if (!notifying) return;
  try {
    const options = { body: message.slice(0, 200), icon: 'icon.svg', tag: 'salon' };
    const note = new Notification(`${shown(username)} ${tag(user, username)}`.trim(), options);
    note.onclick = () => {
      window.focus();
      note.close();
    };
  } catch {
    set(false); // Android wants a service worker for it
  }
}

$('leave').addEventListener('click', () => {
  for (const key of ['name', 'draft']) remember(key, null);
  part();
  location.reload();
});
