// The loudness of a file over time, decoded by the browser; nothing where it cannot decode it.

const MOST_BYTES = 150e6; // the browser holds the file and all its samples
const COUNT = 2000;

/** Peaks in [0, 1], evenly over `seconds` of film, or null. */
export async function peaksOf(file, seconds) {
  if (file.size > MOST_BYTES) return null;
  const rate = 8000;
  try {
    const decoder = new OfflineAudioContext(1, 1, rate);
    const audio = await decoder.decodeAudioData(await file.arrayBuffer());
    const samples = audio.getChannelData(0);
    const step = Math.max(1, (seconds * rate) / COUNT);
    const peaks = new Float32Array(COUNT);
    for (let index = 0; index < COUNT; index += 1) {
      const last = Math.min(samples.length, Math.round((index + 1) * step));
      for (let place = Math.round(index * step); place < last; place += 1) {
        peaks[index] = Math.max(peaks[index], Math.abs(samples[place]));
      }
    }
    const most = peaks.reduce((a, b) => Math.max(a, b), 0);
    return most > 0 ? peaks.map((peak) => Math.min(1, peak / most)) : null;
  } catch {
    return null;
  }
}
