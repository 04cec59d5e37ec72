// A table that sorts, searches and opens its rows, a page at a time.

class Table {
  // columns: {name, title, get(row) to sort by, show(row) a node or text, kind "right" or "time"}
  // match(words) makes the test of a row; details(row) what opens below it.
  constructor(section, { rows, columns, match, details, sort, ascending, label, page }) {
    Object.assign(this, { rows, columns, match, details, label, rowsOfPage: page });
    this.sorted = { column: columns.find((c) => c.name === sort), ascending };
    this.filters = new Map();
    this.page = 0;
    this.opened = new Set();
    this.build(section);
    this.find();
  }

  build(section) {
    const id = `search-${section.id}`;
    this.input = el("input", { type: "search", id, autocomplete: "off", spellcheck: "false", input: debounced(() => this.find(), 150) });
    this.status = el("span", { class: "status", role: "status" });
    this.chips = el("span", { class: "chips" });
    this.back = el("button", { type: "button", click: () => this.turn(-1), "aria-label": `Earlier ${this.label}` }, "←");
    this.forth = el("button", { type: "button", click: () => this.turn(1), "aria-label": `Further ${this.label}` }, "→");
    this.heads = this.columns.map((c) =>
      el("th", { scope: "col", class: c.kind }, el("button", { type: "button", click: () => this.sortBy(c) }, c.title)));
    this.body = el("tbody");
    section.append(
      el("div", { class: "controls" }, el("label", { for: id }, "Search"), this.input, this.chips, this.status, this.back, this.forth),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": `${section.id}-title` },
        el("table", { "aria-labelledby": `${section.id}-title` }, el("thead", {}, el("tr", {}, ...this.heads)), this.body)),
    );
  }

  // Shows only what passes a test, until the chip that says so is pressed.
  filter(key, label, test) {
    if (test) this.filters.set(key, { label, test });
    else this.filters.delete(key);
    this.chips.replaceChildren(...[...this.filters].map(([k, f]) =>
      el("button", { type: "button", class: "chip", "aria-label": `Show all again, not only ${plain(f.label)}`, click: () => { this.filter(k); this.input.focus(); } }, `${cut(f.label, 60)} ✕`)));
    this.find();
    this.filtered?.(key);
  }

  find() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = [...this.filters.values()].map((f) => f.test);
    if (words.length) tests.push(this.match(words));
    this.found = tests.length ? this.rows.filter((row) => tests.every((test) => test(row))) : this.rows.slice();
    this.order();
  }

  sortBy(column) {
    const same = this.sorted.column === column;
    this.sorted = { column, ascending: same ? !this.sorted.ascending : column.kind !== "right" };
    this.order();
  }

  order() {
    const { column, ascending } = this.sorted;
    const up = ascending ? 1 : -1;
    // Each value once; what is unknown comes last, whichever way.
    const keyed = this.found.map((row, i) => ({ row, i, key: column.get(row) ?? null }));
    keyed.sort((a, b) => {
      if (a.key === b.key) return a.i - b.i;
      if (a.key === null || b.key === null) return a.key === null ? 1 : -1;
      return (a.key < b.key ? -1 : 1) * up;
    });
    this.found = keyed.map((k) => k.row);
    this.heads.forEach((th, i) => {
      if (this.columns[i] === column) th.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      else th.removeAttribute("aria-sort");
    });
    this.page = 0;
    this.draw();
  }

  turn(by) {
    this.page += by;
    this.draw();
  }

  draw() {
    const from = this.page * this.rowsOfPage;
    const shown = this.found.slice(from, from + this.rowsOfPage);
    const total = this.found.length;
    const of = total === this.rows.length ? "" : ` found, of ${number(this.rows.length)}`;
    this.status.textContent = total > this.rowsOfPage ? `${number(from + 1)}–${number(from + shown.length)} of ${number(total)}${of}` : `${number(total)}${of}`;
    this.back.disabled = from === 0;
    this.forth.disabled = from + this.rowsOfPage >= total;
    this.body.replaceChildren(...shown.flatMap((row) => this.row(row)));
    if (!total) this.body.append(el("tr", {}, el("td", { class: "none", colspan: this.columns.length }, "Nothing found.")));
  }

  row(row) {
    const open = this.opened.has(row);
    const more = el("button", { type: "button", class: "more", "aria-expanded": String(open) });
    const cells = this.columns.map((c, i) => {
      const shown = c.show(row) ?? "";
      const td = el("td", { class: c.kind });
      td.append(i ? shown : more);
      if (!i) more.append(shown);
      return td;
    });
    const tr = el("tr", { class: open ? "row open" : "row", click: () => { if (!String(getSelection())) this.toggle(row, tr, more); } }, ...cells);
    return open ? [tr, this.detail(row)] : [tr];
  }

  detail(row) {
    return el("tr", { class: "detail" }, el("td", { colspan: this.columns.length }, this.details(row)));
  }

  toggle(row, tr, more) {
    const open = !this.opened.delete(row);
    if (open) {
      this.opened.add(row);
      tr.after(this.detail(row));
    } else tr.nextSibling.remove();
    tr.classList.toggle("open", open);
    more.setAttribute("aria-expanded", String(open));
  }
}

// A test of rows that have all words somewhere in their text, which is made once.
function inText(textOf) {
  const texts = new Map();
  return (words) => (row) => {
    let all = texts.get(row);
    if (all === undefined) texts.set(row, (all = textOf(row).toLowerCase()));
    return words.every((w) => all.includes(w));
  };
}
