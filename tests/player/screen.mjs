// Plays an asciicast to its end in asciinema-player and prints what then stands on its screen, and how long it lasted.
// jsdom stands in for a browser: text is real, what is painted goes nowhere.
//
//   node screen.mjs FOLDER-OF-NODE-MODULES FILE.cast

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, file] = process.argv.slice(2);
const modules = createRequire(`${folder}/here.js`);
const { JSDOM } = modules('jsdom');
const { window } = new JSDOM('<!doctype html><main></main>', { pretendToBeVisual: true });
const nothing = new Proxy(() => {}, { get: () => nothing, set: () => true, apply: () => nothing });
window.HTMLCanvasElement.prototype.getContext = () => nothing;
window.Element.prototype.animate = () => nothing;
window.ResizeObserver = class { observe() {} unobserve() {} disconnect() {} };
for (const name of ['document', 'Node', 'Element', 'HTMLElement', 'ResizeObserver', 'requestAnimationFrame',
  'cancelAnimationFrame', 'getComputedStyle', 'CustomEvent', 'Event']) {
  globalThis[name] = window[name];
}
globalThis.window = window;

const { create } = await import(pathToFileURL(modules.resolve('asciinema-player')));
const complain = (...what) => { console.error(...what); process.exit(1); };
const logger = { log() {}, debug() {}, info() {}, warn: complain, error: complain };
const elem = window.document.querySelector('main');
const player = create({ data: readFileSync(file, 'utf8') }, elem, { preload: true, controls: false, fit: false, logger });
const heard = (name) => new Promise((resolve) => player.addEventListener(name, resolve));
const { duration } = await heard('metadata');
await player.seek('100%');
await new Promise((resolve) => window.requestAnimationFrame(() => window.requestAnimationFrame(resolve)));
const lines = [...elem.querySelectorAll('.ap-line')].map((line) => line.textContent.trimEnd());
console.log(JSON.stringify({ duration, lines }));
process.exit(0);
