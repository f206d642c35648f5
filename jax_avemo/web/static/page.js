// What the page does: a file goes to the server and comes back as a timeline, or the webcam runs.

import { Estimate, part } from "./estimate.js";
import { Live } from "./live.js";
import { clock, draw, judgedBy, windowAt } from "./timeline.js";

const LIVE_SHOWN_SECONDS = 30;
const get = (id) => document.getElementById(id);
const video = get("video");
const slider = get("slider");

let about = null;
let estimate = null;
let live = null;
let upload = null;
let windows = [];
let tracks = [];
let duration = 0;
let position = 0;
let playable = true;
let fileAddress = null;

function say(text) {
  get("status").textContent = text;
}

function complain(text) {
  get("error").textContent = text ?? "";
  get("error").hidden = !text;
}

async function begin() {
  try {
    about = await (await fetch("/api/about")).json();
  } catch {
    complain("The server can't be reached: is avemo serve still running?");
    return;
  }
  get("model").textContent = about.model;
  get("limits").textContent = `, up to ${about.limits.megabytes} MB and ${clockless(about.limits.seconds)}`;
  get("warning").textContent = about.warning;
  get("warning").hidden = !about.warning;
  estimate = new Estimate(about.emotions);
}

function clockless(seconds) {
  return seconds >= 120 ? `${Math.round(seconds / 60)} minutes` : `${seconds} seconds`;
}

// --- a file

async function analyse(file) {
  if (!about || !file) return;
  stopLive();
  upload?.abort();
  complain(null);
  if (file.size > about.limits.megabytes * 1e6) {
    complain(`${file.name} has ${Math.round(file.size / 1e6)} MB; the limit is ${about.limits.megabytes} MB.`);
    return;
  }
  const own = new AbortController();
  upload = own;
  show(file);
  say(`Analysing ${file.name}…`);
  get("working").hidden = false;
  get("progress").removeAttribute("value");
  try {
    const response = await fetch("/api/predict", { method: "POST", body: file, signal: own.signal });
    if (!response.ok) throw new Error((await response.json()).error);
    let finished = false;
    for await (const event of lines(response.body)) {
      if (event.error) throw new Error(event.error);
      take(event);
      finished ||= event.done === true;
    }
    if (!finished) throw new Error("The connection ended before the analysis did.");
    say(summary(file.name));
  } catch (error) {
    if (upload !== own) return;
    say(own.signal.aborted ? "Cancelled." : "");
    if (!own.signal.aborted) complain(error.message || "The server did not answer.");
  } finally {
    if (upload === own) {
      get("working").hidden = true;
      upload = null;
    }
  }
}

async function* lines(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const line of parts) if (line) yield JSON.parse(line);
  }
}

/** One line of the server's answer: how far it is, and the timelines as far as they are. */
function take(event) {
  if (event.progress !== undefined) get("progress").value = event.progress;
  if (event.duration !== undefined) setDuration(event.duration);
  if (event.tracks) {
    tracks = event.tracks;
    listTracks();
    choose(get("face").value);
  }
  if (event.done) {
    fillTable();
    const link = get("save");
    if (link.href.startsWith("blob:")) URL.revokeObjectURL(link.href);
    const result = new Blob([JSON.stringify(event.result, null, 2)], { type: "application/json" });
    link.href = URL.createObjectURL(result);
    link.hidden = false;
  }
}

function show(file) {
  if (fileAddress) URL.revokeObjectURL(fileAddress);
  fileAddress = URL.createObjectURL(file);
  playable = true;
  get("unplayable").hidden = true;
  get("viewer").hidden = false;
  get("save").hidden = true;
  get("table-part").hidden = false;
  get("timeline-help").hidden = false;
  get("delay").hidden = true;
  document.querySelector(".screen").classList.remove("mirrored");
  video.hidden = false;
  video.controls = true;
  video.muted = false;
  video.src = fileAddress;
  slider.removeAttribute("aria-disabled");
  get("timeline-title").textContent = "Timeline";
  tracks = [];
  windows = [];
  get("rows").replaceChildren();
  get("faces").hidden = true;
  setDuration(0);
  seek(0);
}

