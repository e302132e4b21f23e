/** The page's entry point: texts, tabs, the engine list, and the tabs Talk, Transcribe and Status. */

import { chooseDevices } from "./devices.js";
import { showEngines } from "./engines.js";
import { untilStarted } from "./starting.js";
import { Transcribe } from "./jobs/transcribe.js";
import { Status } from "./status/status.js";
import { Talk } from "./talk.js";
import { showTabs } from "./tabs.js";
import { translate } from "./texts.js";
import { receiveShares } from "./recording/shared.js";
import { VoicePreview } from "./voice-preview.js";

translate(document);
showTabs();
await untilStarted();
export const talk = new Talk();
export const transcribe = new Transcribe(() => talk.choices.key);
export const status = new Status(document.getElementById("status"), () => talk.choices.key);
const find = (id) => document.getElementById(id);
chooseDevices(find("choices"));
const preview = new VoicePreview(find("voice-play"), find("voice-trouble"), find("voice"), () => talk.choices.key);
receiveShares();
const engines = () =>
  showEngines(document.getElementById("engines"), talk.choices.key, (phrases, languages, { limits, spoken, speakers, fallbacks }) => {
    talk.setWakeWords(phrases);
    talk.setLanguages(languages, spoken);
    transcribe.limits = limits;
    preview.languages = spoken;
    talk.turns.fallbacks = fallbacks;
    transcribe.form.setSpeakers(speakers);
  });
for (const changed of [engines, () => status.look()]) document.getElementById("key").addEventListener("change", changed);
await engines();
