/** Search in a transcript: marks all matches and shows them one by one. Ignores accents and case. */

import { text } from "../texts.js";

/** At most this many matches are marked. */
const MOST = 1000;
const marks = globalThis.CSS?.highlights;

/** @param {string} unit one UTF-16 unit; positions in the folded text equal those in the text */
function fold(unit) {
  const plain = unit.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  return plain.length === 1 ? plain : unit;
}
const folded = (words) => [...words].map((point) => (point.length === 1 ? fold(point) : point)).join("");

export class TranscriptSearch {
  /** @param {HTMLElement} form @param {HTMLElement} box the searched element */
  constructor(form, box) {
    this.form = form;
    this.box = box;
    this.count = form.querySelector("output");
    this.input = form.querySelector("input");
    /** @type {Range[]} */
    this.found = [];
    this.at = -1;
    this.input.addEventListener("input", () => this.search());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.go(1);
    });
    form.querySelector(".previous").addEventListener("click", () => this.go(-1));
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.shiftKey) {
        event.preventDefault();
        this.go(-1);
      }
    });
  }

  /** Start over with another transcript. */
  reset() {
    this.nodes = null;
    this.input.value = "";
    this.search();
  }

  /** The transcript was edited: the next search reads it again. */
  forget() {
    this.nodes = null;
    this.found = [];
    this.count.textContent = "";
    marks?.delete("found");
    marks?.delete("found-now");
  }

  /** @private */
  search() {
    const wanted = folded(this.input.value.trim());
    this.found = wanted ? this.places(wanted) : [];
    this.at = -1;
    marks?.set("found", new Highlight(...this.found));
    marks?.delete("found-now");
    if (this.found.length) this.go(1);
    else this.count.textContent = wanted ? text("findNone") : "";
  }

  /** @private */
  places(wanted) {
    const { nodes, starts, all } = this.read();
    const found = [];
    let node = 0;
    for (let at = all.indexOf(wanted); at >= 0 && found.length < MOST; at = all.indexOf(wanted, at + wanted.length)) {
      const range = new Range();
      while (starts[node + 1] <= at) node++;
      range.setStart(nodes[node], at - starts[node]);
      const end = at + wanted.length;
      let last = node;
      while (starts[last + 1] < end) last++;
      range.setEnd(nodes[last], end - starts[last]);
      found.push(range);
    }
    return found;
  }

  /** The folded text of all paragraphs, and the position of each text node in it. @private */
  read() {
    if (this.nodes) return this.nodes;
    const nodes = [];
    const starts = [];
    let all = "";
    for (const paragraph of this.box.querySelectorAll(".paragraph p")) {
      const walker = document.createTreeWalker(paragraph, NodeFilter.SHOW_TEXT);
      while (walker.nextNode()) {
        nodes.push(walker.currentNode);
        starts.push(all.length);
        all += folded(walker.currentNode.data);
      }
      // A match must not span paragraphs: this character is in no text.
      nodes.push(document.createTextNode("\n"));
      starts.push(all.length);
      all += "\n";
    }
    return (this.nodes = { nodes, starts, all });
  }

  /** @private */
  go(step) {
    if (!this.nodes && this.input.value) return this.search();
    if (!this.found.length) return;
    this.at = (this.at + step + this.found.length) % this.found.length;
    const range = this.found[this.at];
    if (marks) marks.set("found-now", new Highlight(range));
    else {
      getSelection().removeAllRanges();
      getSelection().addRange(range);
    }
    range.startContainer.parentElement.scrollIntoView({ block: "center" });
    this.count.textContent = text("findCount", { at: this.at + 1, count: this.found.length });
  }
}
