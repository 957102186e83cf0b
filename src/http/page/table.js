// A table of any number of rows, of which only those in sight are elements.

import { h, setText } from './dom.js';

const WIDE = 34;
const NARROW = 58;

/** Rows above and below those in sight. */
const MARGIN = 6;

/** What a column may take, in characters. */
const LEAST = 4;
const MOST = 44;

let tables = 0;

/**
 * `columns`: `{ name, title?, text(row), key?(row), right?, downFirst?, decorate?(cell, row) }`. `key` is what is sorted by, the
 * text unless given. `open(row, toKill)` is called for a row that is chosen.
 */
export class Table {
  constructor({ label, rowLabel, open, sort }) {
    this.number = ++tables;
    this.open = open;
    this.rows = [];
    this.columns = [];
    this.shown = [];
    this.sort = sort;
    this.active = null;
    this.rowLabel = rowLabel;
    this.pool = new Map();
    this.free = [];
    this.narrow = false;
    this.head = h('div', { role: 'row', class: 'row head' });
    this.headGroup = h('div', { role: 'rowgroup', class: 'head-group' }, this.head);
    this.body = h('div', { role: 'rowgroup', class: 'rows' });
    this.view = h('div', {
      role: 'grid', class: 'grid', tabindex: 0, 'aria-label': label,
      onscroll: () => this.draw(), onkeydown: (event) => this.key(event),
      onpointerdown: (event) => this.press(event), onclick: (event) => this.click(event),
    }, this.headGroup, this.body);
    this.order = h('select', { onchange: () => this.sortBy(this.order.value), 'aria-label': 'Sort by' });
    this.direction = h('button', { type: 'button', class: 'quiet', onclick: () => this.sortBy(this.sort.name) });
    this.orderLine = h('div', { class: 'order', hidden: true }, h('span', { 'aria-hidden': true }, 'Sort by'), this.order, this.direction);
    this.empty = h('p', { class: 'empty', hidden: true });
    this.element = h('div', { class: 'table' }, this.orderLine, this.view, this.empty);
    for (const end of ['pointerup', 'pointercancel', 'blur']) addEventListener(end, () => this.release());
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  fit() {
    const narrow = this.element.clientWidth < 620;
    if (narrow !== this.narrow) {
      this.narrow = narrow;
      this.element.classList.toggle('narrow', narrow);
      this.rebuild();
    }
    this.draw();
  }

  get height() {
    return this.narrow ? NARROW : WIDE;
  }

  setColumns(columns) {
    const names = columns.map((column) => column.name).join('\n');
    if (names === this.names) return;
    this.names = names;
    this.columns = columns;
    this.widths = null;
    if (!columns.some((column) => column.name === this.sort.name)) this.sort = { name: columns[0].name, down: false };
    this.rebuild();
  }

  /** The header, and no rows: they are made anew. */
  rebuild() {
    this.shown = this.narrow ? compact(this.columns) : this.columns;
    this.head.replaceChildren(...this.columns.map((column, n) => h('div', { role: 'columnheader', class: column.right ? 'right' : '', 'aria-colindex': n + 1 },
      h('button', { type: 'button', class: 'sort', onclick: () => this.sortBy(column.name) }, column.title ?? column.name))));
    this.order.replaceChildren(...this.columns.map((column) => h('option', { value: column.name }, column.title ?? column.name)));
    for (const element of this.pool.values()) element.remove();
    this.pool.clear();
    this.free = [];
    this.view.setAttribute('aria-colcount', this.columns.length);
    this.showSort();
    this.measure();
  }

  sortBy(name, down) {
    const first = this.columns.find((column) => column.name === name)?.downFirst ?? false;
    this.sort = { name, down: down ?? (this.sort.name === name ? !this.sort.down : first) };
    this.showSort();
    this.resorted = true;
    this.setRows(this.rows);
  }

  showSort() {
    this.columns.forEach((column, n) => {
      const cell = this.head.children[n];
      const order = column.name !== this.sort.name ? 'none' : this.sort.down ? 'descending' : 'ascending';
      cell.setAttribute('aria-sort', order);
    });
    this.order.value = this.sort.name;
    setText(this.direction, this.sort.down ? '↓' : '↑');
    this.direction.setAttribute('aria-label', this.sort.down ? 'Descending' : 'Ascending');
    this.orderLine.hidden = this.columns.length === 0;
  }

  /** Shows these rows, which have an `id`, in the order that was chosen. */
  setRows(rows) {
    // What is under the finger stays there until it is lifted.
    this.waiting = this.pressed === undefined ? undefined : rows;
    if (this.waiting !== undefined) return;
    const anchor = this.anchor();
    const column = this.columns.find((column) => column.name === this.sort.name);
    if (column !== undefined) {
      const key = column.key ?? ((row) => sortable(column.text(row)));
      const sign = this.sort.down ? -1 : 1;
      const keyed = rows.map((row) => [key(row), row]);
      keyed.sort(([a, x], [b, y]) => compare(a, b, sign) || (x.idKey < y.idKey ? -1 : x.idKey > y.idKey ? 1 : 0));
      rows = keyed.map(([, row]) => row);
    }
    this.rows = rows;
    if (this.at >= 0) this.last = this.at;
    this.at = this.active === null ? -1 : rows.findIndex((row) => row.id === this.active);
    this.view.setAttribute('aria-rowcount', rows.length + 1);
    if (this.widths === null || this.widths === undefined || this.measuredRows * 2 < rows.length) this.measure();
    this.hold(anchor);
    this.draw();
  }

  /** The rows in sight, by id: how far below the top edge each is. */
  anchor() {
    const top = this.view.scrollTop;
    if (top === 0) return undefined;
    const from = Math.floor(top / this.height);
    const to = Math.ceil((top + this.view.clientHeight) / this.height);
    return new Map(this.rows.slice(from, to).map((row, n) => [row.id, (from + n) * this.height - top]));
  }

  /** Scrolls so that the first of them that is still there does not move. */
  hold(anchor) {
    if (anchor === undefined || this.resorted) {
      this.resorted = false;
      return;
    }
    const n = this.rows.findIndex((row) => anchor.has(row.id));
    if (n < 0) return;
    this.body.style.height = `${this.rows.length * this.height}px`;
    this.view.scrollTop = n * this.height - anchor.get(this.rows[n].id);
  }

  /** How wide the columns are: by the longest texts of some of the rows. They only grow, so that nothing jumps. */
  measure() {
    const step = Math.max(1, Math.floor(this.rows.length / 200));
    const sample = this.rows.filter((_, n) => n % step === 0);
    this.measuredRows = this.rows.length;
    this.widths = this.columns.map((column, n) => {
      const texts = sample.map((row) => column.text(row).length);
      const longest = Math.max((column.title ?? column.name).length + 2, this.widths?.[n] ?? 0, column.least ?? LEAST, ...texts);
      return Math.min(MOST, longest);
    });
    const last = this.columns.length - 1;
    // Each gets what it needs, and its share of what is left.
    const tracks = this.widths.map((width, n) => this.columns[n].right ? `minmax(${Math.min(width, 9)}ch, ${width + 1}ch)`
      : `minmax(${Math.min(width, n === last ? 14 : 9)}ch, ${width}fr)`);
    // Few columns do not spread over a wide window.
    if (this.columns.length < 5) tracks.push('minmax(0, 40fr)');
    this.view.style.setProperty('--tracks', tracks.join(' '));
    const least = this.widths.reduce((sum, width, n) => sum + Math.min(width, n === last ? 14 : 9), 0);
    this.view.style.setProperty('--least', `calc(${least}ch + ${last * 14 + 32}px)`);
  }

  /** Puts the rows in sight in their places. */
  draw() {
    const { height, rows } = this;
    this.empty.hidden = rows.length > 0 || this.empty.textContent === '';
    this.body.style.height = `${rows.length * height}px`;
    const top = this.view.scrollTop;
    const from = Math.max(0, Math.floor(top / height) - MARGIN);
    const to = Math.min(rows.length, Math.ceil((top + this.view.clientHeight) / height) + MARGIN);
    for (const [n, element] of this.pool) {
      if (n < from || n >= to) {
        this.pool.delete(n);
        element.hidden = true;
        this.free.push(element);
      }
    }
    for (let n = from; n < to; n += 1) {
      let element = this.pool.get(n);
      if (element === undefined) {
        element = this.free.pop() ?? this.row();
        element.hidden = false;
        element.id = `t${this.number}-${n}`;
        element.setAttribute('aria-rowindex', n + 2);
        element.style.transform = `translateY(${n * height}px)`;
        this.pool.set(n, element);
      }
      this.fill(element, rows[n], n);
    }
    if (this.at >= from && this.at < to) this.view.setAttribute('aria-activedescendant', `t${this.number}-${this.at}`);
    else this.view.removeAttribute('aria-activedescendant');
  }

  row() {
    const cells = this.shown.map((column, n) => h('div', { role: 'gridcell', class: `${column.right ? 'right ' : ''}c-${column.kind ?? 'text'}`, 'aria-colindex': n + 1 }));
    const element = h('div', { role: 'row', class: 'row' }, ...cells);
    this.body.append(element);
    return element;
  }

  fill(element, row, n) {
    element.dataset.n = n;
    element.setAttribute('aria-selected', n === this.at);
    this.shown.forEach((column, at) => {
      const cell = element.children[at];
      if (column.decorate === undefined) setText(cell, column.text(row));
      else column.decorate(cell, row);
      const title = column.text(row);
      if (cell.title !== title && column.kind !== 'time') cell.title = title;
    });
    this.rowLabel?.(element, row);
  }

  choose(n) {
    if (this.rows.length === 0) return;
    this.at = Math.max(0, Math.min(this.rows.length - 1, n));
    this.active = this.rows[this.at].id;
    const [top, bottom] = [this.at * this.height, (this.at + 1) * this.height];
    const head = this.headGroup.offsetHeight;
    if (top < this.view.scrollTop) this.view.scrollTop = top;
    else if (bottom > this.view.scrollTop + this.view.clientHeight - head) this.view.scrollTop = bottom - this.view.clientHeight + head;
    this.draw();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.view) return;
    const page = Math.max(1, Math.floor(this.view.clientHeight / this.height) - 1);
    // One that has ended leaves its place.
    const at = this.at >= 0 ? this.at : this.last ?? -1;
    const down = this.at >= 0 ? at + 1 : this.last ?? 0;
    const moves = {
      ArrowDown: down, j: down, ArrowUp: at - 1, k: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: Infinity,
    };
    if (event.key in moves) this.choose(moves[event.key]);
    else if ((event.key === 'Enter' || event.key === ' ') && this.at >= 0) this.open(this.rows[this.at], false);
    else if ((event.key === 'x' || event.key === 'Delete') && this.at >= 0) this.open(this.rows[this.at], true);
    else return;
    event.preventDefault();
  }

