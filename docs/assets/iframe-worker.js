"use strict";
// On a page that was opened as a file browsers start no Worker, and the search would be dead. There this class stands in for it:
// the worker's script runs in a hidden frame, which has a worker's postMessage and importScripts. What is sent is copied and
// waits until the script has run. Unlike a worker's, importScripts gives a promise, for which the theme's search waits.
class FrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.onmessage = null;
    this.onerror = null;
    const place = new URL(url, document.baseURI).href;
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    this.ready = new Promise((done, failed) => {
      this.frame.addEventListener("load", () => this.begin(place).then(done, failed), { once: true });
    });
    this.ready.catch((error) => this.tell(new ErrorEvent("error", { message: error.message, filename: place, error })));
    document.body.append(this.frame);
  }

  begin(place) {
    const scope = this.frame.contentWindow;
    scope.postMessage = (data) => this.tell(new MessageEvent("message", { data: structuredClone(data) }));
    scope.importScripts = async (...places) => {
      for (const one of places) await this.load(one);
    };
    const report = ({ message, error }) => this.tell(new ErrorEvent("error", { message, filename: place, error }));
    scope.addEventListener("error", report);
    scope.addEventListener("unhandledrejection", ({ reason }) => report({ message: String(reason), error: reason }));
    return this.load(place);
  }

  load(place) {
    const inside = this.frame.contentDocument;
    const script = inside.createElement("script");
    script.src = place;
    return new Promise((done, failed) => {
      script.addEventListener("load", done);
      script.addEventListener("error", () => failed(new Error(`${new URL(place, inside.baseURI)} cannot be loaded`)));
      inside.body.append(script);
    });
  }

  tell(event) {
    this.dispatchEvent(event);
    this[`on${event.type}`]?.(event);
  }

  postMessage(data) {
    const copy = structuredClone(data);
    const hand = () => this.frame.contentWindow?.dispatchEvent(new MessageEvent("message", { data: copy }));
    this.ready.then(hand, () => {});
  }

  terminate() {
    this.frame.remove();
  }
}
if (location.protocol === "file:") window.Worker = FrameWorker;
