/**
 * Band-limited resampling of a stream: a windowed sinc for any ratio of rates. It runs in the audio thread on blocks of
 * 128 samples. Aliases and images are about 60 dB down, which is enough for speech.
 */

const ZERO_CROSSINGS = 16;
const STEPS = 256; // table entries between two zero crossings
/** Passband as a share of the narrower band; the rest is the filter's transition band. */
const PASSED = 0.92;

/** sinc(x) under a Hann window, x from 0 to ZERO_CROSSINGS. */
const KERNEL = Float32Array.from({ length: ZERO_CROSSINGS * STEPS + 2 }, (_, index) => {
  const x = index / STEPS;
  if (x >= ZERO_CROSSINGS) return 0;
  const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
  return sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / ZERO_CROSSINGS));
});

export class Resampler {
  /**
   * @param {number} from input rate in Hz
   * @param {number} to output rate in Hz
   */
  constructor(from, to) {
    this.same = from === to;
    this.step = from / to;
    this.scale = Math.min(1, to / from) * PASSED;
    this.half = Math.ceil(ZERO_CROSSINGS / this.scale);
    this.kept = new Float32Array(this.half + 1);
    /** Position of the next output sample in `kept`. */
    this.at = this.half + 1;
  }

  /**
   * Return the output samples that this input completes; the others follow with the next block.
   * @param {Float32Array} input
   * @returns {Float32Array}
   */
  process(input) {
    if (this.same) return Float32Array.from(input);
    const all = new Float32Array(this.kept.length + input.length);
    all.set(this.kept);
    all.set(input, this.kept.length);
    const count = Math.max(0, Math.ceil((all.length - this.half - 1 - this.at) / this.step));
    const output = new Float32Array(count);
    for (let index = 0; index < count; index++) {
      output[index] = this.sampleAt(all, this.at);
      this.at += this.step;
    }
    const drop = Math.max(0, Math.floor(this.at) - this.half - 1);
    this.kept = all.slice(drop);
    this.at -= drop;
    return output;
  }

  sampleAt(samples, at) {
    const { half, scale } = this;
    let sum = 0;
    const last = Math.floor(at + half);
    for (let index = Math.max(0, Math.ceil(at - half)); index <= last; index++) {
      const place = Math.abs(index - at) * scale * STEPS;
      const low = Math.floor(place);
      if (low >= KERNEL.length - 1) continue;
      sum += samples[index] * (KERNEL[low] + (place - low) * (KERNEL[low + 1] - KERNEL[low]));
    }
    return sum * scale;
  }
}
