// One host: its tasks, running and finished.

import { Detail, callForm } from './detail.js';
import { announce, h, openSheet, setText } from './dom.js';
import { age, clock, count, moment, plain, statusOf, warmth } from './format.js';
import { Feed, Server } from './server.js';
import { Table, natural } from './table.js';

/** How many of the finished are shown, and how often they are asked for. */
const FINISHED = 256;
const FINISHED_AGAIN = 2000;

/** From this age on, in seconds, a task is printed bold. */
const OLD = 300;

let hosts = 0;

export class Host {
  constructor(base) {
    const n = ++hosts;
    this.server = new Server(base);
    this.tasks = new Map();
    this.columns = [];
    this.commands = [];
    this.tab = 'running';
    this.state = h('span', { class: 'state' }, 'connecting');
    this.counts = h('p', { class: 'counts' });
    this.input = h('input', { type: 'search', id: `f${n}`, class: 'filter', placeholder: 'uri~/export and time>30s', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', 'aria-describedby': `w${n}` });
    this.complaint = h('p', { id: `w${n}`, class: 'wrong', role: 'alert' });
    this.token = h('input', { type: 'password', id: `k${n}`, autocomplete: 'off' });
    this.tokenWrong = h('p', { class: 'wrong', role: 'alert' });
    this.lock = h('form', { class: 'lock', hidden: true, onsubmit: (event) => this.unlock(event) },
      h('label', { for: `k${n}` }, `${this.server.name} wants a token`), h('div', { class: 'line' }, this.token, h('button', { type: 'submit' }, 'Show')), this.tokenWrong,
      h('p', { class: 'note' }, 'It is kept in the memory of this tab, and sent to this host only.'));
    this.menu = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => this.showCommands() }, 'Commands');
    this.tabs = ['running', 'finished'].map((tab) => h('button', { type: 'button', role: 'tab', id: `${tab}${n}`, 'aria-controls': `p${n}`, onclick: () => this.choose(tab), onkeydown: (event) => this.tabKey(event) }, tab === 'running' ? 'Running' : 'Finished'));
    const sort = { name: 'time', down: true };
    const rowLabel = (element, row) => element.classList.toggle('killing', row.killing !== undefined);
    this.details = new Set();
    this.running = new Table({ label: `Running tasks of ${this.server.name}`, rowLabel, sort, open: (row, toKill) => this.show(row, toKill) });
    this.finished = new Table({ label: `Finished tasks of ${this.server.name}`, sort: { name: 'ago', down: false }, open: (row) => this.showEnd(row) });
    this.finished.element.classList.add('finished');
    this.running.empty.textContent = 'Not reached yet.';
    this.running.setRows([]);
    this.finished.setRows([]);
    this.panel = h('div', { role: 'tabpanel', id: `p${n}`, class: 'panel' }, this.running.element, this.finished.element);
    this.element = h('section', { class: 'host', 'aria-label': this.server.name },
      h('div', { class: 'host-top' }, h('h2', {}, this.server.name), this.state, this.counts, this.menu),
      h('form', { class: 'bar', role: 'search', onsubmit: (event) => { event.preventDefault(); this.filter(); } },
        h('div', { role: 'tablist', class: 'tabs', 'aria-label': 'Tasks' }, ...this.tabs),
        h('label', { for: `f${n}`, class: 'unseen' }, `Filter the tasks of ${this.server.name}`), this.input),
      this.complaint, this.lock, this.panel);
    // The cross in the field; Enter is the form's.
    this.input.addEventListener('search', () => this.input.value === '' && this.feed.filter !== '' && this.filter());
    this.feed = new Feed(this.server, this);
    this.choose('running');
    this.feed.follow('');
  }

  filter() {
    const text = this.input.value.trim();
    setText(this.complaint, '');
    this.input.removeAttribute('aria-invalid');
    this.feed.follow(text);
  }

  // What the feed tells.

  live() {
    this.setState('live');
    this.lock.hidden = true;
    if (this.wasLocked) this.table.view.focus();
    this.wasLocked = false;
    if (this.commandsKnown !== true) this.askCommands();
  }

  list(data) {
    this.tasks = new Map(data.procs.map((proc) => [proc.id, task(proc)]));
    this.setColumns(data.columns);
    this.running.empty.textContent = this.feed.filter === '' ? 'Nothing is running.' : 'No running task matches.';
    this.changed();
  }

