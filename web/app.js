/** The page's entry point: texts, tabs, the engine list, and the tabs Talk, Transcribe and Status. */

import { paint } from "./choices.js";
import { chooseDevices } from "./devices.js";
import { showEngines } from "./engines.js";
import { healthOf, untilStarted } from "./starting.js";
import { Transcribe } from "./jobs/transcribe.js";
import { SignIn } from "./sign-in.js";
import { Status } from "./status/status.js";
import { Talk } from "./talk.js";
import { showTabs } from "./tabs.js";
import { translate } from "./texts.js";
import { receiveShares } from "./recording/shared.js";
import { VoicePreview } from "./voice-preview.js";

paint();
translate(document);
showTabs();
const signIn = new SignIn();
const health = await untilStarted(() => signIn.key);
export const talk = new Talk(signIn);
export const transcribe = new Transcribe(signIn);
export const status = new Status(document.getElementById("status"), () => signIn.key);
const find = (id) => document.getElementById(id);
chooseDevices(find("choices"));
const preview = new VoicePreview(find("voice-play"), find("voice-trouble"), find("voice"), () => signIn.key);
receiveShares();
const engines = (health) =>
  showEngines(document.getElementById("engines"), signIn.key, health, (phrases, languages, { limits, spoken, speakers, fallbacks, records }) => {
    talk.setWakeWords(phrases);
    talk.setLanguages(languages, spoken);
    transcribe.limits = limits;
    preview.languages = spoken;
    talk.turns.fallbacks = fallbacks;
    transcribe.form.setSpeakers(speakers);
    talk.talks.history.askToRecord(records);
  });
for (const changed of [async () => engines(await healthOf(signIn.key)), () => status.look()]) signIn.addEventListener("change", changed);
engines(health);
