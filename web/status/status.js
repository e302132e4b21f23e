/** The Status tab: shows /status, and requests it again while the tab is visible. */

import { number, text } from "../texts.js";
import { describe, middle, turnChart, waited } from "./chart.js";

const EVERY_MS = 3000;
const OUTCOMES = ["completed", "interrupted", "failed"];

export class Status {
  /** @param {HTMLElement} section @param {() => string} key the access key, "" for none */
  constructor(section, key) {
    this.section = section;
    this.key = key;
    this.box = section.querySelector(".status");
    this.says = section.querySelector(".status-says");
    this.open = new Set();
    this.turns = [];
    new ResizeObserver(() => this.resize()).observe(this.box);
    for (const happens of ["hashchange", "visibilitychange"]) {
      (happens === "hashchange" ? window : document).addEventListener(happens, () => this.look());
    }
    this.look();
  }

  get seen() {
    return !this.section.hidden && document.visibilityState === "visible";
  }

  /** Request and show the status, again and again while visible. Call this also when the key changes. */
  async look() {
    clearTimeout(this.timer);
    if (!this.seen || this.asking) return;
    this.asking = true;
    let again = true;
    try {
      const key = this.key();
      const headers = key ? { Authorization: `Bearer ${key}` } : {};
      const answer = await fetch(new URL("status", document.baseURI), { cache: "no-store", headers });
      if (answer.ok) this.show(await answer.json());
      else this.say(text({ 401: key ? "trouble_key" : "trouble_key_needed", 403: "statusForbidden" }[answer.status] ?? "statusAway"));
      again = ![401, 403].includes(answer.status); // wait for another key
    } catch {
      this.say(text("statusAway"));
    }
    this.asking = false;
    if (again && this.seen) this.timer = setTimeout(() => this.look(), EVERY_MS);
  }

  /** @private Width of the chart in CSS pixels. */
  get across() {
    return Math.max(240, this.box.clientWidth);
  }

  /** @private Draw the chart again in another width, so that its text keeps its size. */
  resize() {
    const chart = this.box.querySelector(".chart");
    if (chart && chart.viewBox.baseVal.width !== this.across) chart.replaceWith(turnChart(this.turns, this.across));
  }

  /** @private */
  say(words) {
    if (this.says.textContent !== words) this.says.textContent = words;
    this.says.hidden = !words;
  }

  /** @private */
  show(status) {
    this.say(status.status === "draining" ? text("statusDraining") : "");
    for (const details of this.box.querySelectorAll("details")) {
      this.open[details.open ? "add" : "delete"](details.className);
    }
    this.turns = status.turns;
    const focused = this.box.contains(document.activeElement) && document.activeElement.closest("details")?.className;
    this.box.replaceChildren(figures(status), turns(status.turns, this.across), engines(status.engines), machine(status));
    for (const details of this.box.querySelectorAll("details")) {
      details.open = this.open.has(details.className);
      if (focused === details.className) details.querySelector("summary").focus();
    }
  }
}

function figures({ sessions, recordings, jobs, turns, started, now }) {
  const times = turns.map(waited).filter((ms) => ms !== undefined).sort((a, b) => a - b);
  const list = element("dl", "figures");
  const add = (name, value, more = "") => {
    const figure = element("div");
    figure.append(element("dt", "", text(name)), element("dd", "", value), ...(more ? [element("dd", "more", more)] : []));
    list.append(figure);
  };
  const of = ({ open, most }) => text("ofMost", { open: number(open, 0), most: number(most, 0) });
  add("figure_sessions", number(sessions.open, 0), of(sessions));
  add("figure_answered", times.length ? `${number(middle(times) / 1000, 2)} s` : "–", text("figure_answeredMore"));
  add("figure_jobs", jobs ? number(jobs.queued + jobs.running, 0) : "–", jobs ? jobWords(jobs) : text("jobsUnknown"));
  add("figure_recordings", number(recordings.open, 0), of(recordings));
  add("figure_up", duration(now - started), new Date(started * 1000).toLocaleString());
  return list;
}

const jobWords = ({ queued, running, failed }) =>
  text("jobWords", { queued: number(queued, 0), running: number(running, 0), failed: number(failed, 0) });

function turns(list, across) {
  const part = section("figure_turns");
  if (!list.length) {
    part.append(element("p", "none", text("noTurns")));
    return part;
  }
  const legend = element("ul", "legend");
  for (const outcome of OUTCOMES) {
    const entry = element("li", "", text(`outcome_${outcome}`));
    entry.dataset.outcome = outcome;
    legend.append(entry);
  }
  const table = element("details", "turn-table");
  const rows = element("ol");
  rows.append(...[...list].reverse().map((turn) => element("li", "", describe(turn))));
  table.append(element("summary", "", text("asList")), rows);
  part.append(turnChart(list, across), legend, table);
  return part;
}

function engines(list) {
  const part = section("engines");
  const table = element("table");
  const head = element("tr");
  for (const name of ["engine_stage", "engine_name", "engine_device", "engine_load"]) {
    const cell = element("th", "", text(name));
    cell.scope = "col";
    head.append(cell);
  }
  table.append(element("thead"), element("tbody"));
  table.tHead.append(head);
  for (const { stage, engine, model, device, source, licence, load, notes } of list) {
    const row = element("tr");
    const name = element("th", "", text(`engine_${stage}`));
    name.scope = "row";
    const what = element("td");
    what.append(...breakable([engine, model, source, licence].filter(Boolean).join(" · ")));
    for (const note of notes) {
      const line = element("small");
      line.append(...breakable(note));
      what.append(line);
    }
    row.append(name, what, element("td", "", device), element("td", "", load ? loadWords(load) : "–"));
    table.tBodies[0].append(row);
  }
  part.append(table);
  return part;
}

/** The text, in which only paths and other long names may be broken within a word. */
const breakable = (words) =>
  words.split(/(\S{20,})/).map((part) => (/^\S{20,}$/.test(part) ? element("span", "long-name", part) : part));

const loadWords = ({ running, waiting, loaded, replicas, restarts }) =>
  text("loadWords", {
    running: number(running, 0),
    waiting: number(waiting, 0),
    loaded: number(loaded, 0),
    replicas: number(replicas, 0),
    restarts: number(restarts, 0),
  });

function machine({ hardware }) {
  const part = section("machine");
  const gigabytes = (mb) => `${number(mb / 1024, 0)} GB`;
  const lines = [
    hardware.cpu,
    text("coresAndMemory", { cores: number(hardware.cores, 0), memory: gigabytes(hardware.memory_mb) }),
    ...hardware.gpus.map(({ name, memory_mb: mb }) => `${name}, ${gigabytes(mb)}`),
  ];
  part.append(...lines.map((line) => element("p", "", line)));
  return part;
}

function section(name) {
  const part = element("section");
  part.append(element("h2", "", text(name)));
  return part;
}

/** A time in seconds, in its two largest units. */
function duration(seconds) {
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ];
  const first = Math.min(parts.findIndex(([value]) => value > 0) >>> 0, 3);
  return parts.slice(first, first + 2).map(([value, unit]) => `${number(value, 0)} ${unit}`).join(" ");
}

function element(tag, name = "", content = "") {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (content) made.textContent = content;
  return made;
}
