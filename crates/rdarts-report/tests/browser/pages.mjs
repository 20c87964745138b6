// Opens the pages of made-up runs in Chromium and looks at them as people do: at three widths, light or dark, by mouse, by
// keyboard, without JavaScript, printed. Nothing may be written to the console, no request may leave the page, nothing
// may be wider than the screen, and axe-core may find no serious fault.
//
//     cargo run -p rdarts-report --example pages -- target/pages
//     cd crates/rdarts-report/tests/browser && npm ci && node pages.mjs ../../../../target/pages [SCREENSHOTS]
//
// Chromium is that of the system; CHROMIUM names another.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [pages, screenshots] = process.argv.slice(2);
assert(pages, "name the directory of the pages");
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const names = readdirSync(pages).filter((name) => name.endsWith(".html")).sort();
assert(names.length >= 10, "the pages of examples/pages.rs");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // Containers have no user namespaces for the sandbox; the pages are our own.
  args: ["--no-sandbox"],
});
let checks = 0;

// A page that fails on whatever it says or asks for.
const open = async (name, options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  const said = [];
  page.on("console", (message) => said.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => said.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => said.push(`dialog: ${dialog.message()}`));
  page.on("request", (request) => {
    if (!request.url().startsWith("file:") && !request.url().startsWith("data:")) said.push(`request: ${request.url()}`);
  });
  await page.goto(pathToFileURL(path.resolve(pages, name)).href);
  return { page, close: async () => {
    assert.deepEqual(said, [], name);
    await context.close();
  } };
};

const check = async (what, body) => {
  try {
    await body();
  } catch (error) {
    console.error(`FAILED: ${what}`);
    throw error;
  }
  checks += 1;
};

await check("without JavaScript the page shows the result and no player", async () => {
  const { page, close } = await open("healthy.html", { javaScriptEnabled: false });
  assert(await page.locator("#figure-eigenvalue svg").isVisible());
  assert(await page.locator("#figure-cell-normal svg").isVisible());
  assert(!(await page.locator("#player").isVisible()));
  await close();
});

const state = (page) =>
  page.evaluate(() => ({
    step: Number(document.getElementById("step").value),
    last: Number(document.getElementById("step").max),
    words: document.getElementById("epoch").textContent,
    eigenvalue: document.querySelector("[data-column=eigenvalue]").textContent,
    cursor: document.querySelector("#figure-eigenvalue .cursor").getAttribute("transform"),
    other: document.querySelector("#figure-accuracy .cursor").getAttribute("transform"),
    cell: document.querySelector("#figure-cell-normal desc").textContent,
    spectrum: document.querySelector("#figure-spectrum-epoch [data-moving]")?.getAttribute("d"),
    landscape: [...document.querySelectorAll("#figure-landscape [data-line]")].map((line) => line.getAttribute("d")).join(" "),
    around: document.querySelector("#figure-landscape figcaption").textContent,
  }));

await check("the keyboard alone steps and plays", async () => {
  const { page, close } = await open("healthy.html");
  const begin = await state(page);
  assert.equal(begin.step, begin.last);
  // The first stop of the keyboard leads past the header.
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  let focused = "";
  for (let i = 0; i < 60 && focused !== "play"; i++) {
    await page.keyboard.press("Tab");
    focused = await page.evaluate(() => document.activeElement.id);
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, "none", "the focus is seen");
  }
  assert.equal(focused, "play");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "step");
  await page.keyboard.press("Home");
  const first = await state(page);
  assert.deepEqual([first.step, first.words], [0, "epoch 0"]);
  for (const what of ["eigenvalue", "cursor", "other", "cell", "spectrum", "landscape", "around"]) {
    assert.notEqual(first[what], begin[what], `${what} moves with the slider`);
  }
  // Landscapes were computed after every fourth epoch: between them that of the latest before is shown.
  assert.match(begin.around, /^Validation loss around the alphas\. After epoch 16: /);
  assert.match(first.around, /^Validation loss around the alphas\. After epoch 0: /);
  assert(!/NaN|undefined/.test(begin.landscape + first.landscape));
  await page.keyboard.press("ArrowRight");
  const second = await state(page);
  assert.deepEqual([second.step, second.landscape, second.around], [1, first.landscape, first.around]);
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Space");
  await page.waitForFunction(() => Number(document.getElementById("step").value) >= 3);
  assert.equal(await page.locator("#play").getAttribute("aria-pressed"), "true");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#play").getAttribute("aria-pressed"), "false");
  const paused = (await state(page)).step;
  await page.waitForTimeout(500);
  assert.equal((await state(page)).step, paused);
  await close();
});

await check("the mouse steps, plays to the end and points", async () => {
  const { page, close } = await open("healthy.html");
  const begin = await state(page);
  await page.locator("#play").click();
  await page.waitForFunction(() => document.getElementById("play").getAttribute("aria-pressed") === "false");
  assert.equal((await state(page)).step, begin.last);
  const chart = page.locator("#figure-accuracy svg");
  await chart.scrollIntoViewIfNeeded();
  const box = await chart.boundingBox();
  await page.mouse.move(box.x + 0.3 * box.width, box.y + 0.5 * box.height);
  const pointed = await state(page);
  assert.equal(pointed.step, begin.last, "pointing does not move the slider");
  assert.notEqual(pointed.cursor, begin.cursor, "but the cursor of every chart");
  await page.mouse.move(5, 5);
  assert.equal((await state(page)).cursor, begin.cursor);
  await chart.click({ position: { x: 0.3 * box.width, y: 0.5 * box.height } });
  assert.notEqual((await state(page)).step, begin.last);
  await close();
});

await check("a search that went back steps through all of its attempts", async () => {
  const { page, close } = await open("ada.html");
  const words = await page.evaluate(() => {
    const step = document.getElementById("step");
    const words = [];
    for (let i = 0; i <= Number(step.max); i++) {
      step.value = i;
      step.dispatchEvent(new Event("input"));
      words.push(document.getElementById("epoch").textContent);
    }
    return words;
  });
  assert(words.includes("epoch 0") && words.some((word) => word.endsWith("attempt 2")), words.join("; "));
  await close();
});

await check("hostile names are text", async () => {
  const { page, close } = await open("hostile.html");
  assert.equal(await page.locator("script").count(), 2);
  assert((await page.locator("body").innerText()).includes("<script>alert(2)</script>"));
  await close();
});

await check("print shows all and no player", async () => {
  const { page, close } = await open("healthy.html");
  await page.emulateMedia({ media: "print" });
  assert(!(await page.locator("#player").isVisible()));
  assert(await page.locator("#figure-weights-normal svg").isVisible());
  await close();
});

// Width and colours are looked at each by themselves: what one of them breaks, it breaks whatever the other is.
const views = [
  { width: 390, colorScheme: "light", faults: true },
  { width: 820, colorScheme: "light", faults: false },
  { width: 1440, colorScheme: "dark", faults: true },
];
for (const name of names) {
  for (const { width, colorScheme, faults } of views) {
    await check(`${name} at ${width} pixels, ${colorScheme}`, async () => {
      const { page, close } = await open(name, { viewport: { width, height: 900 }, colorScheme });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert(wide <= width, `${wide} pixels wide`);
      if (faults) {
        // Axe-core is put in from outside, past the page's own policy.
        await page.evaluate(axe);
        const { violations } = await page.evaluate("axe.run()");
        const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
        assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes[0].html, nodes[0].failureSummary]), []);
      }
      if (screenshots) {
        await page.screenshot({ path: path.join(screenshots, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      }
      await close();
    });
  }
}

await browser.close();
console.log(`${checks} checks of ${names.length} pages`);
