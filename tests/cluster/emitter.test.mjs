// The official emitter publishes to Redis and is no server. Clients of salon hear exactly what clients of a Node server with
// the official adapter hear. A step ends with a marker to all clients: the emitter has one connection to Redis, so a client
// that has the marker has everything that was published before.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Emitter } from '@socket.io/redis-emitter';
import { Manager } from 'socket.io-client';
import { TRANSPORTS, classic, within } from '../lib/chatter.mjs';
import { Poller, Raw } from '../lib/raw.mjs';
import { startPeer, startRedis, startServers } from '../lib/redis.mjs';
import { metric, start } from '../lib/server.mjs';

const options = { timeout: 120_000 };
const MARKER = 'end of step';
const END = ['disconnect', 'io server disconnect'];
// A polling client that is disconnected closes its session, which `disconnectSockets(true)` has closed already.
const LATE_CLOSE = / does not know the session of a request: /;
// In ms, of the Node server: a ping at the wrong time would make it lose a volatile event.
const PING_INTERVAL = 3_600_000;
const APP = 'target/debug/examples/conformance';
const APP_TIMES = ['--ping-interval', '25s', '--ping-timeout', '20s', '--connect-timeout', '45s'];

/** The rooms that the emitter brings clients into; each role has a client of each transport at each server. */
const ROLES = { none: [], red: ['red'], blue: ['blue'], both: ['red', 'blue'] };
const WAYS = ['polling only', 'WebSocket only'];

/** Whether a client hears what is sent to the rooms, or to all but those in the rooms. */
const everyone = () => true;
const nobody = () => false;
const isIn = (...rooms) => (client) => rooms.some((room) => client.rooms.has(room));
const not = (hears) => (client) => !hears(client);
const both = (one, other) => (client) => one(client) && other(client);

/** What is called before `emit`, and who hears it. */
const CALLS = [
  [(e) => e, everyone],
  [(e) => e.of('/'), everyone],
  [(e) => e.to('red'), isIn('red')],
  [(e) => e.in('blue'), isIn('blue')],
  [(e) => e.of('/').to('blue'), isIn('blue')],
  [(e) => e.to('red').to('blue'), isIn('red', 'blue')],
  [(e) => e.to(['red', 'blue']), isIn('red', 'blue')],
  [(e) => e.in('nobody').to('red').in('red'), isIn('red')],
  [(e) => e.to('nobody'), nobody],
  [(e) => e.to(['nobody', 'no one']), nobody],
  [(e) => e.except('red'), not(isIn('red'))],
  [(e) => e.except(['red', 'blue']), not(isIn('red', 'blue'))],
  [(e) => e.except('blue').except('red'), not(isIn('red', 'blue'))],
  [(e) => e.except('nobody'), everyone],
  [(e) => e.to('red').except('blue'), both(isIn('red'), not(isIn('blue')))],
  [(e) => e.except('red').in('blue'), both(isIn('blue'), not(isIn('red')))],
  [(e) => e.in(['red', 'blue']).except('nobody'), isIn('red', 'blue')],
  [(e) => e.in('red').in('blue').except(['blue', 'nobody']), both(isIn('red'), not(isIn('blue')))],
  [(e) => e.to('red').except('red'), nobody],
  [(e) => e.to('nobody').except('red'), nobody],
  [(e) => e.compress(true), everyone],
  [(e) => e.compress(false), everyone],
  [(e) => e.compress(false).to('red'), isIn('red')],
  [(e) => e.to('blue').compress(true).except('red'), both(isIn('blue'), not(isIn('red')))],
  // A namespace that no client is in, and channels that no server listens to.
  [(e) => e.of('/elsewhere'), nobody],
  [(e) => e.of('elsewhere').to('red'), nobody],
  [(e) => new Emitter(e.redisClient, { key: 'other' }), nobody],
];

/** The same for the calls that may lose an event: if a transport of the Node server is busy, it does. */
const VOLATILE = [
  [(e) => e.volatile, everyone],
  [(e) => e.volatile.to('red'), isIn('red')],
  [(e) => e.in(['red', 'blue']).volatile, isIn('red', 'blue')],
  [(e) => e.except('red').volatile.compress(false), not(isIn('red'))],
  [(e) => e.to('red').except('blue').volatile, both(isIn('red'), not(isIn('blue')))],
  [(e) => e.volatile.to('nobody'), nobody],
];

const bytes = (length, first = 0) => Buffer.from(Array.from({ length }, (_, i) => (first + i) % 256));

