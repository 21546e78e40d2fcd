"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const PRINTED = 680;  // what an A4 or a letter page holds
  const config = {
    displaylogo: false,
    responsive: true,
    modeBarButtons: [["toImage", "resetScale2d"]],
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
  };

  // as latbench.units.format_latency: three significant digits and a unit
  function latency(seconds) {
    const ns = seconds * 1e9;
    for (const [limit, divisor, unit] of [[1e3, 1, "ns"], [1e6, 1e3, "µs"], [1e9, 1e6, "ms"]]) {
      if (Math.abs(ns) < limit - limit / 2000) return `${threeDigits(ns / divisor)} ${unit}`;
    }
    return `${threeDigits(ns / 1e9)} s`;
  }
  function threeDigits(value) {
    const size = Math.abs(value);
    if (size >= 99.95 || value === 0) return value.toFixed(0);
    return value.toFixed(size >= 9.995 ? 1 : 2);
  }

  // Plotly writes `200µs`; a number and its unit stand apart
  const apart = { "0s": "0" };
  for (const unit of ["ns", "µs", "ms", "s"]) {
    const write = (value) => { const told = String(+value.toFixed(2)); apart[told + unit] = `${told} ${unit}`; };
    for (let tenth = 1; tenth <= 100; tenth++) write(tenth / 10);
    for (let half = 20; half <= 200; half++) write(half / 2);
    for (let five = 20; five <= 200; five++) write(five * 5);
  }

  // round values of a logarithmic axis of times, as many as there is room for: Plotly's own leave
  // the unit out between powers of ten
  function evenly(low, high, most) {
    const least = (high - low) / most;
    const decade = 10 ** Math.floor(Math.log10(least));
    const steps = [0.5, 1, 2, 5, 10];
    let place = steps.findIndex((each) => each >= 1 && each * decade >= least);
    let found;
    do {
      const step = steps[place] * decade;
      found = [];
      for (let number = Math.ceil(low / step); number * step <= high; number++) found.push(number * step);
    } while (found.length < 2 && place-- > 0);  // one alone is no scale
    return found;
  }
  function roundTimes([low, high], most) {
    let found = high - low < 0.8 ? evenly(10 ** low, 10 ** high, Math.min(most, 6)) : [];
    for (const factors of found.length ? [] : [[1, 1.5, 2, 3, 4, 5, 6, 8], [1, 2, 3, 5], [1, 2, 5], [1, 3], [1]]) {
      found = [];
      for (let decade = Math.floor(low); decade <= Math.ceil(high); decade++) {
        for (const factor of factors) {
          const place = decade + Math.log10(factor);
          if (place >= low && place <= high) found.push(Number(`${factor}e${decade}`));
        }
      }
      if (found.length <= most) break;
    }
    const step = Math.ceil(found.length / most);
    const told = found.filter((_, index) => index % step === 0);
    return { tickmode: "array", tickvals: told, ticktext: told.map((value) => latency(value).replace(/\.0+(?= )/, "").replace(/(\.\d*[1-9])0+(?= )/, "$1")) };
  }
  const isTimes = (axis) => axis.type === "log" && axis.ticksuffix === "s";
  const room = (place, name, axis) => {
    const domain = axis.domain || [0, 1];
    return name.startsWith("x") ? place.clientWidth / 85 : Math.max(3, (place.clientHeight * (domain[1] - domain[0])) / 34);
  };

  // where a logarithmic axis has no range of its own: that of what is shown
  function rangeOf(name, traces) {
    const letter = name[0];
    const reference = letter + name.slice(5);
    let low = Infinity, high = -Infinity;
    for (const trace of traces) {
      if (!trace.visible || (letter === "y" && (trace.yaxis || "y") !== reference)) continue;
      for (const value of trace[letter]) {
        if (value > 0) { low = Math.min(low, value); high = Math.max(high, value); }
      }
    }
    if (low > high) return [-6, 0];
    const [from, to] = [Math.log10(low), Math.log10(high)];
    const margin = Math.max((to - from) * 0.04, 0.03);
    return [letter === "x" && low === 1 ? 0 : from - margin, to + margin];
  }

  function texts(trace) {
    const meta = trace.meta || {};
    if (meta.text === "latency") {
      return trace.y.map((value, index) => {
        const percent = (trace.customdata || [])[index];
        const told = value === null ? "" : latency(value);
        const whose = (meta.whose || [])[index];
        return told + (percent === undefined ? "" : ` at p${percent}`) + (whose ? ` (${whose})` : "");
      });
    }
    if (meta.text === "bin") {
      return trace.y.map((value, index) => {
        const x = trace.x[index];
        return `${latency(x / meta.half)} to ${latency(x * meta.half)}: ${value.toLocaleString("en")} ${meta.unit}`;
      });
    }
    return null;
  }
  for (const figure of Object.values(figures)) {
    for (const trace of figure.data) {
      const told = texts(trace);
      if (told) {
        trace.text = told;
        if (trace.hoverinfo !== "skip") trace.hovertemplate = "%{text}";
      }
    }
    for (const [name, axis] of Object.entries(figure.layout)) {
      if (/^[xy]axis/.test(name) && axis.ticksuffix === "s" && axis.type !== "log") axis.labelalias = apart;
    }
  }

  // strings that begin with `--` are colours of the style sheet
  function coloured(node, style) {
    if (typeof node === "string") return node.startsWith("--") ? style.getPropertyValue(node).trim() : node;
    if (Array.isArray(node)) return typeof node[0] === "object" ? node.map((each) => coloured(each, style)) : node;
    if (node === null || typeof node !== "object" || node === apart) return node;
    return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, coloured(value, style)]));
  }

  function chosen(key) {
    const choices = {};
    for (const field of document.querySelectorAll(`fieldset[data-of="${key}"]`)) {
      choices[field.dataset.kind] = new Set([...field.querySelectorAll("input:checked")].map((each) => each.value));
    }
    return choices;
  }

  function draw(key) {
    const place = document.getElementById(`chart-${key}`);
    const style = getComputedStyle(root);
    const choices = chosen(key);
    const figure = coloured(figures[key], style);
    const linear = choices.scale && choices.scale.has("linear");
    for (const trace of figure.data) {
      const meta = trace.meta || {};
      trace.visible = Object.entries(choices).every(([kind, values]) => !(kind in meta) || values.has(meta[kind]));
      if (meta.floor !== undefined && !linear) trace.y = trace.y.map((value) => value || meta.floor / 10);
    }
    for (const [name, axis] of Object.entries(figure.layout)) {
      if (!/^[xy]axis/.test(name)) continue;
      if (name.startsWith("y")) axis.showspikes = false;
      if (linear && name.startsWith("y")) {
        axis.type = "linear";
        delete axis.range;
        delete axis.dtick;
        axis.rangemode = "tozero";
      } else if (axis.type === "log" && !axis.range) {
        axis.range = rangeOf(name, figure.data);
      }
      if (isTimes(axis)) Object.assign(axis, roundTimes(axis.range, room(place, name, axis)));
    }
    figure.layout.font.family = getComputedStyle(document.body).fontFamily;
    figure.layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    figure.layout.width = "light" in root.dataset ? Math.min(place.clientWidth, PRINTED) : place.clientWidth;
    figure.layout.uirevision = [...Object.values(choices)].map((each) => [...each].join()).join(";");
    return Plotly.react(place, figure.data, figure.layout, config).then(() => {
      if (!place.dataset.watched) {
        place.dataset.watched = "1";
        place.on("plotly_relayout", (changed) => zoomed(place, changed));
      }
    });
  }

  function zoomed(place, changed) {
    const update = {};
    for (const [name, axis] of Object.entries(place.layout)) {
      const isZoomed = Object.keys(changed).some((key) => key.startsWith(`${name}.`) && /range/.test(key));
      if (/^[xy]axis/.test(name) && isZoomed && isTimes(axis) && axis.range) {
        for (const [key, value] of Object.entries(roundTimes(axis.range, room(place, name, axis)))) update[`${name}.${key}`] = value;
      }
    }
    if (Object.keys(update).length) Plotly.relayout(place, update);
  }
  const drawAll = () => Promise.all(Object.keys(figures).map(draw));

  document.addEventListener("change", (event) => {
    const field = event.target.closest("fieldset");
    if (!field) return;
    if (event.target.type === "radio" && field.dataset.kind === "hop") {
      // a hop chosen in one chart is chosen in all that show one at a time
      for (const other of document.querySelectorAll('fieldset[data-kind="hop"] input[type="radio"]')) {
        if (other.value === event.target.value) other.checked = true;
      }
      for (const other of document.querySelectorAll('fieldset[data-kind="hop"]')) draw(other.dataset.of);
      return;
    }
    draw(field.dataset.of);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let waiting = 0;
  new ResizeObserver(() => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(drawAll); }).observe(document.querySelector("main"));

  let opened = [];
  addEventListener("beforeprint", () => {
    root.dataset.light = "";
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const each of opened) each.open = true;
    drawAll();
  });
  addEventListener("afterprint", () => {
    delete root.dataset.light;
    for (const each of opened) each.open = false;
    drawAll();
  });
  drawAll();
})();
