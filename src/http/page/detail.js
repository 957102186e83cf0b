// One task in full: what it does, what it did, and the kill.

import { announce, h, openSheet, setText } from './dom.js';
import { age, clock, plain, short, statusOf } from './format.js';

/** How often it is asked for again, while it is shown; and how long an answer may take. */
const AGAIN = 1000;
const PATIENCE = 5000;

/** How many colours the statuses have. */
const HUES = 8;

let details = 0;

/** The sheet of one task. Another one that takes its id later is not shown here, and not killed. */
export class Detail {
  /** `commands` are those of the program's own that are for rows. */
  constructor(server, row, commands, toKill) {
    const n = ++details;
    this.server = server;
    this.id = row.id;
    this.started = row.started;
    this.abort = new AbortController();
    this.hues = new Map();
    this.facts = h('dl', { class: 'facts' });
    this.status = h('strong', {}, row.status);
    this.statusAge = document.createTextNode('');
    this.total = document.createTextNode(`running since ${clock(row.start)}`);
    this.now = h('p', { class: 'now' }, this.status, this.statusAge, h('br'), this.total);
    this.strip = h('div', { class: 'strip', 'aria-hidden': true });
    this.steps = h('ol', { class: 'steps', tabindex: 0, 'aria-label': 'History' });
    this.folded = h('p', { class: 'note' });
    this.message = h('input', { id: `m${n}`, maxlength: 512, autocomplete: 'off', placeholder: 'why (the task and its log get this)' });
    this.button = h('button', { type: 'submit', class: 'danger' }, 'Kill');
    this.outcome = h('p', { class: 'outcome', role: 'status' });
    const kill = h('form', { class: 'kill', onsubmit: (event) => this.kill(event) },
      h('label', { for: `m${n}` }, 'Kill with a message'), h('div', { class: 'line' }, this.message, this.button), this.outcome);
    this.showFacts(row.attrs, undefined);
    const stack = callForm(server, { name: 'stack', usage: 'stack <id>', help: 'where it is parked' }, this.id, this.abort.signal,
      async (tell, text, signal) => tell(await server.stack(this.id, signal)));
    this.element = openSheet(row.shownId, this.now, kill, stack, ...commands.map((command) => callForm(server, command, this.id, this.abort.signal)),
      h('h3', {}, 'History'), this.strip, this.steps, this.folded, h('h3', {}, 'Columns'), this.facts);
    this.element.addEventListener('close', () => this.closed());
    if (toKill) this.message.focus();
    this.refresh();
  }

  closed() {
    this.abort.abort();
    clearTimeout(this.timer);
  }

  async refresh() {
    try {
      const task = await this.server.task(this.id, AbortSignal.any([this.abort.signal, AbortSignal.timeout(PATIENCE)]));
      if (this.abort.signal.aborted) return;
      if (task.procTime !== this.started) return this.ended();
      this.show(task);
      this.setStale(false);
    } catch (error) {
      if (this.abort.signal.aborted) return;
      if (error.status === 404) return this.ended();
      this.setStale(true, error.status ? error.message : 'no answer: trying again');
    }
    this.timer = setTimeout(() => this.refresh(), AGAIN);
  }

  /** What is shown is not known to be true any more, or it is again. */
  setStale(stale, why) {
    this.element.classList.toggle('stale', stale);
    if (stale) this.total.data = why;
    if (!this.waits) this.button.disabled = stale;
  }

  show(task) {
    const site = task.site === undefined ? '' : `, set at ${plain(task.site.file)}:${task.site.line}`;
    setText(this.status, statusOf(task));
    this.statusAge.data = ` for ${age(task.in_status)}${site}`;
    this.total.data = `running for ${age(task.time)}, since ${clock(Date.parse(task.procTime))}`;
    this.history(task, task.time);
    this.showFacts(task.attrs, task.note, task.parent, task.children);
    if (task.killing !== undefined && !this.waits) {
      const by = task.killing.by === undefined ? 'the program' : plain(task.killing.by);
      this.tell(`being killed for ${age((this.server.now() - Date.parse(task.killing.ts)) / 1000)} by ${by}: "${plain(task.killing.message)}"`);
    }
  }

  /** Written only if they are others: somebody may be about to copy one. */
  showFacts(attrs, note, parent, children) {
    const rows = Object.entries(attrs ?? {});
    if (note !== undefined) rows.push(['note', note]);
    if (parent !== undefined) rows.push(['child of', parent]);
    if (children !== undefined) rows.push(['children', children.join(' ')]);
    const known = JSON.stringify(rows);
    if (known === this.knownFacts) return;
    this.knownFacts = known;
    this.facts.replaceChildren(...rows.flatMap(([name, value]) => [h('dt', {}, plain(name)), h('dd', {}, plain(value))]));
    if (rows.length === 0) this.facts.replaceChildren(h('dd', { class: 'note' }, 'none'));
  }

  /** The statuses as a strip whose parts are as long as they took, and as a list. */
  history(task, total) {
    const began = Date.parse(task.procTime);
    const steps = task.history.map((step) => ({ status: step.status, at: (Date.parse(step.ts) - began) / 1000 }));
    const spent = steps.map((step, n) => Math.max(0, (steps[n + 1]?.at ?? total) - step.at));
    const last = task.history.at(-1);
    const known = `${task.folded} ${task.history.length} ${last.ts} ${last.status}`;
    if (known === this.knownHistory) {
      this.strip.lastChild.style.flexGrow = spent.at(-1);
      setText(this.steps.lastChild.lastChild, short(spent.at(-1)));
      return;
    }
    this.knownHistory = known;
    const isAtEnd = this.steps.scrollHeight - this.steps.scrollTop - this.steps.clientHeight < 8;
    this.strip.replaceChildren(...steps.map((step, n) => {
      const part = h('span', { class: `h${this.hue(step.status)}`, title: `${plain(step.status)}, ${short(spent[n])}` });
      part.style.flexGrow = spent[n];
      return part;
    }));
    this.steps.replaceChildren(...steps.map((step, n) => h('li', { class: n === steps.length - 1 ? 'current' : '' },
      h('span', { class: 'at' }, `+${short(step.at)}`), h('span', { class: `dot h${this.hue(step.status)}` }),
      h('span', { class: 'what' }, plain(step.status)), h('span', { class: 'spent' }, short(spent[n])))));
    if (isAtEnd) this.steps.scrollTop = this.steps.scrollHeight;
    const before = task.folded ?? 0;
    setText(this.folded, before === 0 ? '' : `${before} before these`);
  }

