/** The page: its words, its tabs, what the service runs on; Talk, and Transcribe. */

import { showEngines } from "./engines.js";
import { Transcribe } from "./jobs/transcribe.js";
import { Talk } from "./talk.js";
import { showTabs } from "./tabs.js";
import { translate } from "./texts.js";

translate(document);
showTabs();
export const talk = new Talk();
export const transcribe = new Transcribe(() => talk.choices.key);
const engines = () => showEngines(document.getElementById("engines"), talk.choices.key);
document.getElementById("key").addEventListener("change", engines);
await engines();
