(() => {
  const CHUNK = 20; // cards built at once; more follow as the end of the page comes near
  const PRINTED = 200; // cards built for paper, at most
  const NAME = 14, END = 9; // characters of a name that always fits, and of the end that one keeps which does not
  const CURVES = 8; // runs whose curves can be told apart
  const COLUMNS = 3; // runs that have a column each in the table; of more, each has a row
  const ENDS = new RegExp(`(?:\\P{M}\\p{M}*){0,${END}}$`, "u"); // no letter without its accents
  const MARKS = {
    h: { sign: "✓", text: "hit" },
    m: { sign: "✗", text: "miss" },
    j: { sign: "∅", text: "junk" },
    q: { sign: "◎", text: "query photo" },
  };
  const { photos, queries, runs } = data;
  const MEASURE = data.measure; // what the values are called: AP, for most protocols
  const settings = data.settings.length ? data.settings : [""];

  // --- text

  const name = (text, tag = "bdi") => el(tag, {}, shown(text));
  const number = (value, digits = 4) => value === null || value === undefined ? "–" : value.toFixed(digits);
  const score = (value) => value === null || value === undefined ? "" : String(Number(value.toPrecision(6)));
  const short = (value) => {
    if (value === null || value === undefined) return "";
    const size = Math.abs(value);
    return size >= 1000 ? value.toFixed() : size >= 1 || size < 0.001 ? value.toPrecision(3) : value.toFixed(3);
  };
  const signed = (value, digits = 4) => (value > 0 ? "+" : value < 0 ? "−" : "±") + Math.abs(value).toFixed(digits);

  // a name in whatever room there is: what is too long is cut before its end, so that numbers and extensions are seen
  function brief(text, attributes = {}) {
    const end = text.length > NAME ? ENDS.exec(text)[0] : "";
    return el("bdi", { title: text, ...attributes }, el("span", {}, text.slice(0, text.length - end.length)), end && el("span", {}, end));
  }

  // --- what the data say

  let setting = settings.includes("medium") ? "medium" : settings[0];
  const judged = queries.some((query) => query.runs.some((run) => run && Object.keys(run.settings).length));
  const used = new Set(); // the marks that there are
  for (const query of queries) {
    for (const run of query.runs) for (const it of Object.values(run?.settings ?? {})) for (const mark of it.marks) used.add(mark);
  }
  const junk = used.has("j");
  const drawn = (what) => queries.some((query) => query.runs.some((run) => run?.[what].some(Boolean)));
  const there = { boxes: drawn("outlines"), matches: drawn("points") }; // what can be switched
  const two = runs.length > 1;
  const photoNames = photos.map(shown);
  const lowerPhotos = photoNames.map((text) => text.toLowerCase());
  const queryNames = queries.map((query) => shown(query.name));
  const lowerQueries = queries.map((query, i) => {
    const photo = query.photo === null ? "" : lowerPhotos[query.photo];
    return queryNames[i].toLowerCase() + "\n" + photo;
  });

  const outcome = (query, r) => query.runs[r]?.settings[setting] ?? null;
  const apOf = (query, r) => outcome(query, r)?.ap ?? null;
  function gain(query, r) { // AP of run r less that of the first run
    const [before, after] = [apOf(query, 0), apOf(query, r)];
    return before === null || after === null ? null : after - before;
  }

  function fails(query, r) { // the first result that counts is no hit; the query photo itself is not looked at
    const it = outcome(query, r);
    if (!it) return false;
    const first = /[hm]/.exec(it.marks);
    return first ? first[0] === "m" : it.first_hit !== 1;
  }

  function differs(query) {
    return query.runs.slice(1).some((run, i) => {
      const first = query.runs[0];
      if (!first || !run) return first !== run;
      if (apOf(query, i + 1) !== apOf(query, 0) || first.top.length !== run.top.length) return true;
      return run.top.some(([photo], rank) => photo !== first.top[rank][0]);
    });
  }

  // --- the head of the page

  function head() {
    const known = [];
    if (data.protocol) known.push("protocol " + shown(data.protocol));
    known.push(queries.length + (queries.length === 1 ? " query" : " queries"), photos.length + (photos.length === 1 ? " photo shown" : " photos shown"));
    $("about").append(known.join(" · "));
    if (data.note) $("note").append(shown(data.note));
    for (const run of runs) {
      for (const warning of run.warnings) $("warnings").append(el("li", {}, two ? name(run.label) : "", two ? ": " : "", shown(warning)));
    }
    for (const sentence of data.comparison) $("comparison").append(el("li", {}, shown(sentence)));
    const conventions = Object.entries(data.conventions ?? {});
    $("conventions").hidden = !conventions.length;
    for (const [term, text] of conventions) $("conventions").querySelector("dl").append(el("dt", {}, shown(term)), el("dd", {}, shown(text)));
    summary();
    legend();
  }

  function summary() {
    const values = runs.map((run) => new Map(run.summary.map(([row, value]) => [row, value])));
    const digits = new Map(runs.flatMap((run) => run.summary.map(([row, , counts]) => [row, counts ? 0 : 4])));
    const rows = [...digits.keys()];
    if (!rows.length) return;
    const upright = runs.length > COLUMNS;
    const measure = (row, scope) => el("th", { scope }, shown(row));
    const ofRun = (run, scope) => el("th", { scope, title: shown(run.label) }, upright ? brief(shown(run.label), { class: "cut" }) : name(run.label));
    const cell = (r, row) => el("td", {}, number(values[r].get(row), digits.get(row)));
    const compared = runs.length === 2;
    const change = (row) => {
      const [a, b] = values.map((value) => value.get(row));
      return typeof a === "number" && typeof b === "number" && a !== b ? signed(b - a, digits.get(row)) : "";
    };
    const top = upright
      ? [el("th", { scope: "col" }, "run"), ...rows.map((row) => measure(row, "col"))]
      : [el("th", { scope: "col" }, "measure"), ...runs.map((run) => ofRun(run, "col")), compared && el("th", { scope: "col" }, "change")];
    const body = upright
      ? runs.map((run, r) => [ofRun(run, "row"), ...rows.map((row) => cell(r, row))])
      : rows.map((row) => [measure(row, "row"), ...runs.map((_, r) => cell(r, row)), compared && el("td", {}, change(row))]);
    const line = (cells) => el("tr", {}, ...cells);
    $("summary").append(el("table", { class: upright && "upright" }, el("thead", {}, line(top)), el("tbody", {}, ...body.map(line))));
  }

  function legend() {
    if (!judged && !there.boxes) return;
    const items = Object.keys(MARKS).filter((mark) => used.has(mark)).map((mark) => {
      return el("span", {}, el("i", { class: `${mark} ${mark}-text`, "aria-hidden": "true" }, MARKS[mark].sign), MARKS[mark].text);
    });
    if (judged && two) items.push(el("span", {}, `▲ ▼ ranks gained or lost from ${shown(runs[0].label)} to ${runs.length === 2 ? shown(runs[1].label) : "the run"}`));
    if (there.boxes) items.push(el("span", {}, el("i", { class: "frame", "aria-hidden": "true" }), "where the query lies in the photo found"));
    $("legend").append(...items);
    $("legend").hidden = !items.length;
  }

  function curves() {
    const all = runs.map((run) => ({ run, values: run.curves?.[setting] })).filter((curve) => curve.values?.length > 1);
    $("curves").hidden = !all.length;
    if (!all.length) return;
    const drawn = all.slice(0, CURVES);
    const [left, top, width, height] = [44, 10, 396, 236];
    const x = (value) => (left + value * width).toFixed(1);
    const y = (value) => (top + (1 - value) * height).toFixed(1);
    const label = "Precision over recall: " + drawn.map(({ run }) => shown(run.label)).join(", ");
    const picture = svg("svg", { viewBox: "0 0 452 292", role: "img", "aria-label": label });
    for (const tick of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
      picture.append(
        svg("path", { class: "grid", d: `M${x(tick)} ${y(0)}V${y(1)}M${x(0)} ${y(tick)}H${x(1)}` }),
        svg("text", { x: x(tick), y: y(0) * 1 + 17, "text-anchor": "middle" }, tick.toFixed(1)),
        svg("text", { x: left - 7, y: y(tick) * 1 + 4, "text-anchor": "end" }, tick.toFixed(1)),
      );
    }
    picture.append(
      svg("text", { x: x(0.5), y: y(0) * 1 + 36, "text-anchor": "middle" }, "recall"),
      svg("text", { transform: `translate(11 ${y(0.5)}) rotate(-90)`, "text-anchor": "middle" }, "precision"),
    );
    const lines = el("ul", { class: "lines" });
    for (const [r, { run, values }] of drawn.entries()) {
      const points = values.map((value, i) => `${x(i / (values.length - 1))},${y(value)}`).join(" ");
      picture.append(svg("polyline", { class: `curve curve-${r}`, points }));
      const sample = svg("svg", { viewBox: "0 0 44 10", "aria-hidden": "true" }, svg("path", { class: `curve curve-${r}`, d: "M0 5H44" }));
      lines.append(el("li", {}, sample, brief(shown(run.label), { class: "cut" })));
    }
    const first = all.length > CURVES ? ` of the first ${CURVES} runs` : "";
    const caption = "Mean interpolated precision" + first + (setting ? `, ${shown(setting)}` : "");
    $("curves").replaceChildren(picture, el("figcaption", {}, caption), lines);
  }

  // --- cards

  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) { seen.unobserve(target); load(target); }
  }, { rootMargin: "600px" });

  function load(part) { // a picture gets its pixels when it comes near the window
    for (const image of part.querySelectorAll("img[data-photo]")) {
      image.src = "data:image/jpeg;base64," + thumbnails[image.dataset.photo][1];
      image.removeAttribute("data-photo");
    }
  }

  function shape({ box, outline }) { // of what is framed in a photo: the name of an element, and its attributes
    if (outline) return ["polygon", { points: outline.join(" ") }];
    if (!box) return null;
    const [x1, y1, x2, y2] = box;
    return ["rect", { x: Math.min(x1, x2), y: Math.min(y1, y2), width: Math.abs(x2 - x1), height: Math.abs(y2 - y1) }];
  }

  function picture(photo, framed = {}, fallback) {
    const thumbnail = photo === null ? null : thumbnails[photo];
    if (!thumbnail) return [el("span", { class: "absent" }, el("bdi", {}, fallback ?? photoNames[photo]))];
    const parts = [el("img", { alt: "", "data-photo": photo, decoding: "async", draggable: "false" })];
    const drawn = shape(framed);
    if (drawn) {
      const frame = (kind) => svg(drawn[0], { class: kind, ...drawn[1] });
      parts.push(svg("svg", { viewBox: `0 0 ${thumbnail[2]} ${thumbnail[3]}`, "aria-hidden": "true" }, frame("box under"), frame("box")));
    }
    return parts;
  }

  // what a button shows large: the query, and the result beside it
  const large = new WeakMap();

  function queryTile(query, i) {
    const text = photoNames[query.photo] ?? queryNames[i];
    const tile = el("button", { type: "button", class: "tile", title: text, "aria-label": `query photo ${text}` }, picture(query.photo, query, text));
    large.set(tile, [{ photo: query.photo, box: query.box, text, lines: ["query"] }]);
    return tile;
  }

  function ranksOf(run) {
    return run && new Map(run.top.map(([photo], i) => [photo, i + 1]));
  }

  function move(photo, r, ranks) { // from the first run to another: {text, kind, title}
    const other = r || (runs.length === 2 ? 1 : 0);
    if (!other || !ranks[0] || !ranks[other]) return null;
    const [before, after] = [ranks[0].get(photo), ranks[other].get(photo)];
    const names = [shown(runs[0].label), shown(runs[other].label)];
    if (!before) return { text: "new", kind: "new", title: `not among the results of ${names[0]} shown here` };
    if (!after) return { text: "gone", kind: "gone", title: `not among the results of ${names[1]} shown here` };
    const title = `rank ${before} in ${names[0]}, ${after} in ${names[1]}`;
    if (before === after) return { text: "=", kind: "same", title };
    return { text: (after < before ? "▲" : "▼") + Math.abs(before - after), kind: after < before ? "up" : "down", title };
  }

  function result(query, r, i, place, ranks, it, source) {
    const { top, matches, evidence, outlines, points } = query.runs[r];
    const [photo, value] = top[i];
    const letter = it?.marks[i] ?? "-";
    const mark = MARKS[letter];
    const moved = move(photo, r, ranks);
    const exact = score(value);
    const more = [matches[i], evidence[i]].filter(Boolean).map(shown); // what is thought of it, and what was counted
    const said = [`rank ${i + 1}`, mark?.text, exact && `score ${exact}`, ...more, moved && (moved.text === "=" ? "same rank" : moved.text), photoNames[photo]];
    const attributes = { type: "button", class: mark ? `tile ${letter}` : "tile", "aria-label": said.filter(Boolean).join(", "), tabindex: place ? -1 : 0 };
    const tile = el("button", attributes, picture(photo, { outline: outlines[i] }));
    const lines = [`rank ${i + 1}` + (mark ? `, ${mark.text}` : "") + (two ? `, ${shown(runs[r].label)}` : ""), exact && `score ${exact}`, ...more, moved?.title];
    large.set(tile, [...source, { photo, outline: outlines[i], points: points[i], text: photoNames[photo], lines: lines.filter(Boolean) }]);
    return el("li", {},
      tile,
      el("span", { class: "line", "aria-hidden": "true" },
        el("span", {}, String(i + 1)),
        mark && el("span", { class: `sign ${letter}-text`, title: mark.text }, mark.sign),
        moved && el("span", { class: `move ${moved.kind}`, title: moved.title }, moved.text)),
      (exact || more.length) && el("span", { class: "score", title: exact, "aria-hidden": "true" }, [short(value), ...more].filter(Boolean).join(" · ")),
      brief(photoNames[photo], { class: "name cut", "aria-hidden": "true" }));
  }

  function scores(it) {
    if (!it) return judged ? [el("span", { class: "muted" }, "not evaluated")] : [];
    return [
      el("span", { class: "ap" }, `${MEASURE} ${number(it.ap)}`),
      el("span", {}, `${it.found} of ${it.positives} found`),
      el("span", {}, it.first_hit === null ? "no hit" : `first hit at ${it.first_hit}`),
    ];
  }

  function strip(query, r, ranks, source) {
    const it = outcome(query, r);
    const kept = query.runs[r].top.map((_, i) => i).filter((i) => !$("junk").checked || it?.marks[i] !== "j");
    if (!kept.length) return el("p", { class: "muted" }, "nothing but junk");
    return el("ol", { class: "strip" }, ...kept.map((i, place) => result(query, r, i, place, ranks, it, source)));
  }

  function card(i) {
    const query = queries[i];
    const tile = queryTile(query, i);
    const source = query.photo === null ? [] : large.get(tile);
    const ranks = query.runs.map(ranksOf);
    const facts = el("div", { class: "facts" }, el("h2", {}, name(query.name)));
    if (query.photo !== null && photoNames[query.photo] !== queryNames[i]) facts.append(el("p", { class: "muted" }, el("bdi", {}, photoNames[query.photo])));
    if (!two) facts.append(...scores(query.runs[0] && outcome(query, 0)).map((part) => el("p", {}, part)));
    runs.forEach((run, r) => {
      const change = r ? gain(query, r) : null;
      if (change === null) return;
      const kind = change > 0 ? "up" : change < 0 ? "down" : "same";
      const of = runs.length > 2 ? ` (${shown(run.label)})` : "";
      facts.append(el("p", { class: `gain ${kind}` }, `${MEASURE} ${change > 0 ? "▲" : change < 0 ? "▼" : "="} ${signed(change)}${of}`));
    });
    const strips = el("div", { class: "strips" });
    runs.forEach((run, r) => {
      const own = query.runs[r];
      const part = el("section", { class: "run", "aria-label": two ? shown(run.label) : "results" });
      if (two) part.append(el("p", { class: "run-head" }, el("b", {}, brief(shown(run.label), { class: "cut" })), ...(own ? scores(outcome(query, r)) : [])));
      if (!own) part.append(el("p", { class: "muted" }, "this run has no such query"));
      else if (!own.top.length) part.append(el("p", { class: "muted" }, "no result"));
      else part.append(strip(query, r, ranks, source));
      strips.append(part);
    });
    const article = el("article", { class: "card", tabindex: -1, "aria-label": `query ${queryNames[i]}` }, el("div", { class: "query" }, tile, facts), strips);
    seen.observe(article);
    return article;
  }

  // --- which cards, in which order

  let order = [];
  const near = new IntersectionObserver(([entry]) => { if (entry.isIntersecting) more(); }, { rootMargin: "1500px" });

  function more(count = CHUNK) {
    const built = $("cards").children.length;
    if (built < order.length) {
      $("cards").append(...order.slice(built, built + count).map(card));
      near.unobserve($("end")); // watched anew, it tells again whether the end is still near
      near.observe($("end"));
    }
  }

  const byOrder = new Map([["name", null]]);
  function orders() {
    const options = [["given", "order of the queries"], ["name", "name"]];
    const add = (key, text, value) => {
      for (const [suffix, sign, words] of [["asc", 1, "lowest first"], ["desc", -1, "highest first"]]) {
        byOrder.set(`${key}-${suffix}`, { value, sign });
        options.push([`${key}-${suffix}`, `${text}, ${words}`]);
      }
    };
    if (judged) {
      runs.forEach((run, r) => add(`ap${r}`, two ? `${MEASURE} of ${shown(run.label)}` : MEASURE, (query) => apOf(query, r)));
      runs.slice(1).forEach((run, r) => add(`gain${r + 1}`, runs.length > 2 ? `${MEASURE} difference of ${shown(run.label)}` : `${MEASURE} difference`, (query) => gain(query, r + 1)));
    }
    $("order").append(...options.map(([value, text]) => el("option", { value }, text)));
  }

  const byGain = new Map(); // which queries are better or worse in a run than in the first
  function gains() {
    const options = [["", "all"]];
    runs.slice(1).forEach((run, r) => {
      for (const [word, sign] of [["better", 1], ["worse", -1]]) {
        byGain.set(`${word}${r + 1}`, (query) => sign * gain(query, r + 1) > 0);
        options.push([`${word}${r + 1}`, `${word} in ${shown(run.label)}`]);
      }
    });
    $("gains").append(...options.map(([value, text]) => el("option", { value }, text)));
    $("gains-label").hidden = !judged || !two;
  }

  const collator = new Intl.Collator("en", { numeric: true });

  function update() {
    const text = $("search").value.trim().toLowerCase();
    const inResults = $("results").checked && text ? lowerPhotos.map((lower) => lower.includes(text)) : null;
    const [failures, changed, gained] = [$("failures").checked, $("changed").checked, byGain.get($("gains").value)];
    order = [];
    queries.forEach((query, i) => {
      if (text && !lowerQueries[i].includes(text) && !(inResults && query.runs.some((run) => run?.top.some(([photo]) => inResults[photo])))) return;
      if (failures && !runs.some((_, r) => fails(query, r))) return;
      if (changed && !differs(query)) return;
      if (gained && !gained(query)) return;
      order.push(i);
    });
    const by = byOrder.get($("order").value);
    if (by === null) order.sort((a, b) => collator.compare(queryNames[a], queryNames[b]) || a - b);
    else if (by) {
      const values = queries.map(by.value);
      const missing = (i) => values[i] === null;
      order.sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : by.sign * (values[a] - values[b])) || a - b);
    }
    $("count").value = `${order.length} of ${queries.length} ${queries.length === 1 ? "query" : "queries"} shown`;
    seen.disconnect();
    $("cards").replaceChildren();
    if (!order.length) $("cards").append(el("p", { class: "nothing" }, "No query is like that."));
    more();
  }

  // --- keys and dialogs

  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  function show(node, block = "nearest") {
    node.scrollIntoView({ block, inline: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  }

  function goTo(position) {
    if (!order.length) return;
    const wanted = Math.max(0, Math.min(position, order.length - 1));
    while ($("cards").children.length <= wanted) more();
    const next = $("cards").children[wanted];
    next.focus({ preventScroll: true });
    show(next);
  }

  function currentCard() {
    return document.activeElement?.closest(".card") ?? null;
  }

  function step(by) {
    const at = currentCard();
    if (at) return goTo([...$("cards").children].indexOf(at) + by);
    const cards = [...$("cards").querySelectorAll(".card")];
    const first = cards.findIndex((card) => card.getBoundingClientRect().bottom > $("tools").getBoundingClientRect().bottom + 40);
    return goTo(first < 0 ? cards.length - 1 : first);
  }

  function sideways(by) {
    const at = currentCard();
    if (!at) return false;
    const tiles = [...at.querySelectorAll(".tile")];
    const next = tiles[Math.max(0, Math.min(tiles.indexOf(document.activeElement) + by, tiles.length - 1))];
    next.focus({ preventScroll: true });
    show(next);
    return true;
  }

  const linkOf = (photo) => photo !== null && thumbnails[photo] && data.links[photo] || null;

  function itself(image) { // the photo takes the place of its thumbnail once it is there, which it may never be
    const photo = new Image();
    photo.addEventListener("load", () => {
      image.src = photo.src;
      image.closest("figure").querySelector("a").hidden = false;
    });
    photo.src = image.dataset.link;
  }

  let opened = null;
  function open(tile) {
    opened = tile;
    const items = large.get(tile);
    const figures = items.map(({ photo, box, outline, text, lines }) => {
      const size = thumbnails[photo] ? `${thumbnails[photo][2]} × ${thumbnails[photo][3]} pixels` : "no photo at hand";
      const facts = [...lines, size].join(" · ");
      const link = linkOf(photo);
      const shownLarge = picture(photo, { box, outline }, text);
      if (link) shownLarge[0].setAttribute("data-link", link);
      const file = link && el("a", { href: link, target: "_blank", rel: "noopener", hidden: true }, "open the file");
      return el("figure", {}, el("div", { class: "large" }, shownLarge), el("figcaption", {}, name(text, "b"), el("br"), facts, file && " ", file));
    });
    const place = $("large").querySelector(".figures");
    place.replaceChildren(...figures);
    load(place);
    for (const image of place.querySelectorAll("img[data-link]")) itself(image);
    if (!$("large").open) $("large").showModal();
    matching = items.length > 1 && items[1].points && items.every(({ photo }) => thumbnails[photo]) ? items : null;
    links();
  }

  let matching = null; // the query and the photo whose matches are drawn
  function links() { // from photo to photo, over both; anew wherever they come to lie
    const place = $("large").querySelector(".figures");
    place.querySelector(".links")?.remove();
    if (!matching) return;
    const around = place.getBoundingClientRect();
    const [from, to] = [...place.querySelectorAll(".large")].map((frame, i) => {
      const [at, [, , width, height]] = [frame.getBoundingClientRect(), thumbnails[matching[i].photo]];
      const factor = Math.min(at.width / width, at.height / height); // the photo is as large as fits, in the middle
      const [left, top] = [at.left - around.left + (at.width - width * factor) / 2, at.top - around.top + (at.height - height * factor) / 2];
      return (x, y) => [left + x * factor, top + y * factor].map((value) => value.toFixed(1));
    });
    const { points } = matching[1];
    const pairs = Array.from({ length: Math.floor(points.length / 4) }, (_, i) => points.slice(4 * i, 4 * i + 4));
    pairs.sort((a, b) => a[0] - b[0]); // colours go from left to right in the query
    const drawn = svg("svg", { class: "links", viewBox: `0 0 ${around.width} ${around.height}`, "aria-hidden": "true" });
    for (const [i, [x1, y1, x2, y2]] of pairs.entries()) {
      const colour = `hsl(${Math.round((300 * i) / pairs.length)} 95% 60%)`;
      const [[a, b], [c, d]] = [from(x1, y1), to(x2, y2)];
      drawn.append(svg("line", { x1: a, y1: b, x2: c, y2: d, stroke: colour }));
      for (const [cx, cy] of [[a, b], [c, d]]) drawn.append(svg("circle", { cx, cy, r: 3, fill: colour }));
    }
    place.append(drawn);
  }

  function neighbour(by) { // the photo before or after the one that is large
    const tiles = [...opened.closest(".card").querySelectorAll(".tile")];
    const next = tiles[tiles.indexOf(opened) + by];
    if (next) open(next);
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target;
    const switched = { b: "boxes", m: "matches" }[event.key];
    const down = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
    const across = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if ($("large").open && across) neighbour(across);
    else if (switched && there[switched] && !$("keys").open && !target.matches("[type='search'], select")) turn(switched);
    else if ($("large").open || $("keys").open) return;
    else if (target === $("search")) {
      if (event.key !== "Enter") return;
      goTo(0);
    } else if (target.matches("select")) return;
    else if (event.key === "/") {
      $("search").focus();
      $("search").select();
    } else if (event.key === "?") $("keys").showModal();
    else if (event.key === "f" && judged) $("failures").click();
    else if (event.key === "h" && junk) $("junk").click();
    else if (down) step(down);
    else if (across) {
      if (!sideways(across)) return;
    } else if (event.key === "o" || (event.key === "Enter" && target.matches(".card"))) {
      const tile = target.closest(".tile") ?? target.closest(".card")?.querySelector(".tile");
      if (!tile) return;
      open(tile);
    } else return;
    event.preventDefault();
  }

  function turn(what, on = document.body.classList.contains(`no-${what}`)) {
    document.body.classList.toggle(`no-${what}`, !on);
    for (const box of document.querySelectorAll(`[data-switch="${what}"] input`)) box.checked = on;
  }

  function switches() {
    for (const label of document.querySelectorAll("[data-switch]")) {
      const what = label.dataset.switch;
      label.hidden = !there[what];
      label.querySelector("input").addEventListener("change", (event) => turn(what, event.target.checked));
    }
    for (const what of Object.keys(there)) turn(what, true);
    $("large").querySelector(".switches").hidden = !there.boxes && !there.matches;
  }

  function listen() {
    document.addEventListener("keydown", key);
    for (const id of ["results", "failures", "changed", "gains", "junk", "order"]) $(id).addEventListener("change", update);
    $("search").addEventListener("input", update);
    $("setting").addEventListener("change", () => {
      setting = $("setting").value;
      curves();
      update();
    });
    $("help").addEventListener("click", () => $("keys").showModal());
    $("cards").addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) open(tile);
    });
    $("cards").addEventListener("focusin", (event) => { // one stop of the Tab key per strip: arrows lead on from there
      const strip = event.target.closest(".strip");
      for (const tile of strip?.querySelectorAll(".tile[tabindex='0']") ?? []) tile.tabIndex = -1;
      if (strip) event.target.closest(".tile").tabIndex = 0;
    });
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.addEventListener("click", (event) => {
        if (event.target === dialog || event.target.closest(".close")) dialog.close();
      });
    }
    $("large").addEventListener("close", () => {
      opened?.focus({ preventScroll: true });
      if (opened) show(opened);
    });
    new ResizeObserver(() => { // nothing scrolls to below the tools, where they stay in sight
      const kept = getComputedStyle($("tools")).position === "sticky" ? $("tools").offsetHeight : 0;
      document.documentElement.style.scrollPaddingTop = `${kept}px`;
    }).observe($("tools"));
    new ResizeObserver(links).observe($("large").querySelector(".figures"));
    addEventListener("beforeprint", () => {
      more(Math.max(0, PRINTED - $("cards").children.length));
      load($("cards"));
    });
  }

  head();
  orders();
  gains();
  switches();
  $("setting").append(...settings.map((value) => el("option", { value, selected: value === setting }, shown(value))));
  $("setting-label").hidden = settings.length < 2;
  $("failures-label").hidden = !judged;
  $("changed-label").hidden = !two;
  $("junk-label").hidden = !junk;
  if (two) $("failures-label").querySelector("span").append(" in any run");
  listen();
  curves();
  update();
})();