  hue(status) {
    if (!this.hues.has(status)) this.hues.set(status, this.hues.size % HUES);
    return this.hues.get(status);
  }

  /** It is not in the list any more: what became of it may be remembered. */
  async ended() {
    if (this.isOver) return;
    this.isOver = true;
    this.element.classList.add('over');
    this.message.readOnly = true;
    this.button.setAttribute('aria-disabled', true);
    let text = 'it has ended';
    try {
      const { done } = await this.server.done(256);
      const end = done.find((task) => task.id === this.id && task.procTime === this.started);
      if (end !== undefined) {
        const note = end.note === undefined ? '' : ` (${plain(end.note)})`;
        text = `${end.outcome} after ${age(end.time)}${note}`;
        setText(this.status, plain(end.status));
        this.showFacts(end.attrs, end.note);
      }
    } catch {
      // What is known stands there already.
    }
    this.statusAge.data = '';
    this.total.data = text;
    this.element.classList.remove('stale');
    if (!this.waits && this.outcome.textContent.startsWith('being killed')) this.tell('');
    announce(`${this.id} ${text}`);
  }

  tell(text, kind = '') {
    setText(this.outcome, text);
    this.outcome.className = `outcome ${kind}`;
  }

  async kill(event) {
    event.preventDefault();
    if (this.waits || this.isOver) return;
    this.waits = true;
    this.button.disabled = true;
    this.tell('killing ..');
    try {
      let result = await this.server.kill(this, this.message.value, '5s', this.abort.signal);
      while (result.outcome === 'running') {
        const seconds = Math.floor(result.seconds);
        this.tell(result.seen ? `it saw the kill and is still cleaning up after ${seconds} s, in "${plain(result.status)}"`
          : `still running ${seconds} s after the kill, in "${plain(result.status)}": ${result.killPoint ? 'it stops at its next kill point' : 'it has passed no kill point so far, and may have none'}`);
        result = await this.server.kill(this, '', '10s', this.abort.signal);
      }
      const note = result.note === undefined ? '' : ` (${plain(result.note)})`;
      if (result.outcome === 'killed') this.tell(`killed after ${age(result.seconds)} in "${plain(result.status)}"${note}`, 'good');
      else this.tell(`it ${result.outcome === 'ended' ? 'ended by itself' : 'panicked'} before the kill reached it${note}`);
      announce(`${this.id}: ${this.outcome.textContent}`);
    } catch (error) {
      if (this.abort.signal.aborted) return;
      this.button.disabled = false;
      // It has ended between two questions, or before the first: the sheet says how.
      if (error.status === 404) this.tell('it has ended');
      else this.tell(error.status ? error.message : 'no answer: it is not known whether the kill arrived', 'bad');
    }
    this.waits = false;
  }
}

/** A command of the program's own, with room for what it answers; for one task if there is an id. */
export function callForm(server, command, id, signal, ask = (tell, text, signal) => server.call(command.name, text, tell, signal)) {
  // What is typed after the name; after the id, if that is given already.
  const args = command.usage.replace(', or where <expression>', '').replace(id === undefined ? /^\S+/ : /^.*?<id>|^\S+ \S+|^\S+$/, '').trim();
  const wants = args !== '';
  const input = h('input', { autocomplete: 'off', 'aria-label': `what ${command.name} gets`, placeholder: plain(args) });
  const button = h('button', { type: 'submit' }, command.name);
  const output = h('pre', { class: 'output', hidden: true, tabindex: 0, role: 'log', 'aria-label': `what ${command.name} answers` });
  let running = null;
  const onsubmit = async (event) => {
    event.preventDefault();
    running?.abort();
    running = new AbortController();
    const mine = AbortSignal.any([signal, running.signal]);
    output.hidden = false;
    output.textContent = '';
    output.classList.remove('bad');
    try {
      const shown = id === undefined ? [] : [printed(id)];
      const text = [...shown, input.value.trim()].filter((part) => part !== '').join(' ');
      await ask((piece) => {
        if (mine.aborted) return;
        output.append(piece);
        output.scrollTop = output.scrollHeight;
      }, text, mine);
    } catch (error) {
      if (mine.aborted) return;
      output.classList.add('bad');
      output.append(error.status ? error.message : 'no answer');
    }
  };
  return h('form', { class: 'call', onsubmit }, h('div', { class: 'line' }, button, wants ? input : undefined,
    h('span', { class: 'note' }, plain(command.help))), output);
}

/** An id as the table of the port prints it, which its commands take: one word. */
function printed(id) {
  const hex = (c) => `\\x${c.codePointAt(0).toString(16).padStart(2, '0')}`;
  let text = id.replace(/\\/g, '\\\\').replace(/\t/g, '\\t').replace(/\n/g, '\\n').replace(/\r/g, '\\r').replace(/[\u0000-\u0020\u007f]/g, hex);
  if (text.startsWith('@') || text.toLowerCase() === 'where') text = hex(text) + text.slice(1);
  return text;
}
