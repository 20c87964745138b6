// Steps through the epochs of a run: the numbers are those of the element "data", every one as it stands in events.jsonl.
"use strict";
(() => {
  const player = document.getElementById("player");
  if (!player) return;
  const data = JSON.parse(document.getElementById("data").textContent);
  const { columns } = data;
  const last = columns.epoch.length - 1;
  const slider = document.getElementById("step");
  const play = document.getElementById("play");
  const output = document.getElementById("epoch");
  const cursors = [...document.querySelectorAll(".cursor")];
  const readouts = [...player.querySelectorAll("dd")];
  const stock = document.getElementById("cells").content;
  const moving = document.querySelector("[data-moving]");
  const landscape = document.getElementById("figure-landscape");
  const found = ["normal", "reduce", "upsample"].map((cell) => {
    const picture = document.querySelector(`#figure-cell-${cell} .picture`);
    const moving = data.cells?.[cell];
    if (!picture || !moving) return null;
    // Every edge that the cell has at any epoch, on top of each other.
    const drawn = stock.children[moving.picture].cloneNode(true);
    const caption = picture.parentElement.querySelector("figcaption").lastChild;
    return { picture, moving, drawn, caption, words: caption.textContent, own: picture.firstElementChild, edges: [...drawn.querySelectorAll("[data-edge]")] };
  });
  const start = data.start ?? last;
  let timer = null;

  const text = {
    percent: (x) => `${(100 * x).toFixed(2)} %`,
    pixels: (x) => `${x.toFixed(2)} px`.replaceAll("-", "\u2212"),
    short: (x) => {
      const size = Math.abs(x);
      const number = x !== 0 && (size < 1e-3 || size >= 1e6) ? Number(x.toPrecision(3)).toExponential() : String(Number(x.toPrecision(4)));
      return number.replaceAll("-", "\u2212").replace("+", "");
    },
    count: (x) => String(x),
  };

  // Where a value lies on a horizontal axis from 0 to 1.
  const place = (cursor, value) => {
    const { from, to } = cursor.dataset;
    return (value - Number(from)) / (Number(to) - Number(from));
  };

  const show = (step) => {
    const epoch = columns.epoch[step];
    for (const cursor of cursors) {
      const value = cursor.dataset.column === "step" ? step : epoch;
      cursor.setAttribute("transform", `translate(${place(cursor, value) * Number(cursor.dataset.width)} 0)`);
    }
    for (const readout of readouts) {
      const value = columns[readout.dataset.column][step];
      readout.textContent = value === null ? "–" : text[readout.dataset.format](value);
    }
    const attempt = columns.attempt[step];
    const words = `epoch ${epoch}${attempt > 0 ? `, attempt ${attempt + 1}` : ""}`;
    output.textContent = words;
    slider.setAttribute("aria-valuetext", words);
    showCells(step);
    showSpectrum(epoch, attempt);
    showLandscape(epoch, attempt);
  };

  // That of the last epoch up to this one that has one.
  const latest = (all, epoch, attempt) => all.findLast((one) => one.epoch <= epoch && one.attempt <= attempt) ?? all[0];

  const showCells = (step) => {
    for (const cell of found.filter(Boolean)) {
      // The result has a picture of its own, with the weights of its edges.
      const wanted = step === start ? cell.own : cell.drawn;
      if (cell.picture.firstElementChild !== wanted) cell.picture.replaceChildren(wanted);
      cell.caption.textContent = wanted === cell.own ? cell.words : ` As it stood after epoch ${columns.epoch[step]}.`;
      if (wanted === cell.own) continue;
      const { says, shown } = cell.moving;
      const has = new Set(shown[columns.genotype[step]]);
      for (const edge of cell.edges) edge.setAttribute("display", has.has(Number(edge.dataset.edge)) ? "inline" : "none");
      cell.drawn.querySelector("desc").textContent = says.filter((_, i) => has.has(i)).join("; ");
    }
  };

  const showSpectrum = (epoch, attempt) => {
    if (!moving) return;
    const spectrum = latest(data.spectra, epoch, attempt);
    const [x0, x1, y0, y1] = moving.dataset.moving.split(" ").map(Number);
    const [left, right, bottom, top] = moving.dataset.frame.split(" ").map(Number);
    const dot = (value, rank) => {
      const x = left + ((rank - x0) / (x1 - x0)) * (right - left);
      const y = bottom + ((value - y0) / (y1 - y0)) * (top - bottom);
      return `M${x.toFixed(1)} ${y.toFixed(1)}h0`;
    };
    moving.setAttribute("d", spectrum.eigenvalues.map(dot).join(""));
    const caption = document.querySelector("#figure-spectrum-epoch figcaption");
    caption.lastChild.textContent = ` All eigenvalues after epoch ${spectrum.epoch}, the largest first.`;
  };

  const showLandscape = (epoch, attempt) => {
    if (!landscape) return;
    const { paths, says } = latest(data.landscapes, epoch, attempt);
    landscape.querySelectorAll("[data-line]").forEach((line, i) => line.setAttribute("d", paths[i]));
    landscape.querySelector("desc").textContent = says;
    const caption = landscape.querySelector("figcaption");
    caption.replaceChildren(caption.firstElementChild, ` ${says}`);
  };

  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.setAttribute("aria-pressed", "false");
    play.querySelector(".word").textContent = "Play";
    play.firstElementChild.textContent = "\u25b6";
  };

  const go = (step) => {
    slider.value = step;
    show(step);
  };

  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    play.setAttribute("aria-pressed", "true");
    play.querySelector(".word").textContent = "Pause";
    play.firstElementChild.textContent = "\u23f8";
    // At its end it begins again; a long run takes no longer than a minute.
    if (Number(slider.value) === last) go(0);
    timer = setInterval(() => {
      const next = Number(slider.value) + 1;
      if (next > last) return stop();
      go(next);
    }, Math.min(180, 60000 / (last + 1)));
  });
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });

  // The pointer over a chart shows its epoch everywhere, and a click stays there.
  const nearest = (cursor, event) => {
    const chart = cursor.ownerSVGElement;
    const box = chart.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
    const share = Math.min(1, Math.max(0, (x - Number(cursor.dataset.left)) / Number(cursor.dataset.width)));
    const value = Number(cursor.dataset.from) + share * (Number(cursor.dataset.to) - Number(cursor.dataset.from));
    if (cursor.dataset.column === "step") return Math.round(Math.min(last, Math.max(0, value)));
    let best = 0;
    columns.epoch.forEach((epoch, step) => {
      const distance = Math.abs(epoch - value);
      const other = Math.abs(columns.epoch[best] - value);
      if (columns.is_kept[step] && (distance < other || !columns.is_kept[best])) best = step;
    });
    return best;
  };
  for (const chart of document.querySelectorAll("svg.chart:has(.cursor)")) {
    const inChart = [...chart.querySelectorAll(".cursor")];
    // Of several panels the one below the pointer, as far as it tells.
    const at = (event) => {
      const box = chart.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
      const inside = (c) => x >= Number(c.dataset.left) - 4 && x <= Number(c.dataset.left) + Number(c.dataset.width) + 4;
      return nearest(inChart.find(inside) ?? inChart[0], event);
    };
    chart.addEventListener("pointermove", (event) => timer === null && event.pointerType === "mouse" && show(at(event)));
    chart.addEventListener("pointerleave", () => timer === null && show(Number(slider.value)));
    chart.addEventListener("click", (event) => {
      stop();
      go(at(event));
    });
  }

  slider.max = last;
  player.hidden = false;
  document.body.classList.add("live");
  go(start);
})();