  change(data) {
    for (const id of data.ended) this.tasks.delete(id);
    for (const proc of data.procs) this.tasks.set(proc.id, task(proc));
    if (data.columns !== undefined) this.setColumns(data.columns);
    this.changed();
  }

  down(why) {
    this.server.stopClock();
    this.setState('away', `${why} since ${clock(this.server.stoppedAt).replace(/\.\d+$/, '')}, trying again`);
  }

  refused(text) {
    this.setState('away', text);
  }

  wrong(text) {
    const shown = this.feed.filter === '' ? 'all tasks' : plain(this.feed.filter);
    setText(this.complaint, `${text} (still showing ${shown})`);
    this.input.setAttribute('aria-invalid', 'true');
  }

  locked(text) {
    this.tasks.clear();
    this.changed();
    this.setState('locked', 'wants a token');
    this.lock.hidden = false;
    setText(this.tokenWrong, text);
    this.details.forEach((detail) => detail.element.close());
    // Only where it disturbs nobody: there may be other hosts.
    if (document.activeElement === document.body && (this.server.base === '' || text !== '')) this.token.focus();
  }

  unlock(event) {
    event.preventDefault();
    this.server.token = this.token.value;
    this.token.value = '';
    this.commandsKnown = false;
    this.wasLocked = true;
    setText(this.tokenWrong, '');
    this.feed.follow(this.input.value.trim());
  }

  setState(state, text = state) {
    if (this.state.textContent !== text) announce(`${this.server.name}: ${text}`);
    setText(this.state, text);
    this.state.className = `state ${state}`;
    this.element.classList.toggle('stale', state === 'away');
    this.element.classList.toggle('locked', state === 'locked');
    this.panel.hidden = state === 'locked';
  }

  async askCommands() {
    try {
      const { commands } = await this.server.commands();
      this.commandsKnown = true;
      this.commands = commands;
      this.menu.hidden = !commands.some((command) => !command.onRows);
    } catch {
      // With the next connection.
    }
  }

  setColumns(names) {
    this.columns = names;
    const attribute = (name) => ({ name, title: plain(name), text: (row) => row.attrs[name] ?? '' });
    this.running.setColumns([
      { name: 'id', kind: 'id', text: (row) => row.shownId, key: (row) => row.idKey },
      { name: 'status', kind: 'status', least: 12, text: (row) => row.status, decorate: (cell, row) => this.status(cell, row) },
      { name: 'time', kind: 'time', right: true, downFirst: true, least: 12, text: (row) => age(this.age(row)), key: (row) => -row.start, decorate: (cell, row) => this.time(cell, row) },
      ...names.map(attribute),
    ]);
    this.finished.setColumns([
      { name: 'id', kind: 'id', text: (row) => row.shownId },
      { name: 'outcome', kind: 'outcome', least: 9, text: (row) => row.outcome, decorate: (cell, row) => { setText(cell, row.outcome); cell.dataset.outcome = row.outcome; } },
      { name: 'status', kind: 'status', least: 12, text: (row) => row.status },
      { name: 'time', kind: 'took', right: true, downFirst: true, least: 10, text: (row) => age(row.time), key: (row) => row.time },
      { name: 'ago', kind: 'ago', right: true, least: 10, text: (row) => `${age((this.server.now() - row.end) / 1000)} ago`, key: (row) => -row.end },
      ...names.map(attribute),
      { name: '\u0000why', title: 'why', text: (row) => row.why },
    ]);
  }

  age(row) {
    return (this.server.now() - row.start) / 1000;
  }

  status(cell, row) {
    if (cell.firstChild === null) cell.append(h('span', { class: 'text' }), h('span', { class: 'chip' }));
    const [text, chip] = cell.children;
    setText(text, row.status);
    setText(chip, row.killing === undefined ? '' : `killing ${age((this.server.now() - row.killing) / 1000)}`);
  }

  time(cell, row) {
    const pill = cell.firstChild ?? cell.appendChild(h('span', { class: 'pill' }));
    const seconds = this.age(row);
    setText(pill, age(seconds));
    pill.classList.toggle('old', seconds >= OLD);
    const warm = warmth(seconds);
    if (pill.dataset.warmth !== warm) {
      pill.dataset.warmth = warm;
      pill.style.setProperty('--warmth', warm);
    }
  }

