// The proxies that README links, with the ports of a test.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort, start } from './server.mjs';

/** The files that README links. */
const FILES = { nginx: 'nginx.conf', haproxy: 'haproxy.cfg' };

/** What the head of each file says about addresses. Each change must find its place. */
const BY_ADDRESS = {
  nginx: [
    [/^map \$cookie_salon .*\n/m, ''],
    [/^ *add_header Set-Cookie .*\n/m, ''],
    ['hash $salon consistent;', 'hash $remote_addr consistent;'],
  ],
  haproxy: [
    [/^ *cookie salon .*\n/m, ''],
    [/^  balance leastconn$/m, '  balance source\n  hash-type consistent'],
  ],
};

/** The HAProxy that README links, with one server: `target` is an address with its port, and options of HAProxy. */
export async function startHaproxy(t, target) {
  const port = await freePort();
  const text = readFileSync(new URL(`../cluster/${FILES.haproxy}`, import.meta.url), 'utf8');
  const [head, ...servers] = text.split(/^  server (?=n\d )/m);
  if (servers.length !== 3 || !head.includes('bind :80')) throw new Error(`${FILES.haproxy} has changed`);
  return startProxy(t, 'haproxy', port, `${head.replace('bind :80', `bind 127.0.0.1:${port}`)}  server n1 ${target} cookie n1\n`);
}

/** Starts `nginx` or `haproxy` in front of three servers, sticky by `cookie` or `address`. Ends with the test. */
export async function startFront(t, program, by, servers) {
  const port = await freePort();
  let text = readFileSync(new URL(`../cluster/${FILES[program]}`, import.meta.url), 'utf8');
  const change = (from, to) => {
    const changed = text.replace(from, to);
    if (changed === text) throw new Error(`${FILES[program]} has no ${from}`);
    text = changed;
  };
  if (by === 'address') BY_ADDRESS[program].forEach(([from, to]) => change(from, to));
  servers.forEach((server, i) => change(`:${3001 + i}`, `:${server.port}`));
  change(/(listen|bind) :?80\b/, `$1 127.0.0.1:${port}`);
  return startProxy(t, program, port, text);
}

/** Starts `nginx` or `haproxy` with a configuration that listens on `port`. Ends with the test. */
function startProxy(t, program, port, text) {
  const directory = mkdtempSync(path.join(tmpdir(), 'salon-front-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = path.join(directory, 'conf');
  if (program === 'haproxy') {
    writeFileSync(file, text);
    return start(t, { port, bin: '/usr/sbin/haproxy', args: ['-db', '-f', file] });
  }
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((what) => `${what}_temp_path ${directory}/${what};`);
  const events = `daemon off; master_process off; pid ${directory}/pid; events { worker_connections 4096; }`;
  writeFileSync(file, `${events}\nhttp { access_log off; ${temporary.join(' ')}\n${text}}\n`);
  return start(t, { port, bin: '/usr/sbin/nginx', args: ['-p', directory, '-c', file, '-e', 'stderr'] });
}
