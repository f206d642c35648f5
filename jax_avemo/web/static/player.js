// How playback and timeline go together: what is drawn, where the head stands, how one seeks.

import { part } from "./estimate.js";
import { LANE, LEADER, WAVE, basedOn, chartHeight, clock, draw, windowAt } from "./timeline.js";

export const LIVE_SHOWN_SECONDS = 30;
const BOX_SECONDS = 0.4;
const SMOOTHING_SECONDS = 1.5;
const get = (id) => document.getElementById(id);

export class Player {
  /** `estimate` shows single windows. */
  constructor(estimate) {
    this.estimate = estimate;
    this.video = get("video");
    this.still = get("still");
    this.slider = get("slider");
    this.tracks = [];
    this.track = null;
    this.windows = [];
    this.peaks = null;
    this.duration = 0;
    this.position = 0;
    this.playable = true;
    this.live = false;
    this.listen();
    this.follow();
  }

  /** Make ready for a film or a still picture at `address`. */
  openFilm(address, isPicture) {
    this.reset(false);
    this.playable = !isPicture;
    this.video.hidden = isPicture;
    this.still.hidden = !isPicture;
    if (isPicture) this.still.src = address;
    else Object.assign(this.video, { controls: true, muted: false, src: address });
    this.slider.removeAttribute("aria-disabled");
    get("timeline-title").textContent = "Probability of each emotion over time";
    this.setDuration(0);
    this.seek(0);
  }

  /** Make ready for the webcam, whose picture the caller puts into the video. */
  openLive() {
    this.reset(true);
    this.smooth = null;
    this.video.controls = false;
    this.slider.setAttribute("aria-disabled", "true");
    get("timeline-title").textContent = `The last ${LIVE_SHOWN_SECONDS} seconds`;
    this.estimate.show(null, false);
    this.redraw();
  }

  reset(live) {
    this.live = live;
    Object.assign(this, { tracks: [], track: null, windows: [], peaks: null, duration: 0 });
    this.video.removeAttribute("src");
    this.video.load();
    this.video.hidden = false;
    this.still.hidden = true;
    this.still.removeAttribute("src");
    this.playable = true;
    get("unplayable").hidden = true;
    get("viewer").hidden = false;
    get("delay").hidden = true;
    get("tip").hidden = true;
    get("head").hidden = live;
    get("boxes").replaceChildren();
    document.querySelector(".screen").classList.toggle("mirrored", live);
  }

  /** Show nothing of a film that was refused. */
  close() {
    this.video.pause();
    this.reset(false);
    get("viewer").hidden = true;
  }

  /** Add the newest estimate of the webcam, `seconds` after its start. */
  addLive(window, seconds) {
    const before = this.windows.at(-1)?.end ?? seconds - 0.5;
    const start = Math.max(before, seconds - 2);
    const probabilities = this.smoothed(window.probabilities, seconds - before);
    const shown = { ...window, probabilities, start, end: seconds };
    this.windows.push(shown);
    this.windows = this.windows.filter((old) => old.end > seconds - LIVE_SHOWN_SECONDS - 2);
    this.duration = seconds;
    this.estimate.show(shown, true);
    this.showBoxes((window.boxes ?? []).map((box) => ({ box, name: "" })));
    this.redraw();
  }

  /** A running mean that forgets: single estimates jump from one to the next. */
  smoothed(probabilities, passed) {
    if (!probabilities) {
      this.smooth = null;
      return null;
    }
    const share = this.smooth ? 1 - Math.exp(-passed / SMOOTHING_SECONDS) : 1;
    this.smooth = probabilities.map((p, k) => share * p + (1 - share) * (this.smooth?.[k] ?? 0));
    return this.smooth;
  }

  /** Show the timeline of one of `tracks`, and the boxes of all of them. */
  show(tracks, track) {
    Object.assign(this, { tracks, track, windows: track.windows });
    this.redraw();
    this.moved();
  }

