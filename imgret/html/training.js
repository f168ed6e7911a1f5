(() => {
  const POINTS = 60; // of a curve that is drawn with a dot at each
  const WINDOW = 40; // a loss is smoothed over a twentieth of its steps, from so many on

  const tiny = (value) => value && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5);
  const number = (value) => value === null || value === undefined ? "–" : tiny(value) ? value.toExponential(2) : value.toFixed(4);
  const plain = (value) => tiny(value) ? value.toExponential(1) : String(Number(value.toPrecision(4)));

  // --- curves

  function ticks(low, high) { // round numbers from below the lowest value to above the highest
    const span = high - low || Math.abs(high) || 1;
    const power = 10 ** Math.floor(Math.log10(span / 4));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= 5);
    const first = Math.floor(low / step + 1e-9);
    const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
    return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
  }

  // points are [x, y] in order; `parts` gives what is drawn of them, by functions that place a number along an axis
  function chart(title, caption, xlabel, points, parts, extra = []) {
    const [left, top, width, height] = [58, 10, 376, 200];
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y).concat(extra)];
    const least = (values) => values.reduce((one, other) => Math.min(one, other));
    const most = (values) => values.reduce((one, other) => Math.max(one, other));
    const [x0, x1, marks] = [least(xs), most(xs), ticks(least(ys), most(ys))];
    const [y0, y1] = [marks[0], marks[marks.length - 1]];
    const x = (value) => (left + (x1 > x0 ? (value - x0) / (x1 - x0) : 0.5) * width).toFixed(1);
    const y = (value) => (top + (1 - (value - y0) / (y1 - y0)) * height).toFixed(1);
    const picture = svg("svg", { viewBox: "0 0 452 250", role: "img", "aria-label": `${title}. ${caption}` });
    for (const mark of marks) {
      picture.append(
        svg("path", { class: "grid", d: `M${left} ${y(mark)}H${left + width}` }),
        svg("text", { x: left - 7, y: y(mark) * 1 + 4, "text-anchor": "end" }, plain(mark)));
    }
    for (const mark of ticks(x0, x1).filter((each) => Number.isInteger(each) && each >= x0 && each <= x1)) {
      picture.append(
        svg("path", { class: "grid", d: `M${x(mark)} ${top}V${top + height}` }),
        svg("text", { x: x(mark), y: top + height + 17, "text-anchor": "middle" }, String(mark)));
    }
    picture.append(svg("text", { x: left + width / 2, y: top + height + 36, "text-anchor": "middle" }, xlabel), ...parts(x, y, left, width));
    return el("figure", { class: "chart" }, el("h3", {}, title), picture, el("figcaption", {}, caption));
  }

  const line = (kind, points, x, y) => svg("polyline", { class: kind, points: points.map(([a, b]) => `${x(a)},${y(b)}`).join(" ") });

  function scores() {
    const points = data.epochs.filter(({ score }) => score !== null).map(({ epoch, score }) => [epoch, score]);
    if (!points.length) return null;
    const [start, best] = [points[0], points.find(([epoch]) => epoch === data.best)];
    const name = shown(data.measure ?? "score");
    const kept = best && (best === start ? ", which was kept" : `, ${number(best[1])} after epoch ${best[0]}, which was kept`);
    const caption = `${number(start[1])} at the start (dashed)` + (kept ? `${kept} (ringed).` : ".");
    return chart(`${name} of the validation`, caption, "epoch", points, (x, y, left, width) => [
      svg("path", { class: "start", d: `M${left} ${y(start[1])}H${left + width}` }),
      line("curve curve-0", points, x, y),
      ...(points.length > POINTS ? [] : points.map(([a, b]) => svg("circle", { class: "point", cx: x(a), cy: y(b), r: 3 }))),
      best ? svg("circle", { class: "best", cx: x(best[0]), cy: y(best[1]), r: 7 }) : "",
    ]);
  }

  function smooth(points) {
    const reach = Math.floor(points.length / WINDOW);
    const sums = points.reduce((all, [, value]) => (all.push(all[all.length - 1] + value), all), [0]);
    return points.map(([x], i) => {
      const [from, to] = [Math.max(0, i - reach), Math.min(points.length, i + reach + 1)];
      return [x, (sums[to] - sums[from]) / (to - from)];
    });
  }

  function losses() {
    const points = data.steps.map(([, step, loss]) => [step, loss]);
    if (!points.length) return null;
    const mean = smooth(points);
    const caption = `From ${number(mean[0][1])} to ${number(mean[mean.length - 1][1])}` + (points.length >= WINDOW ? ", a mean over neighbouring steps; faint: each step." : ".");
    return chart("loss", caption, "step", points, (x, y) => [line("faint", points, x, y), line("curve curve-0", mean, x, y)]);
  }

  function rates() {
    const points = data.steps.map(([, step, , rate]) => [step, rate]);
    if (!points.length) return null;
    const caption = `From ${number(points[0][1])} to ${number(points[points.length - 1][1])}.`;
    return chart("learning rate", caption, "step", points, (x, y) => [line("curve curve-0", points, x, y)], [0]);
  }

  // --- tables, examples, facts

  function epochs() {
    const names = [...new Set(data.epochs.flatMap(({ figures }) => Object.keys(figures)))].filter((name) => name !== data.measure);
    const head = ["epoch", shown(data.measure ?? "score"), "loss", "rate", ...names.map(shown)];
    const rows = data.epochs.map(({ epoch, score, loss, rate, figures }) => {
      const said = [epoch === 0 ? "start" : "", epoch === data.best ? "kept" : ""].filter(Boolean).join(", ");
      const cells = [score, loss, rate, ...names.map((name) => figures[name])].map((value) => el("td", {}, number(value)));
      return el("tr", epoch === data.best ? { class: "kept" } : {}, el("th", { scope: "row" }, `${epoch}${said && ` (${said})`}`), cells);
    });
    return el("table", {}, el("thead", {}, el("tr", {}, head.map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, rows));
  }

  function photo(position, kind, said) {
    const thumbnail = thumbnails[position];
    const text = shown(data.photos[position]);
    const image = thumbnail ? el("img", { src: "data:image/jpeg;base64," + thumbnail[1], alt: "", loading: "lazy" }) : el("span", { class: "absent" }, "no picture");
    return el("li", {}, el("span", { class: `frame ${kind}` }, image), el("p", {}, el("b", {}, said), " ", el("bdi", {}, text)));
  }

  function examples() {
    let last = null;
    for (const [epoch, query, positives, negatives] of data.examples) {
      if (epoch !== last) $("examples").append(el("h3", {}, `epoch ${epoch}`));
      last = epoch;
      $("examples").append(el("ul", { class: "example", "aria-label": `example of epoch ${epoch}` },
        photo(query, "q", "asks"),
        positives.map((each) => photo(each, "h", each === query ? "another view" : "matches")),
        negatives.map((each) => photo(each, "m", "does not match"))));
    }
    $("examples").hidden = !data.examples.length;
  }

  function facts() {
    for (const [heading, rows] of data.facts) {
      const list = rows.map(([name, value]) => [el("dt", {}, shown(name)), el("dd", {}, shown(value))]);
      $("facts").append(el("details", {}, el("summary", {}, heading), el("dl", {}, list)));
    }
    if (!data.failed.length) return;
    const rows = data.failed.map((cells) => el("tr", {}, cells.map((cell) => el("td", {}, el("bdi", {}, shown(cell))))));
    const count = data.failed.length === 1 ? "1 photo" : `${data.failed.length} photos`;
    $("facts").append(el("details", { class: "failed" }, el("summary", {}, `${count} could not be used`), el("table", {}, el("tbody", {}, rows))));
  }

  $("note").textContent = shown(data.note);
  $("warnings").append(...data.warnings.map((text) => el("li", {}, shown(text))));
  $("charts").append(...[scores(), losses(), rates()].filter(Boolean));
  $("epochs").append(epochs());
  examples();
  facts();
})();
