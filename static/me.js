// Who we are in this tab, and what the tab keeps over a reload.

/** Keeps a value, if one is given, and returns the one that is kept: nothing where the browser forbids it. */
export function remember(key, value) {
  try {
    if (value !== undefined) sessionStorage.setItem(key, JSON.stringify(value));
    return JSON.parse(sessionStorage.getItem(key)); // in Firefox `sessionStorage.key` is the method of this name
  } catch {}
}

/** Returns 128 random bits. */
export function random() {
  return crypto.getRandomValues(new Uint32Array(4)).join('-'); // randomUUID needs https
}

export const me = {
  name: remember('name') ?? '', // as asked for; empty until the form was sent
  joined: false, // the server knows the name on this connection
  tags: new Set(remember('tags')), // all that this tab has had: messages of these users are ours
  key: remember('key') ?? random(), // by it every server knows that it is us
};
remember('key', me.key);
