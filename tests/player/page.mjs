// Opens the page of `holdpoint play --web` in Chromium, uses it as a reader does, and prints what then stood there, and
// everything that the browser complained of or asked elsewhere for.
//
//   node page.mjs CHROMIUM URL TEXT [SCREENSHOT]

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';

const [chromium, url, text, picture] = process.argv.slice(2);
const home = mkdtempSync(`${tmpdir()}/page-`);
const browser = spawn(chromium, ['--headless', '--no-sandbox', '--disable-gpu', '--remote-debugging-pipe', '--disable-extensions',
  '--window-size=1400,900', `--user-data-dir=${home}`, 'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
const [to, from] = [browser.stdio[3], browser.stdio[4]];
const waiting = new Map();
const seen = { complaints: [], elsewhere: [] };
let heard = '';
let calls = 0;
let session;

// The DevTools protocol: messages of JSON with a zero byte behind each.
from.on('data', (bytes) => {
  const messages = (heard + bytes).split('\0');
  heard = messages.pop();
  messages.map((message) => JSON.parse(message)).forEach(({ id, error, result, method, params }) => {
    if (id) waiting.get(id)(error ? Promise.reject(new Error(error.message)) : result);
    if (method === 'Log.entryAdded') seen.complaints.push(params.entry.text);
    if (method === 'Runtime.consoleAPICalled') seen.complaints.push(params.args.map((arg) => arg.value).join(' '));
    if (method === 'Runtime.exceptionThrown') seen.complaints.push(params.exceptionDetails.exception?.description);
    if (method === 'Network.requestWillBeSent' && !/^(data|blob):/.test(params.request.url)
      && !params.request.url.startsWith(url)) seen.elsewhere.push(params.request.url);
  });
});
const call = (method, params = {}) => new Promise((resolve) => {
  waiting.set(++calls, resolve);
  to.write(`${JSON.stringify({ id: calls, sessionId: session, method, params })}\0`);
});
async function evaluate(expression) {
  const { result, exceptionDetails } = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
  if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description}`);
  return result.value;
}
async function until(expression) {
  const deadline = Date.now() + 60_000;
  while (!await evaluate(expression)) {
    if (Date.now() > deadline) throw new Error(`it never came to ${expression}: ${await evaluate('document.body.innerText')}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
const screen = `[...document.querySelectorAll('.ap-line')].map((line) => line.textContent.trimEnd()).join('\\n')`;
const at = (id) => evaluate(`document.getElementById('${id}').textContent`);

try {
  const { targetInfos } = await call('Target.getTargets');
  const { targetId } = targetInfos.find(({ type }) => type === 'page');
  ({ sessionId: session } = await call('Target.attachToTarget', { targetId, flatten: true }));
  for (const domain of ['Log', 'Runtime', 'Network', 'Page']) await call(`${domain}.enable`);
  await call('Page.navigate', { url });
  await until(`document.body?.dataset.marked === 'all'`);
  seen.about = await at('about');
  seen.marks = await evaluate(`[...document.querySelectorAll('#marks button')].map((mark) => mark.innerText)`);

  // A text is looked for, and the first line that is found is gone to.
  await evaluate(`document.getElementById('text').value = ${JSON.stringify(text)}; document.querySelector('#search button').click()`);
  await until(`document.querySelector('#hits button') && !document.getElementById('found').textContent.startsWith('looking')`);
  seen.found = await at('found');
  await evaluate(`document.querySelector('#hits button').click()`);
  await until(`(${screen}).includes(${JSON.stringify(text)})`);
  seen.status = await at('status');
  seen.screen = await evaluate(screen);
  seen.took = Number(await evaluate(`document.body.dataset.took`));
  if (picture) writeFileSync(picture, Buffer.from((await call('Page.captureScreenshot')).data, 'base64'));

  // The slider, to the last quarter; from there it is played to the end, as fast as can be chosen.
  await evaluate(`{ const place = document.getElementById('place'); place.value = place.max * 0.75;
    for (const event of ['input', 'change']) place.dispatchEvent(new Event(event)); }`);
  await until(`Number(document.body.dataset.shown) > document.getElementById('place').max * 0.74`);
  await evaluate(`document.getElementById('speed').value = '16';
    document.getElementById('speed').dispatchEvent(new Event('change')); document.getElementById('play').click()`);
  await until(`Number(document.getElementById('place').value) >= document.getElementById('place').max * 0.999
    && document.getElementById('play').textContent === 'Play'`);
  seen.typed = await at('typed');
  seen.gate = await at('gate');
  seen.last = await evaluate(screen);
  if (picture) writeFileSync(picture.replace('.png', '-end.png'), Buffer.from((await call('Page.captureScreenshot')).data, 'base64'));
  console.log(JSON.stringify(seen));
} finally {
  const gone = new Promise((resolve) => browser.on('exit', resolve));
  browser.kill();
  await gone;
  // What the browser started may still be writing.
  rmSync(home, { recursive: true, force: true, maxRetries: 30, retryDelay: 100 });
}