  showWave(peaks) {
    this.peaks = peaks;
    this.redraw();
  }

  setDuration(seconds) {
    this.duration = seconds;
    this.slider.setAttribute("aria-valuemax", seconds.toFixed(1));
    this.redraw();
  }

  seek(seconds) {
    this.position = Math.max(0, Math.min(this.duration, seconds));
    if (this.playable && this.video.readyState > 0) this.video.currentTime = this.position;
    this.moved();
  }

  /** The playback stands elsewhere: head, bars, boxes, and what a screen reader hears. */
  moved() {
    if (this.live) return;
    const found = windowAt(this.windows, this.position);
    get("head").style.left = this.duration ? `${(100 * this.position) / this.duration}%` : "0";
    this.estimate.show(found, false);
    const text = `${clock(this.position)}, seems ${this.estimate.words(found)}`;
    this.slider.setAttribute("aria-valuenow", this.position.toFixed(1));
    this.slider.setAttribute("aria-valuetext", text);
    this.showBoxes(
      this.tracks
        .map((track) => ({
          box: boxAt(track.boxes, this.position),
          name: this.tracks.length > 1 ? track.name : "",
          chosen: track === this.track,
        }))
        .filter((one) => one.box),
    );
  }

  /** Draw these boxes (shares of the picture) over the picture. */
  showBoxes(found) {
    const picture = this.still.hidden ? this.video : this.still;
    const wide = picture.videoWidth || picture.naturalWidth;
    const tall = picture.videoHeight || picture.naturalHeight;
    const shown = picture.hidden || !wide ? [] : found;
    const place = get("boxes");
    while (place.children.length > shown.length) place.lastChild.remove();
    while (place.children.length < shown.length) {
      const box = part("div", "box");
      box.append(part("span", "who"));
      place.append(box);
    }
    // The picture is fitted into the element: black bars above and below, or beside.
    const scale = Math.min(picture.clientWidth / wide, picture.clientHeight / tall);
    const left = picture.offsetLeft + (picture.clientWidth - scale * wide) / 2;
    const top = picture.offsetTop + (picture.clientHeight - scale * tall) / 2;
    shown.forEach(({ box, name, chosen }, index) => {
      let [x0, y0, x1, y1] = box.map((side) => Math.max(0, Math.min(1, side)));
      if (this.live) [x0, x1] = [1 - x1, 1 - x0];
      const frame = place.children[index];
      frame.classList.toggle("other", chosen === false);
      frame.firstChild.textContent = name;
      frame.style.left = `${left + x0 * wide * scale}px`;
      frame.style.top = `${top + y0 * tall * scale}px`;
      frame.style.width = `${(x1 - x0) * wide * scale}px`;
      frame.style.height = `${(y1 - y0) * tall * scale}px`;
    });
  }

  redraw() {
    const { order, colours } = this.estimate;
    const tall = chartHeight(order.length, this.peaks !== null);
    this.slider.style.height = `${tall}px`;
    this.drawLabels();
    const begin = this.live ? this.duration - LIVE_SHOWN_SECONDS : 0;
    const look = { order, colours, peaks: this.peaks, now: this.live ? this.duration : null };
    draw(get("chart"), this.windows, begin, this.duration, look);
  }

  /** The names beside the lanes, which are the legend too. */
  drawLabels() {
    const { order, colours, emotions } = this.estimate;
    const rows = [["likeliest", LEADER, null]];
    rows.push(...order.map((index) => [emotions[index], LANE, colours[index]]));
    if (this.peaks) rows.push(["audio", WAVE, null]);
    const place = get("lanes");
    if (place.children.length === rows.length) return;
    place.replaceChildren(
      ...rows.map(([name, tall, colour]) => {
        const row = part("span", "lane");
        row.style.height = `${tall}px`;
        if (colour) {
          const swatch = part("span", "swatch");
          swatch.style.background = colour;
          row.append(swatch);
        }
        row.append(part("span", "", name));
        return row;
      }),
    );
  }