/** The arguments of the emitter, and what clients get if that differs. */
const VALUES = [
  [[]],
  [['text', '', 'é\u2028😀"\\\u0000', 'x'.repeat(70_000)]],
  [[0, -1, 0.1, -1e-7, 255, 256, 65_536, 2 ** 31, 2 ** 32, -(2 ** 31), 2 ** 53, -(2 ** 53)]],
  [[true, false, null, [], {}, [[]], [[], {}], { '': { list: [1, [2, [3]]] } }]],
  [[undefined, NaN, Infinity, -0, [undefined], { gone: undefined }], [null, null, null, 0, [null], {}]],
  [[new Date(1e12), new Date(1e12 + 7)], ['2001-09-09T01:46:40.000Z', '2001-09-09T01:46:40.007Z']],
  [[new Date(-1e12), new Date(1e15), new Date(NaN)], ['1938-04-24T22:13:20.000Z', '+033658-09-27T01:46:40.000Z', '1970-01-01T00:00:00.000Z']],
  [[bytes(3)]],
  [[bytes(0), bytes(256), bytes(70_000, 7)]],
  [['a', bytes(4), { deep: [{ file: bytes(5), name: 'é' }, bytes(6)] }, bytes(7), null]],
  [[new Uint8Array([1, 2]), new Uint8Array([3]).buffer], [Buffer.from([1, 2]), Buffer.from([3])]],
];

/** A client, and what happens to it: events, and its disconnect. */
class Client {
  constructor(t, socket, about = {}) {
    Object.assign(this, { socket, rooms: new Set(), happened: [], wake() {} }, about);
    const happens = (...event) => this.happened.push(event) && this.wake();
    // salon's events end with an offset for the recovery of connections, which the adapter for Node does not have.
    socket.onAny((...event) => happens(...(socket._pid && typeof event.at(-1) === 'string' ? event.slice(0, -1) : event)));
    socket.on('disconnect', (reason) => happens('disconnect', reason));
    t.after(() => socket.io.engine.close());
  }

  /** Waits for the marker or for the disconnect, and returns all that has happened since the last step. */
  async until(marker) {
    const ended = new Promise((resolve) => {
      const isLast = ([event, number]) => event === 'disconnect' || (event === MARKER && number === marker);
      this.wake = () => this.happened.some(isLast) && resolve();
      this.wake();
    });
    await within(ended, () => `marker ${marker}; ${this.name} got ${this.happened.slice(-5).map(([event]) => event)}`);
    return this.happened.splice(0);
  }

  async connected() {
    if (!this.socket.connected) await within(once(this.socket, 'connect'), `connect of ${this.name}`);
    this.rooms = new Set([this.socket.id]);
    return this;
  }
}

/** Connects clients in pairs, one of them at salon and the other at the Node server, and runs steps. */
class Stage {
  constructor(t, redis, salon, peer, emitter) {
    Object.assign(this, { t, redis, salon, peer, emitter, pairs: [], steps: 0 });
  }

  get clients() {
    return this.pairs.flatMap(Object.values);
  }

  async pair(name, open, about) {
    const client = (side, url) => new Client(this.t, open(url), { side, name: `${name} at ${side}`, ...about }).connected();
    const [salon, node] = await Promise.all([client('salon', this.salon.url), client('Node', this.peer.url)]);
    this.pairs.push({ salon, node });
    return { salon, node };
  }

  /** Connects the clients of all roles, and has the emitter bring them into their rooms. */
  async connectRoles() {
    const names = Object.keys(ROLES).flatMap((role) => WAYS.map((way) => [role, way]));
    const open = (way) => (url) => new Manager(url, { transports: TRANSPORTS[way], reconnection: false }).socket('/');
    await Promise.all(names.map(([role, way]) => this.pair(`${role}, ${way}`, open(way), { role })));
    const ids = (...roles) => this.clients.filter(({ role }) => roles.includes(role)).map(({ socket }) => socket.id);
    this.emitter.in(ids('red', 'both')).socketsJoin('red');
    for (const id of ids('blue', 'both')) this.emitter.to(id).socketsJoin(['blue', 'unused']);
    for (const { role, rooms } of this.clients) ROLES[role].forEach((room) => rooms.add(room));
    await this.step('the clients are connected', () => {}, () => []);
  }

