// Certificates for a test: an authority of its own, and one for localhost that it has signed.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Makes both in a new directory that goes with test `t`; returns the paths of `ca`, `cert` and `key`. */
export function makeCertificate(t, { days = 2, names = 'DNS:localhost,IP:127.0.0.1' } = {}) {
  const directory = mkdtempSync(path.join(tmpdir(), 'salon-tls-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = (name) => path.join(directory, name);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', file('ca.key'), '-out', file('ca.pem'), '-subj', '/CN=salon test authority', '-days', '2');
  openssl('req', ...key, '-keyout', file('key.pem'), '-out', file('request.pem'), '-subj', '/CN=salon test');
  writeFileSync(file('extensions'), `subjectAltName=${names}\nbasicConstraints=CA:FALSE\n`);
  openssl('x509', '-req', '-in', file('request.pem'), '-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial',
    '-extfile', file('extensions'), '-days', String(days), '-out', file('cert.pem'));
  return { ca: file('ca.pem'), cert: file('cert.pem'), key: file('key.pem') };
}
