// Ages and texts, as people read them.

/** A duration in seconds: `0.3 s`, `42 s`, `4 m 05 s`, `2 h 03 m`, `3 d 04 h`. */
export function age(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const [big, small, units] = seconds < 3600 ? [60, 1, ['m', 's']]
    : seconds < 86400 ? [3600, 60, ['h', 'm']] : [86400, 3600, ['d', 'h']];
  const rest = Math.floor((seconds % big) / small);
  return `${Math.floor(seconds / big)} ${units[0]} ${String(rest).padStart(2, '0')} ${units[1]}`;
}

/** A time that may be very short: `0.4 ms`, `12 ms`, else an age. */
export function short(seconds) {
  if (seconds >= 0.1) return age(seconds);
  const milliseconds = Math.max(0, seconds) * 1000;
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : Math.floor(milliseconds)} ms`;
}

/** How warm an age looks: nothing below ten seconds, cool up to a minute, then from 0.2 to 1 at an hour. */
export function warmth(seconds) {
  if (seconds < 10) return 'none';
  if (seconds < 60) return 'cool';
  const part = Math.log10(seconds / 60) / Math.log10(60);
  return String(Math.round((0.2 + 0.8 * Math.min(1, part)) * 20) / 20);
}

// What would turn the reading direction, or hide: shown as what it is.
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A text of a task, in which nothing is hidden. */
export function plain(text) {
  const code = (c) => `\\u{${c.codePointAt(0).toString(16)}}`;
  return text.replace(INVISIBLE, code);
}

/** The status of a task, with how far it has come. */
export function statusOf({ status, progress }) {
  return progress === undefined ? plain(status) : `${plain(status)} ${progress.done}/${progress.total}`;
}

/** A number with thin separators. */
export const count = new Intl.NumberFormat('en').format;

/** A time of the server in milliseconds, with what a Date leaves out: tasks start within the same one. */
export function moment(text) {
  return Date.parse(text) + Number(`0.${text.slice(23, 29) || 0}`);
}

/** The hour of a moment, with thousandths, and the date if that is not today. */
export function clock(milliseconds) {
  const time = new Date(milliseconds);
  const date = time.toDateString() === new Date().toDateString() ? '' : `${time.toLocaleDateString()} `;
  return `${date}${time.toLocaleTimeString([], { hour12: false })}.${String(time.getMilliseconds()).padStart(3, '0')}`;
}
