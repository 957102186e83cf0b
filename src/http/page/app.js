// The page: its hosts, its keys, its colours.

import { Host } from './host.js';

const peers = document.querySelector('meta[name=peers]').content.split(' ').filter((peer) => peer !== '');
const hosts = ['', ...peers].map((base) => new Host(base));
const main = document.getElementById('hosts');
main.append(...hosts.map((host) => host.element));
main.classList.toggle('many', hosts.length > 1);

setInterval(() => {
  hosts.forEach((host) => host.tick());
  const running = hosts.reduce((sum, host) => sum + host.tasks.size, 0);
  document.title = `pm · ${running} running`;
}, 1000);

/** The host in which the person is. */
function current() {
  return hosts.find((host) => host.element.contains(document.activeElement)) ?? hosts[0];
}

const help = document.getElementById('help');
document.getElementById('keys').addEventListener('click', () => help.showModal());

document.addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]') !== null) return;
  if (event.target.matches('input, select, textarea')) {
    if (event.key !== 'Escape') return;
    // It would empty the field.
    event.preventDefault();
    current().table.view.focus();
    return;
  }
  const host = current();
  const keys = {
    '/': () => host.input.focus(),
    '?': () => help.showModal(),
    r: () => { host.choose('running'); host.table.view.focus(); },
    f: () => { host.choose('finished'); host.table.view.focus(); },
    j: () => { host.table.view.focus(); host.table.choose(0); },
    k: () => { host.table.view.focus(); host.table.choose(0); },
  };
  if (!(event.key in keys)) return;
  keys[event.key]();
  event.preventDefault();
});

// Light, dark, or as the system says: remembered for this browser.
const theme = document.getElementById('theme');
const NAMES = { system: 'system', light: 'light', dark: 'dark' };
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  theme.textContent = `Theme: ${NAMES[name]}`;
  try {
    localStorage.setItem('pm-theme', name);
  } catch {
    // A browser that keeps nothing.
  }
}
function savedTheme() {
  try {
    return localStorage.getItem('pm-theme');
  } catch {
    return null;
  }
}
theme.addEventListener('click', () => {
  const names = Object.keys(NAMES);
  setTheme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
});
setTheme(savedTheme() in NAMES ? savedTheme() : 'system');
