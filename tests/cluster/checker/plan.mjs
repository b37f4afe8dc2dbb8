// The plan of a run: who takes part, and for each round which messages are said and what breaks, each with its time. All of
// it follows from the seed, so a printed seed is enough to have the same plan again.
import { random } from './random.mjs';

export const SALONS = ['n1', 'n2', 'n3'];
const ROLES = ['publish', 'subscribe'];
const POLLING = ['polling'];
const WEBSOCKET = ['websocket'];
const BOTH = ['polling', 'websocket'];

/**
 * Pages follow static/main.js; classic clients are those of the public example and know nothing of ids and history.
 * `roams`: goes to another salon if its own is away, and now and then for no reason. `recovery` asks for connection state
 * recovery; Node clients that poll have it anyway.
 */
const CLIENTS = [
  { name: 'page-poll', kind: 'page', transports: POLLING, roams: true },
  { name: 'page-ws', kind: 'page', transports: WEBSOCKET, roams: true },
  { name: 'page-both', kind: 'page', transports: BOTH, roams: true },
  { name: 'page-ws-rec', kind: 'page', transports: WEBSOCKET, roams: true, recovery: true },
  { name: 'page-stays', kind: 'page', transports: BOTH },
  { name: 'page-stays-ws', kind: 'page', transports: WEBSOCKET, recovery: true },
  { name: 'classic-both', kind: 'classic', transports: BOTH },
  { name: 'classic-ws', kind: 'classic', transports: WEBSOCKET },
  { name: 'classic-poll', kind: 'classic', transports: POLLING },
  { name: 'classic-v2', kind: 'classic', transports: BOTH, version: 'client-2.5.0' },
  { name: 'classic-v3', kind: 'classic', transports: WEBSOCKET, version: 'client-3.1.3' },
  { name: 'classic-roams', kind: 'classic', transports: BOTH, roams: true },
];

/** How likely each kind of fault is; a round has its own mixture. */
const WEIGHTS = { link: 14, client: 6, roam: 4, leave: 2, reload: 2, kill: 4, drain: 2, 'redis kill': 2, 'redis stop': 2 };

/** Who takes part in the run of this seed. Every third run has no history files. */
export function cast(seed) {
  const numbers = random(seed, 0);
  return {
    files: seed % 3 !== 0,
    /** Whether a salon that starts again has another `--instance` than before. */
    renamed: numbers.chance(0.25),
    clients: CLIENTS.map((client) => ({ ...client, salon: numbers.pick(SALONS) })),
  };
}

/** Actions of one round in the order of their times (`at`, ms from its beginning); all faults have ended by `length`. */
export function round(seed, number) {
  const { files, clients } = cast(seed);
  const numbers = random(seed, number + 1);
  const length = numbers.between(10_000, 20_000);
  const actions = [...messages(numbers, clients, length), ...faults(numbers, clients, files, length)];
  return { length, actions: actions.sort((a, b) => a.at - b.at) };
}

function messages(numbers, clients, length) {
  const said = [];
  for (const { name } of clients) {
    const mean = numbers.between(400, 1600);
    for (let at = numbers.gap(mean); at < length; at += numbers.gap(mean)) {
      said.push({ at, do: 'say', who: name, count: numbers.chance(0.15) ? numbers.between(2, 6) : 1 });
    }
  }
  return said;
}

function faults(numbers, clients, files, length) {
  const mean = numbers.pick([400, 1000, 2500]);
  const weights = Object.fromEntries(Object.entries(WEIGHTS).map(([kind, weight]) => [kind, numbers.chance(0.3) ? 0 : weight]));
  if (Object.values(weights).every((weight) => weight === 0)) weights.link = 1;
  const victim = numbers.pick(SALONS);
  const until = {}; // what is broken, and until when: one fault at a time for each thing
  const actions = [];
  for (let at = numbers.gap(mean); at < length; at += numbers.gap(mean)) {
    const fault = pick(numbers, numbers.weighted(weights), clients);
    const end = Math.min(length, at + fault.time);
    const isBroken = (thing) => until[thing] > at;
    if (isBroken(fault.thing) || (fault.salon && !files && !mayForget(numbers, fault.salon, victim, isBroken))) continue;
    until[fault.thing] = end + 1;
    actions.push({ at, ...fault.begin });
    if (fault.end) actions.push({ at: end, ...fault.end });
  }
  return actions;
}

/**
 * Whether a salon without a file may end: what nobody else has yet is lost then. So only one does in each round, and mostly
 * when Redis and its link are whole.
 */
function mayForget(numbers, salon, victim, isBroken) {
  const isAlone = isBroken('redis') || isBroken(`link ${salon}`);
  return salon === victim && (!isAlone || numbers.chance(0.25));
}

/** A fault of this kind: what it breaks, for how long, how it begins and how it ends. */
function pick(numbers, kind, clients) {
  const state = numbers.pick(['cut', 'stall', 'lost']);
  const time = numbers.chance(0.1) ? numbers.between(8_000, 14_000) : numbers.between(100, 4_000);
  const salon = numbers.pick(SALONS);
  switch (kind) {
    case 'link': {
      const role = numbers.pick([...ROLES, 'both']);
      return { thing: `link ${salon}`, time, begin: { do: 'break link', salon, role, state }, end: { do: 'heal link', salon } };
    }
    case 'client': {
      const who = numbers.pick(clients).name;
      return { thing: who, time, begin: { do: 'break client', who, state }, end: { do: 'heal client', who } };
    }
    case 'roam': {
      const who = numbers.pick(clients.filter(({ roams }) => roams)).name;
      return { thing: who, time: 0, begin: { do: 'roam', who, salon } };
    }
    case 'leave': {
      const who = numbers.pick(clients).name;
      return { thing: who, time, begin: { do: 'leave', who }, end: { do: 'return', who } };
    }
    case 'reload': {
      const who = numbers.pick(clients.filter((client) => client.kind === 'page')).name;
      return { thing: who, time: 0, begin: { do: 'reload', who } };
    }
    case 'kill':
    case 'drain':
      return { thing: salon, salon, time: numbers.between(300, 6_000), begin: { do: kind, salon }, end: { do: 'start', salon } };
    default:
      return { thing: 'redis', time, begin: { do: kind }, end: { do: kind === 'redis kill' ? 'redis start' : 'redis continue' } };
  }
}
