// nginx in front of a server, with a certificate made for the test.
import { accessSync, constants, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort, start } from './server.mjs';

/** Debian's nginx, or the first in PATH. */
function executable() {
  const files = ['/usr/sbin', ...(process.env.PATH ?? '').split(path.delimiter)].map((directory) => path.join(directory, 'nginx'));
  for (const file of files) {
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {} // next
  }
  throw new Error('no nginx: `make test` installs it as root on Debian');
}

/**
 * Starts nginx for test `t`, on `port` or a free one. `text` goes inside `http { }`; its port 443 and its certificate are replaced by
 * those of the test. `certificate`: as `makeCertificate` gives it.
 */
export async function startNginx(t, text, { cert, key }, port) {
  const directory = mkdtempSync(path.join(tmpdir(), 'salon-nginx-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  port ??= await freePort();
  const changes = [
    [/listen 443 ssl;/, `listen 127.0.0.1:${port} ssl;`],
    [/ssl_certificate .*;/, `ssl_certificate ${cert};`],
    [/ssl_certificate_key .*;/, `ssl_certificate_key ${key};`],
  ];
  for (const [from, to] of changes) {
    if (!from.test(text)) throw new Error(`no ${from} in:\n${text}`);
    text = text.replace(from, () => to);
  }
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((what) => `${what}_temp_path ${directory}/${what};`);
  writeFileSync(
    path.join(directory, 'nginx.conf'),
    `daemon off;
    master_process off;
    pid ${directory}/pid;
    events {}
    http {
      ${temporary.join('\n')}
      access_log off;
      ${text}
    }`,
  );
  const nginx = await start(t, { port, bin: executable(), args: ['-p', directory, '-c', 'nginx.conf', '-e', 'stderr'] });
  return { ...nginx, url: `https://127.0.0.1:${port}` };
}
