// What must be true once all links are back: the promises of the cluster, as lists of what breaks them. An empty list is
// what a run waits for.
import { BEAT, GRACE, HEARTBEAT } from './nodes.mjs';

const counted = (list) => list.reduce((counts, item) => counts.set(item, (counts.get(item) ?? 0) + 1), new Map());

function group(list, keyOf) {
  const groups = new Map();
  for (const item of list) {
    const key = keyOf(item);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return groups;
}

/** Nothing acknowledged is lost, and nothing doubled. `histories`: salon -> what it keeps. */
export function messages({ ledger, clients, histories, files }) {
  const faults = [];
  const required = ledger.required();
  for (const [salon, kept] of Object.entries(histories)) {
    const texts = counted(kept.map(({ message }) => message));
    for (const { text } of required) if (!texts.has(text)) faults.push(`lost: ${salon} does not keep "${text}"`);
    for (const [text, times] of texts) if (times > 1) faults.push(`doubled: ${salon} keeps "${text}" ${times} times`);
  }
  for (const client of clients) {
    const missing = client.kind === 'page' ? missingAtPage(client, required) : missingAtClassic(client, required);
    faults.push(...missing.map((text) => `lost: ${client.name} at ${client.process} has not "${text}"`), ...doubled(client, files));
  }
  return faults;
}

function missingAtPage({ shown, since }, required) {
  return required.filter(({ text, first }) => first > since && !shown.has(text)).map(({ text }) => text);
}

/** What was said since it is connected, by others. */
function missingAtClassic({ name, live, epoch, since }, required) {
  const heard = new Set(live.filter((one) => one.epoch === epoch).map(({ text }) => text));
  return required.filter(({ text, who, first }) => who !== name && first > since && !heard.has(text)).map(({ text }) => text);
}

/**
 * A process shows each message once, whoever asks for what. A client that stays at one salon hears it once, even if the
 * salon starts again; without a file a salon may have forgotten that it was shown. A page knows each text by one id.
 */
function doubled(client, files) {
  const { name, spec, live, shown } = client;
  const place = files && !spec.roams ? ({ process }) => process.split('.')[0] : ({ process }) => process;
  const faults = [];
  for (const [where, heard] of group(live, place)) {
    for (const [text, times] of counted(heard.map(({ text }) => text))) {
      if (times > 1) faults.push(`doubled: ${name} has heard "${text}" ${times} times at ${where}`);
    }
  }
  for (const [text, ids] of shown ?? []) if (ids.size > 1) faults.push(`doubled: ${name} shows "${text}" as ${[...ids].join(', ')}`);
  return faults;
}

/** Where sender and listener were connected to one process without a break, nothing overtakes. */
export function order({ ledger, clients }) {
  const faults = [];
  for (const { name, live } of clients) {
    const last = new Map();
    for (const { text, process, epoch } of live) {
      const message = ledger.messages.get(text);
      if (message?.sent.length !== 1 || message.sent[0].process !== process) continue;
      const stream = [message.who, message.sent[0].epoch, process, epoch].join();
      if (last.get(stream) > message.seq) faults.push(`order: ${name} has heard "${text}" after ${last.get(stream)} of the same sender`);
      last.set(stream, message.seq);
    }
  }
  return faults;
}

/** In a burst without faults, everybody hears each sender in order, and each salon keeps it so. */
export function burst({ said, clients, histories }) {
  const faults = [];
  const texts = new Set(said.map(({ text }) => text));
  const senders = group(said, ({ who }) => who);
  const compare = (where, sender, heard) => {
    const mine = heard.filter((text) => texts.has(text) && text.startsWith(`${sender} says`));
    const wanted = senders.get(sender).map(({ text }) => text);
    if (mine.join() !== wanted.join()) faults.push(`order: ${where} has [${mine}] of a burst, not [${wanted}]`);
  };
  for (const { name: sender } of clients.filter(({ name }) => senders.has(name))) {
    for (const { name, live } of clients) if (name !== sender) compare(name, sender, live.map(({ text }) => text));
    for (const [salon, kept] of Object.entries(histories)) compare(salon, sender, kept.map(({ message }) => message));
  }
  return faults;
}

/** Everybody counts the same, and knows who is here. `answers`: salon -> `{ users, counts }`. */
export function people({ clients, answers }) {
  const faults = [];
  const here = clients.filter(({ joined }) => joined);
  const tags = here.map(({ tag }) => tag).toSorted();
  const same = (what, found) => {
    const sorted = [...found].toSorted();
    const name = (tag) => here.find((client) => client.tag === tag)?.name ?? tag;
    const missing = tags.filter((tag) => !sorted.includes(tag)).map(name);
    const excess = sorted.filter((tag, i) => !tags.includes(tag) || sorted[i - 1] === tag).map(name);
    if (missing.length + excess.length) faults.push(`users: ${what} lacks [${missing}] and has [${excess}] besides`);
  };
  for (const [salon, { users: { users, more }, counts }] of Object.entries(answers)) {
    same(salon, users.map(({ user }) => user));
    if (more) faults.push(`users: ${salon} has ${more} more`);
    const [own, elsewhere] = [here.filter((client) => client.salon.name === salon).length, counts.join(' + ')];
    if (counts[0] !== own || counts[0] + counts[1] !== here.length) {
      faults.push(`count: ${salon} counts ${elsewhere} users; ${own} of ${here.length} are there`);
    }
  }
  for (const client of here) {
    const { name, numUsers } = client;
    if (numUsers !== here.length) faults.push(`count: ${name} at ${client.process} shows ${numUsers} of ${here.length}`);
    if (client.kind === 'page') same(`${name} at ${client.process}`, client.people);
    for (const [tag, isHere] of client.moves ?? []) {
      if (tags.includes(tag) !== isHere) faults.push(`users: ${name} at ${client.process} has heard last that ${tag} ${isHere ? 'joined' : 'left'}`);
    }
  }
  return faults;
}

/** What these faults are about, from the ledger and the histories: for a person who looks for the cause. */
export function evidence(faults, { ledger, histories, start }) {
  const texts = new Set(faults.flatMap((fault) => fault.match(/"([^"]+ says \d+)"/)?.[1] ?? []));
  return [...texts].slice(0, 20).map((text) => {
    const { sent, acked, excepted } = ledger.messages.get(text) ?? { sent: [] };
    const attempts = sent.map(({ at, process, epoch }) => `${at - start} ms to ${process} (connection ${epoch})`).join(', ');
    const ack = acked ? `acknowledged at ${acked.at - start} ms by ${acked.process}, n ${acked.n}, time ${acked.time - start} ms` : 'not acknowledged';
    const places = Object.entries(histories).flatMap(([salon, kept]) =>
      kept.filter(({ message }) => message === text).map(({ n, id, time }) => `${salon}: n ${n}, id ${id}, time ${time - start} ms`));
    return `"${text}": sent ${attempts}; ${ack}; ${excepted ? `excepted by the end of ${excepted}; ` : ''}kept at [${places.join('; ')}]`;
  });
}

/**
 * Within so many ms all is right: a beat after a change or a returned link, four and the grace after a node has died; but a
 * client that polls and goes to another salon without a word is noticed by its heartbeat only.
 */
export const LIMIT = 5 * BEAT + GRACE + HEARTBEAT;
