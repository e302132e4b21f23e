/** Formats seconds, sizes and times for the page. */

import { number } from "../texts.js";

/** 3723.4 → 1:02:03 */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const pad = (value) => String(value).padStart(2, "0");
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

/** 1536000 → 1.5 MB */
export function size(bytes) {
  const mb = bytes / 2 ** 20;
  return mb >= 1 ? `${number(mb, mb < 10 ? 1 : 0)} MB` : `${number(Math.max(1, bytes / 1024), 0)} KB`;
}

/** Today's times as a time, others as a date. */
export function moment(iso) {
  const at = new Date(iso);
  const today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium" });
}
