/** Checks a file before it is uploaded: by its size, and by its type where that is plain. In doubt the service decides. */

import { text } from "../texts.js";
import { size } from "./formats.js";
import { ServiceError } from "./service.js";

/** Types that the service never accepts as a recording: pictures, documents, programs, and lists of other files. */
const OTHERS =
  /^(image|font|model)\/|^text\/(plain|html|css|csv|markdown|vtt|calendar|javascript|xml)$|^application\/(pdf|rtf|json|xml|msword|epub\+zip|x-msdownload|x-executable|java-archive|vnd\.(ms-(?!asf)|openxmlformats-|oasis\.|apple\.mpegurl)|x-mpegurl)|^audio\/(x-)?(mpegurl|scpls)$/;

/**
 * @param {File} file
 * @param {{file_bytes?: number}} limits of the service; empty: unknown
 * @returns {ServiceError | null} the reason why the service would refuse it, in the page's language
 */
export function refusalOf(file, { file_bytes: most = Infinity }) {
  if (!file.size) return new ServiceError("refused", text("fileEmpty"));
  if (OTHERS.test(file.type)) return new ServiceError("refused", text("fileOther"));
  if (file.size > most) return new ServiceError("refused", text("fileTooLarge", { size: size(file.size), most: size(most) }));
  return null;
}