function summary(name) {
  const notes = tracks.length > 1 ? ` ${tracks.length} people were found.` : "";
  return `${name}: the timeline is complete.${notes}`;
}

function listTracks() {
  const select = get("face");
  const chosen = select.value;
  select.replaceChildren(
    ...tracks.map((track) => {
      const option = part("option", "", track.name);
      option.value = track.name;
      return option;
    }),
  );
  if (tracks.some((track) => track.name === chosen)) select.value = chosen;
  get("faces").hidden = tracks.length < 2;
}

function choose(name) {
  windows = (tracks.find((track) => track.name === name) ?? tracks[0])?.windows ?? [];
  redraw();
  moved();
}

function fillTable() {
  get("rows").replaceChildren(
    ...windows.map((window) => {
      const row = part("tr");
      const time = part("th");
      time.scope = "row";
      const jump = part("button", "", `${clock(window.start)} to ${clock(window.end)}`);
      jump.type = "button";
      jump.addEventListener("click", () => seek((window.start + window.end) / 2));
      time.append(jump);
      const [name, share] = estimate.words(window).split(", ");
      row.append(time, part("td", "", name), part("td", "", share ?? ""), part("td", "", judgedBy(window)));
      return row;
    }),
  );
}

// --- the timeline

function setDuration(seconds) {
  duration = seconds;
  slider.setAttribute("aria-valuemax", seconds.toFixed(1));
  get("length").textContent = clock(seconds);
  redraw();
}

function seek(seconds) {
  position = Math.max(0, Math.min(duration, seconds));
  if (playable && video.readyState > 0) video.currentTime = position;
  moved();
}

/** The playback stands elsewhere: head, bars, and what a screen reader hears of the slider. */
function moved() {
  const found = windowAt(windows, position);
  get("head").style.left = duration ? `${(100 * position) / duration}%` : "0";
  estimate?.show(windows.length ? found : null, false);
  slider.setAttribute("aria-valuenow", position.toFixed(1));
  slider.setAttribute("aria-valuetext", `${clock(position)}, seems ${estimate?.words(found) ?? "unknown"}`);
  showBox(found?.box);
}

function showBox(box) {
  const frame = get("box");
  frame.hidden = !box || !video.videoWidth || video.hidden;
  if (frame.hidden) return;
  // The picture is fitted into the element: black bars above and below, or beside.
  const scale = Math.min(video.clientWidth / video.videoWidth, video.clientHeight / video.videoHeight);
  const left = video.offsetLeft + (video.clientWidth - scale * video.videoWidth) / 2;
  const top = video.offsetTop + (video.clientHeight - scale * video.videoHeight) / 2;
  const [x0, y0, x1, y1] = box;
  frame.style.left = `${left + x0 * video.videoWidth * scale}px`;
  frame.style.top = `${top + y0 * video.videoHeight * scale}px`;
  frame.style.width = `${(x1 - x0) * video.videoWidth * scale}px`;
  frame.style.height = `${(y1 - y0) * video.videoHeight * scale}px`;
}

function redraw() {
  if (!about) return;
  if (live) {
    const end = Math.max(duration, LIVE_SHOWN_SECONDS);
    draw(get("chart"), windows, end - LIVE_SHOWN_SECONDS, end, about.emotions.length);
  } else {
    draw(get("chart"), windows, 0, duration, about.emotions.length);
  }
}

function follow() {
  if (!live && !video.paused && playable) {
    position = video.currentTime;
    moved();
  }
  requestAnimationFrame(follow);
}

function fromPointer(event) {
  const edges = slider.getBoundingClientRect();
  seek((duration * (event.clientX - edges.left)) / edges.width);
}

