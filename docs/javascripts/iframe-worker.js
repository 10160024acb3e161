// The search runs in a worker, which browsers forbid to pages opened from disk: there, a hidden frame does its work.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.srcdoc = "<!doctype html>";
      this.inside = new Promise(resolve => {
        frame.addEventListener("load", () => {
          const inner = frame.contentWindow, script = inner.document.createElement("script");
          inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", {data}));
          script.addEventListener("load", () => resolve(inner));
          script.src = url;
          inner.document.body.append(script);
        }, {once: true});
      });
      document.body.append(frame);
    }
    postMessage(data) {
      this.inside.then(inner => inner.dispatchEvent(new MessageEvent("message", {data})));
    }
  };
}
