// How playback and timeline go together: what is drawn, where the head stands, how one seeks.

import { clock, draw, windowAt } from "./timeline.js";

export const LIVE_SHOWN_SECONDS = 30;
const get = (id) => document.getElementById(id);

export class Player {
  /** `estimate` shows single windows. */
  constructor(estimate) {
    this.estimate = estimate;
    this.video = get("video");
    this.slider = get("slider");
    this.windows = [];
    this.boxes = [];
    this.duration = 0;
    this.position = 0;
    this.playable = true;
    this.live = false;
    this.listen();
    this.follow();
  }

  /** Make ready for a film at `address`. */
  openFilm(address) {
    this.live = false;
    this.playable = true;
    get("unplayable").hidden = true;
    get("viewer").hidden = false;
    get("delay").hidden = true;
    document.querySelector(".screen").classList.remove("mirrored");
    Object.assign(this.video, { hidden: false, controls: true, muted: false, src: address });
    this.slider.removeAttribute("aria-disabled");
    get("timeline-title").textContent = "Timeline";
    get("begin").textContent = "0:00";
    this.show([], []);
    this.setDuration(0);
    this.seek(0);
  }

  /** Make ready for the webcam, whose picture the caller puts into the video. */
  openLive() {
    this.live = true;
    this.video.removeAttribute("src");
    this.video.load();
    Object.assign(this.video, { hidden: false, controls: false });
    get("unplayable").hidden = true;
    get("viewer").hidden = false;
    get("box").hidden = true;
    document.querySelector(".screen").classList.add("mirrored");
    this.slider.setAttribute("aria-disabled", "true");
    get("timeline-title").textContent = `The last ${LIVE_SHOWN_SECONDS} seconds`;
    get("begin").textContent = `${LIVE_SHOWN_SECONDS} s ago`;
    get("length").textContent = "now";
    get("head").style.left = "100%";
    this.windows = [];
    this.boxes = [];
    this.duration = 0;
    this.estimate.show(null, false);
    this.redraw();
  }

  /** Add the newest estimate of the webcam, `seconds` after its start. */
  addLive(window, seconds) {
    const before = this.windows.at(-1)?.end ?? seconds - 0.5;
    this.windows.push({ ...window, start: Math.max(before, seconds - 2), end: seconds });
    this.windows = this.windows.filter((old) => old.end > seconds - LIVE_SHOWN_SECONDS - 2);
    this.duration = seconds;
    this.estimate.show(window, true);
    this.redraw();
  }

  /** Show this timeline, and these places of the face: [seconds, left, top, right, bottom]. */
  show(windows, boxes) {
    this.windows = windows;
    this.boxes = boxes;
    this.redraw();
    this.moved();
  }

  setDuration(seconds) {
    this.duration = seconds;
    this.slider.setAttribute("aria-valuemax", seconds.toFixed(1));
    get("length").textContent = clock(seconds);
    this.redraw();
  }

  seek(seconds) {
    this.position = Math.max(0, Math.min(this.duration, seconds));
    if (this.playable && this.video.readyState > 0) this.video.currentTime = this.position;
    this.moved();
  }

  /** The playback stands elsewhere: head, bars, and what a screen reader hears of the slider. */
  moved() {
    if (this.live) return;
    const found = windowAt(this.windows, this.position);
    get("head").style.left = this.duration ? `${(100 * this.position) / this.duration}%` : "0";
    this.estimate.show(found, false);
    const text = `${clock(this.position)}, seems ${this.estimate.words(found)}`;
    this.slider.setAttribute("aria-valuenow", this.position.toFixed(1));
    this.slider.setAttribute("aria-valuetext", text);
    this.showBox(this.boxAt(this.position));
  }

  /** Where the face is at that moment, of the places sent (some a second). */
  boxAt(seconds) {
    let best = null;
    for (const box of this.boxes) {
      const away = Math.abs(box[0] - seconds);
      if (away < 0.4 && (!best || away < Math.abs(best[0] - seconds))) best = box;
    }
    return best?.slice(1);
  }

  showBox(box) {
    const frame = get("box");
    const video = this.video;
    frame.hidden = !box || !video.videoWidth || video.hidden;
    if (frame.hidden) return;
    // The picture is fitted into the element: black bars above and below, or beside.
    const { clientWidth, clientHeight, videoWidth, videoHeight } = video;
    const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight);
    const left = video.offsetLeft + (clientWidth - scale * videoWidth) / 2;
    const top = video.offsetTop + (clientHeight - scale * videoHeight) / 2;
    const [x0, y0, x1, y1] = box;
    frame.style.left = `${left + x0 * videoWidth * scale}px`;
    frame.style.top = `${top + y0 * videoHeight * scale}px`;
    frame.style.width = `${(x1 - x0) * videoWidth * scale}px`;
    frame.style.height = `${(y1 - y0) * videoHeight * scale}px`;
  }

  redraw() {
    const begin = this.live ? this.duration - LIVE_SHOWN_SECONDS : 0;
    draw(get("chart"), this.windows, begin, this.duration, this.estimate.emotions.length);
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
      if (!this.live && event.buttons) seekTo(event);
    });
    for (const kind of ["seeked", "timeupdate", "pause"]) {
      video.addEventListener(kind, () => {
        if (this.live || !this.playable) return;
        this.position = video.currentTime;
        this.moved();
      });
    }
    video.addEventListener("error", () => {
      if (this.live || !video.getAttribute("src")) return;
      this.playable = false;
      video.hidden = true;
      get("unplayable").hidden = false;
      get("box").hidden = true;
    });
    new ResizeObserver(() => {
      this.redraw();
      this.moved();
    }).observe(slider);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }
}