  /**
   * Runs `act` and waits until each client has heard its effect. `expected(client)` gives that; it ends with the disconnect if
   * the client is to be disconnected, and is then out of further steps.
   */
  async step(what, act, expected) {
    const marker = (this.steps += 1);
    await act();
    this.mark(marker);
    const happened = new Map(await Promise.all(this.clients.map(async (client) => [client, await client.until(marker)])));
    for (const { salon, node } of this.pairs) {
      const whole = (client) => {
        const events = expected(client);
        return events.at(-1)?.[0] === 'disconnect' ? events : [...events, [MARKER, marker]];
      };
      const [got, wanted] = [{ node: happened.get(node), salon: happened.get(salon) }, { node: whole(node), salon: whole(salon) }];
      assert.deepEqual(got, wanted, `${what}: ${salon.name}, ${node.name}`);
    }
    this.pairs = this.pairs.filter(({ salon }) => salon.socket.connected);
  }

  mark(marker) {
    this.emitter.emit(MARKER, marker);
  }

  /** Makes these calls in one step, and emits what `events` gives; see `CALLS`. */
  async calls(what, calls, events = (call) => [['event', String(call)]]) {
    const act = () => calls.forEach(([call], i) => events(call, i).forEach((event) => call(this.emitter).emit(...event)));
    await this.step(what, act, (client) => calls.flatMap(([call, hears], i) => (hears(client) ? events(call, i) : [])));
  }

  /** Waits until each client of the Node server could be sent something at once. */
  async idle() {
    for (const { conn } of this.peer.io.of('/').sockets.values()) {
      while (!conn.transport.writable) await within(once(conn.transport, 'ready'), 'a transport that is ready');
    }
  }

  /** No publication of the emitter was invalid or worth a line in the log, other than one of these. */
  async passes(known) {
    assert.equal(await metric(this.salon, 'redis_invalid_total'), 0);
    assert.equal(await metric(this.salon, 'redis_dropped_total'), 0);
    const lines = this.salon.log().split('\n').filter((line) => line && !/ INFO /.test(line) && !known?.test(line));
    assert.deepEqual(lines, []);
  }
}

async function startStage(t, startSalon = async (redis) => (await startServers(t, redis, 1))[0]) {
  const redis = await startRedis(t);
  const [salon, peer, client] = await Promise.all([startSalon(redis), startPeer(t, redis), redis.client()]);
  peer.io.engine.opts.pingInterval = PING_INTERVAL;
  return new Stage(t, redis, salon, peer, new Emitter(client));
}

test('emit: to all, to rooms, with exceptions, volatile, compressed', options, async (t) => {
  const stage = await startStage(t);
  await stage.connectRoles();
  const { emitter, clients } = stage;
  for (const call of CALLS) await stage.calls(String(call[0]), [call]);
  await stage.calls('all calls at once', CALLS);
  const many = Array.from({ length: 10 }, () => CALLS).flat();
  await stage.calls('order', many, (call, i) => [['text', i, String(call)], ['bytes', bytes(i % 7, i), { i }]]);

  // The room of one client.
  const ids = new Map(clients.map((client) => [client, client.socket.id]));
  const each = (act) => () => ids.forEach((id) => act(id));
  await stage.step('to one', each((id) => emitter.to(id).emit('one', id)), (client) => [['one', ids.get(client)]]);
  const others = (client) => [...ids.values()].filter((id) => id !== ids.get(client));
  await stage.step('to all but one', each((id) => emitter.except(id).emit('not', id)), (client) => others(client).map((id) => ['not', id]));
  await stage.step(
    'to a room but not to one',
    each((id) => emitter.in('red').except(id).emit('not', id)),
    (client) => (isIn('red')(client) ? others(client).map((id) => ['not', id]) : []),
  );
  const some = [...ids].filter((_, i) => i % 3 === 0);
  await stage.calls('to some', [[(e) => e.to(some.map(([, id]) => id)), (client) => some.some(([one]) => one === client)]]);

  for (const call of VOLATILE) {
    await stage.idle();
    await stage.calls(String(call[0]), [call]);
  }
  // Volatile events that come faster than a transport sends: the Node server may lose some, salon loses none.
  const numbers = Array.from({ length: 100 }, (_, i) => i);
  await stage.idle();
  numbers.forEach((i) => emitter.volatile.emit('volatile', i));
  stage.mark('volatile');
  for (const client of stage.clients) {
    const got = (await client.until('volatile')).slice(0, -1).map(([, i]) => i);
    if (client.side === 'salon') assert.deepEqual(got, numbers, client.name);
    else assert.deepEqual(got, numbers.filter((i) => i === 0 || got.includes(i)), client.name);
  }
  await stage.passes();
});

