"use strict";

// Tables: a click on a column's head, or Enter, sorts by the first number in each cell; again, the other way round.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  if (body.rows.length < 2) continue;
  const value = text => { const found = text.replace(/,/g, "").match(/[+-]?\d+(\.\d+)?/); return found ? +found[0] : -Infinity; };
  heads.forEach((head, column) => {
    const sort = () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      const text = row => row.cells[column].textContent;
      const order = column ? (a, b) => value(text(b)) - value(text(a)) : (a, b) => text(b).localeCompare(text(a));
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...[...body.rows].sort((a, b) => down ? order(a, b) : order(b, a)));
    };
    head.tabIndex = 0;
    head.title = "Sort";
    head.onclick = sort;
    head.onkeydown = event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); } };
  });
}

// Figures: the mark or point of a line nearest to the pointer, and its values.
const tip = document.getElementById("tip");
for (const script of document.querySelectorAll('figure script[type="application/json"]')) {
  const series = JSON.parse(script.textContent);
  const show = event => {
    const svg = event.target.closest("svg");
    if (!svg) return;
    const matrix = svg.getScreenCTM(), at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    let nearest = null, least = 14 / matrix.a;
    for (const [name, x, y, points] of series) {
      for (const point of points) {
        const distance = Math.hypot(point[0] - at.x, point[1] - at.y);
        if (distance < least) [least, nearest] = [distance, [name, x, y, point]];
      }
    }
    tip.hidden = !nearest;
    if (!nearest) return;
    const [name, x, y, point] = nearest;
    tip.textContent = `${name}${name && ": "}${x} ${point[2]}; ${y} ${point[3]}`;
    tip.style.left = Math.max(4, Math.min(event.clientX + 12, innerWidth - tip.offsetWidth - 4)) + "px";
    tip.style.top = Math.max(4, event.clientY - tip.offsetHeight - 12) + "px";
  };
  script.parentNode.addEventListener("pointermove", show);
  script.parentNode.addEventListener("pointerdown", show);
  script.parentNode.addEventListener("pointerleave", () => { tip.hidden = true; });
}
addEventListener("scroll", () => { tip.hidden = true; });

// Figures in full size: out of this page, which needs no file beside it.
const dialog = document.querySelector("dialog");
dialog.querySelector("button").onclick = () => dialog.close();
for (const link of document.querySelectorAll("a.full")) {
  const figure = link.closest("figure"), whole = figure.querySelector("svg.whole, img");
  const open = event => {
    event.preventDefault();
    let large = whole.cloneNode(true);
    if (large.localName === "svg") {
      large.removeAttribute("class");
      large.innerHTML = `<use href="#${whole.firstElementChild.id}"/>`;
    }
    dialog.querySelector("div").replaceChildren(large);
    dialog.showModal();
  };
  link.onclick = open;
  if (whole.localName === "img") whole.onclick = open;
}