const KEYS = {
  ArrowRight: () => seek(position + 1),
  ArrowUp: () => seek(position + 1),
  ArrowLeft: () => seek(position - 1),
  ArrowDown: () => seek(position - 1),
  PageUp: () => seek(position + 10),
  PageDown: () => seek(position - 10),
  Home: () => seek(0),
  End: () => seek(duration),
  " ": () => (video.paused ? video.play() : video.pause()),
};

slider.addEventListener("keydown", (event) => {
  const act = KEYS[event.key];
  if (!act || live) return;
  event.preventDefault();
  act();
});
slider.addEventListener("pointerdown", (event) => {
  if (live) return;
  slider.setPointerCapture(event.pointerId);
  fromPointer(event);
});
slider.addEventListener("pointermove", (event) => {
  if (!live && event.buttons) fromPointer(event);
});
for (const kind of ["seeked", "timeupdate", "pause", "loadedmetadata"]) {
  video.addEventListener(kind, () => {
    if (live || !playable) return;
    position = video.currentTime;
    moved();
  });
}
video.addEventListener("error", () => {
  if (live || !video.getAttribute("src")) return;
  playable = false;
  video.hidden = true;
  get("unplayable").hidden = false;
});
new ResizeObserver(() => {
  redraw();
  moved();
}).observe(slider);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

// --- the webcam

async function startLive() {
  if (!about) return;
  upload?.abort();
  complain(null);
  video.removeAttribute("src");
  video.load();
  video.hidden = false;
  video.controls = false;
  get("unplayable").hidden = true;
  get("viewer").hidden = false;
  get("save").hidden = true;
  get("table-part").hidden = true;
  get("timeline-help").hidden = true;
  get("faces").hidden = true;
  document.querySelector(".screen").classList.add("mirrored");
  slider.setAttribute("aria-disabled", "true");
  get("timeline-title").textContent = `The last ${LIVE_SHOWN_SECONDS} seconds`;
  get("box").hidden = true;
  windows = [];
  tracks = [];
  estimate.show(null, false);
  say("Asking for the webcam…");
  const began = performance.now() / 1000;
  live = new Live(
    about,
    video,
    (window, delay) => {
      complain(null);
      duration = performance.now() / 1000 - began;
      const before = windows.at(-1)?.end ?? duration - 0.5;
      windows.push({ ...window, start: Math.max(before, duration - 2), end: duration });
      windows = windows.filter((old) => old.end > duration - LIVE_SHOWN_SECONDS - 2);
      estimate.show(window, true);
      get("delay").hidden = false;
      get("delay").textContent =
        `${delay.toFixed(1)} s behind, from the last ${window.seconds.toFixed(1)} s; judged by ${judgedBy(window)}`;
      redraw();
    },
    complain,
  );
  get("head").style.left = "100%";
  try {
    await live.start();
    get("webcam").textContent = "Stop the webcam";
    get("webcam").setAttribute("aria-pressed", "true");
    get("length").textContent = "now";
    say(live.hasPicture ? "The webcam runs." : "Only the microphone runs.");
  } catch (error) {
    stopLive();
    complain(error.message);
    get("viewer").hidden = true;
    say("");
  }
}

function stopLive() {
  if (!live) return;
  live.stop();
  live = null;
  get("webcam").textContent = "Start the webcam";
  get("webcam").setAttribute("aria-pressed", "false");
  say("The webcam is off.");
}

// --- what the user does

get("file").addEventListener("change", (event) => {
  analyse(event.target.files[0]);
  event.target.value = "";
});
get("cancel").addEventListener("click", () => upload?.abort());
get("webcam").addEventListener("click", () => (live ? stopLive() : startLive()));
get("face").addEventListener("change", (event) => {
  choose(event.target.value);
  fillTable();
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    get("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") analyse(event.dataTransfer.files[0]);
  });
}

begin();
follow();
