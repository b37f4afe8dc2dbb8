// Names after an at sign: a list of those who are here, from which Tab, the arrows with Enter, or a tap takes one.
import { me } from './me.js';
import { look, shown, signature } from './names.js';
import { here } from './people.js';
import { $, element } from './texts.js';

const MOST = 6; // names in the list, or fewer
const SHARE = 90; // pixels of the window's height for each

const [field, box] = ['text', 'mentions'].map($);
let start; // where the at sign stands
let chosen; // number of the marked name; -1: none is yet

function close() {
  box.hidden = true;
  field.removeAttribute('aria-activedescendant');
}

function suggest() {
  const before = field.value.slice(0, field.selectionStart);
  const found = /(?:^|\s)@([^@\n]{0,64})$/.exec(before);
  const wanted = found && look(found[1]);
  const people = found ? [...here].filter(([user, name]) => !me.tags.has(user) && look(name).startsWith(wanted)) : [];
  if (!people.length) return close();
  start = before.length - found[1].length - 1;
  box.replaceChildren(...people.slice(0, Math.min(MOST, innerHeight / SHARE)).map(([user, name], i) => {
    const option = element('li', '', signature(user, name));
    Object.assign(option, { id: `mention${i}`, role: 'option', name });
    return option;
  }));
  box.hidden = false;
  mark(-1);
}

function mark(number) {
  const options = [...box.children];
  chosen = Math.max(Math.min(number, options.length - 1), -1);
  options.forEach((option, i) => (option.ariaSelected = i === chosen));
  if (chosen < 0) field.removeAttribute('aria-activedescendant');
  else field.setAttribute('aria-activedescendant', options[chosen].id);
}

function take(option) {
  field.setRangeText(`@${shown(option.name)} `, start, field.selectionStart, 'end');
  field.dispatchEvent(new Event('input'));
  close();
}

field.addEventListener('input', suggest);
field.addEventListener('blur', close);
$('send').addEventListener('submit', close);
field.addEventListener('keydown', (event) => {
  if (box.hidden || event.isComposing || event.shiftKey) return;
  if (event.key === 'ArrowDown') mark(chosen + 1);
  else if (event.key === 'ArrowUp') mark(chosen - 1);
  else if (event.key === 'Tab') take(box.children[Math.max(chosen, 0)]);
  else if (event.key === 'Enter' && chosen >= 0) take(box.children[chosen]);
  else if (event.key === 'Escape') close();
  else return;
  event.preventDefault();
}, true); // before the composer
box.addEventListener('mousedown', (event) => event.preventDefault());
box.addEventListener('click', ({ target }) => target.closest('li') && take(target.closest('li')));
