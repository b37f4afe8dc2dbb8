// Work in the order in which it came, in slices: a burst of the server's must not stop the page from answering its reader.
// Timers would do it too, but browsers hold them back in hidden tabs.

const SLICE = 8; // ms

const jobs = [];
const { port1, port2 } = new MessageChannel();

/** Runs `job` after all that was handed over before. */
export function later(job) {
  if (jobs.push(job) === 1) port2.postMessage(0);
}

port1.onmessage = () => {
  const end = performance.now() + SLICE;
  try {
    do jobs.shift()();
    while (jobs.length && performance.now() < end);
  } finally {
    if (jobs.length) port2.postMessage(0);
  }
};