test('emit: values of all kinds, binary ones too', options, async (t) => {
  const stage = await startStage(t);
  await stage.connectRoles();
  const { emitter } = stage;
  for (const [sent, heard = sent] of VALUES) {
    const name = `values ${JSON.stringify(sent).slice(0, 40)}`;
    await stage.step(name, () => emitter.emit('values', ...sent), () => [['values', ...heard]]);
    const inRed = (client) => (isIn('red')(client) ? [['values', ...heard]] : []);
    await stage.step(`${name} in a room`, () => emitter.to('red').emit('values', ...sent), inRed);
  }
  const names = ['', 'é😀', 'message', 'login', 'typing', 'user joined', 'error', 'x'.repeat(1_000)];
  await stage.calls('names of events', names.map(() => [(e) => e, everyone]), (_, i) => [[names[i], i]]);
  await stage.passes();
});

test('socketsJoin and socketsLeave', options, async (t) => {
  const stage = await startStage(t);
  await stage.connectRoles();
  const { emitter } = stage;
  /** Has some clients join or leave, then emits to each room. */
  const move = async (act, hears, change) => {
    act(emitter);
    stage.clients.filter(hears).forEach(change);
    const rooms = ['red', 'blue', 'green', 'grey', 'é #😀', 'everyone'];
    await stage.calls(String(act), rooms.map((room) => [(e) => e.to(room), isIn(room)]), (_, i) => [['to', rooms[i]]]);
  };
  const joins = (act, hears, ...rooms) => move(act, hears, (client) => rooms.forEach((room) => client.rooms.add(room)));
  const leaves = (act, hears, ...rooms) => move(act, hears, (client) => rooms.forEach((room) => client.rooms.delete(room)));
  await joins((e) => e.socketsJoin('everyone'), everyone, 'everyone');
  await joins((e) => e.in('red').socketsJoin(['green', 'grey']), isIn('red'), 'green', 'grey');
  await joins((e) => e.in('nobody').socketsJoin('blue'), nobody);
  await joins((e) => e.except(['red', 'blue']).socketsJoin('é #😀'), not(isIn('red', 'blue')), 'é #😀');
  await joins((e) => e.to(['red', 'blue']).except('red').socketsJoin('green'), both(isIn('blue'), not(isIn('red'))), 'green');
  await joins((e) => e.in('red').socketsJoin('red'), isIn('red'), 'red');
  await leaves((e) => e.in('blue').socketsLeave('green'), isIn('blue'), 'green');
  await leaves((e) => e.except('blue').socketsLeave(['grey', 'unheard of']), not(isIn('blue')), 'grey');
  await leaves((e) => e.in('nobody').socketsLeave('red'), nobody);
  await leaves((e) => e.in('red').except('blue').socketsLeave('red'), both(isIn('red'), not(isIn('blue'))), 'red');
  await leaves((e) => e.socketsLeave('everyone'), everyone, 'everyone');
  await leaves((e) => e.socketsLeave(['red', 'blue', 'green', 'grey', 'é #😀']), everyone, 'red', 'blue', 'green', 'grey', 'é #😀');

  // In order with what is emitted before and after.
  const act = () => {
    for (let i = 0; i < 50; i++) {
      emitter.to('green').emit('out', i);
      emitter.socketsJoin('green');
      emitter.to('green').emit('in', i);
      emitter.except('grey').socketsLeave('green');
    }
  };
  await stage.step('join and leave', act, () => Array.from({ length: 50 }, (_, i) => ['in', i]));
  // A client may be taken out of its own room.
  const own = stage.clients.slice(0, 4).map((client) => [client, client.socket.id]);
  own.forEach(([, id]) => emitter.in(id).socketsLeave(id));
  await stage.step('own room', () => own.forEach(([, id]) => emitter.to(id).emit('own', id)), () => []);
  own.forEach(([, id]) => emitter.to(stage.clients.slice(4).map(({ socket }) => socket.id)).socketsJoin(id));
  const others = (client) => (own.some(([one]) => one === client) ? [] : own.map(([, id]) => ['own', id]));
  await stage.step('the room of another', () => own.forEach(([, id]) => emitter.to(id).emit('own', id)), others);
  const found = await within(stage.peer.io.fetchSockets(), 'fetchSockets');
  assert.deepEqual(found.map(({ id }) => id).sort(), stage.clients.map(({ socket }) => socket.id).sort());
  await stage.passes();
});

