// A container's terminal in a notebook. `Terminal` and `FitAddon` are xterm.js, which stands above this text (see terminal.py).
const ROWS = 20;

function colours(el) {
  const style = getComputedStyle(el);
  const read = (name, other) => style.getPropertyValue(name).trim() || other;
  const background = read("--jp-layout-color0", "#ffffff"), foreground = read("--jp-content-font-color0", "#111111");
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = background;
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  const dark = 0.299 * red + 0.587 * green + 0.114 * blue < 128;
  const palette = dark
    ? { black: "#5c6370", red: "#ff7b85", green: "#8fd48f", yellow: "#e5c07b", blue: "#7ab8ff", magenta: "#d798f0", cyan: "#5fd7d7", white: "#e6e6e6" }
    : { black: "#1c1c1c", red: "#b3000f", green: "#1a6b1a", yellow: "#7a5200", blue: "#0b4fb3", magenta: "#8a1a8a", cyan: "#00666b", white: "#595959" };
  const bright = Object.fromEntries(Object.entries(palette).map(([name, value]) => ["bright" + name[0].toUpperCase() + name.slice(1), value]));
  return { background, foreground: dark ? "#e6e6e6" : "#1c1c1c", cursor: foreground, cursorAccent: background, selectionBackground: dark ? "#3d5a80" : "#b7d4f5", ...palette, ...bright };
}

function screen(term) {
  const lines = [];
  for (let row = 0; row < term.buffer.normal.length; row++) {
    const line = term.buffer.normal.getLine(row);
    const text = line.translateToString(true);
    if (line.isWrapped && lines.length) lines[lines.length - 1] += text;
    else lines.push(text);
  }
  return lines.join("\n").trimEnd();
}

export default {
  render({ model, el }) {
    const name = model.get("name");
    el.style.cssText = "border:1px solid var(--jp-border-color1,#bbb);border-radius:4px;overflow:hidden";
    const place = document.createElement("div");
    place.dataset.lmSuppressShortcuts = "true"; // keys belong to the program, not to the notebook
    place.style.padding = "6px 0 6px 8px";
    const status = document.createElement("div");
    status.setAttribute("role", "status");
    status.tabIndex = 0;
    status.style.cssText =
      "padding:3px 8px;font-size:var(--jp-ui-font-size1,13px);color:var(--jp-ui-font-color1,#444);border-top:1px solid var(--jp-border-color2,#ddd);background:var(--jp-layout-color1,#fff)";
    el.append(place, status);
    const say = (text) => { status.textContent = text; };

    const term = new Terminal({
      rows: ROWS, cols: 80, scrollback: 5000, screenReaderMode: true, cursorBlink: true, theme: colours(el),
      fontFamily: getComputedStyle(el).getPropertyValue("--jp-code-font-family") || "monospace", fontSize: 13,
    });
    const fit = new FitAddon();
    term.loadAddon(fit);
    term.open(place);
    place.style.background = term.options.theme.background;
    term.textarea?.setAttribute("aria-label", `terminal of container ${name}; Shift+Escape leaves it`);

    const measure = () => {
      const size = fit.proposeDimensions();
      if (size && size.cols > 1 && size.cols !== term.cols) term.resize(Math.min(size.cols, 500), ROWS);
    };
    term.attachCustomKeyEventHandler((event) => {
      if (event.key !== "Escape" || !event.shiftKey) return true;
      event.preventDefault();
      if (event.type === "keydown") status.focus();
      return false;
    });
    term.onData((data) => model.send({ type: "typed", data }));
    term.onBinary((data) => model.send({ type: "typed", data, binary: true }));
    term.onResize(({ rows, cols }) => model.send({ type: "size", rows, cols }));

    const hear = (message, buffers) => {
      if (message.type === "out") {
        const bytes = new Uint8Array(buffers[0].buffer, buffers[0].byteOffset, buffers[0].byteLength);
        term.write(bytes, () => model.send({ type: "seen", count: bytes.length }));
      } else if (message.type === "started") {
        say(`${name} is running. Type here; Shift+Escape leaves the terminal.`);
        term.focus();
      } else if (message.type === "ended") {
        term.options.disableStdin = true;
        term.options.cursorBlink = false;
        say(message.text);
        term.write("", () => model.send({ type: "screen", text: screen(term) }));
      }
    };
    model.on("msg:custom", hear);

    const sized = new ResizeObserver(measure);
    sized.observe(place);
    const themed = new MutationObserver(() => {
      term.options.theme = colours(el);
      place.style.background = term.options.theme.background;
    });
    themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
    say(`${name} is about to start`);
    // The element is in the page once this function has returned, and has a width.
    requestAnimationFrame(() => {
      measure();
      model.send({ type: "ready", rows: term.rows, cols: term.cols });
    });
    return () => {
      model.off("msg:custom", hear);
      sized.disconnect();
      themed.disconnect();
      term.dispose();
    };
  },
};
