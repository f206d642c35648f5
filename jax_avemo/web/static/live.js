// How the webcam becomes an estimate twice a second: the last seconds go to the server, as JPEG
// frames and 16 kHz sound; the next request waits for the answer to the one before.

const TICK_MS = 500;
const FRAME_WIDTH = 320;
const JPEG_QUALITY = 0.85;

export class Live {
  /** `about` is what the server said of itself; `onEstimate(window, delaySeconds)`. */
  constructor(about, video, onEstimate, onTrouble) {
    Object.assign(this, { about, video, onEstimate, onTrouble });
    this.frames = [];
    this.sound = [];
    this.soundSamples = 0;
    this.timers = [];
    this.running = false;
    this.asking = false;
  }

  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error(
        "This browser gives a page the webcam only on the machine itself (http://localhost) or over https.",
      );
    }
    this.stream = await openStream(this.about.live);
    this.running = true;
    this.hasPicture = this.stream.getVideoTracks().length > 0;
    this.video.srcObject = this.stream;
    this.video.muted = true;
    await this.video.play();
    this.canvas = document.createElement("canvas");
    await this.startSound();
    if (this.hasPicture) this.every(1000 / this.about.live.frames_per_second, () => this.grab());
    this.every(TICK_MS, () => this.ask());
  }

  stop() {
    this.running = false;
    this.timers.forEach(clearInterval);
    this.timers = [];
    this.abort?.abort();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.audio?.close();
    this.video.srcObject = null;
  }

  every(milliseconds, work) {
    this.timers.push(setInterval(work, milliseconds));
  }

  async startSound() {
    if (!this.stream.getAudioTracks().length) return;
    this.audio = new AudioContext({ sampleRate: this.about.live.sample_rate });
    await this.audio.audioWorklet.addModule("/static/sound.js");
    const source = this.audio.createMediaStreamSource(this.stream);
    const tap = new AudioWorkletNode(this.audio, "tap", { numberOfOutputs: 0 });
    tap.port.onmessage = (event) => this.hear(event.data);
    source.connect(tap);
  }

  hear(samples) {
    this.sound.push(samples);
    this.soundSamples += samples.length;
    this.heardAt = performance.now() / 1000;
    const most = this.about.live.seconds * this.about.live.sample_rate;
    while (this.soundSamples - this.sound[0].length >= most) {
      this.soundSamples -= this.sound.shift().length;
    }
  }

  grab() {
    if (!this.video.videoWidth || this.grabbing) return;
    this.grabbing = true;
    const time = performance.now() / 1000;
    this.canvas.width = FRAME_WIDTH;
    this.canvas.height = Math.round((FRAME_WIDTH * this.video.videoHeight) / this.video.videoWidth);
    const context = this.canvas.getContext("2d");
    context.drawImage(this.video, 0, 0, this.canvas.width, this.canvas.height);
    this.canvas.toBlob(
      (blob) => {
        this.grabbing = false;
        if (!blob) return;
        this.frames.push({ time, blob });
        this.frames = this.frames.filter((frame) => frame.time > time - this.about.live.seconds);
      },
      "image/jpeg",
      JPEG_QUALITY,
    );
  }

  async ask() {
    if (this.asking || (!this.frames.length && !this.soundSamples)) return;
    this.asking = true;
    this.abort = new AbortController();
    const { body, newest } = this.message();
    try {
      const response = await fetch("/api/live", { method: "POST", body, signal: this.abort.signal });
      const answer = await response.json();
      if (!this.running) return;
      if (!response.ok) this.onTrouble(answer.error ?? "The server did not answer.");
      else this.onEstimate(answer, performance.now() / 1000 - newest);
    } catch (error) {
      if (this.running) this.onTrouble("The server can't be reached; trying again.");
    } finally {
      this.asking = false;
    }
  }

  /** A uint32 with the length of a JSON header, the header, the JPEG files, the 16-bit samples. */
  message() {
    const frames = [...this.frames];
    const samples = Int16Array.from(
      this.sound.flatMap((block) => [...block]),
      (value) => Math.max(-32768, Math.min(32767, Math.round(32767 * value))),
    );
    const heard = samples.length / this.about.live.sample_rate;
    const soundBegin = samples.length ? this.heardAt - heard : Infinity;
    const begin = Math.min(frames[0]?.time ?? Infinity, soundBegin);
    const header = new TextEncoder().encode(
      JSON.stringify({
        frames: frames.map(({ time, blob }) => ({ time: time - begin, bytes: blob.size })),
        samples: samples.length,
        sound_begin: samples.length ? soundBegin - begin : 0,
      }),
    );
    const length = new DataView(new ArrayBuffer(4));
    length.setUint32(0, header.length, true);
    const newest = Math.max(frames.at(-1)?.time ?? 0, samples.length ? this.heardAt : 0);
    const parts = [length.buffer, header, ...frames.map((frame) => frame.blob), samples.buffer];
    return { body: new Blob(parts), newest };
  }
}

/** Picture and sound, or whichever of them the machine has and the user allows. */
async function openStream(reads) {
  const picture = { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "user" };
  const wishes = [
    { video: reads.video && picture, audio: reads.audio },
    { video: reads.video && picture, audio: false },
    { video: false, audio: reads.audio },
  ].filter((wish) => wish.video || wish.audio);
  let first;
  for (const wish of wishes) {
    try {
      return await navigator.mediaDevices.getUserMedia(wish);
    } catch (error) {
      first ??= error;
    }
  }
  const refused = first.name === "NotAllowedError";
  throw new Error(
    refused
      ? "The browser was not allowed to use webcam and microphone; allow it beside the address and try again."
      : `No webcam and no microphone can be used (${first.message || first.name}).`,
  );
}
