// Follows a run that goes on in Chromium, as a reader does who is in the middle of the page: nothing that the reader is at
// may be lost, nothing may be written to the console, and no request may go elsewhere.
//
//     cargo build -p rdarts-watch --example watch
//     cd crates/rdarts-report/tests/browser && npm ci
//     node ../../../rdarts-watch/tests/follow.mjs ../../../../target/debug/examples/watch
//
// Chromium is that of the system; CHROMIUM names another.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const [program] = process.argv.slice(2);
assert(program, "name the program of examples/watch.rs");
const here = path.dirname(fileURLToPath(import.meta.url));
const report = path.join(here, "../../rdarts-report/tests");
const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

// A run of which so many lines of the log are written.
const dir = mkdtempSync(path.join(tmpdir(), "watch-"));
const run = path.join(dir, "run");
cpSync(path.join(report, "samples/went-back"), run, { recursive: true });
rmSync(path.join(run, "DONE"));
writeFileSync(path.join(run, "owner"), "");
const log = path.join(run, "events.jsonl");
const lines = readFileSync(log, "utf8").split(/(?<=\n)/);
let written = 9;
writeFileSync(log, lines.slice(0, written).join(""));
// Goes on to the end of the next epoch.
const append = () => {
  do appendFileSync(log, lines[written]);
  while (!lines[written++].includes('"event":"epoch"'));
};

let server = null;
process.on("exit", () => server?.kill());
const start = async () => {
  server = spawn(path.resolve(program), [run], { stdio: ["ignore", "pipe", "inherit"] });
  const [chunk] = await new Promise((resolve) => server.stdout.once("data", (...data) => resolve(data)));
  return chunk.toString().trim();
};
const url = await start();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // Containers have no user namespaces for the sandbox; the page is our own.
  args: ["--no-sandbox"],
});
const context = await browser.newContext({ viewport: { width: 820, height: 600 } });
const page = await context.newPage();
const said = [];
let isQuiet = true;
page.on("console", (message) => isQuiet && said.push(`console: ${message.text()}`));
page.on("pageerror", (error) => said.push(`error: ${error.message}`));
page.on("request", (request) => {
  if (!request.url().startsWith(url) && !request.url().startsWith("data:")) said.push(`request: ${request.url()}`);
});
await page.goto(url);

const version = () => page.evaluate(() => JSON.parse(document.getElementById("data").textContent).columns.epoch.length);
const wait = async (n) => {
  for (let i = 0; (await version()) !== n; i++) {
    assert(i < 60, `no page of ${n} epochs came`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};
const place = () =>
  page.evaluate(() => {
    const region = document.querySelector("section .scroll");
    return {
      step: document.getElementById("step").value,
      epoch: document.getElementById("epoch").textContent,
      down: Math.round(document.getElementById("rules").getBoundingClientRect().top),
      focus: document.activeElement.id || document.activeElement.getAttribute("aria-label"),
      hash: location.hash,
      readout: document.querySelector("#player dd").textContent,
      inner: region.scrollLeft,
    };
  });
// The same place; browsers scroll by whole pixels of the screen.
const assertSame = ({ down, ...one }, { down: before, ...other }) => {
  assert.deepEqual(one, other);
  assert(Math.abs(down - before) <= 1, `${before} is now ${down}`);
};
const n = await version();

// The reader is at the end of the epochs: it moves on with the run.
await page.waitForFunction(() => document.getElementById("follow").textContent === "It follows the runs.");
append();
await wait(n + 1);
const atEnd = await page.evaluate(() => [document.getElementById("step").value, document.getElementById("step").max]);
assert.equal(atEnd[0], atEnd[1]);

// The reader is at an epoch, in the middle of the page, with the focus on the slider.
await page.focus("#step");
for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowLeft");
await page.evaluate(() => document.getElementById("rules").scrollIntoView());
let before = await place();
assert.equal(before.focus, "step");
assert(Math.abs(before.down) < 300, before.down);
append();
await wait(n + 2);
assertSame(await place(), before);
// The slider and the charts go on working.
await page.keyboard.press("ArrowLeft");
assert.equal(Number((await place()).step), Number(before.step) - 1);

// The focus is on a table without a name.
await page.evaluate(() => document.querySelectorAll(".scroll[tabindex]")[1].focus({ preventScroll: true }));
before = await place();
assert(before.focus.length > 3);
append();
await wait(n + 3);
assertSame(await place(), before);

// It is being played, and plays on: one clock, not two.
await page.evaluate(() => document.getElementById("play").click());
append();
await wait(n + 4);
await page.waitForFunction(() => document.getElementById("play").getAttribute("aria-pressed") === "false", null, { timeout: 20000 });
const ended = await place();
await new Promise((resolve) => setTimeout(resolve, 600));
assertSame(await place(), ended);

// Something is selected, which stays until the reader is done.
const shown = await version();
await page.evaluate(() => document.getSelection().selectAllChildren(document.querySelector("h1")));
append();
await new Promise((resolve) => setTimeout(resolve, 2500));
assert.equal(await page.evaluate(() => document.getSelection().toString().length > 5), true);
assert.equal(await version(), shown);
await page.evaluate(() => document.getSelection().removeAllRanges());
await wait(shown + 1);

// The end of the run.
appendFileSync(log, lines.slice(written).join(""));
writeFileSync(path.join(run, "DONE"), "");
await page.waitForFunction(() => document.querySelector(".state").textContent === "The run has finished.");
await page.evaluate(axe);
const { violations } = await page.evaluate(() => globalThis.axe.run());
const serious = violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => `${v.id}: ${v.nodes[0].html}`);
assert.deepEqual(serious, []);
assert.deepEqual(said, []);

// The server ends, which the page says, as the browser does in its console.
isQuiet = false;
server.kill();
await page.waitForFunction(() => document.getElementById("follow").textContent.includes("does not answer"));

// Without the script it is the same page, which says how to see what is new.
const plain = await (await browser.newContext({ javaScriptEnabled: false })).newPage();
await plain.goto(await start());
assert((await plain.textContent("footer")).includes("Reload it to see what is new."));
assert((await plain.textContent("main")).includes("Genotype"));
server.kill();
await browser.close();
rmSync(dir, { recursive: true });
assert.deepEqual(said, []);
console.log("the page follows its run");
