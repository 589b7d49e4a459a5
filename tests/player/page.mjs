// Opens the page of `holdpoint play --web` in Chromium, uses it as a reader does, and prints what then stood there, and
// everything that the browser complained of or asked elsewhere for.
//
//   node page.mjs CHROMIUM URL TEXT [SCREENSHOT]

import { writeFileSync } from 'node:fs';

import { Chromium, complaint } from './cdp.mjs';

const [chromium, url, text, picture] = process.argv.slice(2);
const seen = { complaints: [], elsewhere: [] };
const browser = new Chromium(chromium, [], (method, params) => {
  const said = complaint(method, params);
  if (said) seen.complaints.push(said);
  if (method === 'Network.requestWillBeSent' && !/^(data|blob):/.test(params.request.url)
    && !params.request.url.startsWith(url)) seen.elsewhere.push(params.request.url);
});
const evaluate = (expression) => browser.evaluate(expression);
const until = (expression) => browser.until(expression);
const screen = `[...document.querySelectorAll('.ap-line')].map((line) => line.textContent.trimEnd()).join('\\n')`;
const at = (id) => evaluate(`document.getElementById('${id}').textContent`);

try {
  await browser.attach();
  await browser.call('Page.navigate', { url });
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
  // The check of the folder stands beside, once it is done.
  await until(`document.body.dataset.checked`);
  seen.verdict = await at('verdict');
  seen.ledger = await at('ledger-count');
  if (picture) writeFileSync(picture, await browser.picture());

  // To a time of day, in the middle of the session; and to one at which it did not run.
  const go = (time) => evaluate(`document.getElementById('time').value = ${time}; document.querySelector('#go button').click()`);
  const clock = (nanos) => `new Date(Date.parse(state.about.opened) + (${nanos}) / 1e6).toISOString().slice(11, 19)`;
  await go(clock('state.about.lasted + 3600e9'));
  await until(`document.getElementById('status').textContent.includes('did not run')`);
  await go(clock('state.about.lasted / 2'));
  await until(`Math.abs(Number(document.body.dataset.shown) - state.about.lasted / 2) < 1.1e9`);

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
  if (picture) writeFileSync(picture.replace('.png', '-end.png'), await browser.picture());
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
