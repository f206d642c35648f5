// What the page does: a file goes to the server and comes back as a timeline, or the webcam runs.

import { Estimate, part } from "./estimate.js";
import { Live } from "./live.js";
import { Player } from "./player.js";
import { basedOn, clock } from "./timeline.js";
import { peaksOf } from "./waveform.js";

const get = (id) => document.getElementById(id);

let about = null;
let player = null;
let live = null;
let upload = null;
let tracks = [];
let address = null;

const SAVED = {
  json: ["JSON", "json"],
  csv: ["CSV", "csv"],
  vtt: ["subtitles (WebVTT)", "vtt"],
  eaf: ["ELAN", "eaf"],
  TextGrid: ["Praat (TextGrid)", "TextGrid"],
  labelstudio: ["Label Studio", "labelstudio.json"],
};

function say(text) {
  get("status").textContent = text;
}

function complain(text) {
  get("error").textContent = text ?? "";
  get("error").hidden = !text;
  if (text) get("error").scrollIntoView({ block: "center" });
}

/** A file was refused: why stands in view, and no viewer without a film. */
function refuse(text) {
  player.close();
  say("");
  complain(text);
}

async function begin() {
  try {
    about = await (await fetch("/api/about")).json();
  } catch {
    complain("The server can't be reached: is avemo serve still running?");
    return;
  }
  get("model").textContent = about.model;
  const { megabytes, seconds } = about.limits;
  const long = seconds >= 120 ? `${Math.round(seconds / 60)} minutes` : `${seconds} seconds`;
  get("limits").textContent = `, up to ${megabytes} MB and ${long}`;
  get("warning").textContent = about.warning;
  get("warning").hidden = !about.warning;
  get("chance").textContent = `Guessing gives ${Math.round(100 / about.emotions.length)} % each.`;
  player = new Player(new Estimate(about));
  document.body.dataset.ready = "yes";
}

// --- a file

async function analyse(file) {
  if (!about || !file) return;
  stopLive();
  upload?.abort();
  complain(null);
  if (file.size > about.limits.megabytes * 1e6) {
    const size = Math.round(file.size / 1e6);
    refuse(`${file.name} has ${size} MB; the limit is ${about.limits.megabytes} MB.`);
    return;
  }
  const own = new AbortController();
  upload = own;
  open(file);
  say(`Analysing ${file.name}…`);
  get("working").hidden = false;
  get("progress").removeAttribute("value");
  try {
    const query = new URLSearchParams({ name: file.name });
    const asked = { method: "POST", body: file, signal: own.signal };
    const response = await fetch(`/api/predict?${query}`, asked);
    if (!response.ok) throw new Error((await response.json()).error);
    let finished = false;
    for await (const event of lines(response.body)) {
      if (event.error) throw new Error(event.error);
      if (upload !== own) return;
      take(event, file);
      finished ||= event.done === true;
    }
    if (!finished) throw new Error("The connection ended before the analysis did.");
  } catch (error) {
    if (upload !== own) return;
    if (own.signal.aborted) {
      player.close();
      say("Cancelled.");
    } else {
      refuse(`${file.name}: ${error.message || "no answer"}`);
    }
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

function open(file) {
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(file);
  tracks = [];
  for (const id of ["saves", "faces", "table-part"]) get(id).hidden = true;
  get("timeline-help").hidden = false;
  get("rows").replaceChildren();
  player.openFilm(address, file.type.startsWith("image/"));
}

/** One line of the server's answer: how far it is, at last the timelines. */
function take(event, file) {
  if (event.progress !== undefined) get("progress").value = event.progress;
  if (event.duration !== undefined) player.setDuration(event.duration);
  if (!event.done) return;
  tracks = event.tracks;
  const options = tracks.map((track) => part("option", "", track.name));
  get("face").replaceChildren(...options);
  get("faces").hidden = tracks.length < 2;
  get("table-part").hidden = false;
  const known = (track) => track.windows.filter((window) => window.probabilities).length;
  const longest = tracks.reduce((best, track) => (known(track) > known(best) ? track : best));
  get("face").value = longest.name;
  choose(longest.name);
  offer(event, file.name);
  const notes = event.notes.map((note) => ` ${note[0].toUpperCase()}${note.slice(1)}.`);
  say(`${file.name}: the timeline is complete.${notes.join("")}`);
  const shown = address;
  peaksOf(file, event.duration).then((peaks) => address === shown && player.showWave(peaks));
}

function choose(name) {
  const track = tracks.find((one) => one.name === name) ?? tracks[0];
  player.show(tracks, track);
  get("rows").replaceChildren(...track.windows.map(row));
}

function row(window) {
  const line = part("tr");
  const time = part("th");
  time.scope = "row";
  const jump = part("button", "", `${clock(window.start)} to ${clock(window.end)}`);
  jump.type = "button";
  jump.addEventListener("click", () => player.seek((window.start + window.end) / 2));
  time.append(jump);
  const [name, share] = player.estimate.words(window).split(", ");
  line.append(time, part("td", "", name), part("td", "", share ?? ""), part("td", "", basedOn(window)));
  return line;
}

/** Links that save the result in the formats of `avemo predict`. */
function offer(event, name) {
  const texts = { json: JSON.stringify(event.result, null, 2), ...event.files };
  for (const link of get("saves").querySelectorAll("a")) URL.revokeObjectURL(link.href);
  const links = Object.entries(SAVED).map(([form, [words, ending]]) => {
    const link = part("a", "button small", words);
    link.id = `save-${form}`;
    link.href = URL.createObjectURL(new Blob([texts[form]], { type: "text/plain" }));
    link.download = `${name}.${ending}`;
    return link;
  });
  get("saves").replaceChildren(part("span", "quiet", "Save as"), ...links);
  get("saves").hidden = false;
}

// --- the example

async function example() {
  const response = await fetch("/static/example.mp4");
  const film = await response.blob();
  await analyse(new File([film], "example.mp4", { type: "video/mp4" }));
}

// --- the webcam

async function startLive() {
  if (!about) return;
  upload?.abort();
  complain(null);
  player.openLive();
  for (const id of ["saves", "faces", "table-part", "timeline-help"]) get(id).hidden = true;
  say("Asking for the webcam…");
  const began = performance.now() / 1000;
  live = new Live(
    about,
    player.video,
    (window, delay) => {
      complain(null);
      player.addLive(window, performance.now() / 1000 - began);
      get("delay").hidden = false;
      get("delay").textContent = inWords(window, delay);
    },
    complain,
  );
  try {
    await live.start();
    get("webcam").textContent = "Stop the webcam";
    get("webcam").setAttribute("aria-pressed", "true");
    say(live.hasPicture ? "The webcam runs." : "Only the microphone runs.");
  } catch (error) {
    stopLive();
    refuse(error.message);
  }
}

function inWords(window, delay) {
  const people = window.people > 1 ? ` ${window.people} faces: the largest is predicted.` : "";
  const seconds = window.seconds.toFixed(1);
  const from = `from ${basedOn(window)} of the last ${seconds} s`;
  return `${delay.toFixed(1)} s behind, ${from}, smoothed over about 2 s.${people}`;
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
get("example").addEventListener("click", example);
get("webcam").addEventListener("click", () => (live ? stopLive() : startLive()));
get("face").addEventListener("change", (event) => choose(event.target.value));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    get("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") analyse(event.dataTransfer.files[0]);
  });
}

begin();
