/** The buttons beside a paragraph: edit and copy. */

import { element } from "../jobs/row.js";
import { text } from "../texts.js";

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
};

function tool(name, label, act) {
  const button = element("button", `tool ${name}`);
  button.type = "button";
  button.title = text(label);
  button.setAttribute("aria-label", text(label));
  const icon = document.createElementNS(SVG, "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  icon.append(path);
  button.append(icon);
  button.addEventListener("click", () => act(button));
  return button;
}

/** @param {(button: HTMLElement) => void} act */
export const editTool = (act) => tool("edit", "editParagraph", act);

/** @param {(button: HTMLElement) => void} act */
export const copyTool = (act) => {
  const made = tool("copy", "copyParagraph", act);
  made.hidden = !navigator.clipboard;
  return made;
};
