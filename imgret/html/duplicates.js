(() => {
  const CHUNK = 20; // groups built at once; more follow as the end of the page comes near
  const { note, names, groups } = data;

  const image = (photo) => el("img", { src: "data:image/jpeg;base64," + thumbnails[photo][1], alt: "" });
  const frame = (photo) => el("span", { class: "frame" },
    thumbnails[photo] ? image(photo) : el("span", { class: "absent" }, "no picture"));

  // The copy laid over the photo that is kept, by the map between places in pixels at full size, whose centres are whole numbers.
  function difference(kept, copy, side) {
    if (!thumbnails[kept.photo] || !thumbnails[copy.photo] || !copy.map) return null;
    const [[a, c, e], [b, d, f]] = copy.map;
    const [width, height] = kept.size;
    const scale = Math.min(side / width, side / height);
    const [below, above] = [image(kept.photo), image(copy.photo)];
    const box = el("span", { class: "difference" }, below, above);
    box.style.width = below.style.width = width * scale + "px";
    box.style.height = below.style.height = height * scale + "px";
    above.style.width = copy.size[0] * scale + "px";
    above.style.height = copy.size[1] * scale + "px";
    const at = [e + 0.5 - (a + c) / 2, f + 0.5 - (b + d) / 2].map((place) => place * scale);
    above.style.transform = `matrix(${[a, b, c, d, ...at].join(",")})`;
    return el("span", { class: "frame" }, box);
  }

  const bytes = (count) => count < 0 ? "" : count < 1e6 ? (count / 1e3).toFixed(1) + " kB" : (count / 1e6).toFixed(2) + " MB";

  function told(member, kept) {
    const facts = [member.size.join(" × "), bytes(member.bytes), member.modified].filter(Boolean).join(" · ");
    const kind = member === kept ? "keep" : member.kind.split("+").join(", ") + ", score " + member.score.toFixed(4);
    return el("p", { class: "told" }, el("b", {}, kind), el("br"), facts, el("br"), el("bdi", {}, shown(names[member.photo])));
  }

  function open(kept, member) {
    const figures = [kept, member].filter((one, place) => !place || member !== kept).map((one) => el("figure", {}, frame(one.photo), told(one, kept)));
    const side = Math.min(350, window.innerWidth - 66) - 2;
    const view = member === kept ? null : difference(kept, member, side);
    if (view) figures.push(el("figure", {}, view, el("p", { class: "told" }, "difference")));
    $("large").querySelector(".figures").replaceChildren(...figures);
    $("large").showModal();
  }

  function entry(member, kept) {
    const side = window.innerWidth > 700 ? 158 : 138;
    const pair = el("button", { class: "pair", type: "button", "aria-label": "show large: " + shown(names[member.photo]) }, frame(member.photo),
      member === kept ? null : difference(kept, member, side));
    pair.addEventListener("click", () => open(kept, member));
    return el("li", { class: member === kept ? "keep" : "copy" }, pair, told(member, kept));
  }

  function card(group, number) {
    const many = group.length - 1;
    return el("section", { class: "group" }, el("h2", {}, `${number}: ${many} ${many > 1 ? "copies" : "copy"}`),
      el("ul", { class: "members" }, group.map((member) => entry(member, group[0]))));
  }

  let built = 0;
  function more() {
    const some = groups.slice(built, built + CHUNK);
    $("cards").append(...some.map((group, place) => card(group, built + place + 1)));
    built += some.length;
    if (built >= groups.length) watching.disconnect();
  }
  const watching = new IntersectionObserver((seen) => { if (seen.some((each) => each.isIntersecting)) more(); }, { rootMargin: "1500px" });

  $("note").textContent = note;
  if (!groups.length) $("cards").append(el("p", { class: "nothing" }, "no copies were found"));
  more();
  watching.observe($("end"));
  addEventListener("beforeprint", () => { while (built < groups.length) more(); });
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.matches(".close")) dialog.close(); });
  }
})();
