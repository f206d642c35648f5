// How a timeline is looked up and drawn: a lane an emotion, hatched where unknown, audio, ticks.

export const LANE = 26;
export const LEADER = 14;
export const WAVE = 36;
export const AXIS = 20;
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
const TICK_PIXELS = 64;

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

/** What a window was predicted from, in words. */
export function basedOn(window) {
  if (!window) return "nothing yet";
  if (window.face && window.sound) return "face and audio";
  if (window.face) return "face";
  return window.sound ? "audio" : "neither face nor audio";
}

/** The known windows, each with where it begins and ends to speak: from and to, seconds. */
export function stretches(windows) {
  const sorted = [...windows].sort((a, b) => a.start - b.start);
  const middle = (window) => (window.start + window.end) / 2;
  const border = (a, b) => (a.end <= b.start ? (a.end + b.start) / 2 : (middle(a) + middle(b)) / 2);
  const found = sorted.map((window, index) => {
    const before = sorted[index - 1];
    const after = sorted[index + 1];
    return {
      window,
      middle: middle(window),
      from: before ? Math.max(border(before, window), window.start) : window.start,
      to: after ? Math.min(border(window, after), window.end) : window.end,
    };
  });
  return found.filter((one) => one.window.probabilities);
}

/** What the top of a lane stands for: the largest probability, rounded up to tenths, at least 0.5. */
export function laneTop(windows) {
  const most = Math.max(0, ...windows.flatMap((window) => window.probabilities ?? []));
  return Math.min(1, Math.max(0.5, Math.ceil(10 * most) / 10));
}

/** Height of the chart in CSS pixels. */
export function chartHeight(lanes, hasWave) {
  return LEADER + lanes * LANE + (hasWave ? WAVE : 0) + AXIS;
}

/**
 * Draw from `begin` to `end` seconds. `look`: order (emotion indices from the top), colours (by
 * emotion), peaks (of the audio, evenly over the film, or null), now (seconds for "0 s ago" of the
 * webcam, or null).
 */
export function draw(canvas, windows, begin, end, look) {
  const ratio = globalThis.devicePixelRatio || 1;
  const width = Math.max(1, canvas.clientWidth);
  const height = Math.max(1, canvas.clientHeight);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const style = getComputedStyle(document.documentElement);
  const paint = { context, width, height, style };
  const lanesEnd = LEADER + look.order.length * LANE;
  hatch(paint, lanesEnd);
  if (!(end > begin)) return;
  const x = (seconds) => ((seconds - begin) / (end - begin)) * width;
  const runs = connected(stretches(windows));
  const top = laneTop(windows);
  for (const run of runs) drawLeaders(paint, run, x, look);
  look.order.forEach((emotion, lane) => {
    const foot = LEADER + (lane + 1) * LANE;
    for (const run of runs) drawLane(paint, run, x, foot, top, emotion, look.colours[emotion]);
    context.fillStyle = style.getPropertyValue("--line");
    context.fillRect(0, foot - 0.5, width, 1);
  });
  if (look.peaks) drawWave(paint, look.peaks, lanesEnd);
  drawTicks(paint, begin, end, x, look.now);
}

/** Stretches that touch, together. */
function connected(found) {
  const runs = [];
  for (const one of found) {
    const run = runs.at(-1);
    if (run && one.from - run.at(-1).to < 1e-3) run.push(one);
    else runs.push([one]);
  }
  return runs;
}

function drawLeaders({ context, style }, run, x, look) {
  for (const { window, from, to } of run) {
    context.fillStyle = look.colours[largest(window.probabilities)];
    context.fillRect(x(from), 0, x(to) - x(from) + 0.5, LEADER - 2);
  }
  // Covers the hatching beneath: here something is known.
  context.fillStyle = style.getPropertyValue("--sheet");
  const left = x(run[0].from);
  context.fillRect(left, LEADER - 2, x(run.at(-1).to) - left, look.order.length * LANE + 2);
}

function drawLane({ context }, run, x, foot, top, emotion, colour) {
  const y = (window) => foot - 2 - (window.probabilities[emotion] / top) * (LANE - 5);
  const line = [
    [x(run[0].from), y(run[0].window)],
    ...run.map((one) => [x(one.middle), y(one.window)]),
    [x(run.at(-1).to), y(run.at(-1).window)],
  ];
  context.fillStyle = colour;
  context.strokeStyle = colour;
  context.beginPath();
  context.moveTo(line[0][0], foot);
  for (const point of line) context.lineTo(...point);
  context.lineTo(line.at(-1)[0], foot);
  context.globalAlpha = 0.45;
  context.fill();
  context.globalAlpha = 1;
  context.beginPath();
  line.forEach((point, index) => (index ? context.lineTo(...point) : context.moveTo(...point)));
  context.lineWidth = 2;
  context.stroke();
}

function drawWave({ context, width, style }, peaks, top) {
  context.fillStyle = style.getPropertyValue("--ground");
  context.fillRect(0, top, width, WAVE);
  context.fillStyle = style.getPropertyValue("--quiet");
  for (let column = 0; column < width; column += 1) {
    const first = Math.floor((column / width) * peaks.length);
    const last = Math.max(first + 1, Math.floor(((column + 1) / width) * peaks.length));
    const tall = Math.max(1, Math.max(...peaks.slice(first, last)) * (WAVE - 6));
    context.fillRect(column, top + (WAVE - tall) / 2, 1, tall);
  }
}

function drawTicks({ context, width, height, style }, begin, end, x, now) {
  context.fillStyle = style.getPropertyValue("--sheet");
  context.fillRect(0, height - AXIS, width, AXIS);
  const fits = (step) => (step / (end - begin)) * width >= TICK_PIXELS;
  const step = STEPS.find(fits) ?? Math.ceil(((end - begin) * TICK_PIXELS) / width / 600) * 600;
  context.fillStyle = style.getPropertyValue("--quiet");
  context.font = "12px system-ui, sans-serif";
  const origin = now ?? 0;
  for (let k = Math.ceil((begin - origin) / step - 1e-6); k * step + origin <= end + 1e-6; k += 1) {
    const place = x(k * step + origin);
    context.fillRect(Math.min(place, width - 1), height - AXIS, 1, 5);
    const text = label(k * step, step, now !== null);
    const wide = context.measureText(text).width;
    const left = Math.max(4, Math.min(place - wide / 2, width - wide)); // right of the playhead
    context.fillText(text, left, height - 4);
  }
}

function label(seconds, step, ago) {
  if (ago) return seconds ? `${-seconds} s ago` : "now";
  const minutes = Math.floor(seconds / 60);
  const rest = seconds - 60 * minutes;
  return `${minutes}:${rest.toFixed(step < 1 ? 1 : 0).padStart(step < 1 ? 4 : 2, "0")}`;
}

function hatch({ context, width, style }, height) {
  context.fillStyle = style.getPropertyValue("--unknown");
  context.fillRect(0, 0, width, height);
  context.strokeStyle = style.getPropertyValue("--hatch");
  context.lineWidth = 1;
  context.beginPath();
  for (let x = -height; x < width; x += 9) {
    context.moveTo(x, height);
    context.lineTo(x + height, 0);
  }
  context.stroke();
}