test('disconnectSockets', options, async (t) => {
  const stage = await startStage(t);
  await stage.connectRoles();
  const { emitter, pairs } = stage;
  const ends = async (act, hears) => {
    const before = stage.pairs;
    await stage.step(String(act), () => act(emitter), (client) => (hears(client) ? [END] : []));
    return before.filter((pair) => hears(pair.salon));
  };
  await ends((e) => e.in('nobody').disconnectSockets(), nobody);
  await ends((e) => e.in('nobody').disconnectSockets(true), nobody);
  await ends((e) => e.except(['red', 'blue']).in('red').disconnectSockets(), nobody);
  const away = await ends((e) => e.in('red').except('blue').disconnectSockets(), both(isIn('red'), not(isIn('blue'))));
  assert.equal(away.length, WAYS.length);
  // They can come again, and are in no room but their own.
  for (const client of away.flatMap(Object.values)) await (client.socket.connect(), client.connected());
  stage.pairs.push(...away);
  await stage.calls('connected again', CALLS);

  const one = pairs.find(({ salon }) => salon.role === 'both');
  const ids = Object.values(one).map(({ socket }) => socket.id);
  await ends((e) => e.to(ids).disconnectSockets(true), (client) => Object.values(one).includes(client));
  await ends((e) => e.except(['red', 'blue']).disconnectSockets(true), not(isIn('red', 'blue')));
  await stage.calls('the others hear all', CALLS);
  await ends((e) => e.disconnectSockets(), everyone);
  assert.deepEqual(stage.pairs, []);
  await stage.passes(LATE_CLOSE);
});

test('disconnectSockets(true) closes the session, without true it stays open', options, async (t) => {
  const stage = await startStage(t);
  const { emitter, salon, peer } = stage;
  const sid = (packet) => JSON.parse(packet.slice(2)).sid;
  for (const [side, { url }] of Object.entries({ salon, Node: peer })) {
    const raw = new Raw(t, url);
    const first = (await raw.connect()).sid;
    emitter.in(first).disconnectSockets();
    await raw.packet('41');
    const before = raw.got.splice(0);
    raw.send('40');
    const second = sid(await raw.packet('40'));
    assert.notEqual(second, first);
    emitter.in(second).disconnectSockets(true);
    await within(raw.closed, `the close of the WebSocket at ${side}`);
    assert.deepEqual([...before, ...raw.got].map((packet) => packet.slice(0, 2)), ['0{', '40', '41', '40', '41'], side);

    const poller = new Poller(url);
    emitter.in((await poller.connect()).sid).disconnectSockets();
    assert.deepEqual(await poller.poll(), ['41'], side);
    await poller.post('40');
    const [answer] = await poller.poll();
    emitter.in(sid(answer)).disconnectSockets(true);
    const last = [];
    while (last.at(-1) !== '1') last.push(...(await poller.poll()));
    // The Node server may answer a parked GET with a noop before.
    assert.deepEqual(last.filter((packet) => packet !== '6'), ['41', '1'], side);
    assert.deepEqual(JSON.parse(await poller.fetch()), { code: 1, message: 'Session ID unknown' }, side);
  }
  await stage.passes(LATE_CLOSE);
});

test('a namespace of its own; disconnectSockets(true) applies to all namespaces of a session', options, async (t) => {
  const stage = await startStage(t, async (redis) => {
    const app = await start(t, { bin: APP, args: [...APP_TIMES, '--redis', redis.url] });
    await app.logs(/redis: connected/);
    return app;
  });
  const { emitter, peer } = stage;
  // As the app for the public suites does.
  for (const name of ['/', '/custom']) peer.io.of(name).on('connection', (socket) => socket.emit('auth', socket.handshake.auth));
  const urls = [stage.salon.url, peer.url];
  const custom = [];
  for (const way of WAYS) {
    // One session for both namespaces.
    const managers = new Map(urls.map((url) => [url, new Manager(url, { transports: TRANSPORTS[way], reconnection: false })]));
    const open = (name) => stage.pair(`${name}, ${way}`, (url) => managers.get(url).socket(name), { namespace: name });
    await open('/');
    custom.push(await open('/custom'));
  }
  stage.mark = (marker) => ['/', '/custom'].forEach((name) => emitter.of(name).emit(MARKER, marker));
  await stage.step('connected', () => {}, () => [['auth', {}]]);
  const here = (name) => (client) => client.namespace === name;
  const of = (name) => (client) => (here(name)(client) ? [['event', name]] : []);
  await stage.step('/', () => emitter.of('/').emit('event', '/'), of('/'));
  await stage.step('/custom', () => emitter.of('/custom').emit('event', '/custom'), of('/custom'));
  await stage.step('custom', () => emitter.of('custom').emit('event', '/custom'), of('/custom'));
  await stage.step('/cust', () => emitter.of('/cust').emit('event', '/cust'), () => []);
  const toRed = () => ['/', '/custom'].forEach((name) => emitter.of(name).to('red').except('blue').emit('event', name));
  emitter.of('/custom').socketsJoin('red');
  await stage.step('red', toRed, of('/custom'));
  emitter.of('/custom').socketsLeave('red');
  await stage.step('no longer red', toRed, () => []);

  // Out of the namespace, and nothing happens in the other one; then with the session, and so out of both.
  await stage.step('a namespace', () => emitter.of('/custom').disconnectSockets(), (client) => (here('/custom')(client) ? [END] : []));
  for (const client of custom.flatMap(Object.values)) await (client.socket.connect(), client.connected());
  stage.pairs.push(...custom);
  await stage.step('again', () => {}, (client) => (here('/custom')(client) ? [['auth', {}]] : []));
  await stage.step('a session', () => emitter.of('/custom').disconnectSockets(true), () => [END]);
  await stage.passes(LATE_CLOSE);
});

