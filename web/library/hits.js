/** Search in all transcripts: below the list, the places where the words are said. A click opens the job there. */

import { text } from "../texts.js";
import { clock } from "../jobs/formats.js";
import { element } from "../jobs/row.js";

export class SearchHits {
  /**
   * @param {HTMLElement} box @param {import("../jobs/service.js").Service} service
   * @param {object} told callbacks
   * @param {(id: string, seconds: number) => void} told.opened
   * @param {(error: Error) => void} told.trouble
   */
  constructor(box, service, told) {
    this.box = box;
    this.service = service;
    this.told = told;
    this.query = "";
    this.cursor = null;
    this.list = box.querySelector("ul");
    this.none = box.querySelector("p");
    this.part = box.querySelector(".part");
    this.more = box.querySelector("button");
    this.more.addEventListener("click", () => this.load());
  }

  /** @param {string} query "" closes the list */
  async find(query) {
    if (query === this.query) return;
    this.query = query;
    this.cursor = null;
    this.list.replaceChildren();
    this.none.hidden = this.more.hidden = this.part.hidden = true;
    this.box.hidden = !query;
    if (query) await this.load();
  }

  /** @private */
  async load() {
    const { query, cursor } = this;
    try {
      const words = new URLSearchParams({ q: query, ...(cursor && { cursor }) });
      const { items, next_cursor: next, indexed } = await this.service.json(`library/search?${words}`);
      if (query !== this.query) return; // the user has typed on
      this.list.append(...items.map((item) => this.hit(item)));
      this.cursor = next;
      this.more.hidden = !next;
      this.part.hidden = indexed === null;
      if (indexed !== null) this.part.textContent = text("searchPart", { percent: Math.floor(indexed) });
      this.none.hidden = Boolean(next || this.list.children.length);
    } catch (error) {
      if (query === this.query) this.told.trouble(error);
    }
  }

  /** @private */
  hit({ job, snippets }) {
    const item = element("li", "hit");
    item.append(element("p", "name", job.filename), ...snippets.map((snippet) => this.snippet(job, snippet)));
    return item;
  }

  /** @private */
  snippet({ job_id: id, filename }, { start, text: words, marks }) {
    const button = element("button", "snippet");
    button.type = "button";
    const said = element("span");
    const points = [...words]; // marks count Unicode code points
    let at = 0;
    for (const [from, to] of marks) {
      said.append(points.slice(at, from).join(""), element("mark", "", points.slice(from, to).join("")));
      at = to;
    }
    said.append(points.slice(at).join(""));
    button.append(element("span", "time", clock(start)), said);
    button.addEventListener("click", () => this.told.opened(id, start));
    return button;
  }
}
