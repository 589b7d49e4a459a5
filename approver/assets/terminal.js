"use strict";
// A terminal on a page: what comes from the target is drawn by xterm.js, what is typed goes to the gate, and what the gate says
// stands beside it, where no target can write.

const SAYS = {
  lines: (count) => `It has ${count} lines: the machine may run each as it comes.`,
  hidden: "It has characters that cannot be seen, shown here as signs.",
  tooLong: (kib) => `What you pasted is longer than ${kib} KiB, and was not sent. Bring files by scp or sftp.`,
};

// xterm.js writes rules of style into elements and attributes, which the policy of this page forbids, as it forbids them to
// whatever else gets into it. Sheets and properties that a script of ours sets are none of that (CSP Level 3, 6.1.14).
const setAttribute = Element.prototype.setAttribute;
document.createElement = (name, options) => {
  if (name !== "style") return createElement(name, options);
  const [sheet, stand_in] = [new CSSStyleSheet(), createElement("template")];
  document.adoptedStyleSheets.push(sheet);
  Object.defineProperty(stand_in, "textContent", { set: (rules) => sheet.replaceSync(rules) });
  return stand_in;
};
Element.prototype.setAttribute = function (name, value) {
  if (name === "style") this.style.cssText = value;
  else setAttribute.call(this, name, value);
};

const PASTE_MAX = 256 * 1024;

const place = at("terminal");
const terminal = new Terminal({
  cursorBlink: true,
  disableStdin: true,
  fontFamily: "ui-monospace, 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  fontSize: 16,
  logLevel: "off",
  minimumContrastRatio: 4.5,
  scrollback: 5000,
});
const fit = new FitAddon.FitAddon();
terminal.loadAddon(fit);

// What a target may ask of a terminal, and gets nothing for: titles, colours, links, the clipboard, the window, and answers that
// would be typed back to it in words of its own.
for (const code of [0, 1, 2, 4, 8, 10, 11, 12, 52, 104, 110, 111, 112]) terminal.parser.registerOscHandler(code, () => true);
terminal.parser.registerDcsHandler({ intermediates: "$", final: "q" }, () => true);
terminal.parser.registerCsiHandler({ final: "t" }, () => true);
terminal.parser.registerCsiHandler({ prefix: ">", final: "q" }, () => true);

terminal.open(place);
terminal.attachCustomKeyEventHandler((event) => {
  if (event.key !== "." || !event.ctrlKey || event.altKey || event.metaKey) return true;
  if (event.type === "keydown") at("close").focus();
  return false;
});

const size = () => page.say({ size: { columns: terminal.cols, rows: terminal.rows } });
const page = sit(place.dataset.ticket, {
  connected: () => {
    fit.fit();
    size();
    terminal.onResize(size);
  },
  opened: () => {
    terminal.options.disableStdin = false;
    terminal.focus();
  },
  takes: (data) => terminal.write(new Uint8Array(data), () => page.drew(data.byteLength)),
  ends: () => {
    terminal.options.disableStdin = true;
    terminal.options.cursorBlink = false;
    at("paste").close();
  },
});

const encoder = new TextEncoder();
terminal.onData((text) => page.send(encoder.encode(text)));
terminal.onBinary((text) => page.send(Uint8Array.from(text, (sign) => sign.charCodeAt(0))));
let due = 0;
new ResizeObserver(() => {
  cancelAnimationFrame(due);
  due = requestAnimationFrame(() => fit.fit());
}).observe(place);

// What is pasted is what somebody else may have written: more than one plain line is shown first.
const pasted = (text) => {
  // Inside a bracket of the target's own nothing may end it.
  const plain = text.replace(/\r\n?/g, "\n");
  terminal.paste(terminal.modes.bracketedPasteMode ? plain.replace(/[\u001b\u009b]/g, "") : plain);
  terminal.focus();
};
let waiting = "";
const paste = (text) => {
  if (!page.isOpen() || text === "") return;
  if (text.length > PASTE_MAX) {
    told(SAYS.tooLong(PASTE_MAX / 1024));
    return;
  }
  const lines = text.replace(/\r\n?/g, "\n");
  const count = lines.split("\n").length;
  const isHidden = lines.search(HIDDEN) >= 0;
  if (count === 1 && !isHidden) {
    pasted(text);
    return;
  }
  waiting = text;
  at("paste-why").textContent = [count > 1 ? SAYS.lines(count) : "", isHidden ? SAYS.hidden : ""].join(" ").trim();
  at("pasted").textContent = lines.replace(HIDDEN, sign);
  at("paste").showModal();
  at("not-sent").focus();
};
const taken = (event, data) => {
  event.preventDefault();
  event.stopImmediatePropagation();
  paste(data?.getData("text/plain") ?? "");
};
place.addEventListener("paste", (event) => taken(event, event.clipboardData), true);
place.addEventListener("drop", (event) => taken(event, event.dataTransfer), true);
at("sent").addEventListener("click", () => {
  at("paste").close();
  pasted(waiting);
});
at("not-sent").addEventListener("click", () => at("paste").close());
at("paste").addEventListener("close", () => {
  // It may be told late, when another is shown already.
  if (at("paste").open) return;
  at("pasted").textContent = "";
  if (!page.isOver()) terminal.focus();
});

at("aloud").addEventListener("change", ({ target }) => { terminal.options.screenReaderMode = target.checked; });
