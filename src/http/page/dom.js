// Elements, made and filled without markup: what a task says is never read as HTML.

/** An element with attributes, listeners (`onclick`) and children. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** Sets the text, if it is another one: writing it again would cost a layout, and a selection. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Tells those who listen to a screen reader. */
export function announce(text) {
  document.getElementById('news').textContent = text;
}

let sheets = 0;

/** A sheet at the side, above the page, until Escape, Close or a press beside it. The focus goes back then. */
export function openSheet(title, ...content) {
  const back = document.activeElement;
  const heading = h('h2', { id: `sheet${++sheets}`, tabindex: -1 }, title);
  const close = h('button', { type: 'button', class: 'quiet', onclick: () => sheet.close() }, 'Close');
  const body = h('div', { class: 'sheet-body' }, h('div', { class: 'sheet-top' }, heading, close), ...content);
  const sheet = h('dialog', { class: 'sheet', 'aria-labelledby': heading.id }, body);
  // A press, not a click: that may be the end of a selection that began inside.
  sheet.addEventListener('pointerdown', (event) => event.target === sheet && sheet.close());
  sheet.addEventListener('close', () => { sheet.remove(); back?.focus({ preventScroll: true }); });
  document.body.append(sheet);
  sheet.showModal();
  heading.focus();
  return sheet;
}