  /** Values at the pointer. */
  hover(event) {
    const edges = this.slider.getBoundingClientRect();
    const share = Math.max(0, Math.min(1, (event.clientX - edges.left) / edges.width));
    const begin = this.live ? this.duration - LIVE_SHOWN_SECONDS : 0;
    const seconds = begin + share * (this.duration - begin);
    const found = windowAt(this.windows, seconds);
    const tip = get("tip");
    tip.hidden = !this.windows.length;
    const { emotions } = this.estimate;
    const ranked = (found?.probabilities ?? [])
      .map((value, index) => [value, emotions[index]])
      .sort((a, b) => b[0] - a[0])
      .slice(0, 3);
    const when = this.live ? `${(this.duration - seconds).toFixed(0)} s ago` : clock(seconds);
    const lines = ranked.map(([value, name]) => `${name} ${Math.round(100 * value)} %`);
    if (!lines.length) lines.push("unknown");
    tip.replaceChildren(
      part("strong", "", when),
      ...lines.map((line) => part("span", "", line)),
      part("span", "quiet", `from ${basedOn(found)}`),
    );
    const left = share * edges.width;
    tip.style.left = `${Math.min(left + 10, Math.max(0, edges.width - tip.offsetWidth))}px`;
    get("hair").hidden = false;
    get("hair").style.left = `${left}px`;
  }

  follow() {
    if (!this.live && !this.video.paused && this.playable) {
      this.position = this.video.currentTime;
      this.moved();
    }
    requestAnimationFrame(() => this.follow());
  }

  listen() {
    const { slider, video } = this;
    const keys = {
      ArrowRight: () => this.seek(this.position + 1),
      ArrowUp: () => this.seek(this.position + 1),
      ArrowLeft: () => this.seek(this.position - 1),
      ArrowDown: () => this.seek(this.position - 1),
      PageUp: () => this.seek(this.position + 10),
      PageDown: () => this.seek(this.position - 10),
      Home: () => this.seek(0),
      End: () => this.seek(this.duration),
      " ": () => (video.paused ? video.play() : video.pause()),
    };
    slider.addEventListener("keydown", (event) => {
      if (this.live || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
    const seekTo = (event) => {
      const edges = slider.getBoundingClientRect();
      this.seek((this.duration * (event.clientX - edges.left)) / edges.width);
    };
    slider.addEventListener("pointerdown", (event) => {
      if (this.live) return;
      slider.setPointerCapture(event.pointerId);
      seekTo(event);
    });
    slider.addEventListener("pointermove", (event) => {
      this.hover(event);
      if (!this.live && event.buttons) seekTo(event);
    });
    slider.addEventListener("pointerleave", () => {
      get("tip").hidden = true;
      get("hair").hidden = true;
    });
    for (const kind of ["seeked", "timeupdate", "pause", "loadeddata"]) {
      video.addEventListener(kind, () => {
        if (this.live || !this.playable) return;
        this.position = video.currentTime;
        this.moved();
      });
    }
    this.still.addEventListener("load", () => this.moved());
    video.addEventListener("error", () => {
      if (this.live || !video.getAttribute("src")) return;
      this.playable = false;
      video.hidden = true;
      get("unplayable").hidden = false;
      get("boxes").replaceChildren();
    });
    new ResizeObserver(() => {
      this.redraw();
      this.moved();
    }).observe(slider);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }
}

/** Where a face is at that moment, of the places sent (some a second): [left, top, right, bottom]. */
function boxAt(boxes, seconds) {
  let best = null;
  for (const box of boxes) {
    const away = Math.abs(box[0] - seconds);
    if (away < BOX_SECONDS && (!best || away < Math.abs(best[0] - seconds))) best = box;
  }
  return best?.slice(1);
}
