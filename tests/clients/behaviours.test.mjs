// Replays the rows of behaviours.mjs byte by byte over raw TCP, each against a server of its own. At the end of a row
// the official client must have heard what the client said.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import net from 'node:net';
import { test } from 'node:test';
import { Chatter, within } from '../lib/chatter.mjs';
import { start } from '../lib/server.mjs';
import { ROWS } from './behaviours.mjs';

// Short enough to see a ping in each row, long enough not to disturb what comes before it.
const ARGS = ['--ping-interval', '2s'];
// Clients that the table must have, as the start of client and version.
const REQUIRED = `elephant.io 4, elephant.io 5, socket.io-client-csharp, socket.io-client-swift, arduinoWebSockets,
  socket.io-client-java 1, socket.io-client-java 2, socket.io-client-cpp 2, socket.io-client-cpp 3, python-engineio 3,
  python-engineio 4, rust_socketio, socket_io_client (Flutter), SocketIOUnity, godot-socketio, k6, artillery, curl`;

const title = (row) => `${row.client} ${row.version}, EIO=${row.eio}, ${row.transport}`;
const named = ({ repository, version, files }) => repository && version && files.length > 0;
const sourced = ({ source = [], supposed }) => supposed !== true && source.length > 0 && source.every(named);
const matches = (pattern, packet) =>
  new RegExp(`^${pattern.split('*').map((part) => part.replace(/[^\w]/g, '\\$&')).join('.*')}$`, 's').test(packet);

