// Notifications, the language, and the way out.
import { banner } from './connection.js';
import { remember } from './me.js';
import { shown, tag } from './names.js';
import { $, otherLanguage, speak } from './texts.js';

const notify = $('notify');
let notifying = false; // only for who has asked for it, in this tab

async function speakOne(...languages) {
  await speak(...languages);
  $('language').lang = otherLanguage();
}
await speakOne(remember('language'), ...navigator.languages);
$('language').addEventListener('click', () => speakOne(remember('language', otherLanguage())));

notify.addEventListener('click', async () => {
  const permission = notifying ? 'unwanted' : await Notification.requestPermission();
  notifying = permission === 'granted';
  notify.setAttribute('aria-pressed', notifying);
  if (permission === 'denied') banner('blocked');
});

/** Notifies of a message, if that is wanted. */
export function announce({ username, user, message }) {
  if (!notifying) return;
  try {
    const options = { body: message.slice(0, 200), icon: 'icon.svg', tag: 'salon' };
    const note = new Notification(shown(username) + tag(user, username), options);
    note.onclick = () => {
      window.focus();
      note.close();
    };
  } catch {
    notifying = false; // Android wants a service worker for it
  }
}

$('leave').addEventListener('click', () => {
  remember('name', null);
  location.reload();
});