  /** Something has changed: it is drawn with the next frame. */
  changed() {
    this.dirty = true;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.tick();
    });
  }

  /** Once a second, and when something has changed. */
  tick() {
    if (this.dirty) {
      this.dirty = false;
      const rows = [...this.tasks.values()];
      this.running.setRows(rows);
      this.oldest = rows.reduce((oldest, row) => Math.min(oldest, row.start), Infinity);
      this.beingKilled = rows.reduce((n, row) => n + (row.killing === undefined ? 0 : 1), 0);
    } else if (this.tab === 'running') {
      this.running.draw();
    } else {
      this.finished.draw();
    }
    const n = this.tasks.size;
    const parts = [`${count(n)} ${this.feed.filter === '' ? 'running' : n === 1 ? 'match' : 'matches'}`];
    if (this.beingKilled > 0) parts.push(`${count(this.beingKilled)} being killed`);
    if (n > 0) parts.push(`oldest ${age((this.server.now() - this.oldest) / 1000)}`);
    setText(this.counts, parts.join(' · '));
  }

  choose(tab) {
    this.tab = tab;
    this.tabs.forEach((button, n) => {
      const isChosen = (n === 0) === (tab === 'running');
      button.setAttribute('aria-selected', isChosen);
      button.tabIndex = isChosen ? 0 : -1;
      if (isChosen) this.panel?.setAttribute('aria-labelledby', button.id);
    });
    this.running.element.hidden = tab !== 'running';
    this.finished.element.hidden = tab === 'running';
    clearTimeout(this.finishedTimer);
    this.turn = null;
    // Expressions are for what is running.
    this.input.hidden = tab === 'finished';
    if (tab === 'finished') this.askFinished();
  }

  tabKey(event) {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    this.choose(this.tab === 'running' ? 'finished' : 'running');
    this.tabs[this.tab === 'running' ? 0 : 1].focus();
    event.preventDefault();
  }

  async askFinished() {
    const turn = {};
    this.turn = turn;
    try {
      const { done } = await this.server.done(FINISHED);
      if (this.turn !== turn) return;
      this.finished.empty.textContent = 'Nothing has ended yet.';
      this.finished.setRows(done.map(endedTask));
    } catch (error) {
      if (this.turn !== turn) return;
      this.finished.empty.textContent = error.status ? error.message : 'no answer';
    }
    this.finishedTimer = setTimeout(() => this.askFinished(), FINISHED_AGAIN);
  }

  get table() {
    return this.tab === 'running' ? this.running : this.finished;
  }

  show(row, toKill) {
    const detail = new Detail(this.server, row, this.commands.filter((command) => command.onRows), toKill);
    this.details.add(detail);
    detail.element.addEventListener('close', () => this.details.delete(detail));
  }

  showEnd(row) {
    const facts = [['outcome', row.outcome], ['status', row.status], ['ran for', age(row.time)], ['began', clock(row.start)], ['ended', clock(row.end)],
      ...Object.entries(row.attrs), ['why', row.why], ['by', row.by]];
    const list = facts.filter(([, value]) => value !== '').flatMap(([name, value]) => [h('dt', {}, plain(name)), h('dd', {}, plain(value))]);
    openSheet(row.shownId, h('dl', { class: 'facts' }, ...list));
  }

  showCommands() {
    const abort = new AbortController();
    const forms = this.commands.filter((command) => !command.onRows).map((command) => callForm(this.server, command, undefined, abort.signal));
    openSheet(`Commands of ${this.server.name}`, ...forms).addEventListener('close', () => abort.abort());
  }
}

/** A row of the running tasks. */
function task(proc) {
  const attrs = proc.attrs ?? {};
  for (const name in attrs) attrs[name] = plain(attrs[name]);
  return {
    id: proc.id,
    shownId: plain(proc.id),
    idKey: natural(proc.id),
    started: proc.procTime,
    attrs,
    status: statusOf(proc),
    start: moment(proc.procTime),
    killing: proc.killing === undefined ? undefined : Date.parse(proc.killing.ts),
  };
}

/** A row of those that have ended. */
function endedTask(proc) {
  const why = [proc.killing?.message, proc.note].filter((part) => part !== undefined && part !== '').map(plain).join(' · ');
  return { ...task(proc), id: `${proc.id} ${proc.procTime}`, outcome: proc.outcome, time: proc.time, end: Date.parse(proc.endTime), why, by: proc.killing?.by ?? '', killing: undefined };
}
