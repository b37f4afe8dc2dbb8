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
 * Starts nginx for test `t`, on `port` or a free one. `server` is what stands in `server { }` besides the port and the certificate;
 * `certificate`: as `makeCertificate` gives it.
 */
export async function startNginx(t, server, { cert, key }, port) {
  const directory = mkdtempSync(path.join(tmpdir(), 'salon-nginx-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  port ??= await freePort();
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
      map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
      server {
        listen 127.0.0.1:${port} ssl;
        ssl_certificate ${cert};
        ssl_certificate_key ${key};
        ${server}
      }
    }`,
  );
  const nginx = await start(t, { port, bin: executable(), args: ['-p', directory, '-c', 'nginx.conf', '-e', 'stderr'] });
  return { ...nginx, url: `https://127.0.0.1:${port}` };
}
