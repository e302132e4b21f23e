/** How long the service keeps jobs, the caller's tags, and what the language model can write: one request for the page. */

import { text } from "../texts.js";

const HOUR_MS = 3_600_000;

/** @type {{tags: Record<string, number>, keep_hours: number | null, delete_audio_after: number | null, language_model: boolean, prompts: Record<string, string>}} */
let known = { tags: {}, keep_hours: null, delete_audio_after: null, language_model: false, prompts: {} };

/** @param {import("../jobs/service.js").Service} service */
export async function loadLibrary(service) {
  known = await service.json("library");
  return known;
}

export const library = () => known;

/** When the service will delete a job: "deleted in 6 days"; "" for never. */
export function deletion({ finished_at: finished, pinned }) {
  if (!known.keep_hours || pinned || !finished) return "";
  return text("deletedIn", { time: until(Date.parse(finished) + known.keep_hours * HOUR_MS) });
}

/** When the service will delete a job's recording, or that it has; "" for never, or if the job is deleted before. */
export function audioDeletion({ status, finished_at: finished, pinned, size }) {
  if (status === "completed" && !size) return text("soundDeleted");
  const { delete_audio_after: hours, keep_hours: kept } = known;
  if (!hours || pinned || !finished || !size || (kept && kept <= hours)) return "";
  return text("soundDeletedIn", { time: until(Date.parse(finished) + hours * HOUR_MS) });
}

/** @param {number} at in ms since 1970 */
function until(at) {
  const hours = Math.max(1, Math.ceil((at - Date.now()) / HOUR_MS));
  return hours < 48 ? text("inHours", { count: hours }) : text("inDays", { count: Math.round(hours / 24) });
}