test('serverSideEmit reaches the Node server; salon ignores it and does not answer', options, async (t) => {
  const stage = await startStage(t);
  await stage.connectRoles();
  const { emitter, peer, redis } = stage;
  const answers = [];
  const listener = await redis.client();
  let wake = () => {};
  await listener.subscribe('socket.io-response#/#', (text) => answers.push(JSON.parse(text)) && wake());
  const heard = [];
  peer.io.on('question', (...args) => heard.push(args));
  await stage.step('serverSideEmit', () => {
    emitter.serverSideEmit('question', 1, { a: 'é' }, [null]);
    emitter.serverSideEmit('unheard of');
    emitter.of('/elsewhere').serverSideEmit('question', 'elsewhere');
    emitter.serverSideEmit('question', 2);
  }, () => []);
  assert.deepEqual(heard, [[1, { a: 'é' }, [null]], [2]]);
  // What is asked later is answered later: both servers answer this, and nothing before.
  const both = new Promise((resolve) => (wake = () => answers.filter(({ requestId }) => requestId === 'last').length === 2 && resolve()));
  await emitter.redisClient.publish('socket.io-request#/#', JSON.stringify({ uid: 'other!', requestId: 'last', type: 0, rooms: ['red'] }));
  await within(both, 'two answers');
  assert.equal(answers.length, 2);
  await stage.passes();
});

test('what salon adds, and what it refuses', options, async (t) => {
  const stage = await startStage(t);
  await stage.connectRoles();
  const { emitter, salon } = stage;
  // A message of the chat to all gets a number, an id and a time. In a room it is an event like others.
  const message = { username: 'Bot', message: 'hi' };
  emitter.emit('new message', message);
  stage.mark('message');
  for (const client of stage.clients) {
    const [event] = await client.until('message');
    assert.deepEqual(classic(event), ['new message', message]);
    const fields = client.side === 'salon' ? ['username', 'message', 'n', 'id', 'time'] : ['username', 'message'];
    assert.deepEqual(Object.keys(event[1]), fields);
  }
  await stage.calls('a message in a room', [[(e) => e.to('red'), isIn('red')]], () => [['new message', message]]);

  // Beyond its limits: each of them is counted, nothing else happens.
  const long = 'r'.repeat(257);
  const refused = [
    ['longer than --max-payload', ['x'.repeat(1_500_000)]],
    ['deeper than --max-depth', [JSON.parse('['.repeat(100) + ']'.repeat(100))]],
  ];
  const atNode = (...events) => ({ side }) => (side === 'Node' ? events : []);
  for (const [what, sent] of refused) {
    await stage.step(what, () => emitter.emit('event', ...sent), atNode(['event', ...sent]));
  }
  emitter.socketsJoin(long);
  await stage.step('the long name of a room', () => emitter.to(long).emit('event', 'long'), atNode(['event', 'long']));
  emitter.socketsJoin(5);
  await stage.step('a room that is a number', () => emitter.to(5).emit('event', 5), atNode(['event', 5]));
  assert.equal(await metric(salon, 'redis_invalid_total'), refused.length + 4);
  assert.match(salon.log(), / WARN  redis: invalid publication on "socket.io#\/#" ignored: more than --max-payload/);
  await stage.calls('the clients are as they were', CALLS);
});
