// How one estimate is shown: the name that leads, a bar for each emotion, and words for the ear.

import { basedOn, largest } from "./timeline.js";

const SPOKEN_EVERY_MS = 3000;

export class Estimate {
  /** `about` is what the server said of itself: emotions, their colours and order. */
  constructor({ emotions, colours, order }) {
    Object.assign(this, { emotions, colours, order });
    this.top = document.getElementById("top");
    this.spoken = document.getElementById("spoken");
    this.saidAt = 0;
    this.fills = [];
    this.values = [];
    const list = document.getElementById("bars");
    list.replaceChildren();
    order.forEach((index) => {
      const emotion = emotions[index];
      const item = document.createElement("li");
      const swatch = part("span", "swatch");
      swatch.style.background = colours[index];
      swatch.setAttribute("aria-hidden", "true");
      const name = part("span", "name", emotion);
      const track = part("span", "track");
      track.setAttribute("aria-hidden", "true");
      const fill = part("span", "fill");
      fill.style.display = "block";
      fill.style.background = colours[index];
      track.append(fill);
      const value = part("span", "value", "–");
      item.append(swatch, name, track, value);
      list.append(item);
      this.fills[index] = fill;
      this.values[index] = value;
    });
  }

  /** Show a window; null = nothing is known of this moment. `aloud` = tell screen readers too. */
  show(window, aloud) {
    const known = window?.probabilities;
    this.emotions.forEach((_, index) => {
      const share = known ? known[index] : 0;
      this.fills[index].style.width = `${100 * share}%`;
      this.values[index].textContent = known ? `${Math.round(100 * share)} %` : "–";
    });
    const text = this.words(window);
    if (this.top.textContent !== text) this.top.textContent = text;
    const now = performance.now();
    const name = known ? this.emotions[largest(known)] : "unknown";
    if (aloud && now - this.saidAt > SPOKEN_EVERY_MS && this.said !== name) {
      this.spoken.textContent = `Seems ${text}`;
      this.saidAt = now;
      this.said = name;
    }
  }

  words(window) {
    if (!window?.probabilities) return `unknown (${window?.reason || basedOn(window)})`;
    const best = largest(window.probabilities);
    return `${this.emotions[best]}, ${Math.round(100 * window.probabilities[best])} %`;
  }
}

export function part(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}
