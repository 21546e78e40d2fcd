// What of a browser the report's script uses, for tests: no layout, and a Plotly that keeps what it is given.
const drawn = {}, listeners = {}, relayouts = [], media = [];
let isDark = false;
const later = [];

function makeField(spec) {
  const field = { dataset: { of: spec.of, kind: spec.kind } };
  field.inputs = spec.inputs.map(({ type, value, checked }) => ({
    type, value, closest: () => field,
    get checked() { return checked; },
    set checked(isOn) {  // of radio buttons one is on
      if (isOn && type === "radio") for (const each of field.inputs) each.checked = false;
      checked = isOn;
    },
  }));
  field.querySelectorAll = (selector) => field.inputs.filter((each) => selector !== "input:checked" || each.checked);
  return field;
}
const fields = PAGE.fields.map(makeField);
const folded = PAGE.folded.map(() => ({ open: false }));
const places = Object.fromEntries(PAGE.places.map((each) => [`chart-${each.key}`, {
  key: each.key, clientWidth: PAGE.width, clientHeight: each.height, dataset: {}, handlers: {},
  on(name, handler) { this.handlers[name] = handler; },
}]));

globalThis.document = {
  documentElement: { dataset: {} },
  body: {},
  getElementById: (id) => (id === "figures" ? { textContent: PAGE.figures } : places[id]),
  querySelector: () => ({}),
  querySelectorAll(selector) {
    const of = selector.match(/^fieldset\[data-of="([\w-]+)"\]$/);
    if (of) return fields.filter((each) => each.dataset.of === of[1]);
    const kind = selector.match(/^fieldset\[data-kind="([\w-]+)"\]( input\[type="radio"\])?$/);
    if (kind) {
      const found = fields.filter((each) => each.dataset.kind === kind[1]);
      return kind[2] ? found.flatMap((each) => each.inputs.filter((input) => input.type === "radio")) : found;
    }
    if (selector === "details:not([open])") return folded.filter((each) => !each.open);
    throw new Error(`no such selector here: ${selector}`);
  },
  addEventListener(name, handler) { listeners[name] = handler; },
};
globalThis.addEventListener = (name, handler) => { listeners[name] = handler; };
globalThis.matchMedia = (query) => ({
  matches: query === "(hover: hover)",
  addEventListener(_, handler) { media.push([query, handler]); },
});
globalThis.getComputedStyle = () => ({
  fontFamily: "sans",
  getPropertyValue: (name) => ` ${isDark ? "dark" : "light"}(${name.slice(2)})`,
});
globalThis.requestAnimationFrame = (callback) => later.push(callback);
globalThis.cancelAnimationFrame = () => {};
globalThis.ResizeObserver = class { constructor(callback) { this.callback = callback; } observe() { this.callback(); } };
globalThis.Plotly = {
  react(place, data, layout, config) {
    place.layout = layout;
    drawn[place.key] = { data, layout, config, times: (drawn[place.key]?.times ?? 0) + 1 };
    return Promise.resolve(place);
  },
  relayout(place, update) { relayouts.push([place.key, update]); },
};

// what a reader does
globalThis.choose = (chart, kind, value, isOn) => {
  const field = fields.find((each) => each.dataset.of === chart && each.dataset.kind === kind);
  const input = field.inputs.find((each) => each.value === value);
  input.checked = isOn;
  listeners.change({ target: input });
};
globalThis.zoom = (chart, axis, range) => {
  const place = places[`chart-${chart}`];
  place.layout[axis].range = range;
  place.handlers.plotly_relayout({ [`${axis}.range[0]`]: range[0], [`${axis}.range[1]`]: range[1] });
};
globalThis.darken = () => {
  isDark = true;
  for (const [query, handler] of media) if (query === "(prefers-color-scheme: dark)") handler();
};
globalThis.told = () => JSON.stringify({
  drawn, relayouts, waiting: later.length,
  open: folded.map((each) => each.open),
  chosen: fields.map((each) => [each.dataset.of, each.dataset.kind, each.inputs.filter((input) => input.checked).map((input) => input.value)]),
});
