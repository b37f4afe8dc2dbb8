// What somebody wrote, as elements: links, code in back-ticks, large emoji, long texts folded. Other people's text reaches
// the page as text only, so markup stays text.
import { element, say } from './texts.js';

const LONG = 2000; // characters, or
const TALL = 24; // lines, above which a text is folded

// Code, or what may be a link: up to white space, a control or quote, or punctuation of Chinese and Japanese.
const PART =
  /```\n?([^]+?)\n?```|`([^`\n]+)`|(?:https?:\/\/|\bwww\.)[^\s<>"“”\p{C}\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]+/giu;
const EMOJI = /^(?=.*[\p{Extended_Pictographic}\p{RI}])[\p{Extended_Pictographic}\p{RI}\p{EMod}\u200d\ufe0f\u20e3\s]{1,30}$/u;
const OPEN = { ')': '(', ']': '[', '}': '{' };

/** Cuts off what more likely ends a sentence than a link: punctuation, and brackets that were not opened in it. */
function trimmed(link) {
  const count = (bracket) => link.split(bracket).length;
  const extra = {};
  for (const close in OPEN) extra[close] = count(close) - count(OPEN[close]);
  let end = link.length;
  for (; end; end--) {
    const last = link[end - 1];
    if (last in OPEN ? extra[last]-- <= 0 : !/[.,;:!?'’»]/.test(last)) break;
  }
  return link.slice(0, end);
}

/** Returns the paragraph of a message; line breaks are kept by the style sheet. */
export function paragraph(content) {
  const made = element('p', EMOJI.test(content) ? 'text big' : 'text');
  made.dir = 'auto';
  let end = 0;
  for (const { 0: found, 1: block, 2: inline, index } of content.matchAll(PART)) {
    const code = block ?? inline;
    const address = code ? found : trimmed(found);
    const part = code ? element('code', block ? 'block' : '', code) : link(address);
    if (!part) continue;
    made.append(content.slice(end, index), part);
    end = index + address.length;
  }
  made.append(content.slice(end));
  return made;
}

function link(address) {
  const made = element('a', '', address);
  const short = /^www/i.test(address);
  made.href = short ? `https://${address}` : address;
  if (!made.host || (short && !/\..+\../.test(made.host))) return; // no URL after all
  made.rel = 'noopener noreferrer nofollow';
  made.target = '_blank';
  return made;
}

/** Folds the text of a line if it is very long, and adds the button that unfolds it. */
export function fold(line, content) {
  if (content.length <= LONG && content.split('\n', TALL + 1).length <= TALL) return;
  const button = line.appendChild(element('button', 'more plain'));
  const set = (folded) => {
    line.classList.toggle('folded', folded);
    button.ariaExpanded = !folded;
    say(button, folded ? 'more' : 'less');
  };
  button.addEventListener('click', () => set(!line.classList.contains('folded')));
  set(true);
}