  press(event) {
    const element = event.target.closest('.rows > .row');
    this.pressed = element === null ? undefined : this.rows[Number(element.dataset.n)];
    this.chosen = this.pressed;
  }

  release() {
    this.pressed = undefined;
    if (this.waiting !== undefined) this.setRows(this.waiting);
  }

  /** The row that was pressed, whatever stands there by now. */
  click(event) {
    const element = event.target.closest('.rows > .row');
    if (element === null || getSelection().toString() !== '') return;
    // Software for the blind clicks without a press.
    const row = this.chosen ?? this.rows[Number(element.dataset.n)];
    this.chosen = undefined;
    const n = this.rows.findIndex((other) => other.id === row.id);
    if (n >= 0) this.choose(n);
    this.open(this.rows[n] ?? row, false);
  }
}

/** The columns where there is room for two lines: those with a look of their own, and the rest in one. */
function compact(columns) {
  const special = columns.filter((column) => column.kind !== undefined && column.kind !== 'number');
  const others = columns.filter((column) => column.kind === undefined);
  const text = (row) => others.map((column) => column.text(row)).filter((part) => part !== '').join(' · ');
  return [...special, { name: 'others', kind: 'others', text }];
}

/** What a text is sorted by: numbers as numbers, before texts; nothing is last. */
export function sortable(text) {
  if (text === '') return null;
  const number = Number(text);
  return Number.isNaN(number) ? natural(text) : number;
}

/** A text whose numbers sort as numbers: req2 before req10. */
export function natural(text) {
  return text.replace(/\d+/g, (digits) => digits.padStart(12, '0'));
}

function compare(a, b, sign) {
  if (a === b) return 0;
  if (a === null) return 1;
  if (b === null) return -1;
  if (typeof a !== typeof b) return (typeof a === 'number' ? -1 : 1) * sign;
  return (a < b ? -1 : 1) * sign;
}
