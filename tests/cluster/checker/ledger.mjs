// What was said: for each message, by its text, when and where it was sent, who has acknowledged it, and whether it may be
// lost.

export class Ledger {
  /** Text -> `{ text, who, seq, epoch, first, sent, acked, excepted }`, in the order in which they were first sent. */
  messages = new Map();
  #seqs = new Map();
  #dying = new Set(); // processes that have ended, or soon will, and nothing keeps their memory

  /** A new message of this client. */
  next(who) {
    const seq = (this.#seqs.get(who) ?? 0) + 1;
    this.#seqs.set(who, seq);
    const message = { text: `${who} says ${seq}`, who, seq, first: undefined, sent: [], acked: undefined, excepted: undefined };
    this.messages.set(message.text, message);
    return message;
  }

  /** It leaves the client, for the first time or again. */
  sent(message, process, epoch) {
    message.first ??= Date.now();
    message.sent.push({ at: Date.now(), process, epoch });
  }

  acked(message, process, stamp) {
    message.acked ??= { at: Date.now(), process, ...stamp };
    if (message.acked.process === process && this.#dying.has(process)) message.excepted ??= process;
  }

  /** All that were acknowledged and may not be lost. */
  required() {
    return [...this.messages.values()].filter(({ acked, excepted }) => acked && !excepted);
  }

  /**
   * The process named `dying` ends and nothing keeps its memory. A message stays required if another salon had it in
   * `texts`, which was read over the wire before, or is `living` and has acknowledged it itself.
   */
  except(dying, texts, living) {
    this.#dying.add(dying);
    for (const message of this.required()) {
      if (!texts.has(message.text) && !living.includes(message.acked.process)) message.excepted = dying;
    }
  }

  figures() {
    const acked = [...this.messages.values()].filter((message) => message.acked);
    const excepted = acked.filter((message) => message.excepted).length;
    return { acked: acked.length, excepted, checked: acked.length - excepted };
  }
}
