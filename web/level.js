/** Loudness, as meters show it. */

/** A meter is empty at an RMS of −60 dB and full at −10 dB. */
const QUIET_DB = -60;
const LOUD_DB = -10;

/** @param {number} rms 0 to 1 @returns {number} share of the meter, 0 to 1 */
export function shareOf(rms) {
  const db = 20 * Math.log10(Math.max(rms, 1e-6));
  return Math.max(0, Math.min(1, (db - QUIET_DB) / (LOUD_DB - QUIET_DB)));
}

/** @param {Float32Array} samples @returns {number} share of the meter, 0 to 1 */
export const levelOf = (samples) =>
  shareOf(Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length));