/** The first response in these bytes, and its length; nothing if it is not whole. */
function parseResponse(bytes) {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const [line, ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const pair = (field) => [field.split(':')[0].toLowerCase(), field.replace(/^.*?: */, '')];
  const fields = Object.fromEntries(lines.map(pair));
  const status = Number(line.split(' ')[1]);
  const length = end + 4 + (status === 101 ? 0 : Number(fields['content-length']));
  assert.ok(length > 0, `no length in ${line} ${lines}`);
  return bytes.length < length ? undefined : [{ status, fields, body: bytes.subarray(end + 4, length) }, length];
}

/** The first frame in these bytes, and its length. */
function parseFrame(bytes) {
  if (bytes.length < 2 || (bytes[1] === 126 && bytes.length < 4)) return undefined;
  const [length, at] = bytes[1] < 126 ? [bytes[1], 2] : [bytes.readUInt16BE(2), 4];
  const end = at + length;
  return bytes.length < end ? undefined : [{ opcode: bytes[0] & 15, data: bytes.subarray(at, end) }, end];
}

/** A masked frame of ASCII text, less than 126 bytes. */
const makeFrame = (text, mask) =>
  Buffer.from([0x81, 0x80 | text.length, ...mask, ...Buffer.from(text).map((byte, i) => byte ^ mask[i % 4])]);

/** The packets of a polling payload. */
function parsePayload(eio, { fields, body }) {
  if (eio === 4) return body.toString().split('\x1e');
  const packets = [];
  const binary = fields['content-type'] === 'application/octet-stream';
  for (let at = 0; at < body.length; ) {
    const colon = body.indexOf(binary ? 0xff : ':', at);
    const digits = binary ? [...body.subarray(at + 1, colon)].join('') : body.toString('latin1', at, colon);
    packets.push(body.toString('utf8', colon + 1, (at = colon + 1 + Number(digits))));
  }
  return packets;
}

/** One TCP connection. */
class Connection {
  constructor(t, port) {
    this.bytes = Buffer.alloc(0);
    this.wake = () => {};
    this.socket = net.connect(port, '127.0.0.1').setNoDelay(true);
    this.socket.on('data', (data) => this.wake((this.bytes = Buffer.concat([this.bytes, data]))));
    this.socket.on('error', (error) => this.wake((this.ended = error.message)));
    this.socket.on('end', () => this.wake((this.ended ??= 'closed by the server')));
    t.after(() => this.socket.destroy());
  }

  /** Waits until the bytes that have come begin with what `parse` takes. */
  async read(parse) {
    for (;;) {
      const [value, length] = parse(this.bytes) ?? [];
      this.bytes = this.bytes.subarray(length ?? 0);
      if (length) return value;
      if (this.ended) throw new Error(`the connection is ${this.ended}; unread: ${JSON.stringify(`${this.bytes}`)}`);
      await new Promise((resolve) => (this.wake = resolve));
    }
  }
}

/** One run of a row. */
class Replay {
  constructor(t, row, port) {
    Object.assign(this, { t, row, port, connections: {}, unseen: [], checks: 0, time: 1_700_000_000, sid: '' });
  }

  /** Writes a request, and gives the connection on which it went. */
  ask(head, body = '', on) {
    const old = this.connections[on];
    const connection = old && !old.ended && !old.last ? old : new Connection(this.t, this.port);
    this.connections[on] = connection;
    this.keys = { KEY: randomBytes(16).toString('base64'), KEY20: randomBytes(20).toString('base64') };
    const about = { HOST: `127.0.0.1:${this.port}`, SID: this.sid, TIME: this.time++, LENGTH: body.length };
    const fill = (_, name) => ({ ...about, ...this.keys })[name];
    const text = this.row.heads[head].trim().replace(/\n\s*/g, '\r\n').replace(/\{([A-Z0-9]+)\}/g, fill);
    connection.last = this.row.fresh || /^connection: close/im.test(text);
    connection.socket.write(`${text}\r\n\r\n${body}`, 'latin1');
    return connection;
  }

  /** Reads a response, and keeps its packets. */
  async response(connection, { status = 200, fields = {}, text }, isPayload) {
    const answer = await connection.read(parseResponse);
    connection.last ||= answer.fields.connection === 'close';
    const found = { status: answer.status, ...answer.fields, text: `${answer.body}` };
    for (const [name, value] of Object.entries({ status, ...fields, ...(text && { text }) })) {
      assert.equal(found[name], value, `${name} is ${found[name]}, not ${value}; the body is ${found.text}`);
    }
    this.checks++;
    if (isPayload) this.keep(parsePayload(this.row.eio, answer));
  }

  keep(packets) {
    this.unseen.push(...packets);
    for (const packet of packets.filter((packet) => packet.startsWith('0{'))) {
      const handshake = JSON.parse(packet.slice(1));
      this.sid = handshake.sid;
      assert.deepEqual(this.row.needs.filter((name) => !(name in handshake)), [], 'fields that the handshake lacks');
    }
  }

  /** Takes these packets from those that came, in this order; `more` waits for others. */
  async see(packets = [], more) {
    let from = 0;
    for (const pattern of packets) {
      let at;
      while ((at = this.unseen.findIndex((packet, i) => i >= from && matches(pattern, packet))) < 0) {
        this.waits = `${pattern}; unseen: ${JSON.stringify(this.unseen)}`;
        await more();
      }
      this.unseen.splice((from = at), 1);
      this.checks++;
    }
  }

  async frame() {
    const { opcode, data } = await this.socket.read(parseFrame);
    assert.equal(opcode, 1, `a frame that is no text: ${opcode} ${data.toString('hex')}`);
    this.keep([data.toString()]);
  }

  async step(step) {
    const { send, upgrade, frames, answer, on = 'main', parked, body, packets } = step;
    // Each GET brings packets; the first may be under way already.
    const poll = (head, on, connection) => async () => {
      await this.response(connection ?? this.ask(head, '', on), step, true);
      connection = undefined;
    };
    if (upgrade) {
      const connection = this.ask(upgrade, '', step.on ?? 'ws');
      const accept = createHash('sha1').update(`${this.keys.KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
      const opened = { upgrade: 'websocket', connection: 'Upgrade', 'sec-websocket-accept': accept, ...step.fields };
      await this.response(connection, step.status ? step : { status: 101, fields: opened });
      if (!step.status) this.socket = connection;
    } else if (parked) {
      this.parked = { send, connection: this.ask(send, body, on) };
    } else if (body !== undefined) {
      await this.response(this.ask(send, body, on), step);
    } else if (send) {
      await this.see(packets, poll(send, on));
    } else if (answer) {
      await this.see(packets, poll(this.parked.send, answer, this.parked.connection));
    } else {
      const mask = () => (this.row.mask ? Buffer.from(this.row.mask, 'hex') : randomBytes(4));
      if (frames) this.socket.socket.write(Buffer.concat(frames.map((text) => makeFrame(text, mask()))));
      await this.see(packets, () => this.frame());
    }
  }
}

test('client behaviours', { concurrency: 6 }, async (t) => {
  let replayed = 0;
  const replayRow = (row) => async (t) => {
    const server = await start(t, { args: [...ARGS, ...(row.args ?? [])] });
    const witness = await new Chatter(t, server.url).connected();
    const replay = new Replay(t, row, server.port);
    for (const [i, step] of row.steps.entries()) {
      const where = `${title(row)}, step ${i + 1} ${JSON.stringify(step)}`;
      await within(replay.step(step), () => replay.waits).catch((error) => {
        throw new Error(`${where}: ${error.message}`, { cause: error });
      });
    }
    await witness.hears(() => witness.from('Ada').length > 0, `the message of ${title(row)}`);
    assert.deepEqual(witness.from('Ada'), ['hello']);
    assert.ok(replay.checks > 4, `only ${replay.checks} checks in ${title(row)}`);
    if (sourced(row)) replayed++;
  };
  await Promise.all(ROWS.map((row) => t.test(title(row), { timeout: 60_000 }, replayRow(row))));
  assert.equal(replayed, ROWS.filter(sourced).length, 'rows that were replayed, of those with a source');
  for (const name of REQUIRED.split(/,\s+/)) {
    assert.ok(ROWS.some((row) => sourced(row) && `${row.client} ${row.version}`.startsWith(name)), `no row of ${name}`);
  }
  assert.equal(new Set(ROWS.map(title)).size, ROWS.length, 'rows with different titles');
});
