import { defineConfig } from "@trigger.dev/sdk";

/** Wants TRIGGER_PROJECT_ID where it is deployed from; MODAL_* and WEBHOOK_SECRET in the project's environment. */
export default defineConfig({
  project: process.env.TRIGGER_PROJECT_ID ?? "",
  dirs: ["./src"],
  maxDuration: 300,
});
