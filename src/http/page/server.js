// One processlist over HTTP: requests with its token, and the stream of what changes.

/** How often the list is compared, at the server. */
const DELAY = '1s';

/** The server says something every 5 s; so long without it, and the connection is dead. */
const SILENCE = 16000;

const LONGEST_PAUSE = 5000;

export class Server {
  /** `base` is '' for the server of this page. The token is held here and nowhere else. */
  constructor(base) {
    this.base = base;
    this.name = base === '' ? location.host : base.replace(/^https?:\/\//, '').replace(/\/$/, '');
    this.token = null;
    /** The clock of the server, against ours. It stands still while the server is away. */
    this.offset = 0;
    this.stoppedAt = null;
  }

  /** The time at the server, in milliseconds. */
  now() {
    return (this.stoppedAt ?? Date.now()) + this.offset;
  }

  stopClock() {
    this.stoppedAt ??= Date.now();
  }

  /** By what it has just said. */
  setClock(serverTime) {
    this.stoppedAt = null;
    this.offset = Date.parse(serverTime) - Date.now();
  }

  request(path, options = {}) {
    const headers = this.token === null ? {} : { Authorization: `Bearer ${this.token}` };
    return fetch(this.base + path, { ...options, headers, cache: 'no-store', credentials: 'omit' });
  }

  /** An answer in JSON; throws an error with the server's own words, and the status. */
  async json(path, options) {
    const response = await this.request(path, options);
    if (!response.ok) throw await fault(response);
    return response.json();
  }

  async task(id, signal) {
    return this.json(`procs/${name(id)}`, { signal });
  }

  /** Where a task is parked, as text. */
  async stack(id, signal) {
    const response = await this.request(`procs/${name(id)}/stack`, { signal });
    if (!response.ok) throw await fault(response);
    return response.text();
  }

  done(limit) {
    return this.json(`done?limit=${limit}`);
  }

  commands() {
    return this.json('commands');
  }

  /** Asks to kill just this task, and waits for the outcome. */
  async kill({ id, started }, message, wait, signal) {
    return this.json(`procs/${name(id)}?wait=${wait}&started=${encodeURIComponent(started)}`, { method: 'DELETE', body: JSON.stringify({ message }), signal });
  }

  /** Calls a command of the program's own; `tell` gets what it answers, as it comes. */
  async call(command, text, tell, signal) {
    const response = await this.request(`commands/${encodeURIComponent(command)}`, { method: 'POST', body: text, signal });
    if (!response.ok) throw await fault(response);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) tell(piece.value);
  }
}

/** An id in a path. */
function name(id) {
  // However these are written, a browser takes them for other places.
  if (id === '.' || id === '..') throw Object.assign(new Error(`a browser cannot ask for the id ${id}: use nc`), { status: 400 });
  return encodeURIComponent(id);
}

/** The error in a response that is none of those hoped for. */
async function fault(response) {
  const error = new Error((await response.text()).trim() || `${response.status} ${response.statusText}`);
  error.status = response.status;
  return error;
}

/**
 * Follows the tasks that match an expression, over every failure of the connection.
 *
 * `listener` has `live(first)`, `list(data)`, `change(data)`, `down(why)`, `wrong(text)` (the expression),
 * `locked(text)` (a token is wanted) and `refused(text)`.
 */
export class Feed {
  constructor(server, listener) {
    this.server = server;
    this.listener = listener;
    this.filter = '';
    this.current = null;
  }

  /** Shows other tasks from now on. What is followed now goes on until that works. */
  follow(filter) {
    const run = { abort: new AbortController(), filter };
    if (this.next !== this.current) this.next?.abort.abort();
    this.next = run;
    this.loop(run);
  }

  stop() {
    this.next?.abort.abort();
    this.current?.abort.abort();
  }

  async loop(run) {
    for (let pause = 500; !run.abort.signal.aborted; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      try {
        if (await this.read(run)) return;
        pause = 500;
        this.listener.down('the server closed the stream');
      } catch (error) {
        if (run.abort.signal.aborted) return;
        // What the network does is a TypeError of fetch, or an abort; anything else is a fault of ours.
        if (error.status === undefined && !(error instanceof DOMException) && !/fetch|network/i.test(error.message)) console.error(error);
        if (error.status === 400) {
          this.listener.wrong(error.message);
          return;
        }
        if (error.status === 401) {
          this.listener.locked(this.server.token === null ? '' : error.message);
          return;
        }
        if (error.status === 403) this.listener.refused(error.message);
        else this.listener.down(error.status ? error.message : 'no answer');
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Reads one connection to its end. */
  async read(run) {
    const silence = new AbortController();
    const signal = AbortSignal.any([run.abort.signal, silence.signal]);
    let timer = setTimeout(() => silence.abort(), SILENCE);
    try {
      const query = run.filter === '' ? '' : `&where=${encodeURIComponent(run.filter)}`;
      const response = await this.server.request(`events?delay=${DELAY}${query}`, { signal });
      if (!response.ok) throw await fault(response);
      if (this.current !== run) {
        this.current?.abort.abort();
        this.current = run;
        this.filter = run.filter;
      }
      this.listener.live();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const events = new Events((kind, data) => this.take(kind, JSON.parse(data)));
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return run.abort.signal.aborted;
        clearTimeout(timer);
        timer = setTimeout(() => silence.abort(), SILENCE);
        events.push(value);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  take(kind, data) {
    this.server.setClock(data.serverTime);
    if (kind === 'list') this.listener.list(data);
    if (kind === 'change') this.listener.change(data);
  }
}

/** Server-sent events, out of pieces of a text. EventSource would not send a token. */
class Events {
  constructor(take) {
    this.take = take;
    this.pieces = [];
  }

  push(piece) {
    this.pieces.push(piece);
    // An event ends in an empty line. A long one comes in many pieces, which are joined once.
    const last = this.pieces.length > 1 ? this.pieces.at(-2).slice(-1) + piece : piece;
    if (!last.includes('\n\n')) return;
    const blocks = this.pieces.join('').split('\n\n');
    this.pieces = [blocks.pop()];
    for (const block of blocks) {
      let kind = 'message';
      const data = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('event: ')) kind = line.slice(7);
        else if (line.startsWith('data: ')) data.push(line.slice(6));
      }
      if (data.length > 0) this.take(kind, data.join('\n'));
    }
  }
}
