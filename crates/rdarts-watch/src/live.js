// Follows the runs of this page: when the server says that there is a newer one, its content takes the place of this one's,
// and what the reader was at stays: the place in the text, the step of the slider, playing, the focus, what is selected.
"use strict";
(() => {
  const PATIENCE = 10000;
  // One script steps through the epochs. All that it listens to is replaced with the content, so that it can begin anew.
  const ownScripts = () => [...document.body.children].filter((node) => node.matches("script:not([type])"));
  const fixed = (page) => [page.querySelector("style"), ...page.querySelectorAll("script:not([type])")].map((node) => node.textContent);
  const versionOf = (page) => page.querySelector('meta[name="rdarts-version"]')?.content;
  let shown = versionOf(document);
  let wanted = shown;
  let isBusy = false;
  let source = null;
  let retry = null;

  const say = (words) => {
    const status = document.getElementById("follow");
    if (status && status.textContent !== words) status.textContent = words;
  };

  // Where an element stands among all others, for those without a name.
  const way = (node) => {
    const steps = [];
    for (let at = node; at !== document.body && at.parentElement; at = at.parentElement) {
      if (at.id) return { id: at.id, steps };
      steps.unshift([...at.parentElement.children].indexOf(at));
    }
    return { id: null, steps };
  };
  const follow = ({ id, steps }) => steps.reduce((at, step) => at?.children[step], id ? document.getElementById(id) : document.body);

  const take = () => {
    const slider = document.getElementById("step");
    const data = document.getElementById("data");
    const last = Number(slider?.max);
    const start = (data && JSON.parse(data.textContent).start) ?? last;
    // What the reader sees at the upper edge.
    const named = [...document.querySelectorAll("main [id]")].filter((node) => !node.closest("svg"));
    const top = named.find((node) => 0 < node.getBoundingClientRect().bottom);
    const focused = document.activeElement;
    return {
      // Whoever is at the end stays at the end, and whoever looks at the result looks at it.
      step: slider && ![last, start].includes(Number(slider.value)) ? slider.value : null,
      isPlaying: document.getElementById("play")?.getAttribute("aria-pressed") === "true",
      focused: focused && focused !== document.body ? way(focused) : null,
      top: top && { id: top.id, at: top.getBoundingClientRect().top },
      left: window.scrollX,
      down: window.scrollY,
      inner: [...document.querySelectorAll("main *")]
        .filter((node) => node.scrollLeft > 0 || node.scrollTop > 0)
        .map((node) => ({ way: way(node), left: node.scrollLeft, down: node.scrollTop })),
    };
  };

  const putBack = (place) => {
    const slider = document.getElementById("step");
    if (slider && place.step !== null) {
      slider.value = place.step;
      slider.dispatchEvent(new Event("input"));
    }
    if (slider && place.isPlaying) document.getElementById("play").click();
    for (const { way, left, down } of place.inner) follow(way)?.scrollTo({ left, top: down, behavior: "instant" });
    if (place.focused) follow(place.focused)?.focus({ preventScroll: true });
    window.scrollTo({ left: place.left, top: place.down, behavior: "instant" });
    const top = place.top && document.getElementById(place.top.id);
    if (top) window.scrollBy({ top: top.getBoundingClientRect().top - place.top.at, behavior: "instant" });
  };

  const replace = (page) => {
    // Another program serves now, whose scripts and style these are not.
    if (fixed(page).join() !== fixed(document).join()) return location.reload();
    const place = take();
    // Stops its clock, which would go on for what is no longer there.
    if (place.isPlaying) document.getElementById("play").click();
    const scripts = ownScripts();
    for (const node of [...document.body.children]) if (!scripts.includes(node)) node.remove();
    scripts[0].before(...[...page.body.children].filter((node) => !node.matches("script:not([type])")));
    document.title = page.title;
    document.body.classList.remove("live");
    const again = document.createElement("script");
    again.textContent = scripts[0].textContent;
    scripts[0].replaceWith(again);
    putBack(place);
  };

  const isSelecting = () => !(document.getSelection()?.isCollapsed ?? true);

  const refresh = async () => {
    if (isBusy || wanted === shown || isSelecting()) return;
    isBusy = true;
    const asked = wanted;
    let page = null;
    try {
      const answer = await fetch("/", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      say("The program that serves it does not answer.");
    }
    isBusy = false;
    if (!page || isSelecting()) return;
    const version = versionOf(page);
    if (version !== shown) replace(page);
    shown = version;
    say("It follows the runs.");
    // The page can be newer than the message, whose successor is then on its way; and one can have come meanwhile.
    if (wanted === asked) wanted = version;
    else refresh();
  };

  const open = () => {
    clearTimeout(retry);
    if (source || document.hidden) return;
    source = new EventSource("/events");
    source.onopen = () => say("It follows the runs.");
    source.onmessage = (message) => {
      wanted = message.data;
      refresh();
    };
    source.onerror = () => {
      // A browser tries again by itself where a connection broke, and not where it was refused.
      say("The program that serves it does not answer.");
      if (source.readyState !== EventSource.CLOSED) return;
      source = null;
      retry = setTimeout(open, PATIENCE);
    };
  };

  // A browser has six connections to a server for all its pages: one that nobody sees needs none.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return open();
    source?.close();
    source = null;
  });
  document.addEventListener("selectionchange", () => !isSelecting() && refresh());
  window.addEventListener("pagehide", () => source?.close());
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    source = null;
    open();
  });
  open();
})();
