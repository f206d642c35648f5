// How a timeline is looked up and drawn: probabilities over time, hatched where unknown.

const COLOURS = ["#8a8f98", "#56b4e9", "#e6b800", "#2f6fb0", "#d55e00", "#8a63d2", "#1a9e77", "#cc79a7"];

export function colourOf(index) {
  return COLOURS[index] ?? `hsl(${(index * 137) % 360} 55% 55%)`;
}

/** The window that speaks for `seconds`: of those around it, the one whose middle is nearest. */
export function windowAt(windows, seconds) {
  let best = null;
  let least = Infinity;
  for (const window of windows) {
    const away = Math.abs((window.start + window.end) / 2 - seconds);
    const inside = seconds >= window.start - 1e-6 && seconds <= window.end + 1e-6;
    if (inside && away < least) {
      best = window;
      least = away;
    }
  }
  return best;
}

/** Index of the largest probability. */
export function largest(probabilities) {
  return probabilities.reduce((best, value, index) => (value > probabilities[best] ? index : best), 0);
}

/** "1:05.2" */
export function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  const rest = (seconds - 60 * minutes).toFixed(1);
  return `${minutes}:${rest.padStart(4, "0")}`;
}

/** What predicted a window, in words. */
export function basedOn(window) {
  if (!window) return "nothing yet";
  if (window.face && window.sound) return "face and sound";
  if (window.face) return "face";
  return window.sound ? "sound" : "neither face nor sound";
}

/** Draw `windows` from `begin` to `end` seconds, as stacked shares of the height. */
export function draw(canvas, windows, begin, end, classes) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * ratio));
  const height = Math.max(1, Math.round(canvas.clientHeight * ratio));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  hatch(context, width, height, ratio);
  if (!(end > begin)) return;
  const separator = Math.max(1, Math.round(ratio));
  let place = 0;
  const sorted = [...windows].sort((a, b) => a.start - b.start);
  for (let x = 0; x < width; x += 1) {
    const seconds = begin + ((x + 0.5) / width) * (end - begin);
    // Only windows that may reach this column are looked at: long films stay quick to draw.
    while (place < sorted.length && sorted[place].end < seconds) place += 1;
    let stop = place;
    while (stop < sorted.length && sorted[stop].start <= seconds) stop += 1;
    const found = windowAt(sorted.slice(place, stop), seconds);
    if (!found?.probabilities) continue;
    let bottom = height;
    for (let index = 0; index < classes; index += 1) {
      const tall = found.probabilities[index] * height;
      context.fillStyle = colourOf(index);
      context.fillRect(x, bottom - tall, 1, tall);
      bottom -= tall;
      // Neighbours differ by more than hue.
      context.fillStyle = "rgb(0 0 0 / 45%)";
      if (index < classes - 1 && tall > 2 * separator) context.fillRect(x, bottom, 1, separator);
    }
  }
}

function hatch(context, width, height, ratio) {
  const style = getComputedStyle(document.documentElement);
  context.fillStyle = style.getPropertyValue("--unknown");
  context.fillRect(0, 0, width, height);
  context.strokeStyle = style.getPropertyValue("--hatch");
  context.lineWidth = ratio;
  context.beginPath();
  for (let x = -height; x < width; x += 9 * ratio) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
}
